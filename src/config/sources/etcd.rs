//! `kind = "etcd"`.

use std::path::Path;

use super::super::parse;
use super::super::reader::Section;
use super::{ClientTls, guard, tls};
use crate::model::GuardRule;

/// `kind = "etcd"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSource {
    /// Members, `http://host:port`; tried in turn, never balanced over.
    pub endpoints: Vec<String>,
    /// What is watched, at least one.
    pub prefixes: Vec<EtcdPrefix>,
    /// `[sources.NAME.tls]`
    pub tls: Option<ClientTls>,
    /// `max_removal`, `max_removal_hold`
    pub guard: GuardRule,
}

impl EtcdSource {
    /// One prefix in the `native` format, and the defaults of everything else.
    #[must_use]
    pub fn new(endpoints: Vec<String>, prefix: &str) -> Self {
        Self {
            endpoints,
            prefixes: vec![EtcdPrefix::native(prefix)],
            tls: None,
            guard: GuardRule::default(),
        }
    }
}

/// Keys that are watched, and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdPrefix {
    /// Ends with `/`: `/services/` never sees `/services2/`.
    pub prefix: String,
    /// How keys and values are laid out there; never guessed.
    pub format: Format,
}

/// A layout of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own: `SERVICE/instances/ID` and `SERVICE/policy`, flat JSON objects.
    Native,
}

impl EtcdPrefix {
    /// A prefix in our own format.
    #[must_use]
    pub fn native(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            format: Format::Native,
        }
    }
}

pub(super) fn read(s: &mut Section<'_>, base: &Path) -> Option<EtcdSource> {
    let missing = "at least one is needed, endpoints = [\"http://127.0.0.1:2379\"]";
    let endpoints = s.need_list("endpoints", missing, parse::base_url);
    let prefix = s.get_or("prefix", "/services/".to_owned(), |text| {
        if text.len() > 1 && text.ends_with('/') {
            return Ok(text.to_owned());
        }
        Err(format!(
            "`{text}` must end with /, so that `/svc/` never sees `/svc2/`"
        ))
    });
    let format = s.get_or(
        "format",
        Format::Native,
        parse::word(&[("native", Format::Native)]),
    );
    let https = endpoints.iter().flatten().any(|e| e.starts_with("https:"));
    let tls = tls::read(s, base, https);
    let guard = guard(s);
    Some(EtcdSource {
        endpoints: endpoints?,
        prefixes: vec![EtcdPrefix { prefix, format }],
        tls,
        guard,
    })
}
