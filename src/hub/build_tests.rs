//! What is built of what is touched.

use super::*;
use crate::model::change::What;
use crate::model::{Bind, Change, Event, Health, Instance, Policy, Protocol, ServiceRecord};

fn event(name: &str, port: Option<u16>) -> Event {
    event_of(name, port, None)
}

fn event_of(name: &str, port: Option<u16>, protocol: Option<Protocol>) -> Event {
    let policy = Policy {
        protocol,
        ..Policy::default()
    };
    let record = port.map(|port| ServiceRecord {
        instances: vec![Instance {
            policy: Arc::new(policy),
            ..Instance::new("1", ([127, 0, 0, 1], port).into())
        }],
        ..ServiceRecord::default()
    });
    let change = Change {
        services: vec![(name.into(), record)],
        complete: false,
        stray: None,
    };
    Event {
        source: "s".into(),
        what: What::Change(change),
    }
}

fn kinds(updates: &[Update]) -> Vec<String> {
    let one = |u: &Update| match u {
        Update::Put(d) => format!("+{} {}", d.kind.short(), d.name),
        Update::Remove(kind, name) => format!("-{} {name}", kind.short()),
        Update::PutFor(client, d) => format!("+{} {} for {client:?}", d.kind.short(), d.name),
        Update::RemoveFor(client, kind, name) => format!("-{} {name} for {client:?}", kind.short()),
    };
    updates.iter().map(one).collect()
}

fn network() -> Network {
    Network {
        clusters: Clusters {
            keep_routes: Duration::ZERO,
            ..Clusters::DEFAULT
        },
        exposures: BTreeMap::from([("internal".into(), Exposure::internal())]),
        listeners: BTreeMap::new(),
    }
}

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
        ["+cds a", "+eds a"],
        "an address is no route"
    );
    assert_eq!(step(event("a", Some(2))), [""; 0]);
    assert_eq!(step(event("b", None)), ["-eds b", "-cds b", "+rds internal"]);
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
    assert_eq!(step(Some(2), grpc), ["+cds a", "+eds a"], "it is sent once");
    assert_eq!(
        step(Some(2), http1),
        [
            "+cds a",
            "+eds a",
            "-lds a",
            "+eds a for GrpcDrops",
            "+rds internal"
        ],
        "their endpoints stop those that drop calls"
    );
    assert_eq!(step(Some(3), http1), ["+cds a", "+eds a"], "once");
    assert_eq!(
        step(Some(3), Some(Protocol::Http2)),
        [
            "+cds a",
            "+eds a",
            "-eds a for GrpcDrops",
            "-eds a for Tonic",
            "-eds a for Grpc",
            "-lds a for Tonic",
            "-lds a for Grpc",
            "+lds a",
            "+rds internal"
        ]
    );
    assert_eq!(step(None, None), ["-eds a", "-cds a", "-lds a", "+rds internal"]);
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
            "-eds a for Tonic",
            "-eds a for Grpc",
            "+lds a for Tonic",
            "+lds a for Grpc"
        ]
    );
    let none = [
        "-eds a for GrpcDrops",
        "-eds a for Tonic",
        "-eds a for Grpc",
        "-lds a for Tonic",
        "-lds a for Grpc",
    ];
    assert_eq!(step(Health::Healthy, one, grpc), none);
    assert_eq!(step(Health::Healthy, Some(2), grpc), [""; 0], "once");
    assert_eq!(step(Health::Off, one, grpc).len(), 3);
    assert_eq!(step(Health::Off, one, None).len(), 7, "no longer for them");
    assert_eq!(
        step(Health::Off, None, None).len(),
        6,
        "with the service goes what stopped them"
    );
}

#[test]
fn endpoints_that_grpc_clients_cannot_receive_are_a_warning_until_they_fit() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |instances: u32| {
        let mut event = event_of("a", Some(1), Some(Protocol::Grpc));
        if let What::Change(change) = &mut event.what
            && let Some(record) = &mut change.services[0].1
        {
            let one = record.instances[0].clone();
            record.instances = (0..instances)
                .map(|n| Instance {
                    id: n.to_string().into(),
                    address: (std::net::Ipv4Addr::from(0x0a00_0000 + n), 8080).into(),
                    ..one.clone()
                })
                .collect();
        }
        let touched = catalog.apply(event, Duration::ZERO);
        drop(builder.build(&catalog, &touched.services, Duration::ZERO));
        let issues = builder.issues().map(|i| format!("{}: {}", i.entry, i.reason));
        issues.collect::<Vec<String>>()
    };
    assert_eq!(step(1_000), [""; 0]);
    let [said] = &step(150_000)[..] else {
        panic!("one warning")
    };
    assert!(
        said.starts_with("a: its endpoints take") && said.contains("4 MiB"),
        "{said}"
    );
    assert_eq!(step(1_000), [""; 0]);
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

