//! What each word of a route makes of the message that Envoy gets, as JSON. That Envoy accepts it, and does what it says, is
//! in `integration/routes.rs`, `connections.rs`, `filters` and `versions.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod shown;

use std::fmt::Write as _;

use prost::Message as _;
use serde_json::Value;
use xds_bridge::model::declaration::{self, Spelling};
use xds_bridge::model::{Clusters, Effective, Exposure, Service};
use xds_bridge::plan::{Claim, claims};
use xds_bridge::render;
use xds_bridge::translate::route::message;

/// The route of a service that declares these keys, and this beside its host.
fn route(keys: &[(&str, &str)], words: &str) -> Value {
    let (route, mut issues) = (format!("host=api.x {words}"), Vec::new());
    let all = keys.iter().copied().chain([("route", route.as_str())]);
    let declared = declaration::parse("orders", Spelling::Plain, all, &mut issues);
    let service = Service {
        name: "orders".into(),
        policy: declared.policy,
        documented: true,
        ..Service::default()
    };
    let effective = Effective::of(&service, &Clusters::DEFAULT);
    let exposures = [("internal".into(), Exposure::internal())].into();
    let claimed = claims(&service, &effective, &exposures);
    issues.extend(claimed.issues);
    assert_eq!(issues, [], "{keys:?} {words}");
    let of_host: Vec<&Claim> = claimed
        .claims
        .iter()
        .filter(|claim| claim.host == "api.x")
        .collect();
    let message = message("internal", &of_host);
    let json = render::json(
        "envoy.config.route.v3.RouteConfiguration",
        &message.encode_to_vec(),
    )
    .unwrap();
    json["virtual_hosts"][0]["routes"][0].clone()
}

