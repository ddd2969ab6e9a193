//! The resources of a service.

use super::*;

#[test]
fn only_what_is_touched_is_built() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |event: Event| {
        let touched = catalog.apply(event, Duration::ZERO);
        kinds(&builder.build(&catalog, &touched.services, Duration::ZERO))
    };
    assert_eq!(step(event("a", Some(1))), ["+cds a", "+eds a", "+rds internal"]);
    assert_eq!(step(event("b", Some(1))), ["+cds b", "+eds b", "+rds internal"]);
    assert_eq!(
        step(event("a", Some(2))),
        ["+eds a"],
        "an address is neither cluster nor route"
    );
    assert_eq!(step(event("a", Some(2))), [""; 0]);
    assert_eq!(step(event("b", None)), ["-eds b", "-cds b", "+rds internal"]);
}

#[test]
fn one_service_more_makes_one_host_be_looked_at() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut planner = Planner::new(Arc::new(network()));
    let mut step = |names: &mut dyn Iterator<Item = String>| {
        let mut touched = BTreeSet::new();
        for name in names {
            touched.extend(catalog.apply(event(&name, Some(1)), Duration::ZERO).services);
        }
        planner.plan(&catalog, &touched, Duration::ZERO)
    };
    assert_eq!(step(&mut (0..100).map(|n| format!("a{n}"))).len(), 300);
    let [
        Step::Put(Planned::Cluster(name, _)),
        Step::Put(Planned::Endpoints { .. }),
        Step::Host { host, claims, .. },
    ] = &step(&mut ["b".to_owned()].into_iter())[..]
    else {
        panic!("other steps")
    };
    assert_eq!((&**name, &**host, claims.len()), ("b", "b", 1));
}

#[test]
fn a_listener_for_grpc_clients_comes_and_goes_with_the_protocol() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |port, protocol| {
        let touched = catalog.apply(event_of("a", port, protocol), Duration::ZERO);
        kinds(&builder.build(&catalog, &touched.services, Duration::ZERO))
    };
    let (http1, grpc) = (None, Some(Protocol::Grpc));
    assert_eq!(
        step(Some(1), grpc),
        ["+cds a", "+eds a", "+lds a", "+rds internal"]
    );
    assert_eq!(step(Some(2), grpc), ["+eds a"], "it is sent once");
    assert_eq!(
        step(Some(2), http1),
        [
            "+cds a",
            "+eds a",
            "+eds a for GrpcDrops",
            "-lds a",
            "+rds internal"
        ],
        "their endpoints stop those that drop calls"
    );
    assert_eq!(step(Some(3), http1), ["+eds a", "+eds a for GrpcDrops"]);
    assert_eq!(
        step(Some(3), Some(Protocol::Http2)),
        [
            "+cds a",
            "+eds a",
            "+lds a",
            "-eds a for GrpcDrops",
            "+rds internal"
        ]
    );
    assert_eq!(step(None, None), ["-lds a", "-eds a", "-cds a", "+rds internal"]);
}

#[test]
fn a_cluster_for_grpc_clients_comes_and_goes_with_tls() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |port, protocol| {
        let touched = catalog.apply(event_of("a", Some(port), Some(protocol)), Duration::ZERO);
        kinds(&builder.build(&catalog, &touched.services, Duration::ZERO))
    };
    assert_eq!(step(1, Protocol::Grpc).len(), 4);
    let own = ["GrpcDrops", "Tonic", "Grpc"].map(|client| format!("+cds a for {client}"));
    assert_eq!(
        step(1, Protocol::Grpcs),
        [&["+cds a".into(), "+eds a".into()], &own[..]].concat()
    );
    assert_eq!(step(2, Protocol::Grpcs), ["+eds a"], "it is sent once");
    assert_eq!(
        step(2, Protocol::Grpc),
        [
            "+cds a",
            "+eds a",
            "-cds a for Grpc",
            "-cds a for Tonic",
            "-cds a for GrpcDrops"
        ]
    );
    let updates = step(2, Protocol::Https);
    assert!(
        !updates.iter().any(|update| update.starts_with("+lds")),
        "they speak no HTTP/1: {updates:?}"
    );
}

