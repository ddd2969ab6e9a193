//! Envoy's file with its listeners and servers moved to loopback, so that what comes of requests can be compared: before
//! the adoption and after it. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::Adopted;
use crate::model::{Matcher, Protocol, RouteRule};

/// The cluster by which an Envoy reaches the bridge.
const BRIDGE: &str = crate::model::service::BRIDGE_CLUSTER;
/// Filters that need nobody else.
const PLAIN: [&str; 2] = ["Cors", "Router"];

/// Where things are on loopback.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The server of each cluster and service, by name.
    pub servers: BTreeMap<String, SocketAddr>,
    /// The listener of each address of the file.
    pub listeners: BTreeMap<String, SocketAddr>,
    /// The admin port.
    pub admin: Option<SocketAddr>,
    /// Where the bridge is; none in the file of before.
    pub bridge: Option<SocketAddr>,
}

/// The names of all clusters of a file, and of the services that they become.
#[must_use]
pub fn servers(adopted: &Adopted) -> Vec<String> {
    let clusters = list(&adopted.file["static_resources"]["clusters"]);
    let names = clusters.iter().filter_map(|cluster| cluster["name"].as_str());
    names.map(str::to_owned).collect()
}

/// What a cluster is called by the bridge.
#[must_use]
pub fn service_of(adopted: &Adopted, cluster: &str) -> String {
    let service = adopted.plan.registered.get(cluster);
    service.cloned().unwrap_or_else(|| cluster.to_owned())
}

/// The addresses of all listeners that can be compared, as they stand in the file.
#[must_use]
pub fn listeners(file: &Value) -> Vec<String> {
    let listeners = list(&file["static_resources"]["listeners"]);
    listeners
        .iter()
        .filter(|listener| speaks_http(listener) || takes_connections(listener))
        .map(address)
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `127.0.0.1:80` of a listener.
pub(super) fn address(listener: &Value) -> String {
    let socket = &listener["address"]["socket_address"];
    format!(
        "{}:{}",
        socket["address"].as_str().unwrap_or_default(),
        socket["port_value"]
    )
}

pub(super) fn speaks_http(listener: &Value) -> bool {
    let known = |chain: &Value| has_filter(chain, ".HttpConnectionManager") || has_filter(chain, ".TcpProxy");
    http_chain(listener).is_some() && list(&listener["filter_chains"]).iter().all(known)
}

/// The one with requests: further ones are for names of TLS.
pub(super) fn http_chain(listener: &Value) -> Option<&Value> {
    let chains = list(&listener["filter_chains"]).iter();
    chains
        .into_iter()
        .find(|chain| has_filter(chain, ".HttpConnectionManager"))
}

fn has_filter(chain: &Value, kind: &str) -> bool {
    let is_it = |filter: &Value| {
        let url = filter["typed_config"]["@type"].as_str().unwrap_or_default();
        url.ends_with(kind)
    };
    list(&chain["filters"]).iter().any(is_it)
}

/// All connections to its port are for the same clusters.
pub(super) fn takes_connections(listener: &Value) -> bool {
    let chains = list(&listener["filter_chains"]);
    let [chain] = chains else { return false };
    has_filter(chain, ".TcpProxy") && list(&chain["filter_chain_match"]["server_names"]).is_empty()
}

fn socket(at: SocketAddr) -> Value {
    json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } })
}

