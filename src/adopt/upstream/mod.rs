//! The clusters of Envoy's file: which are services of a registry, which are outside, what of their settings a service
//! declares, and what stays. Pure.

mod protocol;
mod settings;

use std::collections::{BTreeMap, BTreeSet};

use super::Identity;
use super::at::{At, Fields};
use super::report::{Change, Rest};
use crate::model::{Issue, Key, Spelling, declaration};

/// All clusters of a file, by their names.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    pub(super) all: BTreeMap<String, Upstream>,
}

/// A cluster of the file.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) at: String,
    /// What the bridge calls it.
    pub(super) service: String,
    pub(super) place: Place,
    /// What a service declares to have the same settings.
    pub(super) keys: BTreeMap<String, String>,
    /// What the bridge does not express: the cluster stays in the file.
    pub(super) rests: Vec<Rest>,
    pub(super) changes: Vec<Change>,
    /// The files that `[tls.NAME]` names, by the name that the key `tls` has.
    pub(super) tls: Option<(String, Identity)>,
    /// The one name of all endpoints, where they have one.
    pub(super) host: Option<String>,
}

/// Who knows the servers of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A registry.
    Registry,
    /// DNS, or an address outside.
    Outside {
        /// `strict`, `logical` or nothing for addresses.
        dns: Option<&'static str>,
        /// `host:port`
        addresses: Vec<String>,
    },
}

/// What the user says of clusters whose place is not clear.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Names of clusters that are outside.
    pub outside: BTreeSet<String>,
    /// Names of clusters that a registry knows.
    pub registered: BTreeSet<String>,
}

impl Upstreams {
    /// Reads the clusters; `grpc`: those to which a route leads that counts the deadline of a gRPC client.
    pub(super) fn read(clusters: &[At<'_>], known: &Known, grpc: &BTreeSet<String>) -> Self {
        let all = clusters.iter().filter_map(|at| {
            let name = at.text_of("name")?;
            Some((name.to_owned(), Upstream::read(at, name, known, grpc)))
        });
        Self { all: all.collect() }
    }

    pub(super) fn has(&self, cluster: &str) -> bool {
        self.all.contains_key(cluster)
    }

    /// What the bridge calls a cluster.
    pub(super) fn service<'a>(&'a self, cluster: &'a str) -> &'a str {
        self.all
            .get(cluster)
            .map_or(cluster, |upstream| &upstream.service)
    }

    pub(super) fn is_grpc(&self, cluster: &str) -> bool {
        let protocol = |upstream: &Upstream| {
            upstream
                .keys
                .get("protocol")
                .is_some_and(|p| p.starts_with("grpc"))
        };
        self.all.get(cluster).is_some_and(protocol)
    }

    /// The one host name of a cluster's endpoints.
    pub(super) fn host(&self, cluster: &str) -> Option<String> {
        self.all.get(cluster)?.host.clone()
    }
}

impl Upstream {
    fn read(at: &At<'_>, name: &str, known: &Known, grpc: &BTreeSet<String>) -> Self {
        let mut upstream = Self {
            at: at.path.clone(),
            service: name.to_owned(),
            place: Place::Registry,
            keys: BTreeMap::new(),
            rests: Vec::new(),
            changes: Vec::new(),
            host: None,
            tls: None,
        };
        let mut fields = at.fields();
        fields.ignore(&[
            "name",
            "ignore_health_on_host_removal",
            "track_cluster_stats",
            "wait_for_warm_on_init",
            "respect_dns_ttl",
            "use_tcp_for_dns_lookups",
            "original_dst_lb_config",
        ]);
        for key in ["alt_stat_name", "metadata"] {
            if let Some(at) = fields.take(key) {
                let what =
                    format!("the `{key}` of a cluster is not taken over; no request is answered otherwise");
                upstream.changes.push(change(&at, what));
            }
        }
        upstream.place(&mut fields, name, known);
        upstream.protocol(&mut fields, grpc.contains(name));
        if let Some(at) = fields.take("transport_socket") {
            upstream.encrypted(&at);
        }
        upstream.balancing(&mut fields);
        upstream.connections(&mut fields);
        upstream.limits(&mut fields);
        upstream.health(&mut fields);
        upstream.ejection(&mut fields);
        upstream.rests.extend(fields.rests());
        upstream.check();
        upstream.rests.sort();
        upstream
    }

