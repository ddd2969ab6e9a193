//! One case each: what starts, what waits, what is held, what ends.

use std::time::Duration;

use xds_bridge::rollout::{
    Answer, Happened, Hold, Neighbours, OnNoData, Outcome, Phase, Report, Row, Run, Settings, Severity,
    Signal, Stratum, Sum, Why,
};

use super::world::{Behaviour, NEW, OLD, SECOND, World, errors, instances};

const FINE: Behaviour = errors(0.001);

/// Good for both.
fn good(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.pass(SECOND, FINE, FINE);
    }
}

fn until_promoted(settings: Settings) -> World {
    let mut world = World::new(2, settings).deploy();
    for _ in 0..600 {
        world.pass(SECOND, FINE, FINE);
        if !world.record.is_running() {
            break;
        }
    }
    assert_eq!(
        world.record.stable.as_deref(),
        Some(NEW),
        "{}",
        world.transcript()
    );
    world
}

#[test]
fn the_first_version_is_stable_and_gets_everything() {
    let world = World::new(1, Settings::default());
    let shares = world.shares();
    assert_eq!(
        (world.share(OLD), &*shares.stable, shares.watched),
        (10_000, OLD, false)
    );
    assert_eq!(world.phase(), "idle");
}

#[test]
fn of_two_at_first_sight_the_one_with_more_instances_is_stable_then_the_older() {
    for (a, b, stable) in [(3, 2, "a"), (2, 3, "b"), (2, 2, "a")] {
        let mut world = World::new(
            1,
            Settings {
                auto: false,
                ..Settings::default()
            },
        );
        world.record = xds_bridge::rollout::Record::default();
        world.facts.versions = [("a".into(), instances(a, 5)), ("b".into(), instances(b, 7))].into();
        world.decide();
        assert_eq!(world.record.stable.as_deref(), Some(stable), "{a} {b}");
    }
}

#[test]
fn a_version_starts_once_an_instance_of_it_is_healthy() {
    let mut world = World::new(1, Settings::default());
    let mut starting = instances(0, 5);
    starting.total = 3;
    world.facts.versions.insert(NEW.into(), starting);
    world.decide();
    assert_eq!((world.phase(), world.share(NEW)), ("idle", 0));
    world.facts.versions.insert(NEW.into(), instances(1, 5));
    world.decide();
    // Clients get it, and send it nothing for an interval of their reports.
    assert_eq!(
        (world.phase(), world.shares().weights.get(NEW)),
        ("running", Some(&0))
    );
    world.begin();
    assert_eq!(
        (world.phase(), world.share(NEW), world.share(OLD)),
        ("running", 1_000, 9_000)
    );
    assert!(world.shares().watched);
}

#[test]
fn the_steps_are_header_mirror_and_shares() {
    let settings = Settings {
        steps: Settings::parse_steps("header,mirror:5,20,100").unwrap(),
        ..Settings::default()
    };
    let mut world = World::new(1, settings).deploy();
    let shares = world.shares();
    assert_eq!((shares.weights.get(NEW), shares.mirror), (Some(&0), None));
    good(&mut world, 61);
    let shares = world.shares();
    assert_eq!(
        (shares.weights[NEW], shares.mirror),
        (0, Some((NEW.into(), 50_000)))
    );
    good(&mut world, 90);
    assert_eq!(
        (world.share(NEW), world.shares().mirror),
        (2_000, None),
        "{}",
        world.transcript()
    );
    good(&mut world, 90);
    assert_eq!((world.share(NEW), world.share(OLD)), (10_000, 0));
    good(&mut world, 90);
    assert_eq!(
        (world.record.stable.as_deref(), world.share(NEW)),
        (Some(NEW), 10_000)
    );
}

#[test]
fn what_was_stable_before_does_not_start_again_by_itself() {
    let mut world = until_promoted(Settings::default());
    good(&mut world, 600);
    assert_eq!(
        (world.share(NEW), world.shares().weights.get(OLD)),
        (10_000, None)
    );
    // Not when it comes back soon, but when it comes back after a while: somebody deploys it.
    let old = world.facts.versions.remove(OLD).unwrap();
    good(&mut world, 60);
    world.facts.versions.insert(OLD.into(), old.clone());
    good(&mut world, 60);
    assert_eq!(world.phase(), "idle");
    world.facts.versions.remove(OLD);
    good(&mut world, 601);
    world.facts.versions.insert(OLD.into(), old);
    world.begin();
    assert_eq!((world.phase(), world.share(OLD)), ("running", 1_000));
}

