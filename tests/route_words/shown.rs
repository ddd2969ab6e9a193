//! That each key and each word of a route has its message in one place, and a request in `integration`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use xds_bridge::model::Key;
use xds_bridge::model::route::WORDS;

use super::{KEYS, ROUTES};

/// The texts of Rust files in a folder, and below it.
fn texts(folder: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut left, mut text) = (vec![root.join(folder)], String::new());
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Keys that no Envoy gets anything of: what they decide is tried by `tests/rollouts`, by `integration/rollouts.rs` and by
/// those of the sources.
const ELSEWHERE: [&str; 11] = [
    "data",
    "data-reads",
    "rollout",
    "rollout-deadline",
    "rollout-gates",
    "rollout-margin",
    "rollout-metric",
    "rollout-min-requests",
    "rollout-no-data",
    "rollout-step-time",
    "rollout-steps",
];

/// Where the message of a key or of a word is tried that is none of a route by itself: the file, the test, and what stands
/// in it. A test that is renamed, or that loses it, fails here.
type Shown = (&'static str, &'static str, &'static str, &'static str);

const CLAIMS: &str = "src/plan/claims_tests.rs";
const CLUSTERS: &str = "tests/cluster_keys.rs";
const ENDPOINTS: &str = "src/translate/endpoints_tests.rs";
const FILTERS: &str = "src/translate/filters/filters_tests.rs";
const NEAR: &str = "src/translate/near_tests.rs";
const VERSIONS: &str = "src/hub/publish_tests/versions.rs";

const KEYS_ELSEWHERE: &[Shown] = &[
    (
        "all-unhealthy",
        ENDPOINTS,
        "what_is_all_unhealthy_is_dropped_only_when_that_is_asked_for",
        "all_unhealthy",
    ),
    (
        "allow",
        FILTERS,
        "clients_of_a_route_are_known_by_address_and_identity_together",
        "identities",
    ),
    (
        "allow-mode",
        FILTERS,
        "clients_of_a_route_are_known_by_address_and_identity_together",
        "web(false)",
    ),
    ("connect-timeout", CLUSTERS, "limits", "\"connect-timeout\""),
    (
        "expose",
        CLAIMS,
        "only_what_the_operator_allows_can_be_claimed",
        "Expose::On",
    ),
    ("health-check", CLUSTERS, "health_checks", "\"health-check\""),
    ("http2", CLUSTERS, "connections", "\"http2\""),
    (
        "idle-timeout",
        "src/translate/cluster/cluster_tests.rs",
        "envoy_closes_idle_connections_to_http1_servers_first",
        "idle_timeout",
    ),
    ("lb", CLUSTERS, "balancing", "\"lb\""),
    ("limits", CLUSTERS, "limits", "\"limits\""),
    (
        "locality",
        NEAR,
        "envoy_is_given_the_threshold_and_grpc_the_shares",
        "factor 200",
    ),
    (
        "max-connection-duration",
        CLUSTERS,
        "connections",
        "\"max-connection-duration\"",
    ),
    (
        "max-requests-per-connection",
        CLUSTERS,
        "connections",
        "\"max-requests-per-connection\"",
    ),
    (
        "needs",
        "src/hub/publish_tests/views.rs",
        "a_fleet_gets_its_own_service_and_what_that_one_needs",
        "needs(&[\"orders\", \"stock\"])",
    ),
    ("outlier", CLUSTERS, "ejection", "\"outlier\""),
    ("protocol", CLUSTERS, "connections", "\"grpc\""),
    ("proxy-protocol", CLUSTERS, "connections", "\"proxy-protocol\""),
    (
        "region",
        NEAR,
        "the_own_zone_comes_first_then_the_region_then_the_rest",
        "1 eu/b 1: 1",
    ),
    (
        "share",
        "src/plan/versions_tests.rs",
        "declared_shares_hold_while_somebody_serves",
        "1:hhh",
    ),
    ("slow-start", CLUSTERS, "balancing", "\"slow-start\""),
    (
        "state",
        ENDPOINTS,
        "localities_are_what_grpc_clients_demand",
        "Health::Draining",
    ),
    (
        "sticky",
        VERSIONS,
        "a_service_says_what_its_versions_are_chosen_by",
        "\"sticky\"",
    ),
    ("tcp-keepalive", CLUSTERS, "connections", "\"tcp-keepalive\""),
    (
        "tls",
        CLUSTERS,
        "what_grpc_clients_get_of_a_service_by_tls",
        "\"tls\"",
    ),
    (
        "version",
        VERSIONS,
        "the_routes_of_a_service_that_is_split",
        "a@2",
    ),
    (
        "version-header",
        VERSIONS,
        "a_service_says_what_its_versions_are_chosen_by",
        "\"version-header\"",
    ),
    (
        "weight",
        ENDPOINTS,
        "localities_are_what_grpc_clients_demand",
        "load_balancing_weight",
    ),
    (
        "zone",
        ENDPOINTS,
        "localities_are_what_grpc_clients_demand",
        "locality.zone",
    ),
];