#[test]
fn what_differs_for_grpc_clients_comes_and_goes_with_the_reason() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |health, port, protocol| {
        let mut event = event_of("a", port, protocol);
        if let What::Change(change) = &mut event.what {
            for (_, record) in &mut change.services {
                for instance in record.iter_mut().flat_map(|r| &mut r.instances) {
                    instance.health = health;
                }
            }
        }
        let touched = catalog.apply(event, Duration::ZERO);
        let kinds = kinds(&builder.build(&catalog, &touched.services, Duration::ZERO));
        let own = kinds.into_iter().filter(|k| k.contains(" for "));
        own.collect::<Vec<String>>()
    };
    let (one, grpc) = (Some(1), Some(Protocol::Grpc));
    assert_eq!(step(Health::Healthy, one, grpc), [""; 0]);
    assert_eq!(
        step(Health::Draining, one, grpc),
        ["+eds a for GrpcDrops", "+eds a for Tonic", "+eds a for Grpc",]
    );
    assert_eq!(
        step(Health::Off, one, grpc),
        [
            "+eds a for GrpcDrops",
            "+lds a for Tonic",
            "+lds a for Grpc",
            "-eds a for Grpc",
            "-eds a for Tonic",
        ]
    );
    let none = ["-lds a for Grpc", "-lds a for Tonic", "-eds a for GrpcDrops"];
    assert_eq!(step(Health::Healthy, one, grpc), none);
    assert_eq!(step(Health::Healthy, Some(2), grpc), [""; 0], "once");
    assert_eq!(step(Health::Off, one, grpc).len(), 3);
    assert_eq!(
        step(Health::Off, one, None),
        ["+eds a for GrpcDrops", "-lds a for Grpc", "-lds a for Tonic"],
        "no longer for them"
    );
    assert_eq!(
        step(Health::Off, None, None),
        ["-eds a for GrpcDrops"],
        "with the service goes what stopped them"
    );
}

#[test]
fn endpoints_that_grpc_clients_cannot_receive_are_a_warning_until_they_fit() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |instances: u32, health: Health| {
        let mut event = event_of("a", Some(1), Some(Protocol::Grpc));
        if let What::Change(change) = &mut event.what
            && let Some(record) = &mut change.services[0].1
        {
            let one = Facts::clone(&record.instances[0]);
            let instance = |n: u32| Facts {
                id: n.to_string().into(),
                address: (std::net::Ipv4Addr::from(0x0a00_0000 + n), 8080).into(),
                health,
                ..one.clone()
            };
            record.instances = (0..instances).map(|n| instance(n).into()).collect();
        }
        let touched = catalog.apply(event, Duration::ZERO);
        drop(builder.build(&catalog, &touched.services, Duration::ZERO));
        let issues = builder.issues().map(|i| format!("{}: {}", i.entry, i.reason));
        let issues = issues.collect::<Vec<String>>();
        (issues, builder.take_news())
    };
    let well = Health::Healthy;
    assert_eq!(step(1_000, well), (vec![], true));
    let (issues, true) = step(150_000, well) else {
        panic!("no news")
    };
    let [reason] = &issues[..] else {
        panic!("one warning, {issues:?}")
    };
    assert!(
        reason.starts_with("a: its endpoints take") && reason.contains("4 MiB"),
        "{reason}"
    );
    // What some clients get instead comes and goes without it.
    assert_eq!(step(150_000, Health::Draining), (issues.clone(), false));
    assert_eq!(step(150_000, well), (issues, false));
    assert_eq!(step(1_000, well), (vec![], true));
}

#[test]
fn a_configured_listener_keeps_its_name() {
    let mut network = network();
    let listener = Listener::new(Bind::Internal, "internal".into());
    network.listeners.insert("a".into(), listener);
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network);
    let mut step = |port, protocol| {
        let touched = catalog.apply(event_of("a", port, protocol), Duration::ZERO);
        let updates = kinds(&builder.build(&catalog, &touched.services, Duration::ZERO));
        let issues: Vec<String> = builder.issues().map(|i| i.reason.clone()).collect();
        (updates, issues)
    };
    let (updates, issues) = step(Some(1), Some(Protocol::Grpc));
    assert_eq!(
        updates,
        ["+cds a", "+eds a", "+lds a", "+rds a", "+rds internal"],
        "the operator's, once"
    );
    let [issue] = &issues[..] else {
        panic!("{issues:?}")
    };
    assert!(
        issue.contains("`xds:///a`") && issue.contains("[listeners.a]"),
        "{issue}"
    );
    let (updates, issues) = step(None, None);
    assert_eq!(updates, ["-eds a", "-cds a", "+rds a", "+rds internal"]);
    assert_eq!(issues, [""; 0]);
}
