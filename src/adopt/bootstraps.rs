//! The user's file at each of the three steps: less of it each time, and the connection to the bridge. Pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::{Message as _, Name as _};
use serde_json::{Map, Value, json};

use super::{AdoptError, Adopted, Chain, Layout, Source};
use crate::bootstrap::{self, BridgeAddress, Step, TlsWish, Wish};
use crate::config::load_str;
use crate::model::{Bind, Listener, Secrets};
use crate::render;
use crate::translate::listener::{Front, Routes, message};

/// Fields of a virtual host that hold for its routes, and those of them that hold lists.
const LISTS: [&str; 4] = [
    "request_headers_to_add",
    "request_headers_to_remove",
    "response_headers_to_add",
    "response_headers_to_remove",
];

/// The bootstraps of the three steps.
pub(super) fn bootstraps(adopted: &Adopted) -> Result<[Value; 3], AdoptError> {
    let source = super::print::source(super::Registry::Consul);
    let text = super::print::bridge_toml(adopted, &source);
    let config = load_str(Path::new("bridge.toml"), &text, None)?;
    let wish = Wish {
        step: Step::Listeners,
        node_id: "envoy-1".to_owned(),
        fleet: "edge".to_owned(),
        region: String::new(),
        zone: String::new(),
        admin: ([127, 0, 0, 1], 9901).into(),
        bridges: vec![BridgeAddress::Ip(config.xds.listen)],
        services: Vec::new(),
        tls: TlsWish {
            ca: None,
            certificate: None,
            key: None,
            sni: None,
        },
        providers: Vec::new(),
    };
    let bridge = bootstrap::json(&config, &wish)?;
    Ok([
        one(adopted, &bridge, 1)?,
        one(adopted, &bridge, 2)?,
        one(adopted, &bridge, 3)?,
    ])
}

fn one(adopted: &Adopted, bridge: &Value, step: u32) -> Result<Value, AdoptError> {
    let mut file = adopted.file.clone();
    let plan = &adopted.plan;
    let mut clusters: Vec<Value> = Vec::new();
    for cluster in list(&adopted.file["static_resources"]["clusters"]) {
        let name = cluster["name"].as_str().unwrap_or_default();
        if step > 1 && plan.moved.contains(name) {
            continue;
        }
        clusters.push(match plan.registered.get(name) {
            Some(service) => discovered(cluster, name, service, step),
            None => cluster.clone(),
        });
    }
    clusters.extend(list(&bridge["static_resources"]["clusters"]).iter().cloned());
    let listeners = if step == 1 {
        list(&file["static_resources"]["listeners"]).to_vec()
    } else {
        let (mut listeners, inside) = listeners(&adopted.file, &plan.listeners, step);
        for listener in &mut listeners {
            rename(listener, &plan.registered);
        }
        for name in &inside {
            clusters.push(way_to(name));
            if step == 2 {
                listeners.push(inner(adopted, name)?);
            }
        }
        if !inside.is_empty() {
            extend(&mut file, "bootstrap_extensions", internal_listeners());
        }
        listeners
    };
    let resources = &mut file["static_resources"];
    resources["clusters"] = Value::Array(clusters);
    if listeners.is_empty() {
        resources.as_object_mut().map(|map| map.remove("listeners"));
    } else {
        resources["listeners"] = Value::Array(listeners);
    }
    let dynamic = &bridge["dynamic_resources"];
    file["dynamic_resources"]["ads_config"] = dynamic["ads_config"].clone();
    if step > 1 {
        file["dynamic_resources"]["cds_config"] = dynamic["cds_config"].clone();
    }
    if step > 2 {
        file["dynamic_resources"]["lds_config"] = dynamic["lds_config"].clone();
    }
    // An Envoy has one place for its load reports: the file's own stays.
    if file["cluster_manager"]["load_stats_config"].is_null() {
        let reports = &bridge["cluster_manager"]["load_stats_config"];
        file["cluster_manager"]["load_stats_config"] = reports.clone();
    }
    for field in ["id", "cluster"] {
        if file["node"][field].as_str().is_none_or(str::is_empty) {
            file["node"][field] = bridge["node"][field].clone();
        }
    }
    Ok(file)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn extend(file: &mut Value, key: &str, more: Value) {
    match file.get_mut(key).and_then(Value::as_array_mut) {
        Some(all) if all.iter().all(|other| other["name"] != more["name"]) => all.push(more),
        Some(_) => {}
        None => file[key] = json!([more]),
    }
}

fn internal_listeners() -> Value {
    json!({
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
        }
    })
}

