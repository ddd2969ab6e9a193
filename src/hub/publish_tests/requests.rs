//! Who has which requests, and what stays of a service after its last instance.

use super::*;

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
            builder: Builder::new(Network::default()),
        };
        scene.builder.planner.remember(decisions);
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
        let due = self.builder.planner.take_due(now);
        kinds(&self.builder.build(&self.catalog, &due, now))
    }

    /// Who has the only contested requests.
    fn holder(&self) -> String {
        let decisions = self.builder.planner.decisions(Duration::ZERO);
        let all = decisions.holders["internal"].values();
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
        ["+eds cart", "+rds internal"]
    );
    assert_eq!(
        (
            scene.builder.planner.services(),
            scene.builder.planner.kept().len()
        ),
        (0, 1)
    );
    assert_eq!(scene.look(69), [""; 0]);
    assert_eq!(scene.look(70), ["+eds cart", "+rds internal"]);
    assert_eq!(
        scene.look(3610),
        ["-eds cart", "-cds cart", "+rds internal"],
        "its hour is over"
    );
    assert_eq!(
        (scene.builder.planner.kept().len(), scene.builder.planner.due()),
        (0, None)
    );
}

#[test]
fn an_operator_may_end_it() {
    let mut scene = Scene::new(
        Decisions::default(),
        vec![declares("cart", Some("path=/cart"), 1)],
    );
    assert_eq!(scene.builder.planner.forget("basket"), None);
    assert_eq!(scene.builder.planner.forget("cart"), Some(false));
    scene.step(10, declares("cart", None, 0));
    assert_eq!(scene.builder.planner.forget("cart"), Some(true));
    let touched = ["cart".into()].into();
    let updates = scene
        .builder
        .build(&scene.catalog, &touched, Duration::from_secs(11));
    assert_eq!(kinds(&updates), ["-eds cart", "-cds cart", "+rds internal"]);
    assert_eq!(scene.builder.planner.forget("cart"), None);
}

#[test]
fn a_restart_comes_to_the_same_decision() {
    let web = || declares("web", Some("host=api.example.com"), 9);
    let newcomer = || declares("aaa-experiment", Some("host=api.example.com"), 10);
    let mut scene = Scene::new(Decisions::default(), vec![web()]);
    scene.step(1, newcomer());
    assert_eq!(scene.holder(), "web");
    assert_eq!(scene.builder.issues().count(), 1);
    assert_eq!(scene.builder.planner.contested(), 1);
    assert!(scene.builder.planner.take_unsaved());
    // All of its instances restart, one after the other and all at once.
    scene.step(2, declares("web", Some("host=api.example.com"), 11));
    scene.step(3, declares("web", None, 0));
    scene.step(4, declares("web", Some("host=api.example.com"), 12));
    assert_eq!(scene.holder(), "web");
    let saved = scene.builder.planner.decisions(Duration::from_secs(5));
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
            let one = Facts::clone(&record.instances[0]);
            let of = |version: &str, protocol, port| Facts {
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
            record.instances = both
                .map(|(v, protocol, port)| of(v, protocol, port).into())
                .collect();
        }
        event
    };
    let mut scene = Scene::new(Decisions::default(), vec![tie("", "v2")]);
    scene.step(1, tie("v1", "v2"));
    let saved = scene.builder.planner.decisions(Duration::ZERO);
    let elected = |scene: &Scene| {
        scene.builder.planner.decisions(Duration::ZERO).services["a"]
            .elected
            .protocol
    };
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
            let one = Facts::clone(&record.instances[0]);
            let all = health.iter().zip(1..).map(|(health, port)| Facts {
                id: port.to_string().into(),
                address: ([127, 0, 0, 1], port).into(),
                health: *health,
                ..one.clone()
            });
            record.instances = all.map(Instance::from).collect();
        }
        let touched = catalog.apply(event, Duration::ZERO);
        builder.build(&catalog, &touched.services, Duration::ZERO);
        (
            builder.planner.all_off().len(),
            builder.planner.all_unhealthy().len(),
            builder.planner.take_off().len(),
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