/// A bootstrap on loopback.
#[must_use]
pub fn moved(file: &Value, places: &Places) -> Value {
    let mut moved = Map::new();
    for key in [
        "node",
        "bootstrap_extensions",
        "dynamic_resources",
        "layered_runtime",
    ] {
        if let Some(value) = file.get(key).filter(|value| !value.is_null()) {
            moved.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(admin) = places.admin {
        moved.insert("admin".to_owned(), json!({ "address": socket(admin) }));
    }
    let resources = &file["static_resources"];
    let clusters = list(&resources["clusters"]).iter().map(|c| cluster(c, places));
    let listeners = list(&resources["listeners"]).iter();
    let listeners: Vec<Value> = listeners.filter_map(|l| listener(l, places)).collect();
    moved.insert(
        "static_resources".to_owned(),
        json!({ "clusters": clusters.collect::<Vec<_>>(), "listeners": listeners }),
    );
    Value::Object(moved)
}

fn cluster(cluster: &Value, places: &Places) -> Value {
    let mut cluster = cluster.clone();
    let name = cluster["name"].as_str().unwrap_or_default().to_owned();
    let internal = cluster.to_string().contains("envoy_internal_address");
    if internal {
        return cluster;
    }
    let discovered = places.bridge.is_some() && cluster["type"] == "EDS";
    let hostname = hostname(&cluster);
    let Some(map) = cluster.as_object_mut() else {
        return cluster;
    };
    let at = match (places.bridge, name.as_str()) {
        (Some(bridge), BRIDGE) => Some(bridge),
        _ => places.servers.get(&name).copied(),
    };
    for gone in ["transport_socket", "health_checks", "outlier_detection"] {
        map.remove(gone);
    }
    if discovered {
        return cluster;
    }
    for gone in [
        "hosts",
        "eds_cluster_config",
        "dns_lookup_family",
        "dns_refresh_rate",
        "dns_failure_refresh_rate",
        "dns_resolvers",
        "dns_jitter",
        "respect_dns_ttl",
        "use_tcp_for_dns_lookups",
        "typed_dns_resolver_config",
    ] {
        map.remove(gone);
    }
    map.insert("type".to_owned(), json!("STATIC"));
    if let Some(at) = at {
        let endpoint = json!({ "address": socket(at), "hostname": hostname });
        map.insert(
            "load_assignment".to_owned(),
            json!({ "cluster_name": name, "endpoints": [ { "lb_endpoints": [ { "endpoint": endpoint } ] } ] }),
        );
    }
    cluster
}

/// The name that Envoy takes for `auto_host_rewrite`.
fn hostname(cluster: &Value) -> String {
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    let own = endpoint["hostname"].as_str();
    let by_dns = cluster["type"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("_DNS"));
    let named = endpoint["address"]["socket_address"]["address"]
        .as_str()
        .filter(|_| by_dns);
    own.or(named).unwrap_or_default().to_owned()
}

fn listener(listener: &Value, places: &Places) -> Option<Value> {
    if listener.get("internal_listener").is_some() {
        return Some(listener.clone());
    }
    let at = *places.listeners.get(&address(listener))?;
    if !speaks_http(listener) && !takes_connections(listener) {
        return None;
    }
    let mut listener = listener.clone();
    listener["address"] = socket(at);
    let map = listener.as_object_mut()?;
    map.remove("listener_filters");
    map.remove("access_log");
    // Without TLS there is nothing that tells chains apart: the first one with requests answers.
    let chains = map.get_mut("filter_chains")?.as_array_mut()?;
    if chains
        .iter()
        .any(|chain| has_filter(chain, ".HttpConnectionManager"))
    {
        chains.retain(|chain| has_filter(chain, ".HttpConnectionManager"));
    }
    chains.truncate(1);
    for chain in chains {
        let chain = chain.as_object_mut()?;
        chain.remove("transport_socket");
        chain.remove("filter_chain_match");
        for filter in chain.get_mut("filters")?.as_array_mut()? {
            let manager = filter.get_mut("typed_config").and_then(Value::as_object_mut);
            let Some(manager) = manager else {
                continue;
            };
            manager.remove("access_log");
            manager.remove("tracing");
            if let Some(filters) = manager.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|filter| {
                    let url = filter["typed_config"]["@type"].as_str().unwrap_or_default();
                    let kind = url.rsplit('.').next().unwrap_or_default();
                    let name = filter["name"].as_str().unwrap_or_default();
                    PLAIN.contains(&kind) || url.is_empty() && name.ends_with("router")
                });
            }
        }
    }
    Some(listener)
}