#[test]
fn one_at_a_time_and_the_newest_is_next() {
    let mut world = World::new(1, Settings::default()).deploy();
    for (name, at) in [("second", 2_000_000), ("third", 3_000_000), ("", 4_000_000)] {
        world.facts.versions.insert(name.into(), instances(2, at));
    }
    world.decide();
    let waiting: Vec<String> = world
        .record
        .waiting
        .iter()
        .map(|w| format!("{}: {}", w.version, w.why))
        .collect();
    assert_eq!(
        waiting,
        [
            ": its instances declare no version: `rollout start` starts them nevertheless",
            "second: for the end of the rollout of new",
            "third: for the end of the rollout of new"
        ]
    );
    let said = world
        .said
        .iter()
        .filter(|event| event.what == Happened::Waiting)
        .count();
    good(&mut world, 10);
    assert_eq!(said, 3);
    assert_eq!(
        world
            .said
            .iter()
            .filter(|event| event.what == Happened::Waiting)
            .count(),
        3
    );
    for version in ["second", "third", ""] {
        assert_eq!(world.shares().weights.get(version), None);
    }
    for _ in 0..500 {
        world.pass(SECOND, FINE, FINE);
        if world.record.stable.as_deref() == Some(NEW) {
            break;
        }
    }
    good(&mut world, 31);
    let rollout = world.record.rollout.as_deref().unwrap();
    assert_eq!(&*rollout.candidate, "third", "{}", world.transcript());
}

#[test]
fn the_grace_time_is_waited_for_and_a_rejected_version_stays_out() {
    let mut world = World::new(1, Settings::default()).deploy();
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(1.0));
    }
    assert_eq!(
        (world.phase(), world.shares().weights.get(NEW)),
        ("taken back", None)
    );
    assert!(!world.shares().watched);
    world.facts.versions.insert("fix".into(), instances(1, 9_000_000));
    world.decide();
    assert_eq!(
        (world.phase(), &*world.record.waiting[0].version),
        ("taken back", "fix")
    );
    good(&mut world, 31);
    assert_eq!(&*world.record.rollout.as_deref().unwrap().candidate, "fix");
    // Registered again: it is remembered.
    world.facts.versions.remove(NEW);
    world.decide();
    world.facts.versions.insert(NEW.into(), instances(5, 99_000_000));
    world.facts.versions.remove("fix");
    good(&mut world, 100);
    assert_eq!((world.phase(), world.shares().weights.get(NEW)), ("idle", None));
    assert_eq!(
        world.record.rejected[0].why,
        Why::Worse {
            signal: Signal::Errors
        }
    );
}

#[test]
fn a_candidate_that_goes_is_gone_and_not_bad() {
    let mut world = World::new(1, Settings::default()).deploy();
    good(&mut world, 5);
    world.facts.versions.remove(NEW);
    world.decide();
    assert_eq!((world.phase(), world.share(OLD)), ("taken back", 10_000));
    assert!(world.record.rejected.is_empty());
    assert_eq!(
        world.record.history[0].outcome,
        Outcome::TakenBack { why: Why::Gone }
    );
    good(&mut world, 31);
    let mut world = world.deploy();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 1_000));
    // None is healthy: it gets nothing at once, and is gone after a while.
    world.facts.versions.get_mut(NEW).unwrap().healthy = 0;
    world.decide();
    assert_eq!((world.phase(), world.shares().weights.get(NEW)), ("held", None));
    good(&mut world, 29);
    assert_eq!(world.record.rollout.as_deref().unwrap().hold, Some(Hold::Missing));
    let mut back = world.clone();
    back.facts.versions.get_mut(NEW).unwrap().healthy = 2;
    back.decide();
    assert_eq!((back.phase(), back.share(NEW)), ("running", 1_000));
    good(&mut world, 1);
    assert_eq!(world.phase(), "taken back");
}

#[test]
fn a_version_that_comes_and_goes_is_left_alone() {
    let mut world = World::new(
        1,
        Settings {
            grace: Duration::ZERO,
            ..Settings::default()
        },
    );
    for _ in 0..3 {
        world = world.deploy();
        assert_eq!(world.phase(), "running");
        good(&mut world, 5);
        world.facts.versions.remove(NEW);
        good(&mut world, 1);
    }
    let world = world.deploy();
    assert_eq!(
        (world.phase(), &world.record.rejected[0].why),
        ("idle", &Why::Flapping)
    );
    assert_eq!(
        world.said.last().map(|event| event.severity()),
        Some(Severity::Alert)
    );
}