/// The cluster takes its servers from the bridge, and keeps its settings.
fn discovered(cluster: &Value, name: &str, service: &str, step: u32) -> Value {
    let mut cluster = cluster.clone();
    let checked = !list(&cluster["health_checks"]).is_empty();
    let Some(map) = cluster.as_object_mut() else {
        return cluster;
    };
    for gone in [
        "load_assignment",
        "hosts",
        "dns_lookup_family",
        "dns_refresh_rate",
        "dns_failure_refresh_rate",
        "respect_dns_ttl",
        "dns_resolvers",
        "dns_jitter",
        "eds_cluster_config",
        "use_tcp_for_dns_lookups",
    ] {
        map.remove(gone);
    }
    map.insert("type".to_owned(), json!("EDS"));
    let mut eds = json!({ "eds_config": { "ads": {}, "resource_api_version": "V3" } });
    if step > 1 {
        // Routes of the bridge call it by the service's name.
        map.insert("name".to_owned(), json!(service));
    } else if name != service {
        eds["service_name"] = json!(service);
    }
    map.insert("eds_cluster_config".to_owned(), eds);
    if checked {
        map.insert("ignore_health_on_host_removal".to_owned(), json!(true));
    }
    let common = map.entry("common_lb_config").or_insert_with(|| json!({}));
    if let Some(common) = common.as_object_mut() {
        common
            .entry("healthy_panic_threshold")
            .or_insert_with(|| json!({ "value": 1 }));
    }
    cluster
}

/// The listeners that stay, and the names of the bridge's listeners that they lead to.
fn listeners(file: &Value, layouts: &[Layout], step: u32) -> (Vec<Value>, Vec<String>) {
    let (mut stay, mut inside) = (Vec::new(), Vec::new());
    for (listener, layout) in list(&file["static_resources"]["listeners"]).iter().zip(layouts) {
        let chains = match layout {
            Layout::Moved(_) if step > 2 => continue,
            Layout::Moved(chains) | Layout::Stays(chains) => chains,
        };
        let mut listener = listener.clone();
        for Chain {
            place: (chain, filter),
            routes,
        } in chains
        {
            let place = format!("/filter_chains/{chain}/filters/{filter}/typed_config");
            let Some(manager) = listener.pointer_mut(&place) else {
                continue;
            };
            match routes {
                Source::File => {}
                Source::Bridge(name) => {
                    if let Some(map) = manager.as_object_mut() {
                        map.remove("route_config");
                        map.insert("rds".to_owned(), by_rds(name));
                    }
                }
                Source::Both(name, stays) => {
                    if let Some(config) = manager.get_mut("route_config") {
                        shared_with(config, name, stays);
                    }
                    inside.push(name.clone());
                }
            }
        }
        stay.push(listener);
    }
    (stay, inside)
}

/// From the second step on clusters have the names of services, also for what stays in the file.
fn rename(value: &mut Value, services: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, services)),
        Value::Object(map) => {
            let weighted = map.contains_key("weight");
            for (key, value) in map {
                let service = value.as_str().filter(|_| names_a_cluster(key, weighted));
                match service.and_then(|name| services.get(name)) {
                    Some(service) => *value = json!(service),
                    None => rename(value, services),
                }
            }
        }
        _ => {}
    }
}

/// Whether the text in a field is the name of a cluster.
fn names_a_cluster(key: &str, weighted: bool) -> bool {
    matches!(key, "cluster" | "cluster_name" | "collector_cluster") || key == "name" && weighted
}

fn by_rds(name: &str) -> Value {
    json!({
        "route_config_name": name,
        "config_source": { "ads": {}, "resource_api_version": "V3" }
    })
}

fn cluster_of(name: &str) -> String {
    format!("way-to-{name}")
}

/// Routes that stay remain where they are; those before them lead to the bridge by their match, and all others, too.
fn shared_with(config: &mut Value, name: &str, stays: &[Vec<bool>]) {
    let of_config = taken(config, false);
    let hosts = config.get_mut("virtual_hosts").and_then(Value::as_array_mut);
    let Some(hosts) = hosts else {
        return;
    };
    for (host, stays) in hosts.iter_mut().zip(stays).filter(|(host, _)| host.is_object()) {
        let of_host = taken(host, true);
        let routes = std::mem::take(&mut host["routes"]);
        let last = stays.iter().rposition(|stays| *stays);
        let mut kept: Vec<Value> = Vec::new();
        for (n, route) in list(&routes).iter().enumerate() {
            if last.is_none_or(|last| n > last) {
                break;
            }
            kept.push(if stays[n] {
                inheriting(route.clone(), &[&of_host, &of_config])
            } else {
                onwards(&route["match"], name)
            });
        }
        if stays.iter().any(|stays| !stays) {
            kept.push(onwards(&json!({ "prefix": "/" }), name));
        }
        host["routes"] = Value::Array(kept);
    }
}