/// A network that keeps routes for an hour.
fn keeping() -> Network {
    Network {
        clusters: Clusters::DEFAULT,
        ..network()
    }
}

/// One instance of a service that declares this route; `None`: it is gone.
fn declares(name: &str, route: Option<&str>, created: u64) -> Event {
    let mut event = event_of(name, route.map(|_| 80), None);
    if let What::Change(change) = &mut event.what
        && let Some(record) = &mut change.services[0].1
        && let Some(route) = route
    {
        let routes = [(1, crate::model::RouteRule::parse(route).unwrap())].into();
        record.instances[0].policy = Arc::new(Policy {
            routes,
            ..Policy::default()
        });
        record.instances[0].created = created;
    }
    event
}

/// A bridge with its catalog, which may be restarted.
struct Scene {
    catalog: Catalog,
    builder: Builder,
}

impl Scene {
    fn new(decisions: Decisions, events: Vec<Event>) -> Self {
        let mut scene = Self {
            catalog: Catalog::new([("s".into(), None)]),
            builder: Builder::new(keeping()),
        };
        scene.builder.remember(decisions);
        let mut touched = BTreeSet::new();
        for event in events {
            touched.extend(scene.catalog.apply(event, Duration::ZERO).services);
        }
        scene.builder.build(&scene.catalog, &touched, Duration::ZERO);
        scene
    }

    fn step(&mut self, second: u64, event: Event) -> Vec<String> {
        let now = Duration::from_secs(second);
        let touched = self.catalog.apply(event, now);
        kinds(&self.builder.build(&self.catalog, &touched.services, now))
    }

    fn look(&mut self, second: u64) -> Vec<String> {
        let now = Duration::from_secs(second);
        let due = self.builder.take_due(now);
        kinds(&self.builder.build(&self.catalog, &due, now))
    }

