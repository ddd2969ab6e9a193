//! What of Envoy's file as a whole matters for its parts, and what of it is no listener and no cluster. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::At;
use super::report::Rest;

/// Clusters to which a route leads that counts the whole deadline of a gRPC client.
pub(super) fn deadlines(listeners: &[At<'_>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Value> = listeners.iter().map(|at| at.value).collect();
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(map) => {
                let zero = |value: &Value| value.as_str().is_some_and(|text| text == "0s");
                let deadline = value["max_stream_duration"]["grpc_timeout_header_max"].clone();
                if zero(&deadline) || zero(&value["max_grpc_timeout"]) {
                    found.extend(value["cluster"].as_str().map(str::to_owned));
                }
                left.extend(map.values());
            }
            _ => {}
        }
    }
    found
}

/// Parts of the file that are not looked at.
pub(super) fn others(file: &Value) -> Vec<Rest> {
    let known = [
        "static_resources",
        "admin",
        "node",
        "layered_runtime",
        "stats_flush_interval",
    ];
    let root = At::root(file);
    let mut rests: Vec<Rest> = root
        .entries()
        .into_iter()
        .filter(|(key, _)| !known.contains(key))
        .map(|(_, at)| at.rest("stays in the file as it is"))
        .collect();
    if let Some(resources) = root.get("static_resources") {
        let kinds = resources.entries().into_iter();
        let others = kinds.filter(|(key, _)| !matches!(*key, "listeners" | "clusters"));
        rests.extend(others.map(|(_, at)| at.rest("stays in the file as it is")));
    }
    rests
}