/// A route to the bridge's listener, without limits of its own.
fn onwards(wanted: &Value, name: &str) -> Value {
    json!({
        "match": wanted,
        "route": { "cluster": cluster_of(name), "timeout": "0s", "idle_timeout": "0s" }
    })
}

/// Takes out what holds for all routes below.
fn taken(value: &mut Value, host: bool) -> Map<String, Value> {
    let mut taken = Map::new();
    let Some(map) = value.as_object_mut() else {
        return taken;
    };
    let more: &[&str] = if host {
        &["retry_policy", "cors", "typed_per_filter_config"]
    } else {
        &["typed_per_filter_config"]
    };
    for key in LISTS.iter().chain(more) {
        if let Some(value) = map.remove(*key) {
            taken.insert((*key).to_owned(), value);
        }
    }
    taken
}

/// A route that says by itself what it inherited.
fn inheriting(mut route: Value, levels: &[&Map<String, Value>]) -> Value {
    if !route.is_object() {
        return route;
    }
    for level in levels {
        for (key, value) in *level {
            match key.as_str() {
                "retry_policy" | "cors" => {
                    if route["route"].is_object() && route["route"][key].is_null() {
                        route["route"][key] = value.clone();
                    }
                }
                "typed_per_filter_config" => {
                    let own = &route[key];
                    if !own.is_null() && !own.is_object() {
                        continue;
                    }
                    for (name, config) in value.as_object().into_iter().flatten() {
                        if route[key][name].is_null() {
                            route[key][name] = config.clone();
                        }
                    }
                }
                _ => {
                    let mut all = list(&route[key]).to_vec();
                    all.extend(list(value).iter().cloned());
                    route[key] = Value::Array(all);
                }
            }
        }
    }
    if let Some(map) = route.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    route
}

fn way_to(name: &str) -> Value {
    const OPTIONS: &str = crate::translate::cluster::HTTP_OPTIONS;
    let most = u32::MAX;
    json!({
        "name": cluster_of(name),
        "connect_timeout": "1s",
        "circuit_breakers": { "thresholds": [
            { "max_connections": most, "max_pending_requests": most, "max_requests": most }
        ] },
        "load_assignment": {
            "cluster_name": cluster_of(name),
            "endpoints": [ { "lb_endpoints": [ { "endpoint": { "address": {
                "envoy_internal_address": { "server_listener_name": name }
            } } } ] } ]
        },
        "typed_extension_protocol_options": { OPTIONS: {
            "@type": format!("type.googleapis.com/{OPTIONS}"),
            "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} }
        } }
    })
}

/// The bridge's listener inside the same Envoy, for the step at which listeners do not come from the bridge yet.
fn inner(adopted: &Adopted, name: &str) -> Result<Value, AdoptError> {
    let mut listener = Listener::new(Bind::Internal, Arc::from(name));
    if let Some(served) = adopted.listeners.get(name) {
        listener.exposure = Arc::from(served.exposure.as_str());
        listener.http10 = served.http10;
        listener.upgrades.clone_from(&served.upgrades);
    }
    let message = message(
        name,
        &listener,
        &Front::of(None, &Secrets::new()),
        Routes::Discovered,
    );
    Ok(render::json(
        &envoy_types::pb::envoy::config::listener::v3::Listener::full_name(),
        &message.encode_to_vec(),
    )?)
}

/// Clusters that are named by what stays in the file, each with a place that names it.
pub(super) fn named_by_the_rest(file: &Value, layouts: &[Layout]) -> BTreeMap<String, String> {
    let mut named = BTreeMap::new();
    let (stay, _) = listeners(file, layouts, 3);
    for listener in &stay {
        let name = listener["name"].as_str().unwrap_or("a listener");
        collect(listener, &format!("the listener `{name}`"), &mut named);
    }
    for (key, value) in file.as_object().into_iter().flatten() {
        if key != "static_resources" {
            collect(value, key, &mut named);
        }
    }
    named
}

fn collect(value: &Value, place: &str, named: &mut BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, place, named)),
        Value::Object(map) => {
            for (key, value) in map {
                let of_cluster = names_a_cluster(key, map.contains_key("weight"));
                match value.as_str() {
                    Some(name) if of_cluster => {
                        named.entry(name.to_owned()).or_insert_with(|| place.to_owned());
                    }
                    _ => collect(value, place, named),
                }
            }
        }
        _ => {}
    }
}
