//! A static Envoy file is taken over: pieces of one, each with what becomes of it, and the whole file of `examples/adopt`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod connections;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use xds_bridge::adopt::loopback::{Places, moved};
use xds_bridge::adopt::probe::probes;
use xds_bridge::adopt::{Adopted, Listeners, Options, Registry, adopt};
use xds_bridge::config::load_str;
use xds_bridge::model::{Issue, Spelling, declaration};

/// A file with one listener: its virtual hosts, what else its connection manager says, and its clusters.
fn file(hosts: &str, manager: &str, clusters: &str) -> String {
    let indented = |text: &str, by: usize| {
        let lines = text.lines().map(|line| format!("{}{line}\n", " ".repeat(by)));
        lines.collect::<String>()
    };
    format!(
        "static_resources:\n  listeners:\n  - name: edge\n    address: {{ socket_address: {{ address: 127.0.0.1, \
         port_value: 10000 }} }}\n    filter_chains:\n    - filters:\n      - name: hcm\n        typed_config:\n          \
         '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
         {}          use_remote_address: true\n          normalize_path: true\n          merge_slashes: true\n          \
         strip_trailing_host_dot: true\n          route_config:\n            virtual_hosts:\n{}  clusters:\n{}",
        indented(manager, 10),
        indented(hosts, 12),
        indented(clusters, 2)
    )
}

fn adopted(text: &str) -> Adopted {
    adopt(text, &Options::default()).unwrap()
}

/// Documents, sections and what stays, without what each route has.
fn shown(adopted: &Adopted) -> String {
    let mut text = format!("{}\n", adopted.report.counts());
    for (name, keys) in &adopted.documents {
        for (key, value) in keys.iter().filter(|(key, _)| key.as_str() != "connect-timeout") {
            let _ = writeln!(text, "{name} {key}: {value}");
        }
    }
    for (name, external) in &adopted.externals {
        let _ = writeln!(
            text,
            "[external.{name}] {:?} {:?}",
            external.addresses, external.dns
        );
        for (key, value) in external
            .keys
            .iter()
            .filter(|(key, _)| key.as_str() != "connect-timeout")
        {
            let _ = writeln!(text, "  {key}: {value}");
        }
    }
    let items = adopted
        .report
        .routes
        .iter()
        .chain(&adopted.report.connections)
        .chain(&adopted.report.clusters)
        .chain(&adopted.report.listeners);
    for rest in items
        .filter(|item| item.to.is_none())
        .flat_map(|item| &item.rests)
    {
        let at = rest.at.rsplit("routes[").next().unwrap();
        let _ = writeln!(text, "stays {at}: {}", rest.why);
    }
    for rest in &adopted.report.unreached {
        let _ = writeln!(text, "unreached: {}", rest.why);
    }
    text
}

const WEB: &str = "- { name: web, type: EDS }\n- { name: api, type: EDS }\n";

fn routes(routes: &str) -> Adopted {
    let host = format!("- name: all\n  domains: ['*']\n  routes:\n{routes}");
    adopted(&file(&host, "", WEB))
}

fn check(text: &str, wanted: &Expect) {
    wanted.assert_eq(&shown(&routes(text)));
}

#[test]
fn matches_become_words() {
    check(
        r#"
  - { match: { prefix: /a }, route: { cluster: web, timeout: 0s } }
  - { match: { path: /b }, route: { cluster: web, timeout: 0s } }
  - { match: { path_separated_prefix: /c }, route: { cluster: web, timeout: 0s } }
  - { match: { safe_regex: { regex: '/d/[0-9]+' } }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /E, case_sensitive: false }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /f, headers: [ { name: x, string_match: { exact: '1' } }, { name: y, invert_match: true, exact_match: '2' } ] }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /g, headers: [ { name: ':method', exact_match: POST }, { name: z, present_match: false } ] }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /h, query_parameters: [ { name: q, string_match: { suffix: .x } } ], grpc: {} }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /i, runtime_fraction: { default_value: { numerator: 5 } } }, route: { cluster: web } }
  - { match: { prefix: /j, headers: [ { name: ':authority', exact_match: a } ] }, route: { cluster: web } }
  - { match: { prefix: /k, headers: [ { name: n, range_match: { start: 1, end: 5 } } ] }, route: { cluster: web } }
