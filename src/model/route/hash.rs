//! `hash=cookie:user:1h,ip`: what a server is chosen by, so that equal requests go to the same one. Pure.

use std::time::Duration;

use super::criterion::is_token;
use crate::text::{clip, parse_duration, show_duration};

/// The most of them.
const MAX: usize = 8;

/// One thing of a request that is hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKey {
    /// A header, in lower case.
    Header(String),
    /// A cookie; with a lifetime Envoy sets one that is not there, for this long (zero: for the session).
    Cookie(String, Option<Duration>),
    /// A parameter of the query.
    Query(String),
    /// The address of the client.
    Ip,
}

impl HashKey {
    fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "ip" if text == "ip" => Some(Self::Ip),
            "header" if is_token(name) => Some(Self::Header(name.to_ascii_lowercase())),
            "query" if is_token(name) => Some(Self::Query(name.to_owned())),
            "cookie" => {
                let (name, time) = match name.split_once(':') {
                    Some((name, time)) => (name, Some(parse_duration(time).ok()?)),
                    None => (name, None),
                };
                is_token(name).then(|| Self::Cookie(name.to_owned(), time))
            }
            _ => None,
        }
    }

    /// Reads `header:x-user`, `cookie:user`, `cookie:user:1h`, `query:user`, `ip`, or several, separated by commas.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let keys: Option<Vec<Self>> = text.split(',').map(Self::parse).collect();
        keys.filter(|keys| keys.len() <= MAX).ok_or_else(|| {
            format!(
                "`{}` must be header:NAME, cookie:NAME, cookie:NAME:1h (which is set where it is missing), query:NAME, \
                 ip, or up to {MAX} of these separated by commas: the first that a request has counts",
                clip(text)
            )
        })
    }

    /// As they are declared.
    #[must_use]
    pub fn show_all(keys: &[Self]) -> String {
        let show = |key: &Self| match key {
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name, None) => format!("cookie:{name}"),
            Self::Cookie(name, Some(time)) => format!("cookie:{name}:{}", show_duration(*time)),
            Self::Query(name) => format!("query:{name}"),
            Self::Ip => "ip".to_owned(),
        };
        keys.iter().map(show).collect::<Vec<_>>().join(",")
    }
}
