//! The listeners of Envoy's file: which the bridge can serve as they are, and the HTTP connection managers in them.
//! Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::Identity;
use super::at::At;
use super::connections::{Connection, connection};
use super::report::{Change, Rest};
use super::routes::{Around, Host, hosts};
use super::upstream::Upstreams;
use crate::text::show_duration;

/// Envoy's default.
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// A listener of the file.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) at: String,
    pub(super) name: String,
    pub(super) address: Option<SocketAddr>,
    /// Why the bridge cannot serve it as it is.
    pub(super) rests: Vec<Rest>,
    pub(super) changes: Vec<Change>,
    pub(super) managers: Vec<Manager>,
    /// Chains that take connections whole.
    pub(super) connections: Vec<Connection>,
    /// Further keys of `[listeners.NAME]`.
    pub(super) more: Vec<(&'static str, String)>,
    /// The files of its certificate.
    pub(super) tls: Option<Identity>,
}

/// An HTTP connection manager.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    /// Of the filter chain and the filter.
    pub(super) place: (usize, usize),
    pub(super) http10: bool,
    pub(super) upgrades: Vec<String>,
    /// `stdout`, or a file.
    pub(super) access_log: Option<String>,
    /// Further keys of `[listeners.NAME]`.
    pub(super) more: Vec<(&'static str, String)>,
    pub(super) hosts: Vec<Host>,
}

impl Manager {
    /// All of its routes can be declared.
    pub(super) fn moves(&self) -> bool {
        self.routes() > 0
            && self
                .hosts
                .iter()
                .flat_map(|host| &host.routes)
                .all(|r| r.outcome.is_ok())
    }

    /// Some can.
    pub(super) fn moves_some(&self) -> bool {
        self.hosts
            .iter()
            .flat_map(|host| &host.routes)
            .any(|r| r.outcome.is_ok())
    }

    pub(super) fn routes(&self) -> usize {
        self.hosts.iter().map(|host| host.routes.len()).sum()
    }
}

/// Reads a listener; `number` names one without a name.
pub(super) fn listener(at: &At<'_>, number: usize, upstreams: &Upstreams) -> Listener {
    let name = at
        .text_of("name")
        .map_or_else(|| format!("listener-{number}"), str::to_owned);
    let mut fields = at.fields();
    fields.ignore(&["name", "stat_prefix", "traffic_direction"]);
    let mut rests = Vec::new();
    let mut changes = Vec::new();
    let address = fields.take("address");
    let address = address.as_ref().and_then(|at| bound(at, &mut rests));
    let mut more = Vec::new();
    for at in fields.take("listener_filters").iter().flat_map(At::items) {
        let config = at.get("typed_config");
        let plain = config
            .as_ref()
            .is_none_or(|config| config.fields().rests().is_empty());
        match at.text_of("name") {
            // It only looks for TLS, which another field of the chain asks for.
            Some("envoy.filters.listener.tls_inspector") => {}
            Some("envoy.filters.listener.proxy_protocol") if plain => {
                more.push(("proxy_protocol", "true".to_owned()));
            }
            _ => rests.push(at.not_expressed()),
        }
    }
    let chains = fields.take("filter_chains");
    let chains = chains.iter().flat_map(At::items).collect::<Vec<_>>();
    let (mut managers, mut connections, mut tls) = (Vec::new(), Vec::new(), None);
    let mut whole = 0;
    for (n, chain) in chains.iter().enumerate() {
        let mut fields = chain.fields();
        fields.ignore(&["name"]);
        let filters = fields.take("filters");
        let filters = filters.iter().flat_map(At::items).collect::<Vec<_>>();
        let names = fields
            .take("filter_chain_match")
            .map_or_else(Vec::new, |at| names_of(&at, &mut rests));
        if names.is_empty() {
            whole += 1;
        }
        if let Some(at) = fields.take("transport_socket") {
            if names.is_empty() {
                tls = identity(&at, &mut rests, &mut changes);
            } else {
                rests.push(at.rest(
                    "Envoy ends TLS by a certificate for some names, which `terminate=true` says of those of the \
                     listener",
                ));
            }
        }
        rests.extend(fields.rests());
        for (m, filter) in filters.iter().enumerate() {
            let config = filter.get("typed_config");
            match config.as_ref().map(At::type_name) {
                Some("HttpConnectionManager") if names.is_empty() => {
                    managers
                        .extend(config.map(|at| manager(&at, (n, m), upstreams, &mut rests, &mut changes)));
                }
                Some("TcpProxy") if filters.len() == 1 => {
                    let of = (address.map(|address| address.port()), names.clone());
                    connections.extend(config.map(|at| connection(&at, (n, m), of, access_log, upstreams)));
                }
                Some("HttpConnectionManager") => {
                    rests.push(filter.rest(
                        "requests of a listener of the bridge are in one filter chain, whatever the name",
                    ));
                }
                _ => rests.push(filter.rest("only HTTP connection managers and TCP proxies move")),
            }
        }
    }
    if let Some(second) = chains.get(1).filter(|_| whole > 1) {
        rests.push(
            second.rest("a listener of the bridge has one filter chain, and further ones by names of TLS"),
        );
    }
    if managers.is_empty() && connections.is_empty() && rests.is_empty() {
        rests.push(at.rest("it has neither an HTTP connection manager nor a TCP proxy"));
    }
    rests.extend(fields.rests());
    rests.sort();
    Listener {
        at: at.path.clone(),
        name,
        address,
        rests,
        changes,
        managers,
        connections,
        more,
        tls,
    }
}

