//! `cors=https://shop.example.com`: which pages of other origins may call a route. Pure.

use std::time::Duration;

use super::criterion::is_token;
use super::host::is_host;
use crate::model::pattern;
use crate::text::clip;

/// The most entries of one list.
const MAX: usize = 32;

/// What a browser learns of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cors {
    /// `*`, `https://shop.example.com:8443`, or `https://*.example.com` for all below; sorted.
    pub origins: Vec<String>,
    /// Methods beside the simple ones.
    pub methods: Vec<String>,
    /// Headers that a page may send.
    pub headers: Vec<String>,
    /// Headers that a page may read.
    pub expose: Vec<String>,
    /// For how long a browser need not ask again.
    pub max_age: Option<Duration>,
    /// Cookies may be sent.
    pub credentials: bool,
}

/// Reads the value of `cors=`.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    let fits = |origin: &str| {
        let rest = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        let Some(rest) = rest else { return origin == "*" };
        let (host, port) = rest.split_once(':').unwrap_or((rest, "1"));
        let reads = expression(origin).is_none_or(|expression| pattern::check(&expression).is_ok());
        reads
            && is_host(host.strip_prefix("*.").unwrap_or(host))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    list(text, fits).ok_or_else(|| {
        format!(
            "`cors={}` must be origins separated by commas: https://shop.example.com, https://*.example.com for all \
             below, or * for all",
            clip(text)
        )
    })
}

/// What an origin below a host must match, `https://*.example.com`; `None`: it is exact, or any.
#[must_use]
pub fn expression(origin: &str) -> Option<String> {
    let (scheme, rest) = origin.split_once("*.")?;
    Some(format!(
        "{}(?:[A-Za-z0-9_-]+\\.)+{}",
        pattern::escape(scheme),
        pattern::escape(rest)
    ))
}

/// Reads names of methods or headers.
pub(super) fn names(word: &str, text: &str) -> Result<Vec<String>, String> {
    list(text, is_token).ok_or_else(|| format!("`{word}={}` must be names separated by commas", clip(text)))
}

fn list(text: &str, fits: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let mut entries: Vec<String> = text.split(',').map(str::to_owned).collect();
    entries.sort();
    entries.dedup();
    (entries.len() <= MAX && entries.iter().all(|entry| fits(entry))).then_some(entries)
}

impl Cors {
    /// What is wrong with all of it together.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.origins.is_empty() {
            return Err("`cors-…=` needs `cors=`, the origins that may call".to_owned());
        }
        if self.credentials && self.origins.iter().any(|origin| origin == "*") {
            return Err(
                "`cors=*` with `cors-credentials=true` would let any page act for the user: name the origins"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