/// What is declared beside `path=/`, or in place of it; a place in the route, and what stands there.
const ROUTES: &[(&str, &str, &str)] = &[
    ("path=/orders", "/match/path_separated_prefix", r#""/orders""#),
    ("path=/orders*", "/match/prefix", r#""/orders""#),
    ("exact=/orders", "/match/path", r#""/orders""#),
    ("regex=/v[0-9]+", "/match/safe_regex/regex", r#""/v[0-9]+""#),
    ("grpc=shop.Orders/Get", "/match/path", r#""/shop.Orders/Get""#),
    (
        "method=GET",
        "/match/headers/0",
        r#"{"name":":method","string_match":{"exact":"GET"}}"#,
    ),
    ("method=!GET,HEAD", "/match/headers/0/invert_match", "true"),
    (
        "header=x-a:1",
        "/match/headers/0",
        r#"{"name":"x-a","string_match":{"exact":"1"}}"#,
    ),
    (
        "header=!x-a",
        "/match/headers/0",
        r#"{"invert_match":true,"name":"x-a","present_match":true}"#,
    ),
    (
        "header-prefix=x-a:b",
        "/match/headers/0/string_match/prefix",
        r#""b""#,
    ),
    (
        "header-regex=!x-a:[0-9]+",
        "/match/headers/0/string_match/safe_regex/regex",
        r#""[0-9]+""#,
    ),
    (
        "query=q:1",
        "/match/query_parameters/0",
        r#"{"name":"q","string_match":{"exact":"1"}}"#,
    ),
    (
        "query-prefix=q:a",
        "/match/query_parameters/0/string_match/prefix",
        r#""a""#,
    ),
    (
        "query-regex=q:[0-9]+",
        "/match/query_parameters/0/string_match/safe_regex/regex",
        r#""[0-9]+""#,
    ),
    ("cookie=c:1", "/match/headers/0/name", r#""cookie""#),
    ("cookie-prefix=c:a", "/match/headers/0/name", r#""cookie""#),
    ("cookie-regex=c:[0-9]+", "/match/headers/0/name", r#""cookie""#),
    (
        "authority-regex=[^:]+:81",
        "/match/headers/0/name",
        r#"":authority""#,
    ),
    (
        "url-regex=!/u[?]v=1",
        "/match/headers/0/string_match/safe_regex/regex",
        r#""/u[?]v=1""#,
    ),
    ("timeout=2s", "/route/timeout", r#""2s""#),
    ("stream-idle-timeout=1h", "/route/idle_timeout", r#""3600s""#),
    (
        "per-try-timeout=1s",
        "/route/retry_policy/per_try_timeout",
        r#""1s""#,
    ),
    (
        "max-stream-duration=1h",
        "/route/max_stream_duration/max_stream_duration",
        r#""3600s""#,
    ),
    (
        "retry=5xx,503:2",
        "/route/retry_policy/retriable_status_codes",
        "[503]",
    ),
    ("retry=5xx,503:2", "/route/retry_policy/num_retries", "2"),
    (
        "split=orders:90,next:10",
        "/route/weighted_clusters/clusters",
        r#"[{"name":"orders","weight":90},{"name":"next","weight":10}]"#,
    ),
    // Which cluster that is, the versions decide: `a_route_leads_to_one_version_or_nowhere`.
    ("version=9f31c2a", "/route/cluster", r#""orders""#),
    (
        "redirect=https://www.x/new",
        "/redirect/host_redirect",
        r#""www.x""#,
    ),
    (
        "redirect=https: redirect-code=308",
        "/redirect/response_code",
        r#""PERMANENT_REDIRECT""#,
    ),
    (
        "redirect=/new redirect-query=drop",
        "/redirect/strip_query",
        "true",
    ),
    ("respond=410", "/direct_response/status", "410"),
    ("path=/orders rewrite=/v2", "/route/prefix_rewrite", r#""/v2""#),
    (
        r"regex-rewrite=^/a/(.*)=>/b/\1",
        "/route/regex_rewrite/substitution",
        r#""/b/\\1""#,
    ),
    (
        "host-rewrite=inner.x:81",
        "/route/host_rewrite_literal",
        r#""inner.x:81""#,
    ),
    ("host-rewrite=*", "/route/auto_host_rewrite", "true"),
    (
        "set-header=a:1",
        "/request_headers_to_add/0/append_action",
        r#""OVERWRITE_IF_EXISTS_OR_ADD""#,
    ),
    (
        "add-header=a:1",
        "/request_headers_to_add/0/header",
        r#"{"key":"a","value":"1"}"#,
    ),
    (
        "default-header=a:1",
        "/request_headers_to_add/0/append_action",
        r#""ADD_IF_ABSENT""#,
    ),
    (
        "default-header=a:%PATH(NQ:PATH)%",
        "/request_headers_to_add/0/header/value",
        r#""%PATH(NQ:PATH)%""#,
    ),
    ("remove-header=a", "/request_headers_to_remove", r#"["a"]"#),
    (
        "set-response-header=a:1",
        "/response_headers_to_add/0/append_action",
        r#""OVERWRITE_IF_EXISTS_OR_ADD""#,
    ),
    (
        "add-response-header=a:1",
        "/response_headers_to_add/0/header",
        r#"{"key":"a","value":"1"}"#,
    ),
    (
        "default-response-header=a:1",
        "/response_headers_to_add/0/append_action",
        r#""ADD_IF_ABSENT""#,
    ),
    (
        "remove-response-header=a",
        "/response_headers_to_remove",
        r#"["a"]"#,
    ),
    (
        "cors=https://a.x",
        "/typed_per_filter_config/envoy.filters.http.cors/allow_origin_string_match/0/exact",
        r#""https://a.x""#,
    ),
    (
        "cors=* cors-methods=PUT",
        "/typed_per_filter_config/envoy.filters.http.cors/allow_methods",
        r#""PUT""#,
    ),
    (
        "cors=* cors-headers=x-a",
        "/typed_per_filter_config/envoy.filters.http.cors/allow_headers",
        r#""x-a""#,
    ),
    (
        "cors=* cors-expose=x-b",
        "/typed_per_filter_config/envoy.filters.http.cors/expose_headers",
        r#""x-b""#,
    ),
    (
        "cors=* cors-max-age=1h",
        "/typed_per_filter_config/envoy.filters.http.cors/max_age",
        r#""3600""#,
    ),
    (
        "cors=https://a.x cors-credentials=true",
        "/typed_per_filter_config/envoy.filters.http.cors/allow_credentials",
        "true",
    ),
    ("upgrade=websocket", "/route/upgrade_configs/0/enabled", "true"),
    ("upgrade=none", "/route/upgrade_configs/0/enabled", "false"),
    (
        "mirror=next:1%",
        "/route/request_mirror_policies/0/cluster",
        r#""next""#,
    ),
    (
        "hash=query:q",
        "/route/hash_policy/0",
        r#"{"query_parameter":{"name":"q"},"terminal":true}"#,
    ),
];

/// A key, its value, a place in each route that does not say it itself, and what stands there.
const KEYS: &[(&str, &str, &str, &str)] = &[
    ("timeout", "2s", "/route/timeout", r#""2s""#),
    ("stream-idle-timeout", "1h", "/route/idle_timeout", r#""3600s""#),
    (
        "per-try-timeout",
        "1s",
        "/route/retry_policy/per_try_timeout",
        r#""1s""#,
    ),
    (
        "max-stream-duration",
        "1h",
        "/route/max_stream_duration/max_stream_duration",
        r#""3600s""#,
    ),
    (
        "retry",
        "5xx,503:2",
        "/route/retry_policy/retriable_status_codes",
        "[503]",
    ),
    (
        "hash",
        "header:x-user",
        "/route/hash_policy/0/header/header_name",
        r#""x-user""#,
    ),
    ("route", "path=/", "/match/prefix", r#""/""#),
];

fn check(what: &str, route: &Value, place: &str, wanted: &str, wrong: &mut String) {
    let wanted: Value = serde_json::from_str(wanted).unwrap();
    if route.pointer(place) != Some(&wanted) {
        let _ = writeln!(wrong, "{what}: {place} is not {wanted}: {route}");
    }
}

#[test]
fn each_word_and_each_key_of_a_route_is_a_field_of_envoy() {
    let mut wrong = String::new();
    for (words, place, wanted) in ROUTES {
        let own = ["path=", "exact=", "regex=/", "grpc="];
        let has_path = own.iter().any(|word| words.starts_with(word));
        let words = if has_path {
            (*words).to_owned()
        } else {
            format!("path=/ {words}")
        };
        check(&words, &route(&[], &words), place, wanted, &mut wrong);
    }
    for (key, value, place, wanted) in KEYS {
        let keys = [(*key, *value)];
        let keys = if *key == "route" { &[][..] } else { &keys };
        check(key, &route(keys, "path=/"), place, wanted, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}
