//! What each key of a cluster makes of the message that Envoy gets, as JSON. That Envoy accepts it, and does what it
//! says, is in `integration/clusters.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use serde_json::Value;
use xds_bridge::model::declaration::{self, Spelling};
use xds_bridge::model::{Clusters, Effective, Service};
use xds_bridge::render;
use xds_bridge::translate::cluster::{cluster, proxyless};
use xds_bridge::xds::Draft;

/// The message of a service that declares these keys.
fn message(keys: &[(&str, &str)]) -> Value {
    let mut issues = Vec::new();
    let declared = declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut issues);
    assert_eq!(issues, [], "{keys:?}");
    let service = Service {
        policy: declared.policy,
        ..Service::default()
    };
    let effective = Effective::of(&service, &Clusters::DEFAULT);
    let draft = cluster(&"orders".into(), &effective.cluster);
    render::json("envoy.config.cluster.v3.Cluster", &draft.body).unwrap()
}

/// As gRPC's own clients get the cluster of a service whose servers speak TLS: beside its socket it is Envoy's.
#[test]
fn what_grpc_clients_get_of_a_service_by_tls() {
    let mut seen = String::new();
    for (tls, shows_certificate) in [
        ("shop", true),
        ("shop sni=api.shop.test", false),
        ("system san=spiffe://shop/orders", false),
    ] {
        let keys = [("protocol", "grpcs"), ("tls", tls)];
        let declared = declaration::parse("x", Spelling::Plain, keys, &mut Vec::new());
        let service = Service {
            policy: declared.policy,
            ..Service::default()
        };
        let mut settings = Effective::of(&service, &Clusters::DEFAULT).cluster;
        settings.shows_certificate = shows_certificate;
        let json = |draft: Draft| render::json("envoy.config.cluster.v3.Cluster", &draft.body).unwrap();
        let name = "orders".into();
        let (mut envoy, mut grpc) = (
            json(cluster(&name, &settings)),
            json(proxyless::cluster(&name, &settings)),
        );
        let socket = grpc["transport_socket"].take();
        envoy["transport_socket"].take();
        assert_eq!(envoy, grpc);
        assert_eq!(socket["name"], "envoy.transport_sockets.tls");
        let _ = writeln!(seen, "{tls}\n{:#}", socket["typed_config"]);
    }
    expect![[r#"
        shop
        {
          "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
          "common_tls_context": {
            "tls_certificate_provider_instance": {
              "instance_name": "shop"
            },
            "validation_context": {
              "ca_certificate_provider_instance": {
                "instance_name": "shop"
              },
              "match_subject_alt_names": [
                {
                  "exact": "orders"
                }
              ],
              "match_typed_subject_alt_names": [
                {
                  "matcher": {
                    "exact": "orders"
                  },
                  "san_type": "DNS"
                }
              ]
            }
          },
          "sni": "orders"
        }
        shop sni=api.shop.test
        {
          "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
          "common_tls_context": {
            "validation_context": {
              "ca_certificate_provider_instance": {
                "instance_name": "shop"
              },
              "match_subject_alt_names": [
                {
                  "exact": "api.shop.test"
                },
                {
                  "exact": "*.shop.test"
                }
              ],
              "match_typed_subject_alt_names": [
                {
                  "matcher": {
                    "exact": "api.shop.test"
                  },
                  "san_type": "DNS"
                }
              ]
            }
          },
          "sni": "api.shop.test"
        }
        system san=spiffe://shop/orders
        {
          "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
          "common_tls_context": {
            "validation_context": {
              "ca_certificate_provider_instance": {
                "instance_name": "system"
              },
              "match_subject_alt_names": [
                {
                  "exact": "spiffe://shop/orders"
                }
              ],
              "match_typed_subject_alt_names": [
                {
                  "matcher": {
                    "exact": "spiffe://shop/orders"
                  },
                  "san_type": "URI"
                }
              ]
            }
          },
          "sni": "orders"
        }
    "#]]
    .assert_eq(&seen);
}

/// The fields that one key makes other than they are with this protocol only.
fn changed(protocol: &str, key: &str, value: &str) -> String {
    let protocol = ("protocol", protocol);
    let (before, after) = (message(&[protocol]), message(&[protocol, (key, value)]));
    let mut seen = format!("{key} = {value}\n");
    for (field, now) in after.as_object().unwrap() {
        if before.get(field) != Some(now) {
            let _ = writeln!(seen, "{field}: {now}");
        }
    }
    assert!(
        before
            .as_object()
            .unwrap()
            .keys()
            .all(|field| after.get(field).is_some())
    );
    seen
}

fn check(cases: &[(&str, &str, &str)], wanted: &Expect) {
    let seen: Vec<String> = cases.iter().map(|(p, k, v)| changed(p, k, v)).collect();
    wanted.assert_eq(&seen.join("\n"));
}

#[test]
fn balancing() {
    check(
        &[
            ("http1", "lb", "round_robin"),
            ("http1", "lb", "ring_hash"),
            ("http1", "slow-start", "30s"),
            ("http1", "slow-start", "0s"),
        ],
        &expect![[r#"
            lb = round_robin

            lb = ring_hash
            load_balancing_policy: {"policies":[{"typed_extension_config":{"name":"envoy.load_balancing_policies.ring_hash","typed_config":{"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash","hash_function":"XX_HASH"}}},{"typed_extension_config":{"name":"envoy.load_balancing_policies.round_robin","typed_config":{"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"}}}]}

            slow-start = 30s
            round_robin_lb_config: {"slow_start_config":{"slow_start_window":"30s"}}

            slow-start = 0s
        "#]],
    );
    let mut first = String::new();
    for lb in ["least_request", "random", "maglev", "wrr"] {
        let keys = [("lb", lb), ("slow-start", "30s")];
        let takes_both = lb == "least_request";
        let message = message(if takes_both { &keys } else { &keys[..1] });
        let policies = message["load_balancing_policy"]["policies"].as_array().unwrap();
        let names = policies
            .iter()
            .map(|policy| policy["typed_extension_config"]["name"].as_str().unwrap());
        let names: Vec<&str> = names.map(|name| name.rsplit('.').next().unwrap()).collect();
        let config = &policies[0]["typed_extension_config"]["typed_config"];
        let _ = writeln!(first, "{lb}: {} {config}", names.join(", "));
    }
    expect![[r#"
        least_request: least_request, round_robin {"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest","choice_count":2,"slow_start_config":{"slow_start_window":"30s"}}
        random: random, round_robin {"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random"}
        maglev: maglev, round_robin {"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev"}
        wrr: client_side_weighted_round_robin, round_robin {"@type":"type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"}
    "#]].assert_eq(&first);
}

#[test]
fn health_checks() {
    check(
        &[
            ("http1", "health-check", "http:/healthz"),
            (
                "http2",
                "health-check",
                "http:/healthz interval=1s timeout=500ms unhealthy=1 healthy=4 host=a.example status=200-399,404",
            ),
            ("grpc", "health-check", "grpc:shop.Orders host=a.example"),
            ("tcp", "health-check", "tcp"),
        ],
        &expect![[r#"
            health-check = http:/healthz
            health_checks: [{"healthy_threshold":2,"http_health_check":{"path":"/healthz"},"interval":"10s","no_traffic_interval":"10s","timeout":"2s","unhealthy_threshold":3}]
            ignore_health_on_host_removal: true

            health-check = http:/healthz interval=1s timeout=500ms unhealthy=1 healthy=4 host=a.example status=200-399,404
            health_checks: [{"healthy_threshold":4,"http_health_check":{"codec_client_type":"HTTP2","expected_statuses":[{"end":"400","start":"200"},{"end":"405","start":"404"}],"host":"a.example","path":"/healthz"},"interval":"1s","no_traffic_interval":"1s","timeout":"0.500s","unhealthy_threshold":1}]
            ignore_health_on_host_removal: true

            health-check = grpc:shop.Orders host=a.example
            health_checks: [{"grpc_health_check":{"authority":"a.example","service_name":"shop.Orders"},"healthy_threshold":2,"interval":"10s","no_traffic_interval":"10s","timeout":"2s","unhealthy_threshold":3}]
            ignore_health_on_host_removal: true

            health-check = tcp
            health_checks: [{"healthy_threshold":2,"interval":"10s","no_traffic_interval":"10s","tcp_health_check":{},"timeout":"2s","unhealthy_threshold":3}]
            ignore_health_on_host_removal: true
        "#]],
    );
}

#[test]
fn ejection() {
    check(
        &[
            ("http1", "outlier", "off"),
            ("http1", "outlier", "errors=7"),
            (
                "http1",
                "outlier",
                "gateway-errors=3 failure-rate=60% interval=1s ejection=10m max-ejected=100%",
            ),
        ],
        &expect![[r#"
            outlier = off

            outlier = errors=7
            outlier_detection: {"base_ejection_time":"30s","consecutive_5xx":7,"consecutive_gateway_failure":5,"enforcing_consecutive_5xx":100,"enforcing_consecutive_gateway_failure":0,"enforcing_failure_percentage":0,"enforcing_success_rate":0,"failure_percentage_minimum_hosts":2,"failure_percentage_request_volume":50,"failure_percentage_threshold":85,"interval":"10s","max_ejection_percent":50,"max_ejection_time":"300s","success_rate_minimum_hosts":5,"success_rate_request_volume":100,"success_rate_stdev_factor":1900}

            outlier = gateway-errors=3 failure-rate=60% interval=1s ejection=10m max-ejected=100%
            outlier_detection: {"base_ejection_time":"600s","consecutive_5xx":5,"consecutive_gateway_failure":3,"enforcing_consecutive_5xx":0,"enforcing_consecutive_gateway_failure":100,"enforcing_failure_percentage":100,"enforcing_success_rate":0,"failure_percentage_minimum_hosts":2,"failure_percentage_request_volume":50,"failure_percentage_threshold":60,"interval":"1s","max_ejection_percent":100,"max_ejection_time":"600s","success_rate_minimum_hosts":5,"success_rate_request_volume":100,"success_rate_stdev_factor":1900}
        "#]],
    );
}

#[test]
fn limits() {
    check(
        &[
            ("http1", "limits", "connections=1 pending=2 requests=3 retries=4"),
            ("http1", "limits", "retry-budget=20%"),
            ("http1", "connect-timeout", "250ms"),
        ],
        &expect![[r#"
            limits = connections=1 pending=2 requests=3 retries=4
            circuit_breakers: {"thresholds":[{"max_connections":1,"max_pending_requests":2,"max_requests":3,"max_retries":4}]}

            limits = retry-budget=20%
            circuit_breakers: {"thresholds":[{"max_connections":4294967295,"max_pending_requests":4294967295,"max_requests":4294967295,"max_retries":1000,"retry_budget":{"budget_percent":{"value":20.0},"min_retry_concurrency":10}}]}

            connect-timeout = 250ms
            connect_timeout: "0.250s"
        "#]],
    );
}

#[test]
fn connections() {
    check(
        &[
            ("http1", "max-connection-duration", "1h"),
            ("http1", "max-connection-duration", "0s"),
            ("grpc", "max-requests-per-connection", "100"),
            ("grpc", "max-requests-per-connection", "0"),
            ("tcp", "tcp-keepalive", "60s"),
            ("tcp", "tcp-keepalive", "idle=60s interval=10s probes=3"),
            (
                "grpc",
                "http2",
                "streams=100 window=1MiB connection-window=2MiB keepalive=30s",
            ),
            ("http1", "proxy-protocol", "v1"),
            ("tcp", "proxy-protocol", "v2"),
        ],
        &expect![[r#"
            max-connection-duration = 1h
            typed_extension_protocol_options: {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","common_http_protocol_options":{"idle_timeout":"4s","max_connection_duration":"3600s"},"explicit_http_config":{"http_protocol_options":{}}}}

            max-connection-duration = 0s

            max-requests-per-connection = 100
            typed_extension_protocol_options: {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","common_http_protocol_options":{"max_requests_per_connection":100},"explicit_http_config":{"http2_protocol_options":{}}}}

            max-requests-per-connection = 0

            tcp-keepalive = 60s
            upstream_connection_options: {"tcp_keepalive":{"keepalive_time":60}}

            tcp-keepalive = idle=60s interval=10s probes=3
            upstream_connection_options: {"tcp_keepalive":{"keepalive_interval":10,"keepalive_probes":3,"keepalive_time":60}}

            http2 = streams=100 window=1MiB connection-window=2MiB keepalive=30s
            typed_extension_protocol_options: {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{"connection_keepalive":{"interval":"30s","timeout":"5s"},"initial_connection_window_size":2097152,"initial_stream_window_size":1048576,"max_concurrent_streams":100}}}}

            proxy-protocol = v1
            transport_socket: {"name":"envoy.transport_sockets.upstream_proxy_protocol","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport","config":{},"transport_socket":{"name":"envoy.transport_sockets.raw_buffer","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}}

            proxy-protocol = v2
            transport_socket: {"name":"envoy.transport_sockets.upstream_proxy_protocol","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport","config":{"version":"V2"},"transport_socket":{"name":"envoy.transport_sockets.raw_buffer","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}}
        "#]],
    );
}
