//! What is certain of requests in progress, what is not, and how much of it is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use prost::Message as _;

use super::{Bounds, ClientId, Flight, Kind, Limits, Report, Table, Who, Why};
use crate::xds::Release;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

/// An endpoint: address, in progress, begun, succeeded.
type End<'a> = (&'a str, u64, u64, u64);

/// Clusters; zones of each; endpoints of each.
type Said<'a> = &'a [(&'a str, &'a [(&'a str, &'a [End<'a>])])];

fn address(text: &str) -> core::Address {
    let (ip, port) = text.rsplit_once(':').unwrap();
    let socket = core::SocketAddress {
        address: ip.into(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(
            port.parse().unwrap(),
        )),
        ..core::SocketAddress::default()
    };
    core::Address {
        address: Some(core::address::Address::SocketAddress(socket)),
    }
}

fn encoded(said: Said<'_>, has_endpoints: bool) -> Vec<u8> {
    let locality = |(zone, ends): &(&str, &[End<'_>])| {
        let sum = |of: fn(&End<'_>) -> u64| ends.iter().map(of).sum::<u64>();
        let endpoint = |(text, open, issued, ok): &End<'_>| UpstreamEndpointStats {
            address: Some(address(text)),
            total_requests_in_progress: *open,
            total_issued_requests: *issued,
            total_successful_requests: *ok,
            ..UpstreamEndpointStats::default()
        };
        UpstreamLocalityStats {
            locality: Some(core::Locality {
                zone: (*zone).into(),
                ..core::Locality::default()
            }),
            total_requests_in_progress: sum(|end| end.1),
            total_issued_requests: sum(|end| end.2),
            total_successful_requests: sum(|end| end.3),
            upstream_endpoint_stats: ends.iter().filter(|_| has_endpoints).map(endpoint).collect(),
            ..UpstreamLocalityStats::default()
        }
    };
    let clusters = said.iter().map(|(name, zones)| ClusterStats {
        cluster_name: (*name).into(),
        upstream_locality_stats: zones.iter().map(locality).collect(),
        ..ClusterStats::default()
    });
    LoadStatsRequest {
        node: None,
        cluster_stats: clusters.collect(),
    }
    .encode_to_vec()
}

struct Scene {
    table: Table,
    now: Duration,
}

impl Scene {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self {
            table: Table::new(limits),
            now: Duration::from_secs(1_000),
        }
    }

    fn join(&mut self, node: &str, kind: Kind, minor: u32) -> ClientId {
        let who = Who {
            node: node.into(),
            fleet: "edge".into(),
            agent: "envoy".into(),
            kind,
            release: Some(Release {
                major: 1,
                minor,
                patch: 0,
            }),
            sends_all: true,
        };
        let id = self.table.join(who, self.now);
        // As each client begins.
        self.report_of(id, &[], true);
        id
    }

    fn envoy(&mut self, node: &str, minor: u32) -> ClientId {
        let kind = if minor < 39 { Kind::OldEnvoy } else { Kind::Envoy };
        self.join(node, kind, minor)
    }

    fn report(&mut self, id: ClientId, said: Said<'_>) -> bool {
        self.report_of(id, said, true)
    }

    fn report_of(&mut self, id: ClientId, said: Said<'_>, has_endpoints: bool) -> bool {
        let bytes = encoded(said, has_endpoints);
        let report = Report::read(&bytes, &Bounds::default()).unwrap();
        self.table.report(id, &report, self.now)
    }

    fn flights(&self, endpoint: &str) -> Vec<Flight> {
        let clusters: Vec<Arc<str>> = ["orders", "orders@v2"].map(Arc::from).into();
        self.table
            .in_flight(&clusters, endpoint.parse::<SocketAddr>().unwrap())
    }

    /// `1`, `0 Silent`, `-`
    fn shown(&self, endpoint: &str) -> String {
        let flights = self.flights(endpoint);
        let shown = flights.iter().map(|flight| match flight.why {
            None => flight.open.to_string(),
            Some(why) => format!("{} {why:?}", flight.open),
        });
        let shown: Vec<String> = shown.collect();
        if shown.is_empty() {
            "-".into()
        } else {
            shown.join(", ")
        }
    }
}

const NOTHING: Said<'static> = &[("orders", &[])];

#[test]
fn what_a_new_envoy_does_not_name_is_zero() {
    let mut scene = Scene::new();
    let id = scene.envoy("e", 40);
    assert_eq!(scene.shown(A), "0 NoReport");
    scene.report(id, NOTHING);
    assert_eq!(scene.shown(A), "0");
    scene.report(
        id,
        &[
            ("orders", &[("a", &[(A, 2, 5, 3), (B, 1, 1, 0)])]),
            ("users", &[]),
        ],
    );
    assert_eq!([scene.shown(A), scene.shown(B), scene.shown(C)], ["2", "1", "0"]);
    scene.report(id, &[("orders", &[("a", &[(B, 1, 0, 0)])])]);
    assert_eq!([scene.shown(A), scene.shown(B)], ["0", "1"]);
    // Its last request goes on, and the cluster has gone.
    scene.report(id, &[("users", &[])]);
    assert_eq!(
        [scene.shown(A), scene.shown(B), scene.shown(C)],
        ["0 NotListed", "1 NotListed", "-"]
    );
    scene.report(id, NOTHING);
    assert_eq!([scene.shown(A), scene.shown(B)], ["0", "0"]);
}

#[test]
fn an_old_envoy_leaves_out_what_only_goes_on() {
    for minor in [36, 39] {
        let mut scene = Scene::new();
        let id = scene.envoy("e", minor);
        scene.report(id, NOTHING);
        assert_eq!(
            scene.shown(A),
            "0 Silent",
            "it may have begun before the first report"
        );
        scene.report(
            id,
            &[(
                "orders",
                &[("a", &[(A, 2, 2, 0), (B, 0, 1, 1)]), ("b", &[(C, 1, 1, 0)])],
            )],
        );
        assert_eq!([scene.shown(A), scene.shown(B)], ["2", "0"]);
        // Nothing began in zone a.
        scene.report(id, &[("orders", &[("b", &[(C, 1, 1, 1)])])]);
        assert_eq!(
            [scene.shown(A), scene.shown(B), scene.shown(C)],
            ["2 Silent", "0", "1"]
        );
        // Something began beside it, and it is not named.
        scene.report(id, &[("orders", &[("a", &[(B, 1, 1, 0)])])]);
        assert_eq!(
            [scene.shown(A), scene.shown(B), scene.shown(C)],
            ["0", "1", "1 Silent"]
        );
        // It stays idle: what begins is named.
        scene.report(id, NOTHING);
        assert_eq!([scene.shown(A), scene.shown(B)], ["0", "1 Silent"]);
    }
}

/// From 1.37 on a runtime guard decides; once it has been seen at work, it is on.
#[test]
fn an_envoy_that_has_named_what_only_goes_on_is_believed() {
    let mut scene = Scene::new();
    let id = scene.envoy("e", 38);
    scene.report(id, &[("orders", &[("a", &[(A, 1, 1, 0)])])]);
    scene.report(id, &[("orders", &[("a", &[(A, 1, 0, 0)])])]);
    scene.report(id, NOTHING);
    assert_eq!([scene.shown(A), scene.shown(B)], ["0", "0"]);
}

#[test]
fn a_client_of_grpc_never_says_and_others_do_not_matter() {
    let mut scene = Scene::new();
    let grpc = scene.join("g", Kind::Grpc, 0);
    let other = scene.envoy("o", 40);
    scene.report(other, &[("users", &[])]);
    scene.report_of(grpc, &[("orders", &[("a", &[(A, 3, 3, 0)])])], false);
    assert_eq!(scene.shown(A), "0 NoEndpoints");
    let both = scene.envoy("p", 40);
    scene.report(
        both,
        &[
            ("orders@v2", &[("a", &[(A, 4, 4, 0)])]),
            ("orders", &[("a", &[(A, 1, 1, 0)])]),
        ],
    );
    assert_eq!(scene.shown(A), "0 NoEndpoints, 5");
}

#[test]
fn who_has_left_is_unknown_until_it_is_back_or_forgotten() {
    let mut scene = Scene::new();
    let id = scene.envoy("e", 40);
    scene.report(id, &[("orders", &[("a", &[(A, 1, 1, 0)])])]);
    scene.table.leave(id, scene.now);
    assert_eq!(scene.shown(A), "0 Left");
    assert_eq!(scene.table.rows(), 0);
    assert_eq!(
        scene.table.services(Some("orders"), 9)[0].ends[0].totals[0]
            .counts
            .open,
        0
    );
    let again = scene.envoy("e", 40);
    assert_eq!(scene.shown(A), "0 NoReport");
    scene.table.leave(again, scene.now);
    assert_eq!(scene.shown(A), "-", "it has said nothing in that time");
    let third = scene.envoy("e", 40);
    scene.report(third, NOTHING);
    scene.table.leave(third, scene.now);
    let other = scene.envoy("o", 40);
    scene.now += Duration::from_secs(599);
    scene.report(other, NOTHING);
    assert_eq!(scene.shown(A), "0 Left, 0");
    scene.now += Duration::from_secs(60);
    scene.report(other, NOTHING);
    assert_eq!(scene.shown(A), "0");
}

#[test]
fn sums_only_grow_and_each_kind_has_its_own() {
    let mut scene = Scene::new();
    let (one, two) = (scene.envoy("e", 40), scene.envoy("f", 40));
    let (old, grpc) = (scene.envoy("o", 36), scene.join("g", Kind::Grpc, 0));
    for id in [one, two, old] {
        scene.report(id, &[("orders", &[("a", &[(A, 2, 5, 3)])])]);
        scene.report(id, &[("orders", &[("a", &[(A, 1, 1, 2)])])]);
    }
    scene.report_of(grpc, &[("orders", &[("a", &[(A, 1, 7, 6)])])], false);
    let services = scene.table.services(Some("orders"), 9);
    let ends = &services[0].ends;
    assert_eq!((services.len(), ends.len(), &*ends[1].locality), (1, 2, "/a/"));
    let counts = |end: usize| -> Vec<(Kind, [u64; 3])> {
        let totals = ends[end].totals.iter();
        totals
            .map(|t| (t.kind, [t.counts.open, t.counts.issued, t.counts.successes]))
            .collect()
    };
    assert_eq!(ends[0].address, None);
    assert_eq!(counts(0), [(Kind::Grpc, [1, 7, 6])]);
    assert_eq!(
        counts(1),
        [(Kind::Envoy, [2, 12, 10]), (Kind::OldEnvoy, [1, 6, 5])]
    );
    scene.table.leave(one, scene.now);
    let counts = scene.table.services(None, 9)[0].ends[1].totals[0].counts;
    assert_eq!((counts.open, counts.issued), (1, 12));
    let (total, clients) = scene.table.clients(Some("f"), 9);
    assert_eq!((total, clients[0].rows.len(), clients[0].clusters), (1, 1, 1));
    assert_eq!(
        (clients[0].rows[0].counts.open, clients[0].rows[0].counts.issued),
        (1, 6)
    );
}

#[test]
fn sums_of_a_few_clusters_are_looked_up() {
    let mut scene = Scene::new();
    let (one, two) = (scene.envoy("e", 40), scene.envoy("f", 36));
    let plain: Said<'_> = &[("orders", &[("a", &[(A, 2, 5, 3)])])];
    let split: Said<'_> = &[("orders@v2", &[("a", &[(B, 1, 4, 3)])]), ("users", &[])];
    scene.report(one, plain);
    scene.now += Duration::from_secs(1);
    scene.report(two, split);
    let clusters = ["orders", "orders@v2", "nobody"].map(Arc::from);
    let sums = scene.table.sums(&clusters, scene.now);
    assert_eq!((sums.clients, sums.reporting, sums.last), (2, 1, Some(scene.now)));
    let mut seen: Vec<_> = sums
        .sums
        .iter()
        .map(|s| (s.cluster, s.kind, s.counts.issued))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [(0, Kind::Envoy, 5), (1, Kind::OldEnvoy, 4)]);
    assert_eq!(
        (sums.sums[0].address, &*sums.sums[0].locality),
        (Some(A.parse().unwrap()), "/a/")
    );
    // Who has left says nothing any more; what it counted stays.
    scene.table.leave(two, scene.now);
    let sums = scene.table.sums(&clusters[1..], scene.now);
    assert_eq!((sums.clients, sums.last, sums.sums.len()), (0, None, 1));
    // Until nobody has named it for long.
    scene.now += Duration::from_secs(4_000);
    scene.report(one, plain);
    assert_eq!(scene.table.sums(&clusters[1..], scene.now).sums, []);
    assert_eq!(
        scene.table.sums(&clusters[..1], scene.now).sums[0].counts.issued,
        10
    );
}

#[test]
fn an_address_that_a_report_names_twice_counts_once_for_each() {
    let mut scene = Scene::new();
    let id = scene.envoy("e", 40);
    for _ in 0..2 {
        scene.report(
            id,
            &[
                ("orders", &[("a", &[(A, 2, 2, 0)])]),
                ("orders", &[("a", &[(A, 3, 3, 0)])]),
            ],
        );
        assert_eq!(scene.shown(A), "5");
        assert_eq!(scene.table.services(None, 9)[0].ends[0].totals[0].counts.open, 5);
    }
}

#[test]
fn what_finds_no_room_is_unknown_and_never_zero() {
    let some = Limits::default();
    let said: Said<'_> = &[
        ("orders", &[("a", &[(A, 1, 1, 0), (B, 1, 1, 0)])]),
        ("users", &[]),
    ];
    for limits in [
        Limits { names: 2, ..some },
        Limits {
            name_bytes: 9,
            ..some
        },
        Limits { ends: 1, ..some },
        Limits { rows: 1, ..some },
        Limits {
            rows_of_client: 1,
            ..some
        },
    ] {
        let mut scene = Scene::with(limits);
        let id = scene.envoy("e", 40);
        assert!(!scene.report(id, said), "{limits:?}");
        assert!(scene.table.rows() <= 2);
        assert!(scene.shown(B).ends_with("Cut"), "{limits:?}: {}", scene.shown(B));
        assert!(scene.report(id, NOTHING), "less fits again: {limits:?}");
        assert_eq!(scene.shown(B), "0");
    }
    let mut scene = Scene::with(Limits { listed: 1, ..some });
    let id = scene.envoy("e", 40);
    assert!(!scene.report(id, said));
    assert_eq!(scene.shown(A), "1 Cut");
}

#[test]
fn what_nobody_names_is_forgotten() {
    let mut scene = Scene::new();
    let id = scene.envoy("e", 40);
    let many: Vec<String> = (0..2_000).map(|n| format!("svc-{n}")).collect();
    let zones: &[(&str, &[End<'_>])] = &[("a", &[(A, 0, 1, 1)])];
    let said: Vec<_> = many.iter().map(|name| (&**name, zones)).collect();
    scene.report(id, &said);
    let names = scene.table.names.len();
    assert!(scene.table.rows() == 2_000 && names == 2_001 && scene.table.ends.len() == 2_000);
    scene.report(id, &[("orders", &[("a", &[(B, 1, 1, 0)])])]);
    for _ in 0..3 {
        scene.now += Duration::from_secs(700);
        scene.report(id, &[("orders", &[("a", &[(B, 1, 0, 0)])])]);
    }
    assert_eq!(
        (scene.table.rows(), scene.table.ends.len()),
        (1, 2_001),
        "sums are kept"
    );
    scene.now += Duration::from_secs(3_600);
    scene.report(id, &[("orders", &[("a", &[(B, 1, 0, 0)])])]);
    scene.now += Duration::from_secs(61);
    scene.report(id, &[("orders", &[("a", &[(B, 1, 0, 0)])])]);
    assert_eq!(
        (
            scene.table.rows(),
            scene.table.ends.len(),
            scene.table.names.len()
        ),
        (1, 1, 2)
    );
    assert_eq!(scene.shown(B), "1");
}

#[test]
fn clients_that_left_are_bounded() {
    let mut scene = Scene::with(Limits {
        left: 3,
        ..Limits::default()
    });
    for n in 0..10 {
        let id = scene.envoy(&format!("e{n}"), 40);
        scene.report(id, NOTHING);
        scene.table.leave(id, scene.now);
    }
    let id = scene.envoy("last", 40);
    scene.now += Duration::from_secs(61);
    scene.report(id, NOTHING);
    let left = scene
        .flights(A)
        .iter()
        .filter(|f| f.why == Some(Why::Left))
        .count();
    assert_eq!(left, 3);
}

#[test]
fn who_takes_all_the_room_is_left_out_for_a_while() {
    let mut scene = Scene::with(Limits {
        ends: 1_500,
        ..Limits::default()
    });
    scene.now = Duration::from_secs(1);
    let hostile = scene.envoy("hostile", 40);
    let many: Vec<String> = (0..3_000).map(|n| format!("svc-{n}")).collect();
    let zones: &[(&str, &[End<'_>])] = &[("a", &[(B, 1, 1, 0)])];
    let said: Vec<_> = many.iter().map(|name| (&**name, zones)).collect();
    assert!(!scene.report(hostile, &said));
    scene.now += Duration::from_secs(10);
    let honest = scene.envoy("honest", 40);
    let few: Said<'_> = &[("orders", &[("a", &[(A, 2, 1, 0)])])];
    assert!(!scene.report(honest, few), "there is no room yet");
    scene.now += Duration::from_secs(1);
    assert!(scene.report(honest, few), "there is now");
    assert!(!scene.report(hostile, &said));
    let of = |scene: &Scene, node: &str| {
        scene
            .flights(A)
            .into_iter()
            .find(|f| *f.node == *node)
            .map(|f| (f.open, f.why))
    };
    assert_eq!(of(&scene, "honest"), Some((2, None)));
    assert_eq!(
        of(&scene, "hostile"),
        Some((0, Some(Why::Cut))),
        "unknown, never zero"
    );
    // Later it may try again.
    scene.now += Duration::from_secs(61);
    scene.report(honest, few);
    assert!(scene.report(hostile, few));
    assert_eq!(of(&scene, "hostile"), Some((2, None)));
}