    /// Who has the only contested requests.
    fn holder(&self) -> String {
        let all = self.builder.holders["internal"].values();
        all.map(|holder| holder.service.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[test]
fn what_is_kept_is_served_without_instances_and_ends() {
    let mut scene = Scene::new(
        Decisions::default(),
        vec![declares("cart", Some("path=/cart"), 1)],
    );
    assert_eq!(
        scene.step(10, declares("cart", None, 0)),
        ["+cds cart", "+eds cart", "+rds internal"]
    );
    assert_eq!((scene.builder.services(), scene.builder.kept().len()), (0, 1));
    assert_eq!(scene.look(69), [""; 0]);
    assert_eq!(scene.look(70), ["+cds cart", "+eds cart", "+rds internal"]);
    assert_eq!(
        scene.look(3610),
        ["-eds cart", "-cds cart", "+rds internal"],
        "its hour is over"
    );
    assert_eq!((scene.builder.kept().len(), scene.builder.due()), (0, None));
}

#[test]
fn an_operator_may_end_it() {
    let mut scene = Scene::new(
        Decisions::default(),
        vec![declares("cart", Some("path=/cart"), 1)],
    );
    assert_eq!(scene.builder.forget("basket"), None);
    assert_eq!(scene.builder.forget("cart"), Some(false));
    scene.step(10, declares("cart", None, 0));
    assert_eq!(scene.builder.forget("cart"), Some(true));
    let touched = ["cart".into()].into();
    let updates = scene
        .builder
        .build(&scene.catalog, &touched, Duration::from_secs(11));
    assert_eq!(kinds(&updates), ["-eds cart", "-cds cart", "+rds internal"]);
    assert_eq!(scene.builder.forget("cart"), None);
}

#[test]
fn a_restart_comes_to_the_same_decision() {
    let web = || declares("web", Some("host=api.example.com"), 9);
    let newcomer = || declares("aaa-experiment", Some("host=api.example.com"), 10);
    let mut scene = Scene::new(Decisions::default(), vec![web()]);
    scene.step(1, newcomer());
    assert_eq!(scene.holder(), "web");
    assert_eq!(scene.builder.issues().count(), 1);
    assert_eq!(scene.builder.contested(), 1);
    assert!(scene.builder.take_unsaved());
    // All of its instances restart, one after the other and all at once.
    scene.step(2, declares("web", Some("host=api.example.com"), 11));
    scene.step(3, declares("web", None, 0));
    scene.step(4, declares("web", Some("host=api.example.com"), 12));
    assert_eq!(scene.holder(), "web");
    let saved = scene.builder.decisions(Duration::from_secs(5));
    // The bridge restarts, and the oldest registration is no longer that of `web`.
    let restarted = |decisions| {
        Scene::new(
            decisions,
            vec![newcomer(), declares("web", Some("host=api.example.com"), 12)],
        )
    };
    assert_eq!(restarted(saved.clone()).holder(), "web");
    assert_eq!(
        restarted(Decisions::default()).holder(),
        "aaa-experiment",
        "registered first"
    );
    assert_eq!(
        Scene::new(Decisions::default(), vec![newcomer(), web()]).holder(),
        "web",
        "registered first"
    );
    // It restarted while there was no bridge, and comes back afterwards.
    let mut away = Scene::new(saved, vec![newcomer()]);
    assert_eq!(
        away.holder(),
        "web",
        "its claim stood, but it waits for the owner"
    );
    away.step(5, web());
    assert_eq!(away.holder(), "web");
}

#[test]
fn a_tie_of_versions_is_remembered() {
    let tie = |first: &str, second: &str| {
        let mut event = event_of("a", Some(1), None);
        if let What::Change(change) = &mut event.what
            && let Some(record) = &mut change.services[0].1
        {
            let one = record.instances[0].clone();
            let of = |version: &str, protocol, port| Instance {
                id: version.into(),
                address: ([127, 0, 0, 1], port).into(),
                version: version.into(),
                policy: Arc::new(Policy {
                    protocol: Some(protocol),
                    ..Policy::default()
                }),
                ..one.clone()
            };
            let both = [(first, Protocol::Grpc, 1), (second, Protocol::Http2, 2)];
            let both = both.into_iter().filter(|(version, _, _)| !version.is_empty());
            record.instances = both.map(|(v, protocol, port)| of(v, protocol, port)).collect();
        }
        event
    };
    let mut scene = Scene::new(Decisions::default(), vec![tie("", "v2")]);
    scene.step(1, tie("v1", "v2"));
    let saved = scene.builder.decisions(Duration::ZERO);
    let elected = |scene: &Scene| scene.builder.standing.elected("a").unwrap().protocol;
    assert_eq!(elected(&scene), Some(Protocol::Http2), "in force before");
    assert_eq!(
        elected(&Scene::new(saved, vec![tie("v1", "v2")])),
        Some(Protocol::Http2)
    );
    assert_eq!(
        elected(&Scene::new(Decisions::default(), vec![tie("v1", "v2")])),
        Some(Protocol::Grpc),
        "the lower version"
    );
}

#[test]
fn all_instances_off_is_a_state_of_its_own() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(network());
    let mut step = |health: &[Health]| {
        let mut event = event_of("a", Some(1), None);
        if let What::Change(change) = &mut event.what
            && let Some(record) = &mut change.services[0].1
        {
            let one = record.instances[0].clone();
            let all = health.iter().zip(1..).map(|(health, port)| Instance {
                id: port.to_string().into(),
                address: ([127, 0, 0, 1], port).into(),
                health: *health,
                ..one.clone()
            });
            record.instances = all.collect();
        }
        let touched = catalog.apply(event, Duration::ZERO);
        builder.build(&catalog, &touched.services, Duration::ZERO);
        (
            builder.all_off().len(),
            builder.all_unhealthy().len(),
            builder.take_off().len(),
        )
    };
    assert_eq!(step(&[Health::Off, Health::Healthy]), (0, 0, 0));
    assert_eq!(step(&[Health::Off, Health::Off]), (1, 0, 1));
    assert_eq!(step(&[Health::Off]), (1, 0, 0), "said once");
    assert_eq!(step(&[Health::Off, Health::Unhealthy]), (0, 1, 1));
}

#[test]
fn a_policy_document_of_a_name_that_nobody_registers_takes_nothing() {
    let documented = |instance: bool| {
        let mut event = declares("shopp", Some("host=api.example.com"), 5);
        if let What::Change(change) = &mut event.what
            && let Some(record) = &mut change.services[0].1
        {
            record.policy = Some((*record.instances[0].policy).clone());
            record.instances.truncate(usize::from(instance));
        }
        event
    };
    let web = || declares("web", Some("host=api.example.com"), 9);
    let mut scene = Scene::new(Decisions::default(), vec![documented(false)]);
    assert_eq!(scene.holder(), "shopp", "nobody else wants them");
    scene.step(1, web());
    assert_eq!(scene.holder(), "web");
    let mut scene = Scene::new(Decisions::default(), vec![web()]);
    scene.step(1, documented(false));
    assert_eq!(scene.holder(), "web");
    let slip = |issue: &&Issue| issue.reason.contains("no instance of `shopp` is registered");
    assert_eq!(scene.builder.issues().filter(slip).count(), 1);
    scene.step(2, documented(true));
    assert_eq!(scene.holder(), "shopp");
    scene.step(3, documented(false));
    assert_eq!(scene.holder(), "shopp", "it is only gone for a while");
}