#[test]
fn where_only_the_candidate_serves_it_gets_everything_and_becomes_stable() {
    let mut world = World::new(1, Settings::default()).deploy();
    good(&mut world, 5);
    let old = world.facts.versions.remove(OLD).unwrap();
    world.decide();
    let shares = world.shares();
    assert_eq!(
        (shares.weights.get(NEW), shares.weights.get(OLD), &*shares.stable),
        (Some(&10_000), None, OLD)
    );
    // A moment later it is back.
    let mut back = world.clone();
    back.facts.versions.insert(OLD.into(), old);
    back.decide();
    assert_eq!((back.share(NEW), back.phase()), (1_000, "running"));
    good(&mut world, 31);
    assert_eq!(
        (world.record.stable.as_deref(), &world.record.history[0].outcome),
        (Some(NEW), &Outcome::Left)
    );
}

#[test]
fn a_service_that_is_replaced_at_once_has_a_new_stable_version_after_a_while() {
    let mut world = World::new(1, Settings::default());
    world.facts.versions = [(NEW.into(), instances(3, 9))].into();
    world.decide();
    // Who serves is the only one: the planner gives it everything.
    assert_eq!(
        (world.phase(), world.record.stable.as_deref()),
        ("idle", Some(OLD))
    );
    good(&mut world, 31);
    assert_eq!(
        (world.record.stable.as_deref(), world.share(NEW)),
        (Some(NEW), 10_000)
    );
    world.facts.versions.clear();
    good(&mut world, 600);
    assert_eq!(world.record.stable.as_deref(), Some(NEW));
}

#[test]
fn a_gate_is_waited_for_and_asked() {
    let steps = Settings::default().steps;
    let gates = Settings::parse_gates("10=person,25=http://gate/ok,25=http://other/ok", &steps).unwrap();
    let mut world = World::new(
        1,
        Settings {
            gates,
            ..Settings::default()
        },
    )
    .deploy();
    assert_eq!((world.phase(), world.shares().weights.get(NEW)), ("gate", None));
    good(&mut world, 300);
    assert_eq!(world.phase(), "gate");
    let order = xds_bridge::rollout::order(
        &world.record,
        &world.settings,
        &world.facts,
        &xds_bridge::rollout::Order::Promote { all: false },
        "ann",
    );
    world.record = order.unwrap().record;
    world.begin();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 1_000));
    // What it answered before it was asked does not count.
    let answer = |status, at| Answer {
        status,
        at,
        text: String::new(),
    };
    world
        .facts
        .gates
        .insert("http://gate/ok".into(), answer(Some(200), 0));
    good(&mut world, 61);
    let decision = world.decide();
    assert_eq!(
        (world.phase(), decision.gates.len()),
        ("gate", 2),
        "{}",
        world.transcript()
    );
    let now = world.facts.now;
    world
        .facts
        .gates
        .insert("http://gate/ok".into(), answer(Some(200), now));
    world
        .facts
        .gates
        .insert("http://other/ok".into(), answer(Some(503), now));
    assert_eq!(world.decide().gates, ["http://other/ok".into()]);
    assert_eq!(world.share(NEW), 1_000);
    // While it waits it is judged.
    let mut bad = world.clone();
    for _ in 0..10 {
        bad.pass(SECOND, FINE, errors(1.0));
    }
    assert!(bad.is_taken_back());
    world
        .facts
        .gates
        .insert("http://other/ok".into(), answer(Some(200), now));
    world.decide();
    assert_eq!((world.phase(), world.share(NEW)), ("running", 2_500));
}

#[test]
fn too_few_requests_hold_or_alert_or_go_on_as_the_policy_says() {
    for (text, share, alerts) in [
        ("hold", 1_000, 0),
        ("alert", 1_000, 1),
        ("promote_after(5m)", 2_500, 0),
    ] {
        let on_no_data = OnNoData::parse(text).unwrap();
        let mut world = World::new(
            1,
            Settings {
                on_no_data,
                ..Settings::default()
            },
        )
        .deploy();
        world.rate = 1.0;
        good(&mut world, 400);
        let found = world
            .said
            .iter()
            .filter(|event| event.what == Happened::Alert)
            .count();
        assert_eq!(
            (world.share(NEW), found),
            (share, alerts),
            "{text}: {}",
            world.transcript()
        );
    }
    // What little there is must not speak against it.
    let on_no_data = OnNoData::parse("promote_after(5m)").unwrap();
    let mut world = World::new(
        1,
        Settings {
            on_no_data,
            ..Settings::default()
        },
    )
    .deploy();
    world.rate = 0.0;
    world.add(NEW, Stratum::Envoy, 4, 2, 0);
    world.add(OLD, Stratum::Envoy, 50, 1, 0);
    good(&mut world, 400);
    assert_eq!(world.share(NEW), 1_000);
    // And blind it never goes on.
    let mut world = World::new(
        1,
        Settings {
            on_no_data,
            ..Settings::default()
        },
    )
    .deploy();
    for _ in 0..1_000 {
        world.serve(SECOND, FINE, FINE);
        world.decide();
    }
    assert_eq!(world.share(NEW), 1_000);
}

