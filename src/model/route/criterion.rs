//! What must hold of a request beside its host and path. Pure.

use crate::model::pattern;
use crate::text::clip;

/// The longest value that is compared, bytes.
const MAX_VALUE: usize = 512;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criterion {
    /// The method is one of these, sorted.
    Method {
        /// In capitals.
        names: Vec<String>,
        /// It is none of them.
        not: bool,
    },
    /// The host as the client sent it, with its port; the case of letters does not matter.
    Authority {
        /// The whole of it fits.
        regex: String,
        /// It must not be so.
        not: bool,
    },
    /// The path and the query together.
    Url {
        /// The whole of it fits.
        regex: String,
        /// It must not be so.
        not: bool,
    },
    /// A header.
    Header {
        /// In lower case.
        name: String,
        /// How it is compared.
        test: Test,
        /// It must not be so; a request without the header passes.
        not: bool,
    },
    /// A parameter of the query.
    Query {
        /// As it is written.
        name: String,
        /// How it is compared.
        test: Test,
    },
    /// A cookie.
    Cookie {
        /// As it is written.
        name: String,
        /// How it is compared.
        test: Test,
    },
}

/// How a value is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// It is there.
    Present,
    /// It is this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// The whole of it fits.
    Regex(String),
}

impl Test {
    /// What is added to the name of a word: `header-prefix=`.
    const fn suffix(&self) -> &'static str {
        match self {
            Self::Present | Self::Exact(_) => "",
            Self::Prefix(_) => "-prefix",
            Self::Regex(_) => "-regex",
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Present => None,
            Self::Exact(text) | Self::Prefix(text) | Self::Regex(text) => Some(text),
        }
    }
}

impl Criterion {
    /// The word that declares it, and its value without quotes.
    #[must_use]
    pub fn word(&self) -> (String, String) {
        let value = |name: &str, test: &Test| match test.text() {
            None => name.to_owned(),
            Some(text) => format!("{name}:{text}"),
        };
        match self {
            Self::Method { names, not } => {
                ("method".to_owned(), format!("{}{}", bang(*not), names.join(",")))
            }
            Self::Authority { regex, not } => {
                ("authority-regex".to_owned(), format!("{}{regex}", bang(*not)))
            }
            Self::Url { regex, not } => ("url-regex".to_owned(), format!("{}{regex}", bang(*not))),
            Self::Header { name, test, not } => {
                let value = format!("{}{}", bang(*not), value(name, test));
                (format!("header{}", test.suffix()), value)
            }
            Self::Query { name, test } => (format!("query{}", test.suffix()), value(name, test)),
            Self::Cookie { name, test } => (format!("cookie{}", test.suffix()), value(name, test)),
        }
    }

    /// Reads the value of `method=`.
    pub(super) fn method(text: &str) -> Result<Self, String> {
        let (not, names) = negated(text);
        let mut methods: Vec<String> = names.split(',').map(str::to_owned).collect();
        methods.sort();
        methods.dedup();
        let capitals = |m: &String| (1..=20).contains(&m.len()) && m.bytes().all(|b| b.is_ascii_uppercase());
        if methods.len() > 10 || !methods.iter().all(capitals) {
            return Err(format!(
                "`method={}` must be methods in capitals separated by commas, such as GET,HEAD",
                clip(text)
            ));
        }
        pattern::check(&methods.join("|")).map_err(|error| format!("`method=`: {error}"))?;
        Ok(Self::Method { names: methods, not })
    }

    /// Reads the value of `authority-regex=`.
    pub(super) fn authority(text: &str) -> Result<Self, String> {
        let (not, regex) = expression("authority-regex", text)?;
        pattern::check(&authority_expression(&regex)).map_err(|_| {
            format!(
                "`authority-regex={}` is too long for Envoy, whatever the case of letters",
                clip(text)
            )
        })?;
        Ok(Self::Authority { regex, not })
    }

