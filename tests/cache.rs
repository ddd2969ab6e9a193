//! Last known states of other versions: `tests/cache/format-2` was written by the version before the file had types of
//! its own. A bridge that is updated while its registry is away serves what the one before it knew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::cache::{Saved, Snapshot, decode, encode, load_decisions, sealed, write, writer};
use xds_bridge::model::declaration::parse;
use xds_bridge::model::service::{Registered, assemble};
use xds_bridge::model::{
    Declared, Health, Holder, Holders, Instance, Paths, Requests, RouteRule, ServiceRecord, Spelling,
};
use xds_bridge::plan::{Decisions, Remembered};

const DAY: Duration = Duration::from_secs(86_400);
const REGISTRY: &str = "etcd /services/";

fn before() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cache/format-2")
}

fn read(pairs: &[(&str, &str)]) -> Declared {
    let mut issues = Vec::new();
    let declared = parse("x", Spelling::Plain, pairs.iter().copied(), &mut issues);
    assert_eq!(issues, []);
    declared
}

fn instance(id: &str, address: &str, health: Health, pairs: &[(&str, &str)]) -> Instance {
    let registered = Registered {
        id,
        address: address.parse().unwrap(),
        health,
        weight: 10,
        zone: "dc1",
        region: "",
    };
    assemble(&registered, read(pairs))
}

/// All that the keys of that version could declare.
const KEYS: [(&str, &str); 14] = [
    ("version", "9f31c2a"),
    ("weight", "3"),
    ("zone", "a"),
    ("state", "drain"),
    ("protocol", "grpc"),
    ("expose", "edge,internal"),
    ("all-unhealthy", "drop"),
    ("timeout", "1.5s"),
    ("stream-idle-timeout", "0s"),
    ("idle-timeout", "250ms"),
    (
        "route",
        "host=API.x path=/orders/ header=x-b:2 header=X-A:1 timeout=2s stream-idle-timeout=1h",
    ),
    ("route-2", "grpc=shop.Orders/Get"),
    ("route-5", "grpc=shop.Orders"),
    ("route-7", "path=/orders* timeout=0s"),
];

const DOCUMENT: [(&str, &str); 3] = [
    ("protocol", "http2"),
    ("route", "path=/"),
    ("all-unhealthy", "open"),
];

/// What the file of that version was written of.
fn snapshot() -> Snapshot {
    let second = &[("version", "9f31c2b"), ("expose", "none")];
    let mut second = instance("orders-8", "10.0.0.8:8080", Health::Unhealthy, second);
    second.created = 42;
    let off = &[("weight", "0"), ("protocol", "tcp"), ("all-unhealthy", "closed")];
    let records = [
        (
            "documented",
            ServiceRecord {
                policy: Some(read(&[("protocol", "http1")]).policy),
                ..ServiceRecord::default()
            },
        ),
        (
            "orders",
            ServiceRecord {
                instances: vec![
                    instance("orders-7", "[fd00::7]:8080", Health::Healthy, &KEYS),
                    second,
                ],
                policy: Some(read(&DOCUMENT).policy),
                ..ServiceRecord::default()
            },
        ),
        (
            "web",
            ServiceRecord {
                instances: vec![
                    instance("web-1", "10.0.0.9:80", Health::Healthy, off),
                    instance("web-2", "10.0.0.10:80", Health::Draining, &[]),
                ],
                ..ServiceRecord::default()
            },
        ),
    ];
    let services = records.into_iter().map(|(name, r)| (name.into(), Arc::new(r)));
    Snapshot {
        source: "etcd".into(),
        registry: REGISTRY.into(),
        services: services.collect(),
    }
}

