//! Regular expressions that a route declares. Envoy refuses a whole route configuration for one that RE2 cannot
//! read, so only what RE2 and `regex_syntax` read alike is let through. Pure.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSet, ClassSetItem, FlagsItemKind, GroupKind, HexLiteralKind, LiteralKind,
    RepetitionKind, RepetitionRange,
};

use crate::text::clip;

/// The longest expression, bytes.
const MAX: usize = 512;
/// How often a part may be repeated at most, also by repetitions within each other. RE2 refuses more than 1,000.
const MAX_REPEATED: u32 = 1_000;
/// Instructions of RE2 that an expression may take. Envoy refuses more than 100, and an estimate may be wrong by some.
const MAX_SIZE: u32 = 90;
/// What a character outside of ASCII may be takes several instructions, where the expression is read as UTF-8.
const WIDE: u32 = 10;
/// The forms outside of ASCII that k and s have.
const FOLDED: u32 = 5;
/// How deep groups may stand in each other.
const MAX_DEPTH: u32 = 20;

/// The number of groups of an expression that each RE2 reads; the whole text must match it.
///
/// # Errors
/// What is wrong with it; it begins with the expression.
pub fn check(text: &str) -> Result<usize, String> {
    let bad = |why: &str| {
        format!(
            "`{}` is not a regular expression that Envoy reads: {why}",
            clip(text)
        )
    };
    if text.is_empty() || text.len() > MAX {
        return Err(bad(&format!("it has 1 to {MAX} bytes")));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(bad("it holds visible ASCII characters only"));
    }
    let ast = parsed(text).map_err(|error| bad(&error.kind().to_string()))?;
    if text.contains("{,") {
        return Err(bad("a repetition begins with a number: {0,3}"));
    }
    let mut groups = 0;
    common(&ast, 1, &mut groups).map_err(|what| bad(&format!("{what} is not in RE2")))?;
    if size(&ast, ignores_case(text)) > MAX_SIZE {
        return Err(bad(
            "it is too large for Envoy; repeat less, or match a shorter part of it",
        ));
    }
    Ok(groups)
}

/// Whether any part of it matches letters in either case.
fn ignores_case(text: &str) -> bool {
    let flags = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphabetic() || *c == '-')
            .any(|c| c == 'i')
    };
    text.split("(?").skip(1).any(flags)
}

/// About how many instructions RE2 makes of it, rather too many than too few.
fn size(ast: &Ast, any_case: bool) -> u32 {
    match ast {
        Ast::Empty(_) | Ast::Flags(_) => 0,
        Ast::Dot(_) | Ast::ClassUnicode(_) => WIDE,
        // Two letters have a third form outside of ASCII.
        Ast::Literal(literal) if any_case && matches!(literal.c, 'k' | 'K' | 's' | 'S') => 4,
        Ast::Literal(_) | Ast::Assertion(_) => 1,
        Ast::ClassPerl(class) if class.negated => all_but(any_case),
        Ast::ClassPerl(_) => 4,
        Ast::ClassBracketed(class) => {
            let wide = if class.negated { all_but(any_case) } else { 0 };
            let items = items(&class.kind, any_case);
            wide.saturating_add(if any_case {
                items.saturating_mul(2).saturating_add(FOLDED)
            } else {
                items
            })
        }
        Ast::Repetition(repetition) => {
            let one = size(&repetition.ast, any_case);
            match &repetition.op.kind {
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => one + 1,
                RepetitionKind::Range(range) => match range {
                    RepetitionRange::Exactly(n) => one.saturating_mul(*n),
                    RepetitionRange::AtLeast(n) => one.saturating_mul(*n).saturating_add(1),
                    RepetitionRange::Bounded(least, most) => one
                        .saturating_mul(*most)
                        .saturating_add(most.saturating_sub(*least)),
                },
            }
        }
        Ast::Group(group) => {
            let captures = !matches!(group.kind, GroupKind::NonCapturing(_));
            size(&group.ast, any_case).saturating_add(if captures { 2 } else { 0 })
        }
        Ast::Alternation(all) => {
            let parts = all.asts.iter().map(|ast| size(ast, any_case).saturating_add(1));
            parts.fold(0, u32::saturating_add)
        }
        Ast::Concat(all) => all
            .asts
            .iter()
            .map(|ast| size(ast, any_case))
            .fold(0, u32::saturating_add),
    }
}

