//! `rewrite=/v2`, `regex-rewrite=…`: another path than the one that was asked for. Pure.

use super::host;
use super::matcher::Matcher;
use crate::model::pattern;
use crate::text::clip;

/// Between an expression and what takes its place.
const BECOMES: &str = "=>";

/// What the server gets in place of the path of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rewrite {
    /// This, in place of what the route matches.
    Matched(String),
    /// What an expression finds is replaced, anywhere in the path.
    Regex {
        /// RE2.
        pattern: String,
        /// With `\1` for the first group.
        substitution: String,
    },
}

/// What the server gets in place of the host that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NewHost {
    /// This one, maybe with a port.
    Is(String),
    /// The address and port of the server itself; of one by DNS its name.
    Server,
}

/// What stands for the server itself.
const SERVER: &str = "*";

impl NewHost {
    /// Reads the value of `host-rewrite=`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == SERVER {
            return Ok(Self::Server);
        }
        let (host, port) = text.split_once(':').unwrap_or((text, "1"));
        if !host::is_host(host) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(format!(
                "`host-rewrite={}` must be a host name, maybe with a port, or {SERVER}",
                clip(text)
            ));
        }
        Ok(Self::Is(text.to_owned()))
    }

    /// As it is declared.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Is(host) => host.clone(),
            Self::Server => SERVER.to_owned(),
        }
    }
}

impl Rewrite {
    /// Reads the value of `rewrite=`.
    pub(super) fn matched(text: &str) -> Result<Self, String> {
        if !is_path(text) {
            return Err(format!(
                "`rewrite={}` must be a path that starts with /",
                clip(text)
            ));
        }
        Ok(Self::Matched(text.to_owned()))
    }

    /// Reads the value of `regex-rewrite=`.
    pub(super) fn regex(text: &str) -> Result<Self, String> {
        let Some((pattern, substitution)) = text.rsplit_once(BECOMES) else {
            return Err(format!(
                "`regex-rewrite={}` must be an expression, {BECOMES}, and what takes its place: ^/a/(.*){BECOMES}/b/\\1",
                clip(text)
            ));
        };
        let groups = pattern::check(pattern).map_err(|error| format!("`regex-rewrite=`: {error}"))?;
        check_substitution(substitution, groups)
            .map_err(|why| format!("`regex-rewrite={}`: {why}", clip(text)))?;
        Ok(Self::Regex {
            pattern: pattern.to_owned(),
            substitution: substitution.to_owned(),
        })
    }

    /// The word that declares it.
    pub(super) fn word(&self) -> (&'static str, String) {
        match self {
            Self::Matched(path) => ("rewrite", path.clone()),
            Self::Regex {
                pattern,
                substitution,
            } => ("regex-rewrite", format!("{pattern}{BECOMES}{substitution}")),
        }
    }

    /// Whether it has a meaning for these requests.
    pub(super) fn fits(&self, matcher: &Matcher) -> Result<(), String> {
        match (self, matcher) {
            (Self::Matched(_), Matcher::Regex(_)) => {
                Err("`rewrite=` needs `path=` or `exact=`; with `regex=` declare `regex-rewrite=`".to_owned())
            }
            (_, Matcher::Grpc(_)) => Err("the path of a gRPC call cannot be rewritten".to_owned()),
            (Self::Matched(by), _) => replaceable(matcher, by),
            _ => Ok(()),
        }
    }
}

/// What is replaced where whole segments of a path become one that ends with a slash.
#[must_use]
pub fn segments_expression(path: &str) -> String {
    format!("^{}/?", pattern::escape(path))
}

/// Whether a path can be replaced by this one.
pub(super) fn replaceable(matcher: &Matcher, by: &str) -> Result<(), String> {
    match matcher {
        Matcher::Prefix(path) if by.ends_with('/') => {
            pattern::check(&segments_expression(path)).map(drop).map_err(|_| {
                format!(
                    "`path={}` is too long to be replaced by a path that ends with /",
                    clip(path)
                )
            })
        }
        _ => Ok(()),
    }
}

/// Whether it can be the path of a request, without a query.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 256
        && text.bytes().all(|b| b.is_ascii_graphic())
        && !text.contains(['?', '#'])
}

/// RE2 refuses a group that is not there.
fn check_substitution(text: &str, groups: usize) -> Result<(), String> {
    if text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("what takes its place has at most 256 visible ASCII characters".to_owned());
    }
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        match characters.next().map(|c| (c, c.to_digit(10))) {
            Some(('\\', _)) => {}
            Some((_, Some(group))) if group as usize <= groups => {}
            _ => {
                return Err(format!(
                    "after \\ there is \\ or the number of a group; the expression has {groups}"
                ));
            }
        }
    }
    Ok(())
}
