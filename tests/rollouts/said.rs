//! What people are given: dry runs, other services, reports.

use xds_bridge::rollout::{ErrorLine, Happened, Instances, Neighbours, Report, Row, Settings, Sum};

use super::world::{FINE, NEW, OLD, SECOND, World, errors, good, instances};

#[test]
fn a_dry_run_judges_and_leaves_requests_where_they_are() {
    let settings = Settings {
        dry_run: true,
        ..Settings::default()
    };
    let mut world = World::new(1, settings.clone()).deploy();
    // Twelve instances, two of which are new.
    assert_eq!((world.share(OLD), world.share(NEW)), (8_334, 1_666));
    for _ in 0..30 {
        world.pass(SECOND, FINE, errors(0.5));
    }
    assert_eq!(
        (world.share(OLD), world.share(NEW), world.phase()),
        (8_334, 1_666, "taken back")
    );
    let last = world.said.last().unwrap();
    assert!(
        last.dry_run && last.text.contains("it would be taken back"),
        "{}",
        last.text
    );
    good(&mut world, 100);
    assert_eq!(world.phase(), "idle");
    // In earnest it starts: that verdict was on paper.
    world.settings.dry_run = false;
    world.begin();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 1_000));
    // A declared share stays as it is, too; a good version is said once.
    let mut world = World::new(1, settings);
    world.facts.versions.insert(
        NEW.into(),
        Instances {
            share: Some(500),
            ..instances(2, 7)
        },
    );
    for _ in 0..600 {
        world.pass(SECOND, FINE, FINE);
    }
    assert_eq!(
        (world.share(NEW), world.record.stable.as_deref()),
        (500, Some(OLD))
    );
    let promoted = world
        .said
        .iter()
        .filter(|event| event.what == Happened::Promoted)
        .count();
    assert_eq!(promoted, 1, "{}", world.transcript());
}

#[test]
fn errors_of_other_services_after_a_step_are_named_and_nothing_is_done_to_them() {
    let mut world = World::new(1, Settings::default());
    let cart = |n, k| Neighbours {
        run: "run".into(),
        services: [
            ("cart".into(), Sum { n, k }),
            ("mail".into(), Sum { n: 100, k: 1 }),
        ]
        .into(),
    };
    world.facts.neighbours = cart(1_000, 1);
    let mut world = world.deploy();
    good(&mut world, 3);
    world.facts.neighbours = cart(1_100, 40);
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(1.0));
    }
    let named: Vec<&str> = world
        .said
        .iter()
        .filter(|event| matches!(event.what, Happened::Neighbour { .. }))
        .map(|event| event.text.as_str())
        .collect();
    assert_eq!(
        named,
        [
            "cart began to fail after a step of new, with 10 % of the requests: 1 of 1000 (0.10 %) before, 39 of 100 (39.00 %) since"
        ]
    );
    let taken = world
        .said
        .iter()
        .find(|event| matches!(event.what, Happened::TakenBack { .. }))
        .unwrap();
    assert!(
        taken.text.ends_with("; cart began to fail at the same time"),
        "{}",
        taken.text
    );
}

#[test]
fn a_report_has_the_figures_the_places_and_the_errors() {
    let mut world = World::new(1, Settings::default()).deploy();
    world.facts.rows = vec![
        Row {
            version: NEW.into(),
            zone: "eu/1".into(),
            endpoint: "10.0.0.7:80".into(),
            errors: Sum { n: 20, k: 20 },
            abandoned: 1,
        },
        Row {
            version: OLD.into(),
            zone: "eu/1".into(),
            errors: Sum { n: 200, k: 0 },
            ..Row::default()
        },
        Row {
            version: "other".into(),
            ..Row::default()
        },
    ];
    let line = ErrorLine {
        version: NEW.into(),
        method: "GET /orders".to_owned(),
        status: "500".to_owned(),
        message: "no such\ncolumn".to_owned(),
        flags: "UC".to_owned(),
        upstream: "10.0.0.7:80".to_owned(),
        count: 20,
        first: 1,
        last: 2,
    };
    let report = |world: &World| {
        Report::of(
            &"orders".into(),
            &world.record,
            &world.settings,
            &world.facts,
            vec![line.clone()],
        )
        .unwrap()
    };
    assert_eq!(report(&world).phase, "running");
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(1.0));
    }
    let report = report(&world);
    assert_eq!((report.phase, report.verdict.rows.len()), ("taken back", 2));
    let text = report.text();
    for part in [
        "orders: new beside old, taken back\n",
        "new is worse than old by errors: ",
        "does not start again before `xds-bridge rollout retry orders --version new`\n",
        "  errors by envoy: ",
        "load: ",
        "clients: 1 report, 0 do not\n",
        "  new 10.0.0.7:80 in eu/1: errors 20 of 20 (100.00 %), given up on 1\n",
        "  old eu/1: errors 0 of 200 (0.00 %), given up on 0\n",
        "  20 × GET /orders 500 [UC] from 10.0.0.7:80 (new): no such\u{fffd}column\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"]["alarm"], "errors");
    assert_eq!(json["verdict"]["signals"][0]["threshold"], 100.0);
    assert!(json["verdict"]["load"]["candidate"]["per_instance"].is_number());
}