/// All characters but some: k and s have forms outside of ASCII, which are taken out there, too.
const fn all_but(any_case: bool) -> u32 {
    if any_case { 3 * WIDE } else { WIDE }
}

/// Ranges of a class.
fn items(set: &ClassSet, any_case: bool) -> u32 {
    let one = |item: &ClassSetItem| match item {
        ClassSetItem::Perl(class) if class.negated => all_but(any_case),
        ClassSetItem::Ascii(class) if class.negated => all_but(any_case),
        ClassSetItem::Perl(_) | ClassSetItem::Ascii(_) => 4,
        _ => 1,
    };
    match set {
        ClassSet::Item(ClassSetItem::Union(union)) => {
            union.items.iter().map(one).fold(0, u32::saturating_add)
        }
        ClassSet::Item(item) => one(item),
        ClassSet::BinaryOp(_) => WIDE,
    }
}

fn parsed(text: &str) -> Result<Ast, Box<ast::Error>> {
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(MAX_DEPTH).build();
    parser.parse(text).map_err(Box::new)
}

/// Refuses what RE2 lacks, or reads as something else.
fn common(ast: &Ast, repeated: u32, groups: &mut usize) -> Result<(), String> {
    match ast {
        Ast::Empty(_) | Ast::Dot(_) | Ast::ClassPerl(_) => Ok(()),
        Ast::Flags(flags) => flags_of(&flags.flags),
        Ast::Literal(literal) => literal_of(literal),
        Ast::Assertion(assertion) => match assertion.kind {
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText
            | AssertionKind::WordBoundary
            | AssertionKind::NotWordBoundary => Ok(()),
            _ => Err("this kind of word boundary".to_owned()),
        },
        Ast::ClassUnicode(_) => Err("a class of Unicode here".to_owned()),
        Ast::ClassBracketed(class) => match &class.kind {
            ClassSet::Item(item) => item_of(item),
            ClassSet::BinaryOp(_) => Err("an operation on classes".to_owned()),
        },
        Ast::Repetition(repetition) if matches!(*repetition.ast, Ast::Repetition(_)) => {
            Err("a repetition of a repetition".to_owned())
        }
        Ast::Repetition(repetition) => {
            let most = match &repetition.op.kind {
                RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
                RepetitionKind::Range(range) => match range {
                    RepetitionRange::Exactly(n)
                    | RepetitionRange::AtLeast(n)
                    | RepetitionRange::Bounded(_, n) => *n,
                },
            };
            let repeated = repeated.saturating_mul(most.max(1));
            if repeated > MAX_REPEATED {
                return Err(format!("a part that is repeated more than {MAX_REPEATED} times"));
            }
            common(&repetition.ast, repeated, groups)
        }
        Ast::Group(group) => {
            match &group.kind {
                GroupKind::CaptureIndex(_) => *groups += 1,
                GroupKind::CaptureName { starts_with_p, name } => {
                    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
                    if !starts_with_p || !name.name.bytes().all(plain) {
                        return Err("a group that is not named as in (?P<name>…)".to_owned());
                    }
                    *groups += 1;
                }
                GroupKind::NonCapturing(flags) => flags_of(flags)?,
            }
            common(&group.ast, repeated, groups)
        }
        Ast::Alternation(all) => all.asts.iter().try_for_each(|ast| common(ast, repeated, groups)),
        Ast::Concat(all) => all.asts.iter().try_for_each(|ast| common(ast, repeated, groups)),
    }
}

fn flags_of(flags: &ast::Flags) -> Result<(), String> {
    use ast::Flag::{CaseInsensitive, DotMatchesNewLine, MultiLine, SwapGreed};
    let known = flags.items.iter().all(|item| match item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => {
            matches!(flag, CaseInsensitive | MultiLine | DotMatchesNewLine | SwapGreed)
        }
    });
    known
        .then_some(())
        .ok_or_else(|| "a flag other than i, m, s and U".to_owned())
}

