//! `kind = "consul"`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::parse;
use super::super::reader::Section;
use super::{ClientTls, Import, guard, import, tls};
use crate::model::GuardRule;

/// `kind = "consul"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulSource {
    /// `http://host:port`, `https://host:port` (no trailing slash), or `unix:///path/of/socket`.
    pub address: String,
    /// A file with the ACL token; followed when it changes.
    pub token_file: Option<PathBuf>,
    /// Another datacenter than the agent's own.
    pub datacenter: Option<String>,
    /// Another namespace than the token's (Enterprise).
    pub namespace: Option<String>,
    /// Another admin partition than the agent's own (Enterprise).
    pub partition: Option<String>,
    /// A peer whose exported services are read; each is named in [`ConsulSelection::services`].
    pub peer: Option<String>,
    /// What of the catalog is served.
    pub selection: ConsulSelection,
    /// Services that have a watch of their own over HTTP/1.1, at most; each takes a connection.
    pub max_watches: usize,
    /// How long a blocking read may block, where something on the way ends longer ones.
    pub wait: Option<Duration>,
    /// `[sources.NAME.tls]`
    pub tls: Option<ClientTls>,
    /// `max_removal`, `max_removal_hold`, `guard_probe`
    pub guard: GuardRule,
}

/// What of Consul's catalog is served, and by which address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulSelection {
    /// Names, `*` stands for any characters; none: all.
    pub services: Vec<String>,
    /// The same; these are left out.
    pub ignore_services: Vec<String>,
    /// An instance must have them all.
    pub tags: Vec<String>,
    /// Key and value of an instance's Meta; it must have them all.
    pub meta: Vec<(String, String)>,
    /// Consul's `Kind`; empty is that of a plain service.
    pub kinds: Vec<&'static str>,
    /// The key in `TaggedAddresses` that is looked for first.
    pub preferred_address: String,
    /// Tags of other programs that are read.
    pub import: Import,
}

impl Default for ConsulSelection {
    /// All plain services, by their LAN addresses.
    fn default() -> Self {
        Self {
            services: Vec::new(),
            ignore_services: Vec::new(),
            tags: Vec::new(),
            meta: Vec::new(),
            kinds: vec![""],
            preferred_address: "lan".to_owned(),
            import: Import::default(),
        }
    }
}

/// The word in `kinds`, and Consul's own.
const KINDS: &[(&str, &str)] = &[
    ("service", ""),
    ("connect-proxy", "connect-proxy"),
    ("mesh-gateway", "mesh-gateway"),
    ("terminating-gateway", "terminating-gateway"),
    ("ingress-gateway", "ingress-gateway"),
    ("api-gateway", "api-gateway"),
];

/// Agents allow 200 connections of one address by default.
const MAX_WATCHES: usize = 150;

impl ConsulSource {
    /// An agent at this address, and the defaults of everything else.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self {
            address,
            token_file: None,
            datacenter: None,
            namespace: None,
            partition: None,
            peer: None,
            selection: ConsulSelection::default(),
            max_watches: MAX_WATCHES,
            wait: None,
            tls: None,
            guard: GuardRule::default(),
        }
    }

    /// Identifies the catalog, so that a cached state of another one is not used.
    #[must_use]
    pub fn registry(&self) -> String {
        let mut text = format!(
            "consul {} {}",
            self.address,
            self.datacenter.as_deref().unwrap_or("")
        );
        let parts = [
            (" ns=", &self.namespace),
            (" partition=", &self.partition),
            (" peer=", &self.peer),
        ];
        for (key, value) in parts {
            text.extend(value.iter().flat_map(|value| [key, value.as_str()]));
        }
        text
    }
}

pub(super) fn read(s: &mut Section<'_>, base: &Path) -> Option<ConsulSource> {
    let address = s.need("address", "\"http://127.0.0.1:8500\"", address);
    let token_file = s.get("token_file", parse::text).map(|path| base.join(path));
    let datacenter = s.get("datacenter", name_of("a datacenter"));
    let namespace = s.get("namespace", name_of("a namespace"));
    let partition = s.get("partition", name_of("a partition"));
    let peer = s.get("peer", name_of("a peer"));
    let selection = selection(s);
    if peer.is_some() && (selection.services.is_empty() || selection.services.iter().any(|n| n.contains('*')))
    {
        s.mistake(
            "peer",
            "needs services = [\"…\"] with each name in full: Consul lists no services of a peer",
        );
    }
    let max_watches = s.get_or("max_watches", MAX_WATCHES, parse::count(1, 100_000));
    let wait = s.get("wait", wait);
    let https = address.as_ref().is_some_and(|a| a.starts_with("https:"));
    let tls = tls::read(s, base, https);
    let guard = guard(s);
    Some(ConsulSource {
        address: address?,
        token_file,
        datacenter,
        namespace,
        partition,
        peer,
        selection,
        max_watches,
        wait,
        tls,
        guard,
    })
}

fn wait(value: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    let wait = parse::duration(value)?;
    let wrong = || format!("`{value}` must be from 1s to 10m (5m where it is not set)");
    Some(wait).filter(|wait| bounds.contains(wait)).ok_or_else(wrong)
}

fn selection(s: &mut Section<'_>) -> ConsulSelection {
    let default = ConsulSelection::default();
    let services = at_least_one(s, "services", "[\"orders\", \"shop-*\"]", parse::text);
    let ignore_services = at_least_one(s, "ignore_services", "[\"*-test\"]", parse::text);
    let tags = at_least_one(s, "tags", "[\"prod\"]", parse::text);
    let meta = at_least_one(s, "meta", "[\"env=prod\"]", |text| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` must be KEY=VALUE, such as env=prod")),
    });
    let kinds = at_least_one(s, "kinds", "[\"service\"]", parse::word(KINDS));
    ConsulSelection {
        services: services.unwrap_or_default(),
        ignore_services: ignore_services.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
        meta: meta.unwrap_or_default(),
        kinds: kinds.unwrap_or(default.kinds),
        preferred_address: s.get_or("preferred_address", default.preferred_address, parse::text),
        import: import::read(s),
    }
}

/// A list that may be absent; an empty one would mean nothing or everything, so it is a mistake.
fn at_least_one<T>(
    s: &mut Section<'_>,
    key: &'static str,
    example: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let missing = format!("is empty; for example {key} = {example}, or leave it out");
    if s.has(key) {
        return s.need_list(key, &missing, parse);
    }
    s.list(key, parse) // nothing, and the key is known
}

/// An agent's, by TCP or by its unix socket.
fn address(text: &str) -> Result<String, String> {
    if text.starts_with("unix:") {
        let path = text.strip_prefix("unix://").filter(|path| {
            path.starts_with('/') && !path.ends_with('/') && !path.bytes().any(|b| b.is_ascii_control())
        });
        return path.map(|_| text.to_owned()).ok_or_else(|| {
            format!("`{text}` must be unix:// and the whole path of the socket, unix:///run/consul/http.sock")
        });
    }
    if text.contains('@') {
        return Err(parse::NO_USER.to_owned());
    }
    parse::base_url(text)
        .map_err(|_| format!("`{text}` must be http://HOST:PORT, https://HOST:PORT or unix:///PATH"))
}

/// Consul's names for its own parts; each stands in the query of a URL.
fn name_of(what: &'static str) -> impl Fn(&str) -> Result<String, String> {
    move |text| {
        let right = !text.is_empty()
            && text.len() <= 64
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if right {
            return Ok(text.to_owned());
        }
        Err(format!(
            "`{text}` is not the name of {what}: 1 to 64 letters, digits, - and _"
        ))
    }
}