"#,
        &expect![[r#"
            8 of 11 routes, 1 of 2 clusters, 0 of 1 listeners
            web expose: edge
            web route: path=/a* priority=1
            web route-2: exact=/b priority=1
            web route-3: path=/c priority=1
            web route-4: regex=/d/[0-9]+ priority=1
            web route-5: regex=(?i)/E.* priority=1
            web route-6: path=/f* header=x:1 header=y header=!y:2
            web route-7: path=/g* method=POST header=!z
            web route-8: path=/h* header-regex=content-type:application/grpc(?:\+.*)? query-regex=q:.*\.x
            stays 8].match.runtime_fraction: the bridge does not express it yet
            stays 9].match.headers[0]: the bridge matches no :authority, only what stands in `match`
            stays 10].match.headers[0].range_match: the bridge does not express it yet
            stays static_resources.clusters[0]: the listener `edge` stays in the file and names it
            stays static_resources.listeners[0]: some of its routes stay
        "#]],
    );
}

#[test]
fn what_envoy_adds_by_itself_is_written_down() {
    check(
        r#"
  - { match: { prefix: /a }, route: { cluster: web } }
  - { match: { prefix: /b }, route: { cluster: web, timeout: 3s, idle_timeout: 60s, retry_policy: { retry_on: '5xx,reset', num_retries: 2, per_try_timeout: 1s } } }
  - { match: { prefix: /c }, route: { cluster: web, retry_policy: { retry_on: 'retriable-status-codes', retriable_status_codes: [503] } } }
  - { match: { prefix: /d }, route: { cluster: web, retry_policy: { retry_on: retriable-headers } } }
"#,
        &expect![[r#"
            3 of 4 routes, 1 of 2 clusters, 0 of 1 listeners
            web expose: edge
            web route: path=/a*
            web route-2: path=/b* timeout=3s stream-idle-timeout=60s per-try-timeout=1s retry=5xx,reset:2
            web route-3: path=/c* retry=503:1
            web timeout: 15s
            stays 3].route.retry_policy.retry_on: `retry=` does not know `retriable-headers`
            stays static_resources.clusters[0]: the listener `edge` stays in the file and names it
            stays static_resources.listeners[0]: some of its routes stay
        "#]],
    );
}

#[test]
fn actions_become_words() {
    check(
        r#"
  - { match: { prefix: /a/ }, route: { cluster: web, timeout: 0s, prefix_rewrite: /b/ } }
  - { match: { prefix: /c }, redirect: { https_redirect: true, host_redirect: x.test, response_code: FOUND } }
  - { match: { path: /d }, redirect: { path_redirect: /e, strip_query: true } }
  - { match: { prefix: /f }, direct_response: { status: 200, body: { inline_string: 'all "well"' } } }
  - { match: { prefix: /g }, route: { timeout: 0s, weighted_clusters: { clusters: [ { name: api, weight: 90 }, { name: web, weight: 10 } ] } } }
  - { match: { prefix: /h }, route: { cluster: web, timeout: 0s, upgrade_configs: [ { upgrade_type: websocket } ], hash_policy: [ { cookie: { name: u, ttl: 3600s } } ] } }
  - { match: { prefix: /i }, route: { cluster: web, timeout: 0s, request_mirror_policies: [ { cluster: api, runtime_fraction: { default_value: { numerator: 5 } } } ] } }
  - { match: { prefix: /j }, route: { cluster: web, timeout: 0s, internal_redirect_policy: {} } }
  - { match: { prefix: / }, route: { cluster: web, timeout: 0s, prefix_rewrite: /v2 }, request_headers_to_add: [ { header: { key: A, value: '%REQ(b)%' }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }, { header: { key: d, value: '1' }, append_action: ADD_IF_ABSENT } ], response_headers_to_add: [ { header: { key: e, value: '2' }, append_action: ADD_IF_ABSENT } ] }
"#,
        &expect![[r#"
            8 of 9 routes, 1 of 2 clusters, 0 of 1 listeners
            api expose: edge
            api route: path=/g* split=api:90,web:10
            web expose: edge
            web route: path=/a/* rewrite=/b/
            web route-2: path=/c* redirect=https://x.test redirect-code=302
            web route-3: exact=/d redirect=/e redirect-query=drop
            web route-4: path=/f* respond="200:all \"well\""
            web route-5: path=/h* upgrade=websocket hash=cookie:u:3600s
            web route-6: path=/i* mirror=api:5%
            web route-7: path=/ regex-rewrite=^/=>/v2 set-header=a:%REQ(b)% default-header=d:1 default-response-header=e:2
            stays 7].route.internal_redirect_policy: the bridge does not express it yet
            stays static_resources.clusters[0]: the listener `edge` stays in the file and names it
            stays static_resources.listeners[0]: some of its routes stay
        "#]],
    );
}

#[test]
fn the_order_of_the_file_is_kept() {
    check(
        r#"
  - { match: { prefix: /a }, route: { cluster: web, timeout: 0s } }
  - { match: { prefix: /a/b }, route: { cluster: api, timeout: 0s } }
  - { match: { safe_regex: { regex: '.*[.]js' } }, route: { cluster: api, timeout: 0s } }
  - { match: { prefix: /a }, route: { cluster: api, timeout: 0s } }
  - { match: { prefix: / }, route: { cluster: web, timeout: 0s } }
"#,
        &expect![[r#"
            5 of 5 routes, 2 of 2 clusters, 1 of 1 listeners
            api expose: edge
            api route: path=/a/b* priority=1
            api route-2: regex=.*[.]js priority=1
            web expose: edge
            web route: path=/a* priority=2
            web route-2: path=/
            unreached: `static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0]` takes the same requests
        "#]],
    );
}

#[test]
fn hosts_keep_what_they_inherit() {
    let hosts = r#"
- name: shop
  domains: [shop.test, 'shop.test:*', '*.shop.test']
  cors: { allow_origin_string_match: [ { exact: 'https://a.test' } ], allow_methods: 'GET, PUT', max_age: '60' }
  response_headers_to_add: [ { header: { key: x-host, value: shop } } ]
  routes:
  - { match: { prefix: / }, route: { cluster: web, timeout: 0s }, response_headers_to_remove: [server] }
  - { match: { prefix: /x }, route: { cluster: web, timeout: 0s }, response_headers_to_add: [ { header: { key: x-host, value: twice } } ] }
- name: odd
  domains: ['odd.*']
  routes:
  - { match: { prefix: / }, route: { cluster: web } }
"#;
    let filters = "http_filters:\n- name: envoy.filters.http.cors\n- name: envoy.filters.http.router\n";
    expect![[r#"
        1 of 3 routes, 1 of 2 clusters, 0 of 1 listeners
        web expose: edge
        web route: host=*.shop.test,shop.test path=/ add-response-header=x-host:shop remove-response-header=server cors=https://a.test cors-methods=GET,PUT cors-max-age=60s
        stays static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]: the header x-host is changed at several levels
        stays static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[1].domains[0]: a host of the bridge is `api.example.com`, `*.example.com`, or all
        stays static_resources.clusters[0]: the listener `edge` stays in the file and names it
        stays static_resources.listeners[0]: some of its routes stay
    "#]].assert_eq(&shown(&adopted(&file(hosts, filters, WEB))));
}

#[test]
fn clusters_are_of_a_registry_or_outside() {
    let hosts = "- name: all\n  domains: ['*']\n  routes:\n\
                 \x20 - { match: { prefix: /maps }, route: { cluster: maps, timeout: 0s, auto_host_rewrite: true } }\n\
                 \x20 - { match: { prefix: /tls }, route: { cluster: tls, timeout: 0s } }\n\
                 \x20 - { match: { prefix: / }, route: { cluster: many, timeout: 0s } }\n";
    let clusters = r#"
- name: many
  type: STRICT_DNS
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      explicit_http_config: { http2_protocol_options: {} }
  load_assignment: { endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: a.test, port_value: 80 } } } }, { endpoint: { address: { socket_address: { address: b.test, port_value: 80 } } } } ] } ] }
- name: maps
  type: LOGICAL_DNS
  load_assignment: { endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: maps.test, port_value: 80 } } } } ] } ] }
- name: tls
  type: LOGICAL_DNS
  transport_socket: { name: envoy.transport_sockets.tls }
  load_assignment: { endpoints: [ { lb_endpoints: [ { endpoint: { address: { socket_address: { address: tls.test, port_value: 443 } } } } ] } ] }
- name: ring
  type: ORIGINAL_DST
  lb_policy: CLUSTER_PROVIDED
"#;
    expect![[r#"
        3 of 3 routes, 2 of 4 clusters, 1 of 1 listeners
        many expose: edge
        many protocol: http2
        many route: path=/
        [external.maps] ["maps.test:80"] Some("logical")
          expose: edge
          route: path=/maps* host-rewrite=maps.test
        [external.tls] [] None
          expose: edge
          route: path=/tls*
        stays static_resources.clusters[3].lb_policy: lb: `cluster_provided` must be round_robin, least_request, random, ring_hash, maglev or wrr
        stays static_resources.clusters[3].type: the bridge does not express it yet
        stays static_resources.clusters[2].transport_socket: the bridge does not express it yet
    "#]].assert_eq(&shown(&adopted(&file(hosts, "", clusters))));
}

#[test]
fn a_listener_moves_with_its_certificate_its_log_and_what_it_believes() {
    let host =
        "- name: all\n  domains: ['*']\n  routes:\n  - { match: { prefix: / }, route: { cluster: web } }\n";
    let manager = "xff_num_trusted_hops: 1\ncommon_http_protocol_options: { max_connection_duration: 3600s }\n\
                   access_log:\n- name: log\n  typed_config: { '@type': x.FileAccessLog, path: /var/log/edge.log }\n";
    let text = file(host, manager, WEB).replace(
        "    filter_chains:\n    - filters:",
        "    listener_filters: [ { name: envoy.filters.listener.proxy_protocol } ]\n    filter_chains:\n    - \
         transport_socket: { name: tls, typed_config: { '@type': x.DownstreamTlsContext, common_tls_context: { \
         tls_certificates: [ { certificate_chain: { filename: /tls/a.pem }, private_key: { filename: /tls/a.key } } ] } } }\n\
         \x20     filters:",
    );
    let adopted = adopted(&text);
    assert_eq!(adopted.report.listeners[0].rests, []);
    let toml = adopted.bridge_toml(Registry::Etcd);
    load_str(Path::new("bridge.toml"), &toml, None).unwrap();
    let (_, sections) = toml.split_once("[listeners.edge]").unwrap();
    expect![[r#"

        address = "127.0.0.1:10000"
        exposure = "edge"
        access_log = "/var/log/edge.log"
        trusted_hops = 1
        max_connection_duration = "3600s"
        proxy_protocol = true
        tls.certificates = ["edge"]
        http10 = false
        upgrades = []

        [tls.edge]
        certificate = "/tls/a.pem"
        key = "/tls/a.key"
    "#]]
    .assert_eq(sections);
}

#[test]
fn a_service_with_more_routes_than_a_document_holds_has_further_sections() {
    let all: String = (0..200)
        .map(|n| format!("  - {{ match: {{ prefix: /r{n}/ }}, route: {{ cluster: web, timeout: 0s }} }}\n"))
        .collect::<Vec<_>>()
        .concat();
    let adopted = routes(&all);
    assert!(adopted.report.counts().starts_with("200 of 200 routes"));
    let routes_in =
        |keys: &BTreeMap<String, String>| keys.keys().filter(|key| key.starts_with("route")).count();
    assert_eq!(routes_in(&adopted.documents["web"]), 64);
    let sections = adopted
        .externals
        .iter()
        .map(|(name, external)| (name.as_str(), routes_in(&external.keys)));
    assert_eq!(
        sections.collect::<Vec<_>>(),
        [("web-routes-2", 64), ("web-routes-3", 64), ("web-routes-4", 8)]
    );
    assert!(adopted.externals["web-routes-2"].keys["route"].contains("split=web:1"));
    load_str(
        Path::new("bridge.toml"),
        &adopted.bridge_toml(Registry::Consul),
        None,
    )
    .unwrap();
}

#[test]
fn a_listener_with_routes_that_stay_leads_the_others_to_the_bridge() {
    let adopted = routes(
        r#"
  - { match: { prefix: /a }, route: { cluster: web } }
  - { match: { prefix: /b, runtime_fraction: { default_value: { numerator: 5 } } }, route: { cluster: web } }
  - { match: { prefix: /c }, route: { cluster: api } }
"#,
    );
    let [_, second, third] = adopted.bootstraps().unwrap();
    let hosts = &third["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        ["route_config"]["virtual_hosts"];
    expect![[r#"
        - domains:
          - '*'
          name: all
          routes:
          - match:
              prefix: /a
            route:
              cluster: way-to-edge-bridge
              idle_timeout: 0s
              timeout: 0s
          - match:
              prefix: /b
              runtime_fraction:
                default_value:
                  numerator: 5
            route:
              cluster: web
          - match:
              prefix: /
            route:
              cluster: way-to-edge-bridge
              idle_timeout: 0s
              timeout: 0s
    "#]]
    .assert_eq(&serde_yaml_ng::to_string(hosts).unwrap());
    assert_eq!(second["static_resources"]["listeners"][1]["name"], "edge-bridge");
    assert!(third["static_resources"]["listeners"][1].is_null());
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/adopt/envoy.yaml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_is_adopted_as_a_whole() {
    for listeners in [Listeners::Move, Listeners::Keep] {
        let options = Options {
            listeners,
            ..Options::default()
        };
        let adopted = adopt(&example(), &options).unwrap();
        let counts = adopted.report.counts();
        match listeners {
            Listeners::Move => {
                expect!["118 of 118 routes, 1 of 1 TCP routes, 40 of 40 clusters, 5 of 5 listeners"]
                    .assert_eq(&counts);
            }
            Listeners::Keep => {
                expect!["118 of 118 routes, 0 of 1 TCP routes, 39 of 40 clusters, 0 of 5 listeners"]
                    .assert_eq(&counts);
            }
        }
        let mut issues: Vec<Issue> = Vec::new();
        let externals = adopted
            .externals
            .iter()
            .map(|(name, external)| (name, &external.keys));
        for (service, keys) in adopted.documents.iter().chain(externals) {
            let pairs = keys.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            declaration::parse(service, Spelling::Plain, pairs, &mut issues);
        }
        assert_eq!(issues, []);
        for registry in [Registry::Consul, Registry::Etcd] {
            load_str(Path::new("bridge.toml"), &adopted.bridge_toml(registry), None).unwrap();
            assert!(adopted.report_md(registry).contains(&counts));
        }
        assert_eq!(adopted.bootstraps().unwrap().len(), 3);
    }
}

/// Each node of a file is replaced by something else, one after the other.
#[test]
fn no_file_makes_it_panic() {
    let host = "- name: all\n  domains: ['*', 'a.test']\n  retry_policy: { retry_on: 5xx }\n  routes:\n\
                \x20 - { match: { prefix: /a, headers: [ { name: x, exact_match: '1' } ] }, route: { cluster: web } }\n\
                \x20 - { match: { prefix: /b, runtime_fraction: {} }, route: { cluster: api }, typed_per_filter_config: {} }\n\
                \x20 - { match: { prefix: / }, redirect: { https_redirect: true } }\n";
    let file: Value = serde_yaml_ng::from_str(&file(host, "", WEB)).unwrap();
    let mut places = Vec::new();
    collect(&file, &mut String::new(), &mut places);
    assert!(places.len() > 40, "{}", places.len());
    for place in places {
        for other in [json!(7), json!("x"), json!([{}]), json!({ "x": 1 })] {
            let mut broken = file.clone();
            *broken.pointer_mut(&place).unwrap() = other;
            let Ok(adopted) = adopt(&broken.to_string(), &Options::default()) else {
                continue;
            };
            if broken.pointer(&place).is_some_and(Value::is_string) {
                drop(adopted.bootstraps());
            }
            let places = Places::default();
            drop(moved(&adopted.file, &places));
            drop(probes(&adopted.file));
        }
    }
}

fn collect(value: &Value, path: &mut String, places: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, item)| (n.to_string(), item))
            .collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.replace('/', "~1"), item))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let before = path.len();
        path.extend(["/", &key]);
        places.push(path.clone());
        collect(child, path, places);
        path.truncate(before);
    }
}

#[test]
fn a_file_of_another_control_plane_is_refused() {
    for text in ["dynamic_resources: { ads_config: {} }", "[]", "a: [", "just text"] {
        assert!(adopt(text, &Options::default()).is_err(), "{text}");
    }
}