    fn place(&mut self, fields: &mut Fields<'_>, name: &str, known: &Known) {
        let kind = fields.take("type");
        let kind_word = kind.as_ref().and_then(At::text).unwrap_or("STATIC").to_owned();
        if let Some(at) = fields.take("eds_cluster_config")
            && let Some(service) = at.text_of("service_name").filter(|name| !name.is_empty())
        {
            service.clone_into(&mut self.service);
        }
        let (mut addresses, mut hosts) = (Vec::new(), BTreeSet::new());
        let assignment = fields.take("load_assignment");
        if let Some(at) = &assignment {
            self.endpoints(at, &mut addresses, &mut hosts);
        }
        for at in fields.take("hosts").iter().flat_map(At::items) {
            address(&at, &mut addresses, &mut hosts);
        }
        if hosts.len() == 1 && kind_word.ends_with("_DNS") {
            self.host = hosts.first().cloned();
        }
        let dns = match kind_word.as_str() {
            "STRICT_DNS" => Some("strict"),
            "LOGICAL_DNS" => Some("logical"),
            "STATIC" => None,
            "EDS" => return,
            _ => return self.rests.extend(kind.map(|at| at.not_expressed())),
        };
        let of_registry = |host: &String| host.ends_with(".consul") || !host.contains('.');
        let outside = match dns {
            _ if known.registered.contains(name) => false,
            _ if known.outside.contains(name) => true,
            None => false,
            Some("strict") => hosts.len() < 2 && !hosts.iter().all(of_registry),
            Some(_) => true,
        };
        if let Some(at) = fields.take("dns_lookup_family").filter(|_| outside) {
            self.changes.push(change(
                &at,
                "all addresses of the name are used, those of IPv6, too",
            ));
        }
        fields.ignore(&["dns_refresh_rate", "dns_failure_refresh_rate", "dns_jitter"]);
        if outside {
            self.place = Place::Outside { dns, addresses };
        } else if let (Some(dns), Some(at)) = (dns, kind) {
            let what = format!("the servers come from the registry, no longer by {dns} DNS");
            self.changes.push(change(&at, what));
        }
    }

    fn endpoints(&mut self, at: &At<'_>, addresses: &mut Vec<String>, hosts: &mut BTreeSet<String>) {
        for locality in at.list("endpoints") {
            if locality.get("priority").and_then(|at| at.number()).unwrap_or(0) > 0 {
                let what =
                    "priorities of servers are those of the registry's sources (`sources.NAME.priority`)";
                self.changes.push(change(&locality, what));
            }
            for at in locality.list("lb_endpoints") {
                if at.get("load_balancing_weight").is_some() {
                    self.changes
                        .push(change(&at, "weights of servers are those of the registry"));
                }
                if let Some(endpoint) = at.get("endpoint") {
                    if let Some(at) = endpoint.get("health_check_config") {
                        self.rests.push(at.not_expressed());
                    }
                    let own = endpoint.text_of("hostname").map(str::to_owned);
                    let mut named = BTreeSet::new();
                    if let Some(at) = endpoint.get("address") {
                        address(&at, addresses, &mut named);
                    }
                    hosts.extend(own.map_or(named, |name| [name].into()));
                }
            }
        }
        if let Some(at) = at.get("policy") {
            self.rests.push(at.not_expressed());
        }
    }

    pub(super) fn key(&mut self, name: &str, value: impl Into<String>) {
        self.keys.insert(name.to_owned(), value.into());
    }

    /// Our own parser has the last word: what it does not read stays in the file.
    fn check(&mut self) {
        let wrong: Vec<(String, String)> = self
            .keys
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), unread(name, value)?)))
            .collect();
        for (name, why) in wrong {
            self.keys.remove(&name);
            self.rests.push(Rest {
                at: format!("{}.{}", self.at, field_of(&name)),
                why,
            });
        }
    }
}

/// Why a key cannot be declared.
fn unread(name: &str, value: &str) -> Option<String> {
    if Key::parse(name).is_none() {
        return Some(format!("the bridge has no key `{name}` yet"));
    }
    let mut issues: Vec<Issue> = Vec::new();
    declaration::parse("x", Spelling::Plain, [(name, value)], &mut issues);
    let reason = issues.into_iter().next()?.reason;
    // What follows is what becomes of a key in a registry.
    Some(reason.split("; not used: ").next().unwrap_or(&reason).to_owned())
}

/// The field of a cluster that a key stands for.
fn field_of(key: &str) -> &str {
    match key {
        "lb" => "lb_policy",
        "limits" => "circuit_breakers",
        "health-check" => "health_checks",
        "outlier" => "outlier_detection",
        "tcp-keepalive" => "upstream_connection_options",
        "slow-start" => "slow_start_config",
        "connect-timeout" => "connect_timeout",
        "tls" => "transport_socket",
        _ => "typed_extension_protocol_options",
    }
}

fn change(at: &At<'_>, what: impl Into<String>) -> Change {
    Change {
        at: at.path.clone(),
        what: what.into(),
    }
}

/// Adds the `host:port` of an address, and the host where it is a name.
fn address(at: &At<'_>, addresses: &mut Vec<String>, hosts: &mut BTreeSet<String>) {
    let Some(socket) = at.get("socket_address") else {
        return;
    };
    let host = socket.text_of("address").unwrap_or_default();
    let port = socket.get("port_value").and_then(|at| at.number()).unwrap_or(0);
    let host_port = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    addresses.push(host_port);
    hosts.insert(host.to_owned());
}