fn literal_of(literal: &ast::Literal) -> Result<(), String> {
    // A byte for newer Envoys, and two for those before 1.39, which read expressions as UTF-8.
    if !literal.c.is_ascii() {
        return Err("a character outside of ASCII".to_owned());
    }
    match literal.kind {
        LiteralKind::Verbatim
        | LiteralKind::Meta
        | LiteralKind::Superfluous
        | LiteralKind::Special(_)
        | LiteralKind::HexFixed(HexLiteralKind::X) => Ok(()),
        LiteralKind::Octal | LiteralKind::HexFixed(_) | LiteralKind::HexBrace(_) => {
            Err("this way to write a character".to_owned())
        }
    }
}

fn item_of(item: &ClassSetItem) -> Result<(), String> {
    match item {
        ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) => Ok(()),
        ClassSetItem::Literal(literal) => literal_of(literal),
        ClassSetItem::Range(range) => literal_of(&range.start).and_then(|()| literal_of(&range.end)),
        ClassSetItem::Unicode(_) => Err("a class of Unicode here".to_owned()),
        ClassSetItem::Bracketed(_) => Err("a class within a class".to_owned()),
        ClassSetItem::Union(union) => union.items.iter().try_for_each(item_of),
    }
}

/// The characters that each match begins with: for `/orders/[0-9]+` it is `/orders/`.
#[must_use]
pub fn beginning(text: &str) -> String {
    let literal = |ast: &Ast| match ast {
        Ast::Literal(literal) => Some(literal.c),
        _ => None,
    };
    match &parsed(text) {
        Ok(Ast::Concat(all)) => all.asts.iter().map_while(literal).collect(),
        Ok(ast) => literal(ast).into_iter().collect(),
        Err(_) => String::new(),
    }
}

/// A text as an expression that matches nothing else.
#[must_use]
pub fn escape(text: &str) -> String {
    regex_syntax::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_reads_alike_is_let_through() {
        for (text, groups) in [
            ("/orders/[0-9]+", 0),
            (r"/v(\d+)/(?P<rest>.*)", 2),
            ("(?i)/Orders(?:/.*)?", 0),
            (r"^/a\.b/[^/]{1,5}$", 0),
            (r"/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", 0),
            ("/a|/b", 0),
            (r"/[\w.-]*", 0),
            (r"/\x41[\x20-\x7f]", 0),
            ("(?i)/[a-z]{12}", 0),
            ("(?i)/[^k]{2}", 0),
            ("(?P<id>[0-9]+)(?:/k{80})?", 1),
            ("[[:alpha:]]+", 0),
        ] {
            assert_eq!(check(text), Ok(groups), "{text}");
        }
    }

    #[test]
    fn what_envoy_would_refuse_is_refused_here() {
        for text in [
            "",
            "/a(",
            "/a)",
            "[",
            "*a",
            "/(?=x)",
            "/(?<=x)",
            r"/(a)\1",
            "(?x)/a",
            "(?<name>a)",
            r"/\p{Greek}",
            r"\u{61}",
            "[a&&b]",
            "[a--b]",
            "[[a]]",
            "a{1001}",
            "(a{100}){11}",
            "a{2,1}",
            r"\b{start}",
            "/ä",
            r"\141",
            "a**b(",
            "/a**",
            "/a+*",
            "/a{2}{3}",
            "/a???",
            "a{,3}",
            r"^/a\.b/[^/]{1,64}$",
            "/a{100}",
            r"/\xff{60}",
            r"/\xff",
            r"/[\x01-\xff]{80}",
            r"(?i)/[\x01-\xff]{29}",
            r"/[^\xff]{8}",
            r"/[^\x80\xc0\xff]{6}",
            "(?si)/k{80}",
            "(?mi)/[k]{80}",
            "/(?s-m:a)(?U-i:k{80})(?i)[k]{30}",
            "(?i)/[a-z]{15}",
            "(?i)/[^k]{5}",
            r"(?i)/\W{4}",
            "/.{10}",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        assert!(check(&"a".repeat(600)).is_err());
        assert!(check(&format!("{}{}", "(".repeat(40), ")".repeat(40))).is_err());
    }

    #[test]
    fn the_beginning_is_what_each_match_begins_with() {
        for (text, wanted) in [
            ("/orders/[0-9]+", "/orders/"),
            ("/orders.*", "/orders"),
            ("/a|/b", ""),
            ("(?i)/orders", ""),
            ("/orders?", "/order"),
            ("/x", "/x"),
            ("^/x", ""),
            (r"/a\.b", "/a.b"),
        ] {
            assert_eq!(beginning(text), wanted, "{text}");
        }
    }
}