/// The names of TLS that a chain is for.
fn names_of(at: &At<'_>, rests: &mut Vec<Rest>) -> Vec<String> {
    let mut of = at.fields();
    let names = of.take("server_names");
    if let Some(at) = of
        .take("transport_protocol")
        .filter(|at| at.text() != Some("tls"))
    {
        rests.push(at.not_expressed());
    }
    rests.extend(of.rests());
    let names = names.iter().flat_map(At::items);
    names.filter_map(|at| at.text().map(str::to_owned)).collect()
}

/// The files of the one certificate that a listener shows.
fn identity(at: &At<'_>, rests: &mut Vec<Rest>, changes: &mut Vec<Change>) -> Option<Identity> {
    let config = at
        .get("typed_config")
        .filter(|config| config.type_name() == "DownstreamTlsContext");
    let Some(config) = config else {
        rests.push(at.not_expressed());
        return None;
    };
    let mut of = config.fields();
    let common = of.take("common_tls_context");
    rests.extend(of.rests());
    let common = common?;
    let mut of = common.fields();
    if of.take("alpn_protocols").is_none() {
        changes.push(Change {
            at: common.path.clone(),
            what: "clients may speak HTTP/2 (ALPN)".to_owned(),
        });
    }
    let certificates = of.take("tls_certificates");
    rests.extend(of.rests());
    let certificates = certificates.iter().flat_map(At::items).collect::<Vec<_>>();
    let file = |certificate: &At<'_>, key: &str| {
        let source = certificate.get(key)?;
        source.text_of("filename").map(str::to_owned)
    };
    let files = match &certificates[..] {
        [one] => file(one, "certificate_chain").zip(file(one, "private_key")),
        _ => None,
    };
    let Some((certificate, key)) = files else {
        rests.push(common.rest("one certificate and its key, each in a file, can move"));
        return None;
    };
    changes.push(Change {
        at: common.path.clone(),
        what: "the files of the certificate are read on the bridge's machine and sent to Envoy (SDS)"
            .to_owned(),
    });
    Some(Identity {
        own: Some((certificate, key)),
        ca: None,
    })
}

/// Where an access log goes that has Envoy's own format.
fn access_log(at: &At<'_>, rests: &mut Vec<Rest>) -> Option<String> {
    let logs = at.items();
    let place = match &logs[..] {
        [log] if log.get("filter").is_none() => {
            let config = log.get("typed_config");
            config.and_then(|config| {
                let kind = config.type_name();
                let mut of = config.fields();
                let path = of.take("path");
                let plain = of.rests().is_empty();
                match (kind, path.as_ref().and_then(At::text)) {
                    ("StdoutAccessLog", None) | ("FileAccessLog", Some("/dev/stdout")) if plain => {
                        Some("stdout".to_owned())
                    }
                    ("FileAccessLog", Some(path)) if plain && path.starts_with('/') => Some(path.to_owned()),
                    _ => None,
                }
            })
        }
        _ => None,
    };
    if place.is_none() {
        rests.push(at.rest("one log in Envoy's own format can move: to a file or standard output"));
    }
    place
}

fn bound(at: &At<'_>, rests: &mut Vec<Rest>) -> Option<SocketAddr> {
    let Some(socket) = at.get("socket_address") else {
        rests.push(at.rest("a listener of the bridge has an IP address and a port"));
        return None;
    };
    let ip = socket.text_of("address")?.parse().ok()?;
    let port = u16::try_from(socket.get("port_value")?.number()?).ok()?;
    let mut fields = socket.fields();
    fields.ignore(&["address", "port_value", "ipv4_compat"]);
    if let Some(at) = fields.take("protocol")
        && at.text() != Some("TCP")
    {
        rests.push(at.not_expressed());
    }
    rests.extend(fields.rests());
    Some(SocketAddr::new(ip, port))
}

