//! Expressions of functions, `Host(`a`) && !Path("/b") || (…)`, as Traefik's rules and constraints are written. Pure.

use super::clip;

/// How deep parentheses and `!` may stand in each other.
const MAX_DEPTH: usize = 32;
/// The longest expression, bytes.
const MAX: usize = 4_096;

/// An expression, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `Host(`a`)`
    Function(Function),
    /// `!`
    Not(Box<Expression>),
    /// `&&`
    All(Vec<Expression>),
    /// `||`
    Any(Vec<Expression>),
}

/// A function with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// What stands before the parenthesis.
    pub name: String,
    /// Without their quotes.
    pub arguments: Vec<String>,
}

impl Expression {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX {
            return Err(format!("a rule has at most {MAX} bytes"));
        }
        let mut reader = Reader { rest: text };
        let read = reader.any(0).and_then(|expression| match reader.skipped() {
            "" => Ok(expression),
            rest => Err(format!("`{}` is not expected", clip(rest))),
        });
        read.map_err(|why| format!("`{}` cannot be read: {why}", clip(text)))
    }

    /// All functions in it.
    #[must_use]
    pub fn functions(&self) -> Vec<&Function> {
        match self {
            Self::Function(function) => vec![function],
            Self::Not(inner) => inner.functions(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::functions).collect(),
        }
    }

    /// Whether it is true where `holds` says so of each function.
    pub fn holds(&self, holds: &impl Fn(&Function) -> bool) -> bool {
        match self {
            Self::Function(function) => holds(function),
            Self::Not(inner) => !inner.holds(holds),
            Self::All(parts) => parts.iter().all(|part| part.holds(holds)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(holds)),
        }
    }

    /// The alternatives, each a list of functions that must hold, or must not (`true`).
    ///
    /// # Errors
    /// There are more than `most`.
    pub fn alternatives(&self, most: usize) -> Result<Vec<Vec<(&Function, bool)>>, String> {
        self.expanded(false, most)
    }

    fn expanded(&self, not: bool, most: usize) -> Result<Vec<Vec<(&Function, bool)>>, String> {
        let too_many = || Err(format!("it has more than {most} alternatives"));
        match (self, not) {
            (Self::Function(function), _) => Ok(vec![vec![(function, not)]]),
            (Self::Not(inner), _) => inner.expanded(!not, most),
            (Self::Any(parts), false) | (Self::All(parts), true) => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(part.expanded(not, most)?);
                    if all.len() > most {
                        return too_many();
                    }
                }
                Ok(all)
            }
            (Self::All(parts), false) | (Self::Any(parts), true) => {
                let mut all = vec![Vec::new()];
                for part in parts {
                    let more = part.expanded(not, most)?;
                    if all.len() * more.len() > most {
                        return too_many();
                    }
                    let mut joined = Vec::new();
                    for left in &all {
                        joined.extend(more.iter().map(|right| [left.as_slice(), right].concat()));
                    }
                    all = joined;
                }
                Ok(all)
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skipped(&mut self) -> &str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        rest.map(|rest| self.rest = rest).is_some()
    }

    fn any(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("||") {
            parts.push(self.all(depth)?);
        }
        Ok(joined(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, String> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("&&") {
            parts.push(self.one(depth)?);
        }
        Ok(joined(parts, Expression::All))
    }

    fn one(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} parentheses stand in each other"));
        }
        if self.takes("!") {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.any(depth + 1)?;
            return if self.takes(")") {
                Ok(inner)
            } else {
                Err("a ) is missing".to_owned())
            };
        }
        self.function().map(Expression::Function)
    }

    fn function(&mut self) -> Result<Function, String> {
        let rest = self.skipped();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.rest = &self.rest[end..];
        if name.is_empty() || !self.takes("(") {
            return Err(format!("`{}` is not a function such as Host(`a`)", clip(&name)));
        }
        let mut arguments = Vec::new();
        while !self.takes(")") {
            if !arguments.is_empty() && !self.takes(",") {
                return Err(format!("a comma or ) is missing in {name}()"));
            }
            arguments.push(self.quoted()?);
        }
        Ok(Function { name, arguments })
    }

    /// Back quotes take all as it is; in double quotes a backslash stands before what has another meaning.
    fn quoted(&mut self) -> Result<String, String> {
        if self.takes("`") {
            let (text, rest) = self.rest.split_once('`').ok_or("a ` is opened and not closed")?;
            let text = text.to_owned();
            self.rest = rest;
            return Ok(text);
        }
        if !self.takes("\"") {
            return Err("an argument stands in `…` or \"…\"".to_owned());
        }
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\' | '`'))) => text.push(escaped),
                    _ => return Err("after \\ there is \\ or \"".to_owned()),
                },
                _ => text.push(character),
            }
        }
        Err("a \" is opened and not closed".to_owned())
    }
}

fn joined(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        join(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let expression = Expression::parse(text).unwrap();
        let alternatives = expression.alternatives(16).unwrap();
        let show = |(function, not): &(&Function, bool)| {
            let not = if *not { "!" } else { "" };
            format!("{not}{}({})", function.name, function.arguments.join(","))
        };
        let each = |all: &Vec<(&Function, bool)>| all.iter().map(show).collect::<Vec<_>>().join(" & ");
        alternatives.iter().map(each).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn an_expression_becomes_its_alternatives() {
        for (text, wanted) in [
            ("Host(`a`)", "Host(a)"),
            ("Host(`a`)&&Path(\"/b\")", "Host(a) & Path(/b)"),
            ("A(`1`) || B(`2`) && C(`3`, `4`)", "A(1) | B(2) & C(3,4)"),
            ("A(`1`) && (B(`2`) || C(`3`))", "A(1) & B(2) | A(1) & C(3)"),
            ("!(A(`1`) || !B(`2`))", "!A(1) & B(2)"),
            ("!(A(`1`) && B(`2`))", "!A(1) | !B(2)"),
            (" ( ( A( `x y` ) ) ) ", "A(x y)"),
            (r#"A("a\"b\\")"#, r#"A(a"b\)"#),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error_and_alternatives_are_bounded() {
        for text in [
            "",
            "Host(`a`",
            "Host(`a)",
            "Host(a)",
            "A(`1`) &&",
            "A(`1`) B(`2`)",
            "A(`1`))",
            "&& A(`1`)",
            "A(`1` `2`)",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        assert!(Expression::parse(&format!("{}A(`1`){}", "(".repeat(40), ")".repeat(40))).is_err());
        let wide = ["(A(`1`) || B(`2`))"; 12].join(" && ");
        assert!(Expression::parse(&wide).unwrap().alternatives(64).is_err());
    }

    #[test]
    fn an_expression_is_judged_without_alternatives() {
        let expression = Expression::parse("Tag(`a`) && !Tag(`b`) || Tag(`c`)").unwrap();
        let judged =
            |tags: &[&str]| expression.holds(&|f: &Function| tags.contains(&f.arguments[0].as_str()));
        assert!(judged(&["a"]) && judged(&["b", "c"]));
        assert!(!judged(&["a", "b"]) && !judged(&[]));
    }
}