    /// Reads the value of `url-regex=`.
    pub(super) fn url(text: &str) -> Result<Self, String> {
        let (not, regex) = expression("url-regex", text)?;
        Ok(Self::Url { regex, not })
    }

    /// Reads the value of `header=`, `header-prefix=` or `header-regex=`.
    pub(super) fn header(word: &str, declared: &str) -> Result<Self, String> {
        let (not, rest) = negated(declared);
        let (name, test) = compared(word, rest)?;
        Ok(Self::Header {
            name: name.to_ascii_lowercase(),
            test,
            not,
        })
    }

    /// Reads the value of `query=`, `query-prefix=` or `query-regex=`.
    pub(super) fn query(word: &str, declared: &str) -> Result<Self, String> {
        compared(word, declared).map(|(name, test)| Self::Query { name, test })
    }

    /// Reads the value of `cookie=`, `cookie-prefix=` or `cookie-regex=`.
    pub(super) fn cookie(word: &str, declared: &str) -> Result<Self, String> {
        let (name, test) = compared(word, declared)?;
        pattern::check(&cookie_expression(&name, &test)).map_err(|_| {
            format!(
                "`{word}={}` is too long for Envoy to look for in cookies",
                clip(declared)
            )
        })?;
        Ok(Self::Cookie { name, test })
    }
}

/// What the header of cookies as a whole must match. Envoy's own matcher of cookies came with 1.37; this is read by
/// each version.
#[must_use]
pub fn cookie_expression(name: &str, test: &Test) -> String {
    let value = match test {
        Test::Present => "[^;]*".to_owned(),
        Test::Exact(value) => pattern::escape(value),
        Test::Prefix(value) => pattern::escape(value) + "[^;]*",
        Test::Regex(regex) => format!("(?:{regex})"),
    };
    format!("(?:.*; ?)?{}={value}(?:;.*)?", pattern::escape(name))
}

/// What the host and port as a client sent them must match: the case of letters means nothing in a host.
#[must_use]
pub fn authority_expression(regex: &str) -> String {
    format!("(?i)(?:{regex})")
}

const fn bang(not: bool) -> &'static str {
    if not { "!" } else { "" }
}

fn negated(text: &str) -> (bool, &str) {
    match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

fn expression(word: &str, text: &str) -> Result<(bool, String), String> {
    let (not, regex) = negated(text);
    pattern::check(regex).map_err(|error| format!("`{word}=`: {error}"))?;
    Ok((not, regex.to_owned()))
}

/// Whether it can be the name of a header.
pub(in crate::model) fn is_token(declared: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !declared.is_empty() && declared.len() <= 128 && declared.bytes().all(token)
}

/// Reads `name` or `name:value`.
fn compared(word: &str, declared: &str) -> Result<(String, Test), String> {
    let bad = |why: &str| format!("`{word}={}` must be {why}", clip(declared));
    let (name, value) = match declared.split_once(':') {
        Some((name, value)) => (name, Some(value)),
        None => (declared, None),
    };
    if !is_token(name) {
        return Err(bad("name:value, or the name alone for any value"));
    }
    let test = match (word.rsplit_once('-').map(|(_, how)| how), value) {
        (Some(_), None) => return Err(bad("name:value")),
        (None, None) => Test::Present,
        (Some("regex"), Some(value)) => {
            pattern::check(value).map_err(|error| format!("`{word}={name}:`: {error}"))?;
            Test::Regex(value.to_owned())
        }
        (how, Some(value)) => {
            let fits = (1..=MAX_VALUE).contains(&value.len())
                && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
                && value.trim() == value;
            if !fits {
                return Err(bad(&format!(
                    "name:value with 1 to {MAX_VALUE} visible ASCII characters"
                )));
            }
            match how {
                Some(_) => Test::Prefix(value.to_owned()),
                None => Test::Exact(value.to_owned()),
            }
        }
    };
    Ok((name.to_owned(), test))
}
