//! Paths that are compared, and what programs make of them on the way to a server. Pure.

use super::regex::{Around, whole};
use crate::model::pattern::escape;

/// Paths that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// All that begin with these characters, as they are sent.
    Begins(String),
    /// This one.
    Exactly(String),
    /// What an expression of Go finds.
    Found(String),
    /// What an expression matches as a whole.
    Matched(String),
}

impl Path {
    pub(super) fn all() -> Self {
        Self::Begins("/".to_owned())
    }

    /// Whether it says more than the others.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Exactly(_) => 3,
            Self::Begins(_) => 2,
            Self::Found(_) | Self::Matched(_) => 1,
        }
    }

    /// The word of a route.
    pub(super) fn word(&self) -> (&'static str, String) {
        match self {
            Self::Begins(path) if path == "/" => ("path", "/".to_owned()),
            Self::Begins(path) => ("path", format!("{path}*")),
            Self::Exactly(path) => ("exact", path.clone()),
            Self::Found(regex) => ("regex", whole(regex, Around::Any)),
            Self::Matched(regex) => ("regex", regex.clone()),
        }
    }

    /// An expression for the path and query together.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Begins(path) => format!("{}.*", escape(path)),
            Self::Exactly(path) => format!(r"{}(?:\?.*)?", escape(path)),
            Self::Found(regex) => format!(r"(?:{})(?:\?.*)?", whole(regex, Around::Path)),
            Self::Matched(regex) => format!(r"(?:{regex})(?:\?.*)?"),
        }
    }

    /// Those of them that begin with these characters, and the others.
    pub(super) fn narrowed(&self, to: &str) -> (Option<Narrowed>, bool) {
        let narrowed = |path: Self| Some(Narrowed { path, url: None });
        match self {
            Self::Exactly(path) if path.starts_with(to) => (narrowed(self.clone()), false),
            Self::Begins(path) if path.starts_with(to) => (narrowed(self.clone()), false),
            Self::Begins(path) if to.starts_with(path.as_str()) => {
                (narrowed(Self::Begins(to.to_owned())), true)
            }
            Self::Exactly(_) | Self::Begins(_) => (None, true),
            Self::Found(_) | Self::Matched(_) => {
                let url = Some(Self::Begins(to.to_owned()).url());
                let path = self.clone();
                (Some(Narrowed { path, url }), true)
            }
        }
    }
}

/// A part of the paths of a route.
pub(super) struct Narrowed {
    pub(super) path: Path,
    /// What must hold beside that.
    pub(super) url: Option<String>,
}

/// A path as it is written in a rule, as clients send it: Traefik and fabio compare what is decoded.
///
/// # Errors
/// No request has such a path.
pub(super) fn encoded(path: &str) -> Result<String, String> {
    let mut text = String::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'?' | b'#' => return Err(format!("no path holds a `{}`", char::from(byte))),
            b'%' => {
                let hex = path
                    .get(at..at + 2)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let Some(hex) = hex.filter(|hex| b":/?#[]@!$&'()*+,;=%".contains(hex)) else {
                    return Err(
                        "paths are compared as they are decoded, so no request has this one: write the \
                                character itself"
                            .to_owned(),
                    );
                };
                text.extend(["%", &format!("{hex:02X}")]);
                at += 2;
            }
            byte if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) => text.push(char::from(byte)),
            byte => text.extend(["%", &format!("{byte:02X}")]),
        }
    }
    Ok(text)
}

/// What becomes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Change {
    #[default]
    None,
    /// `put` takes the place of `strip` at its beginning.
    Prefix { strip: String, put: String },
    /// What an expression finds is replaced.
    Regex { find: String, put: String },
}

/// What becomes of a change that takes away a prefix.
pub(super) enum Stripped {
    /// It has no such prefix.
    Never,
    /// Whatever the path is.
    Always(Change),
    /// If the path of the request begins with this.
    If(String, Change),
}

impl Change {
    /// With this put before it. `None`: that cannot be said.
    pub(super) fn add(&self, prefix: &str) -> Option<Self> {
        let prefix = rooted(prefix.trim_end_matches('/'));
        match self {
            Self::None => Some(Self::Prefix {
                strip: String::new(),
                put: prefix,
            }),
            Self::Prefix { strip, put } => Some(Self::Prefix {
                strip: strip.clone(),
                put: prefix + put,
            }),
            Self::Regex { .. } => None,
        }
    }

    /// Without this at its beginning. `None`: that cannot be said.
    pub(super) fn strip(&self, prefix: &str) -> Option<Stripped> {
        let stripped = |strip: String, put: &str| Self::Prefix {
            strip,
            put: if put.is_empty() {
                String::new()
            } else {
                rooted(put)
            },
        };
        match self {
            Self::None => {
                let change = stripped(prefix.to_owned(), "");
                Some(Stripped::If(prefix.to_owned(), change))
            }
            Self::Prefix { strip, put } => Some(if let Some(rest) = put.strip_prefix(prefix) {
                Stripped::Always(stripped(strip.clone(), rest))
            } else if let Some(rest) = prefix.strip_prefix(put.as_str()) {
                let all = format!("{strip}{rest}");
                Stripped::If(all.clone(), stripped(all, ""))
            } else {
                Stripped::Never
            }),
            Self::Regex { .. } => None,
        }
    }

    /// The word of a route.
    pub(super) fn word(&self) -> Option<(&'static str, String)> {
        let rewrite = |find: &str, put: &str| Some(("regex-rewrite", format!("{find}=>{put}")));
        match self {
            Self::None => None,
            Self::Prefix { strip, put } if strip.is_empty() && put.is_empty() => None,
            Self::Prefix { strip, put } => {
                let put = put.trim_end_matches('/').replace('\\', r"\\");
                if strip.is_empty() {
                    rewrite("^/", &format!("{put}/"))
                } else {
                    // The rest begins with one slash, also where none follows, or nothing.
                    rewrite(&format!("^{}/?", escape(strip)), &format!("{put}/"))
                }
            }
            Self::Regex { find, put } => rewrite(find, put),
        }
    }
}

fn rooted(path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_clients_send_them() {
        assert_eq!(encoded("/a b").as_deref(), Ok("/a%20b"));
        assert_eq!(encoded("/ä").as_deref(), Ok("/%C3%A4"));
        assert_eq!(encoded("/a%2fb").as_deref(), Ok("/a%2Fb"));
        for path in ["/a%20b", "/a%61", "/a?b", "/a%", "/a%ä"] {
            assert!(encoded(path).is_err(), "{path}");
        }
    }

    #[test]
    fn prefixes_are_taken_away_and_put_before() {
        let word = |change: &Change| change.word().map(|(_, value)| value);
        let Some(Stripped::If(need, change)) = Change::None.strip("/x") else {
            panic!()
        };
        assert_eq!(
            (need.as_str(), word(&change).as_deref()),
            ("/x", Some("^/x/?=>/"))
        );
        assert_eq!(word(&change.add("/y/").unwrap()).as_deref(), Some("^/x/?=>/y/"));
        let added = Change::None.add("v2").unwrap();
        assert_eq!(word(&added).as_deref(), Some("^/=>/v2/"));
        let Some(Stripped::Always(change)) = added.strip("/v2") else {
            panic!()
        };
        assert_eq!(word(&change), None);
        assert!(matches!(added.strip("/z"), Some(Stripped::Never)));
        let Some(Stripped::If(need, _)) = added.strip("/v2/a") else {
            panic!()
        };
        assert_eq!(need, "/a");
    }
}