fn decisions() -> Decisions {
    let elected = Arc::new(read(&KEYS).policy);
    let orders = Remembered {
        policy: Some(Arc::new(read(&DOCUMENT).policy.over(&elected))),
        elected,
        left_ago: Some(Duration::from_secs(7)),
    };
    let requests = |host: &str, paths: Paths, headers: &[(&str, &str)]| Requests {
        host: host.into(),
        paths,
        criteria: {
            let words = headers.iter().map(|(n, v)| format!(" header={n}:{v}"));
            RouteRule::parse(&format!("path=/{}", words.collect::<String>()))
                .unwrap()
                .criteria
        },
    };
    let holder = |service: &str, others: &[&str]| Holder {
        service: service.into(),
        others: others.iter().map(|other| (*other).into()).collect(),
    };
    let holders: Holders = [
        (
            requests("*", Paths::Segments("/api/cart".into()), &[("x", "1")]),
            holder("orders", &["basket"]),
        ),
        (
            requests("api.x", Paths::Characters("/cart".into()), &[]),
            holder("web", &[]),
        ),
        (
            requests("*", Paths::Exactly("/shop.Orders/Get".into()), &[]),
            holder("web", &[]),
        ),
    ]
    .into();
    Decisions {
        services: [("orders".into(), orders), ("web".into(), Remembered::default())].into(),
        holders: [("internal".into(), holders)].into(),
        // The version before does not know it.
        names: None,
    }
}

/// Without the time since a last instance left, which goes on.
fn timeless(mut decisions: Decisions) -> Decisions {
    for known in decisions.services.values_mut() {
        let ago = known.left_ago.take();
        assert!(ago.is_none_or(|ago| ago >= Duration::from_secs(7)), "{ago:?}");
    }
    decisions
}

#[test]
fn a_state_of_the_version_before_is_what_that_one_knew() {
    let text = std::fs::read_to_string(before().join("etcd.cache")).unwrap();
    let state = decode(&text, "etcd", REGISTRY, 1_060, DAY).unwrap();
    assert_eq!(state.age, Duration::from_secs(60));
    let wanted = snapshot();
    assert_eq!(state.services.len(), wanted.services.len());
    for ((name, record), (wanted_name, wanted)) in state.services.iter().zip(&wanted.services) {
        assert_eq!((name, record), (wanted_name, &**wanted));
    }
    // Written again it is of the present format, and the same.
    let again = encode(&wanted, 1_000).unwrap();
    assert!(!again.contains("\"format\":2"), "{again}");
    let again = decode(&again, "etcd", REGISTRY, 1_060, DAY).unwrap();
    assert_eq!(again.services, state.services);
}

#[tokio::test]
async fn decisions_of_the_version_before_are_what_that_one_decided() {
    assert_eq!(timeless(load_decisions(&before())), timeless(decisions()));
    let folder = tempfile::tempdir().unwrap();
    let (writer, inbox) = writer();
    assert!(writer.offer(Saved::Decisions(decisions())));
    drop(writer);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    write(folder.path().to_owned(), inbox, Arc::default(), stop).await;
    assert_eq!(timeless(load_decisions(folder.path())), timeless(decisions()));
}

#[test]
fn a_key_of_the_version_after_costs_nothing_else() {
    let text = encode(&snapshot(), 1_000).unwrap();
    let body = text.lines().nth(1).unwrap();
    let key = "\"protocol\":\"grpc\"";
    assert!(body.contains(key), "{body}");
    let newer = body.replace(key, &format!("\"colour\":\"red\",{key},\"timeouts\":\"none\""));
    let newer = newer.replace("\"id\":", "\"mood\":\"good\",\"id\":");
    let text = sealed("etcd", REGISTRY, 1_000, &newer).unwrap();
    let state = decode(&text, "etcd", REGISTRY, 1_060, DAY).unwrap();
    let names = |id: &str| -> Vec<String> {
        let instances = state.services.iter().flat_map(|(_, record)| &record.instances);
        let one = instances.into_iter().find(|i| &*i.id == id).expect(id);
        one.policy.keys().iter().map(ToString::to_string).collect()
    };
    assert_eq!(state.services.len(), 3);
    assert_eq!(names("orders-7").len(), 10, "{:?}", names("orders-7"));
}