fn manager(
    at: &At<'_>,
    place: (usize, usize),
    upstreams: &Upstreams,
    rests: &mut Vec<Rest>,
    changes: &mut Vec<Change>,
) -> Manager {
    let mut fields = at.fields();
    fields.ignore(&["stat_prefix"]);
    let mut filters = BTreeSet::new();
    let mut cors = None;
    for filter in fields.take("http_filters").iter().flat_map(At::items) {
        let name = filter.text_of("name").unwrap_or_default().to_owned();
        let config = filter.get("typed_config");
        let kind = config.as_ref().map(At::type_name).unwrap_or_default();
        match (kind, name.as_str()) {
            ("Router", _) | ("", "envoy.filters.http.router") => {
                rests.extend(config.into_iter().flat_map(|config| config.fields().rests()));
            }
            ("Cors", _) | ("", "envoy.filters.http.cors") => cors = Some(name),
            _ => {
                rests.push(filter.rest(format!(
                    "the HTTP filter {name}: the bridge does not express it yet"
                )));
                filters.insert(name);
            }
        }
    }
    let stream_idle = fields.take("stream_idle_timeout").and_then(|at| at.duration());
    let mut http10 = false;
    if let Some(at) = fields.take("http_protocol_options") {
        let mut of = at.fields();
        http10 = of.take("accept_http_10").is_some_and(|at| at.is(true));
        rests.extend(of.rests());
    }
    let mut upgrades = Vec::new();
    for at in fields.take("upgrade_configs").iter().flat_map(At::items) {
        let mut of = at.fields();
        let name = of.take("upgrade_type");
        let enabled = of.take("enabled").is_none_or(|at| !at.is(false));
        upgrades.extend(
            name.as_ref()
                .and_then(At::text)
                .filter(|_| enabled)
                .map(str::to_ascii_lowercase),
        );
        rests.extend(of.rests());
    }
    if let Some(at) = fields.take("codec_type")
        && at.text() != Some("AUTO")
    {
        rests.push(at.not_expressed());
    }
    let remote = fields.take("use_remote_address");
    if !remote.as_ref().is_some_and(|at| at.is(true)) {
        rests.push(Rest {
            at: format!("{}.use_remote_address", at.path),
            why: "listeners of the bridge take whoever connects for the client, as with `true`".to_owned(),
        });
    }
    for (name, what) in [
        (
            "normalize_path",
            "paths are normalised (%41, /./, /../) before they are matched",
        ),
        (
            "merge_slashes",
            "slashes that follow each other in a path become one",
        ),
        (
            "strip_trailing_host_dot",
            "a dot at the end of the host is taken off",
        ),
    ] {
        if !fields.take(name).is_some_and(|at| at.is(true)) {
            changes.push(Change {
                at: at.path.clone(),
                what: format!("{what} (in listeners that the bridge serves)"),
            });
        }
    }
    let mut more = Vec::new();
    if let Some(at) = fields.take("xff_num_trusted_hops") {
        more.extend(at.number().map(|hops| ("trusted_hops", hops.to_string())));
    }
    if let Some(at) = fields.take("common_http_protocol_options") {
        let mut of = at.fields();
        let time = of.take("max_connection_duration").and_then(|at| at.duration());
        more.extend(time.map(|time| ("max_connection_duration", format!("\"{}\"", show_duration(time)))));
        rests.extend(of.rests());
    }
    let access_log = fields.take("access_log").and_then(|at| access_log(&at, rests));
    let config = fields.take("route_config");
    if let Some(at) = fields.take("rds").or_else(|| fields.take("scoped_routes")) {
        rests.push(at.rest("its routes come from another control plane"));
    }
    if let Some(at) = fields.take("generate_request_id").filter(|at| at.is(false)) {
        rests.push(at.not_expressed());
    }
    rests.extend(fields.rests());
    let around = Around {
        filters,
        cors,
        stream_idle: stream_idle.unwrap_or(STREAM_IDLE),
        upstreams,
    };
    Manager {
        place,
        http10,
        upgrades,
        access_log,
        more,
        hosts: config.map_or_else(Vec::new, |config| hosts(&config, &around)),
    }
}
