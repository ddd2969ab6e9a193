//! What is read of a report, and how much of a hostile one.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::cluster_stats::DroppedRequests;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use prost::Message as _;

use super::*;

fn endpoint(address: &str, open: u64) -> UpstreamEndpointStats {
    let (ip, port) = address.rsplit_once(':').unwrap();
    let socket = core::SocketAddress {
        address: ip.trim_matches(['[', ']']).into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            port.parse().unwrap(),
        )),
        ..core::SocketAddress::default()
    };
    UpstreamEndpointStats {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(socket)),
        }),
        total_requests_in_progress: open,
        total_successful_requests: 2,
        total_error_requests: 3,
        total_issued_requests: 4,
        load_metric_stats: vec![EndpointLoadMetricStats {
            metric_name: "named_metrics.bad".into(),
            num_requests_finished_with_metric: 5,
            total_metric_value: 0.5,
        }],
        ..UpstreamEndpointStats::default()
    }
}

fn request() -> LoadStatsRequest {
    let pipe = core::Address {
        address: Some(core::address::Address::Pipe(core::Pipe::default())),
    };
    let by_pipe = UpstreamEndpointStats {
        address: Some(pipe),
        ..endpoint("1.1.1.1:1", 9)
    };
    let locality = UpstreamLocalityStats {
        locality: Some(core::Locality {
            region: "eu".into(),
            zone: "a".into(),
            sub_zone: "1".into(),
        }),
        total_requests_in_progress: 20,
        total_successful_requests: 21,
        total_error_requests: 22,
        total_issued_requests: 23,
        priority: 1,
        upstream_endpoint_stats: vec![
            endpoint("10.0.0.1:80", 7),
            by_pipe,
            endpoint("[::ffff:10.0.0.2]:81", 8),
        ],
        ..UpstreamLocalityStats::default()
    };
    let cluster = ClusterStats {
        cluster_name: "mine".into(),
        cluster_service_name: "orders".into(),
        upstream_locality_stats: vec![locality],
        total_dropped_requests: 30,
        dropped_requests: vec![DroppedRequests {
            category: "nobody".into(),
            dropped_count: 31,
        }],
        load_report_interval: Some(envoy_types::pb::google::protobuf::Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
    };
    let other = ClusterStats {
        cluster_name: "users".into(),
        ..ClusterStats::default()
    };
    LoadStatsRequest {
        node: Some(core::Node {
            id: "edge-1".into(),
            ..core::Node::default()
        }),
        cluster_stats: vec![cluster, other],
    }
}

#[test]
fn all_that_is_needed_is_read() {
    let bytes = request().encode_to_vec();
    let report = Report::read(&bytes, &Bounds::default()).unwrap();
    assert!(report.node.is_some() && !report.is_cut && report.bytes == bytes.len());
    let [orders, users] = &report.clusters[..] else {
        panic!("{report:?}")
    };
    assert_eq!((orders.name, users.name), ("orders", "users"));
    assert_eq!(
        (orders.dropped, orders.interval),
        (30, Duration::from_millis(1_500))
    );
    assert_eq!(report.drops(orders), [("nobody", 31)]);
    assert!(report.localities(users).is_empty() && report.drops(users).is_empty());
    let [locality] = report.localities(orders) else {
        panic!("{report:?}")
    };
    assert_eq!(
        [locality.region, locality.zone, locality.sub_zone],
        ["eu", "a", "1"]
    );
    assert_eq!(locality.priority, 1);
    let counts = |open, successes, errors, issued| Counts {
        open,
        successes,
        errors,
        issued,
    };
    assert_eq!(locality.counts, counts(20, 21, 22, 23));
    let [first, second] = report.endpoints(locality) else {
        panic!("{report:?}")
    };
    assert_eq!(first.address, "10.0.0.1:80".parse().unwrap());
    assert_eq!(second.address, "10.0.0.2:81".parse().unwrap());
    assert_eq!(
        (first.counts, second.counts),
        (counts(7, 2, 3, 4), counts(8, 2, 3, 4))
    );
    let metric = Metric {
        name: "bad",
        finished: 5,
        sum: 0.5,
    };
    assert_eq!(report.metrics(second), [metric]);
}

#[test]
fn a_report_is_read_up_to_its_bounds_and_says_so() {
    let bytes = request().encode_to_vec();
    let whole = Bounds::default();
    let read = |bounds: Bounds| Report::read(&bytes, &bounds).unwrap();
    let clusters = read(Bounds { clusters: 1, ..whole });
    assert!(clusters.is_cut && clusters.clusters.len() == 1);
    let localities = read(Bounds {
        localities: 0,
        ..whole
    });
    assert!(localities.is_cut && localities.clusters.len() == 2);
    let endpoints = read(Bounds {
        endpoints: 1,
        ..whole
    });
    assert!(endpoints.is_cut && endpoints.endpoints.len() == 1);
    let named = read(Bounds { named: 1, ..whole });
    assert!(named.metrics.len() == 1 && !named.is_cut, "no request is missing");
    // Each of these takes far more memory decoded than it has bytes.
    let many: Vec<u8> = [0x12, 0].repeat(1_000_000);
    let report = Report::read(&many, &whole).unwrap();
    assert!(report.is_cut && report.clusters.len() == whole.clusters);
}

#[test]
fn what_is_no_report_is_refused_wherever_it_breaks() {
    let bytes = request().encode_to_vec();
    // The whole second cluster may be missing, and nothing else.
    let readable = (0..bytes.len())
        .filter(|n| Report::read(&bytes[..*n], &Bounds::default()).is_ok())
        .count();
    assert_eq!(readable, 3, "the empty one, the node alone, the first cluster");
    let other = LoadStatsRequest {
        cluster_stats: vec![ClusterStats {
            upstream_locality_stats: vec![UpstreamLocalityStats {
                upstream_endpoint_stats: vec![UpstreamEndpointStats::default(), endpoint("nobody:80", 1)],
                ..UpstreamLocalityStats::default()
            }],
            ..ClusterStats::default()
        }],
        ..LoadStatsRequest::default()
    };
    let bytes = other.encode_to_vec();
    let report = Report::read(&bytes, &Bounds::default()).unwrap();
    assert!(
        report.endpoints.is_empty() && report.localities.len() == 1,
        "{report:?}"
    );
}