const WORDS_ELSEWHERE: &[Shown] = &[
    (
        "allow-ips",
        FILTERS,
        "clients_of_a_route_are_known_by_address_and_identity_together",
        "allow-ips=",
    ),
    (
        "compress",
        FILTERS,
        "a_route_says_to_filters_what_it_declares",
        "compress=",
    ),
    (
        "deny-ips",
        FILTERS,
        "clients_of_a_route_are_known_by_address_and_identity_together",
        "deny-ips=",
    ),
    (
        "expose",
        CLAIMS,
        "a_route_may_stand_on_other_exposures_than_its_service",
        "expose=",
    ),
    (
        "host",
        CLAIMS,
        "only_what_the_operator_allows_can_be_claimed",
        "host=a.shop.example",
    ),
    ("jwt", FILTERS, "a_route_says_to_filters_what_it_declares", "jwt="),
    (
        "port",
        CLAIMS,
        "connections_are_claimed_where_the_operator_has_a_port_or_a_name_for_them",
        "port=",
    ),
    (
        "rate-limit",
        FILTERS,
        "a_route_says_to_filters_what_it_declares",
        "rate-limit=",
    ),
    (
        "sni",
        CLAIMS,
        "connections_are_claimed_where_the_operator_has_a_port_or_a_name_for_them",
        "sni=",
    ),
    (
        "terminate",
        CLAIMS,
        "connections_are_claimed_where_the_operator_has_a_port_or_a_name_for_them",
        "terminate=",
    ),
];

/// What only decides which route has a request.
const OF_NO_MESSAGE: [&str; 2] = ["imported", "priority"];

/// The text of a test in a file.
fn test_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()?;
    let rest = text.split_once(&format!("fn {name}("))?.1;
    Some(rest.split("\n}\n").next()?.to_owned())
}

/// Names without a message, and those that are said to have one and have none, or two.
fn lacking(
    what: &str,
    all: &[&'static str],
    here: &BTreeSet<&'static str>,
    elsewhere: &[Shown],
) -> BTreeSet<String> {
    let mut lacking = BTreeSet::new();
    for name in all {
        let of_it: Vec<&Shown> = elsewhere.iter().filter(|shown| shown.0 == *name).collect();
        if of_it.len() + usize::from(here.contains(name)) != 1 {
            lacking.insert(format!("{what} {name}: has to have its message in one place"));
        }
    }
    for (name, file, test, holds) in elsewhere {
        if !all.contains(name) || !test_of(file, test).is_some_and(|body| body.contains(holds)) {
            lacking.insert(format!(
                "{what} {name}: {file} has no test `{test}` with `{holds}`"
            ));
        }
    }
    lacking
}

#[test]
fn each_key_and_each_word_has_its_message() {
    let keys = Key::ALL.iter().map(|key| key.row().name);
    let keys: Vec<&str> = keys.filter(|name| !ELSEWHERE.contains(name)).collect();
    let here = KEYS.iter().map(|(key, ..)| *key).collect();
    let mut wrong = lacking("key", &keys, &here, KEYS_ELSEWHERE);
    let words = WORDS.iter().map(|word| word.name);
    let words: Vec<&str> = words.filter(|name| !OF_NO_MESSAGE.contains(name)).collect();
    let here = ROUTES
        .iter()
        .flat_map(|(route, _, _)| route.split(' '))
        .filter_map(|word| Some(word.split_once('=')?.0))
        .collect();
    wrong.append(&mut lacking("word", &words, &here, WORDS_ELSEWHERE));
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn each_key_and_each_word_is_tried_by_a_request() {
    let requests = texts("integration");
    let declared = |key: &str| {
        let spelt = [
            format!("\"{key}\""),
            format!("xds-{key}"),
            format!("\\\"{key}\\\""),
            format!("{key} = "),
        ];
        spelt.iter().any(|spelt| requests.contains(spelt.as_str()))
    };
    let mut lacking = BTreeSet::new();
    let keys = Key::ALL.iter().map(|key| key.row().name);
    for name in keys.filter(|name| !ELSEWHERE.contains(name) && !declared(name)) {
        lacking.insert(format!("key {name}"));
    }
    for word in &WORDS {
        // What an importer writes is asked for by tags: `integration/import.rs`.
        let spelt = |before: char| requests.contains(&format!("{before}{}=", word.name));
        if word.name != "imported" && ![' ', '"', '\n'].into_iter().any(spelt) {
            lacking.insert(format!("word {}", word.name));
        }
    }
    assert_eq!(lacking, BTreeSet::new());
}