#[test]
fn a_candidate_beyond_the_margin_is_held() {
    let mut world = World::new(4, Settings::default()).deploy();
    for _ in 0..40 {
        // 1.5 points worse than 10 %: not surely bad, and not surely good.
        world.add(NEW, Stratum::Envoy, 177, 23, 0);
        world.add(OLD, Stratum::Envoy, 1_800, 200, 0);
        world.rate = 0.0;
        world.pass(2 * SECOND, FINE, FINE);
    }
    let hold = world
        .record
        .rollout
        .as_deref()
        .and_then(|rollout| rollout.hold.clone());
    let taken = world.is_taken_back();
    assert!(
        taken
            || hold
                == Some(Hold::Margin {
                    signal: Signal::Errors
                }),
        "{}",
        world.transcript()
    );
    assert_eq!(world.record.stable.as_deref(), Some(OLD));
}

#[test]
fn after_the_deadline_a_person_decides_and_what_is_bad_is_taken_back_all_the_same() {
    let settings = Settings {
        deadline: Duration::from_secs(100),
        ..Settings::default()
    };
    let mut world = World::new(1, settings).deploy();
    good(&mut world, 400);
    assert_eq!(
        world.record.rollout.as_deref().unwrap().hold,
        Some(Hold::Deadline)
    );
    assert_eq!(
        (world.share(NEW), world.record.stable.as_deref()),
        (2_500, Some(OLD))
    );
    assert_eq!(
        world.said.last().map(|event| event.severity()),
        Some(Severity::Alert)
    );
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(0.5));
    }
    assert!(world.is_taken_back());
}

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
        xds_bridge::rollout::Instances {
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
    let would = world
        .said
        .iter()
        .filter(|event| event.what == Happened::Promoted)
        .count();
    assert_eq!(would, 1, "{}", world.transcript());
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
fn a_replica_that_starts_again_and_another_leader_count_nothing_twice() {
    let mut world = World::new(
        1,
        Settings {
            step_time: Duration::from_secs(9_999),
            ..Settings::default()
        },
    )
    .deploy();
    good(&mut world, 10);
    let counted = |world: &World| world.record.rollout.as_deref().unwrap().totals[&Stratum::Envoy];
    let before = counted(&world);
    // The leader's last records are lost: the next one goes on from an older one.
    let older = world.record.clone();
    good(&mut world, 5);
    let expected = counted(&world);
    world.record = older;
    world.decide();
    assert_eq!(counted(&world), expected);
    assert!(expected.stable.errors.n > before.stable.errors.n);
    // The replica starts again: under another name, at zero.
    let since = world.facts.now;
    world.facts.runs = [(
        "again".into(),
        Run {
            since,
            ..Run::default()
        },
    )]
    .into();
    world.decide();
    assert_eq!(counted(&world), expected);
}

#[test]
fn the_policy_may_want_a_person_to_start() {
    let mut world = World::new(
        1,
        Settings {
            auto: false,
            ..Settings::default()
        },
    )
    .deploy();
    good(&mut world, 10);
    assert_eq!((world.phase(), world.shares().weights.get(NEW)), ("idle", None));
    assert_eq!(world.record.waiting[0].why, "for a person: `rollout start`");
}

#[test]
fn next_at_is_when_something_follows_from_time_alone() {
    let mut world = World::new(1, Settings::default()).deploy();
    let decision = world.decide();
    // The load is measured then; nothing would be known after 9 s, and the step is over after 60 s.
    assert_eq!(decision.next_at, Some(1_006_500));
    assert!(!decision.urgent);
    world.pass(SECOND, FINE, FINE);
    let before = world.record.clone();
    world.serve(SECOND, FINE, FINE);
    let decision = world.decide();
    assert!(decision.record != before && !decision.urgent);
    world.facts.now += 20_000;
    assert!(world.decide().urgent);
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
    let line = xds_bridge::rollout::ErrorLine {
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
        "does not start again before `xds-bridge rollout retry orders new`\n",
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

#[test]
fn a_paused_rollout_stays_and_is_judged() {
    let mut world = World::new(1, Settings::default()).deploy();
    let pause = xds_bridge::rollout::Order::Pause {
        why: "lunch".to_owned(),
    };
    world.record = xds_bridge::rollout::order(&world.record, &world.settings, &world.facts, &pause, "ann")
        .unwrap()
        .record;
    good(&mut world, 300);
    assert_eq!((world.phase(), world.share(NEW)), ("paused", 1_000));
    assert!(matches!(
        world.record.rollout.as_deref().unwrap().phase,
        Phase::Paused { .. }
    ));
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(1.0));
    }
    assert!(world.is_taken_back());
}
