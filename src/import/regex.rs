//! Regular expressions of Go that search a text, as ones that match the whole of it. Pure.

use crate::model::pattern::escape;

/// Characters that may stand around what is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Around {
    Any,
    /// Of a host without its port.
    Host,
    /// Of a path without its query.
    Path,
    /// Of a value in a query.
    Value,
}

impl Around {
    const fn regex(self) -> &'static str {
        match self {
            Self::Any => ".*",
            Self::Host => "[^:]*",
            Self::Path => "[^?]*",
            Self::Value => "[^&]*",
        }
    }
}

/// An expression that finds something, as one of the whole text.
pub(super) fn whole(search: &str, around: Around) -> String {
    let any = around.regex();
    if alternates(search) {
        return format!("{any}(?:{search}){any}");
    }
    let (begin, rest) = match search.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => (any, search),
    };
    let escaped = rest.bytes().rev().skip(1).take_while(|b| *b == b'\\').count() % 2 == 1;
    let (rest, end) = match rest.strip_suffix('$').filter(|_| !escaped) {
        Some(rest) => (rest, ""),
        None => (rest, any),
    };
    format!("{begin}{rest}{end}")
}

/// Whether there is a `|` outside of all groups.
fn alternates(regex: &str) -> bool {
    let (mut depth, mut class, mut escaped) = (0_usize, false, false);
    for character in regex.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth = depth.saturating_sub(1),
            '|' if !class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// What stands in a query for this text, encoded or not.
pub(super) fn in_query(text: &str) -> String {
    let one = |byte: u8| match byte {
        b' ' => r"(?:\+|%20)".to_owned(),
        byte if byte.is_ascii_graphic() => {
            format!("(?:{}|{})", escape(&char::from(byte).to_string()), encoded(byte))
        }
        byte => encoded(byte),
    };
    let all: String = text.bytes().map(one).collect();
    // An expression has 512 bytes at most.
    if all.len() > 300 { escape(text) } else { all }
}

/// `%2F` and `%2f`
fn encoded(byte: u8) -> String {
    let digit = |nibble: u8| match char::from_digit(u32::from(nibble), 16) {
        Some(digit) if digit.is_ascii_alphabetic() => format!("[{digit}{}]", digit.to_ascii_uppercase()),
        Some(digit) => digit.to_string(),
        None => String::new(),
    };
    format!("%{}{}", digit(byte >> 4), digit(byte & 15))
}

/// A glob of fabio as an expression: `*`, `?`, `[a-z]`, `{a,b}`.
pub(super) fn of_glob(glob: &str) -> String {
    let (mut regex, mut braces, mut class) = (String::new(), 0_usize, false);
    let mut characters = glob.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => regex.extend(characters.next().map(|c| escape(&c.to_string()))),
            ']' if class => {
                class = false;
                regex.push(']');
            }
            '!' if class && regex.ends_with('[') => regex.push('^'),
            character if class => regex.push(character),
            '[' => {
                class = true;
                regex.push('[');
            }
            '*' => regex += ".*",
            '?' => regex.push('.'),
            '{' => {
                braces += 1;
                regex += "(?:";
            }
            '}' if braces > 0 => {
                braces -= 1;
                regex.push(')');
            }
            ',' if braces > 0 => regex.push('|'),
            other => regex += &escape(&other.to_string()),
        }
    }
    regex
}

/// What takes the place of a match, from Go's `$1` and `${1}` to RE2's `\1`. `None`: it names a group.
pub(super) fn substitution(go: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = go;
    while let Some(at) = rest.find(['$', '\\']) {
        text += &rest[..at];
        let from = &rest[at..];
        if let Some(after) = from.strip_prefix('\\') {
            text += r"\\";
            rest = after;
            continue;
        }
        if let Some(after) = from.strip_prefix("$$") {
            text.push('$');
            rest = after;
            continue;
        }
        let inner = from.strip_prefix("${").and_then(|inner| inner.split_once('}'));
        let (name, after) = inner.unwrap_or_else(|| {
            let name = &from[1..];
            let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            name.split_at(end.unwrap_or(name.len()))
        });
        let group = name.parse::<u8>().ok().filter(|group| *group < 10)?;
        text.extend(["\\", &group.to_string()]);
        rest = after;
    }
    Some(text + rest)
}

/// `%` begins a value of Envoy's.
pub(super) fn percent(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_searches_becomes_what_matches_the_whole() {
        for (search, wanted) in [
            ("/v[0-9]/", ".*/v[0-9]/.*"),
            ("^/v[0-9]$", "/v[0-9]"),
            (r"^/a\$", r"/a\$.*"),
            (r"/a\\$", r".*/a\\"),
            ("^a|b$", ".*(?:^a|b$).*"),
            ("(a|b)[|]", ".*(a|b)[|].*"),
        ] {
            assert_eq!(whole(search, Around::Any), wanted);
        }
    }

    #[test]
    fn globs_and_replacements_are_translated() {
        for (glob, wanted) in [
            ("*.example.com", r".*\.example\.com"),
            ("{a,b}.x", r"(?:a|b)\.x"),
            ("n[0-9].x", r"n[0-9]\.x"),
            ("m[!a]?", "m[^a]."),
        ] {
            assert_eq!(of_glob(glob), wanted);
        }
        for (go, wanted) in [
            ("/bar/$1", Some(r"/bar/\1")),
            ("/b${1}x$2", Some(r"/b\1x\2")),
            (r"/a\b$$", Some(r"/a\\b$")),
            ("/$name", None),
            ("/$1x", None),
        ] {
            assert_eq!(substitution(go).as_deref(), wanted, "{go}");
        }
        assert_eq!(in_query("v "), r"(?:v|%76)(?:\+|%20)");
    }
}