/// What of this cannot be compared on loopback.
#[must_use]
pub fn left_out(file: &Value) -> Vec<&'static str> {
    let text = file.to_string();
    let parts = [
        ("\"transport_socket\"", "TLS, of listeners and to servers"),
        ("\"health_checks\"", "health checks"),
        ("\"outlier_detection\"", "outlier detection"),
        ("\"access_log\"", "access logs"),
        (
            "\"filter_chain_match\"",
            "filter chains beside the first of a listener",
        ),
    ];
    let by_name = list(&file["static_resources"]["listeners"])
        .iter()
        .any(|listener| listener.to_string().contains(".TcpProxy") && !takes_connections(listener));
    let found = parts.iter().filter(|(word, _)| text.contains(word));
    let by_name = by_name.then_some(&("", "connections by names of TLS"));
    let found = found.chain(by_name);
    let always =
        "idle timeouts, retries, limits, balancing and shares: the report names what changes of them";
    found.map(|(_, what)| *what).chain([always]).collect()
}

impl Adopted {
    /// The same with listeners and servers on loopback.
    #[must_use]
    pub fn on_loopback(&self, places: &Places) -> Self {
        let (mut moved, mut ports) = (self.clone(), Vec::new());
        for served in moved.listeners.values_mut() {
            let before = served.address;
            let at = before.map(|address| address.to_string());
            served.address = at.and_then(|at| places.listeners.get(&at)).copied();
            if let (true, Some(before), Some(now)) = (served.tcp, before, served.address) {
                ports.push((served.exposure.clone(), before.port(), now.port()));
            }
            served.tls = None;
            served.access_log = None;
            served.more.retain(|(key, _)| *key != "proxy_protocol");
        }
        // Those by names of TLS are not compared.
        moved
            .listeners
            .retain(|_, served| !(served.tcp && served.address.is_none()));
        moved.tls.clear();
        for (name, external) in &mut moved.externals {
            if !external.addresses.is_empty() {
                let at = places.servers.get(name).map(ToString::to_string);
                (external.addresses, external.dns) = (at.into_iter().collect(), None);
            }
        }
        let externals = moved.externals.values_mut().map(|external| &mut external.keys);
        for keys in moved.documents.values_mut().chain(externals) {
            for key in ["health-check", "outlier", "tls"] {
                keys.remove(key);
            }
            renumber(keys, &ports);
            let protocol = keys.get("protocol").and_then(|word| Protocol::parse(word));
            if let Some(protocol) = protocol.filter(|protocol| protocol.is_encrypted()) {
                keys.insert("protocol".to_owned(), protocol.plain().as_str().to_owned());
            }
        }
        moved
    }

    /// A catalog of files with one server for each service.
    #[must_use]
    pub fn catalog(&self, places: &Places) -> Value {
        let services = self.plan.registered.iter().filter_map(|(cluster, service)| {
            let at = places.servers.get(cluster)?;
            let mut table: Map<String, Value> = Map::new();
            for (key, value) in self.documents.get(service).into_iter().flatten() {
                table.insert(key.clone(), json!(value));
            }
            let instance = json!({ "address": at.ip().to_string(), "port": at.port() });
            table.insert("instances".to_owned(), json!([instance]));
            Some((service.clone(), Value::Object(table)))
        });
        json!({ "services": services.collect::<Map<_, _>>() })
    }
}

/// Routes by a port have that of the listener on loopback. `ports`: by exposure.
fn renumber(keys: &mut BTreeMap<String, String>, ports: &[(String, u16, u16)]) {
    let expose = keys.get("expose").cloned().unwrap_or_default();
    for (_, value) in keys.iter_mut().filter(|(key, _)| key.starts_with("route")) {
        let Ok(mut rule) = RouteRule::parse(value) else {
            continue;
        };
        let Matcher::Port(port) = rule.matcher else {
            continue;
        };
        let on = |exposure: &String| match &rule.expose[..] {
            [] => expose.split(',').any(|name| name == exposure),
            names => names.contains(exposure),
        };
        let found = ports
            .iter()
            .find(|(exposure, before, _)| *before == port && on(exposure));
        if let Some((_, _, now)) = found {
            rule.matcher = Matcher::Port(*now);
            *value = rule.to_string();
        }
    }
}
