//! One case each: what starts, what waits, and what ends.

use std::time::Duration;

use xds_bridge::rollout::{Event, Happened, Hold, Outcome, Settings, Severity, Signal, Why};

use super::world::{FINE, NEW, OLD, SECOND, World, errors, good, instances};

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
    assert_eq!(world.said.last().map(Event::severity), Some(Severity::Alert));
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
