//! TCP proxies of Envoy's file, as ports and names of TLS of services.

use std::path::Path;

use xds_bridge::adopt::Registry;
use xds_bridge::adopt::loopback::{Places, moved};
use xds_bridge::adopt::probe::probes;
use xds_bridge::config::load_str;

use crate::{WEB, adopted, file, shown};

/// A listener with these filter chains beside that of a file.
fn beside(chains: &str) -> String {
    let host =
        "- name: all\n  domains: ['*']\n  routes:\n  - { match: { prefix: / }, route: { cluster: web } }\n";
    let clusters =
        format!("{WEB}- {{ name: db, type: EDS, eds_cluster_config: {{ service_name: orders-db }} }}\n");
    let listener = format!(
        "  listeners:\n  - name: tcp\n    address: {{ socket_address: {{ address: 0.0.0.0, port_value: 5432 }} }}\n    \
         filter_chains:\n{chains}"
    );
    file(host, "", &clusters).replacen("  listeners:\n", &listener, 1)
}

/// A chain with a TCP proxy that says this.
fn proxy(before: &str, says: &str) -> String {
    format!(
        "    - {{ {before} filters: [ {{ name: tcp, typed_config: {{ '@type': x.TcpProxy, stat_prefix: x, {says} }} }} ] }}\n"
    )
}

#[test]
fn connections_become_ports_and_names_of_services() {
    let by_port = proxy(
        "",
        "weighted_clusters: { clusters: [ { name: db, weight: 9 }, { name: api, weight: 1 } ] }, idle_timeout: 300s, \
         max_downstream_connection_duration: 7200s, hash_policy: [ { source_ip: {} } ]",
    );
    let by_port = adopted(&beside(&by_port));
    let counts = "1 of 1 routes, 1 of 1 TCP routes, 3 of 3 clusters, 2 of 2 listeners";
    assert_eq!(by_port.report.counts(), counts, "{}", shown(&by_port));
    let document = &by_port.documents["orders-db"];
    assert_eq!(document["expose"], "tcp");
    assert_eq!(
        document["route"],
        "port=5432 stream-idle-timeout=300s max-stream-duration=7200s split=orders-db:9,api:1 hash=ip"
    );
    let toml = by_port.bridge_toml(Registry::Consul);
    load_str(Path::new("bridge.toml"), &toml, None).unwrap();
    let section = "[listeners.tcp]\naddress = \"0.0.0.0:5432\"\nprotocol = \"tcp\"\nexposure = \"tcp\"\n";
    assert!(toml.contains(section), "{toml}");
    let by_name = proxy(
        "filter_chain_match: { server_names: [ b.test, '*.a.test' ], transport_protocol: tls },",
        "cluster: db",
    ) + &proxy("", "cluster: web, max_connect_attempts: 3");
    let both = adopted(&beside(&by_name));
    assert_eq!(both.documents["orders-db"]["route"], "sni=*.a.test,b.test");
    let mut of_web = both.documents["web"].values();
    assert!(
        of_web.any(|route| route == "port=5432 expose=tcp"),
        "{}",
        shown(&both)
    );
    assert!(
        both.bridge_toml(Registry::Consul)
            .contains(r#"sni = ["*.a.test", "b.test"]"#)
    );
    let [_, second, third] = adopted(&beside(&by_name)).bootstraps().unwrap();
    // While the listener stands in the file its cluster is that of the bridge, by the name of the service.
    assert!(
        second.to_string().contains(r#""cluster":"orders-db""#),
        "{second}"
    );
    assert!(!third.to_string().contains("TcpProxy"), "{third}");
}

#[test]
fn many_names_of_one_chain_are_several_routes_beside_requests() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}.test")).collect();
    let by_name = proxy(
        &format!(
            "filter_chain_match: {{ server_names: [ {} ] }},",
            names.join(", ")
        ),
        "cluster: db",
    );
    let routes =
        "- name: all\n  domains: ['*']\n  routes:\n  - { match: { prefix: / }, route: { cluster: web } }\n";
    let text = file(routes, "", WEB)
        .replace("    filter_chains:\n", &format!("    filter_chains:\n{by_name}"))
        .replace("  clusters:\n", "  clusters:\n  - { name: db, type: EDS }\n");
    let adopted = adopted(&text);
    assert_eq!(
        adopted.report.counts(),
        "1 of 1 routes, 1 of 1 TCP routes, 3 of 3 clusters, 1 of 1 listeners"
    );
    let routes = adopted.documents["db"]
        .values()
        .filter(|value| value.starts_with("sni="));
    assert_eq!(routes.count(), 3);
    assert_eq!(adopted.exposures["edge"].sni.len(), 40);
    load_str(
        Path::new("bridge.toml"),
        &adopted.bridge_toml(Registry::Consul),
        None,
    )
    .unwrap();
    // On loopback its requests are still answered.
    let places = Places {
        listeners: [("127.0.0.1:10000".to_owned(), ([127, 0, 0, 1], 7).into())].into(),
        ..Places::default()
    };
    let moved = moved(&adopted.file, &places);
    let chains = &moved["static_resources"]["listeners"][0]["filter_chains"];
    assert_eq!(chains.as_array().map(Vec::len), Some(1), "{moved}");
    assert!(chains.to_string().contains("HttpConnectionManager"), "{moved}");
    assert!(!probes(&adopted.file).is_empty());
}

#[test]
fn what_of_connections_has_no_word_stays_with_its_field() {
    let tls = "transport_socket: { name: tls, typed_config: { '@type': x.DownstreamTlsContext } },";
    for (chains, why) in [
        (proxy("", "cluster: nosuch"), "there is no cluster `nosuch`"),
        (
            proxy("", "weighted_clusters: { clusters: [] }"),
            "it leads to no cluster",
        ),
        (
            proxy("", "cluster: db, tunneling_config: { hostname: x }"),
            "does not express",
        ),
        (
            proxy("filter_chain_match: { destination_port: 1 },", "cluster: db"),
            "does not express",
        ),
        (
            proxy("filter_chain_match: { server_names: [ 'a b' ] },", "cluster: db"),
            "as a word of a route",
        ),
        (
            proxy(
                &format!("filter_chain_match: {{ server_names: [ a.test ] }}, {tls}"),
                "cluster: db",
            ),
            "ends TLS by a certificate",
        ),
        (
            proxy("", "cluster: db") + &proxy("", "cluster: web"),
            "one filter chain",
        ),
        (
            "    - { filters: [ { name: limit, typed_config: { '@type': x.ConnectionLimit } } ] }\n"
                .to_owned(),
            "only HTTP connection managers and TCP proxies",
        ),
    ] {
        let adopted = adopted(&beside(&chains));
        let shown = shown(&adopted);
        assert!(shown.contains(why), "{why}: {shown}");
        assert!(!adopted.listeners.contains_key("tcp"), "{why}: {shown}");
        load_str(
            Path::new("bridge.toml"),
            &adopted.bridge_toml(Registry::Consul),
            None,
        )
        .unwrap();
        adopted.bootstraps().unwrap();
    }
}
