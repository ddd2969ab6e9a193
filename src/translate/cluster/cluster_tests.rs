//! What holds for each cluster; what each key makes of it is in `tests/cluster_keys.rs`.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;

use super::*;
use crate::model::declaration::{self, Spelling};
use crate::model::{Clusters, Effective, Policy, Protocol, Service};

#[test]
fn envoy_closes_idle_connections_to_http1_servers_first() {
    let idle = |protocol, idle_timeout| {
        let service = Service {
            policy: Policy {
                protocol,
                idle_timeout,
                ..Policy::default()
            },
            ..Service::default()
        };
        let any = message("orders", &Effective::of(&service, &Clusters::DEFAULT).cluster)
            .typed_extension_protocol_options
            .remove(HTTP_OPTIONS)?;
        let options = HttpProtocolOptions::decode(&*any.value).unwrap();
        Some(options.common_http_protocol_options?.idle_timeout?.seconds)
    };
    let two = Some(Duration::from_secs(2));
    assert_eq!((idle(None, None), idle(None, two)), (Some(4), Some(2)));
    assert_eq!(idle(None, Some(Duration::ZERO)), Some(0), "never");
    for (protocol, declared) in [
        (Protocol::Grpc, Some(2)),
        (Protocol::Http2, Some(2)),
        (Protocol::Tcp, None),
    ] {
        assert_eq!(
            (idle(Some(protocol), None), idle(Some(protocol), two)),
            (None, declared),
            "{protocol:?}"
        );
    }
}

/// What one of gRPC's own clients refuses, all others do without: the cluster is shared with them.
#[test]
fn a_figure_of_the_servers_is_reported_where_it_is_declared() {
    let reported = |keys: &[(&str, &str)]| {
        let mut issues = Vec::new();
        let declared = declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut issues);
        let service = Service {
            policy: declared.policy,
            ..Service::default()
        };
        let cluster = message("orders", &Effective::of(&service, &Clusters::DEFAULT).cluster);
        (cluster.lrs_report_endpoint_metrics, issues.len())
    };
    let bad = || vec!["named_metrics.bad".to_owned()];
    assert_eq!(reported(&[]), (Vec::new(), 0));
    assert_eq!(reported(&[("rollout-metric", "bad")]), (bad(), 0));
    assert_eq!(reported(&[("rollout-metric", "named_metrics.bad")]), (bad(), 0));
    assert_eq!(reported(&[("rollout-metric", "so bad")]), (Vec::new(), 1));
}

#[test]
fn the_cluster_is_what_each_grpc_client_accepts() {
    for (key, value) in [
        ("timeout", "1s"),
        ("lb", "least_request"),
        ("lb", "random"),
        ("lb", "ring_hash"),
        ("lb", "maglev"),
        ("lb", "wrr"),
        ("outlier", "errors=5"),
        ("outlier", "failure-rate=50%"),
        ("proxy-protocol", "v1"),
    ] {
        let keys = [("protocol", "grpc"), (key, value)];
        let policy = declaration::parse("x", Spelling::Plain, keys, &mut Vec::new()).policy;
        let service = Service {
            policy,
            ..Service::default()
        };
        accepted_by_grpc(message(
            "orders",
            &Effective::of(&service, &Clusters::DEFAULT).cluster,
        ));
    }
}

fn accepted_by_grpc(cluster: Cluster) {
    assert_eq!(
        cluster.lb_policy(),
        LbPolicy::RoundRobin,
        "the C core refuses LEAST_REQUEST"
    );
    if let Some(list) = &cluster.load_balancing_policy {
        let last = list
            .policies
            .last()
            .and_then(|p| p.typed_extension_config.as_ref());
        assert!(last.is_some_and(|p| p.name.ends_with(".round_robin")));
    }
    if let Some(outlier) = &cluster.outlier_detection {
        // Node's process can end without one of them.
        assert!(outlier.success_rate_minimum_hosts.is_some());
        assert!(outlier.success_rate_request_volume.is_some());
        assert!(outlier.success_rate_stdev_factor.is_some());
        assert!(outlier.enforcing_success_rate.is_some());
    }
    assert!(
        cluster.transport_socket.is_none(),
        "Go and Java refuse an explicit raw_buffer"
    );
    let from = cluster.eds_cluster_config.and_then(|eds| eds.eds_config);
    assert_eq!(from, Some(ads()));
}

/// Where it stands in Envoy's own file, reports are asked for by the file.
#[test]
fn a_cluster_asks_clients_of_grpc_for_their_load() {
    let settings = Effective::of(&Service::default(), &Clusters::DEFAULT).cluster;
    let served = Cluster::decode(&*cluster(&"orders".into(), &settings).body).unwrap();
    let to = served
        .lrs_server
        .clone()
        .and_then(|server| server.config_source_specifier);
    assert!(matches!(to, Some(ConfigSourceSpecifier::Self_(_))), "{to:?}");
    let fixed = message("orders", &settings);
    assert_eq!(fixed.lrs_server, None);
    assert_eq!(
        Cluster {
            lrs_server: None,
            ..served
        },
        fixed
    );
}

#[test]
fn the_servers_of_a_version_are_known_by_the_name_of_their_service() {
    use envoy_types::pb::envoy::config::core::v3::health_check::HealthChecker;
    let keys = [("protocol", "https"), ("health-check", "http:/healthz")];
    let service = Service {
        name: "orders".into(),
        policy: declaration::parse("x", Spelling::Plain, keys, &mut Vec::new()).policy,
        ..Service::default()
    };
    let settings = Effective::of(&service, &Clusters::DEFAULT).cluster;
    let (plain, version) = (message("orders", &settings), message("orders@9f31c2a", &settings));
    assert_eq!(plain.transport_socket, version.transport_socket, "by TLS, too");
    assert!(plain.transport_socket.is_some());
    let host = |cluster: &Cluster| match &cluster.health_checks[0].health_checker {
        Some(HealthChecker::HttpHealthCheck(check)) => check.host.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((&*host(&plain), &*host(&version)), ("", "orders"));
    let other = Service {
        name: "orders@9f31c2a".into(),
        ..Service::default()
    };
    let other = Effective::of(&other, &Clusters::DEFAULT).cluster;
    assert_eq!(
        other.servers("orders@9f31c2a"),
        "orders@9f31c2a",
        "a service of that name"
    );
}
