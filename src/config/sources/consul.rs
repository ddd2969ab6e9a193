//! `kind = "consul"`.

use std::path::{Path, PathBuf};

use super::super::parse;
use super::super::reader::Section;
use super::{ClientTls, guard, tls};
use crate::model::GuardRule;

/// `kind = "consul"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulSource {
    /// `http://host:port` or `https://host:port`, no trailing slash.
    pub address: String,
    /// A file with the ACL token; read again when a request is refused.
    pub token_file: Option<PathBuf>,
    /// Another datacenter than the agent's own.
    pub datacenter: Option<String>,
    /// `[sources.NAME.tls]`
    pub tls: Option<ClientTls>,
    /// `max_removal`, `max_removal_hold`
    pub guard: GuardRule,
}

impl ConsulSource {
    /// An agent at this address, and the defaults of everything else.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self {
            address,
            token_file: None,
            datacenter: None,
            tls: None,
            guard: GuardRule::default(),
        }
    }
}

pub(super) fn read(s: &mut Section<'_>, base: &Path) -> Option<ConsulSource> {
    let address = s.need("address", "\"http://127.0.0.1:8500\"", parse::base_url);
    let token_file = s.get("token_file", parse::text).map(|path| base.join(path));
    let datacenter = s.get("datacenter", |text| {
        if parse::is_name(text) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not a datacenter's name"))
        }
    });
    let https = address.as_ref().is_some_and(|a| a.starts_with("https:"));
    let tls = tls::read(s, base, https);
    let guard = guard(s);
    Some(ConsulSource {
        address: address?,
        token_file,
        datacenter,
        tls,
        guard,
    })
}
