//! One case each: what holds a rollout, and what time and lost counts do to it.

use std::time::Duration;

use xds_bridge::rollout::{
    Answer, Event, Happened, Hold, OnNoData, Order, Phase, Run, Settings, Severity, Signal, Stratum, order,
};

use super::world::{FINE, NEW, OLD, SECOND, World, errors, good};

#[test]
fn a_start_does_not_say_that_nobody_reports() {
    let mut world = World::new(1, Settings::default());
    // Reports are only looked at while a rollout is there.
    world.facts.clients.last_report = None;
    let now = world.facts.now;
    world
        .facts
        .versions
        .insert(NEW.into(), super::world::instances(2, now));
    let started = world.decide();
    let is_held = |event: &Event| matches!(event.what, Happened::Held { .. });
    assert!(world.record.is_running() && !started.events.is_empty());
    assert!(!started.events.iter().any(is_held), "{}", world.transcript());
    // Where nobody does report it stays before its first step.
    world.facts.now += 1_500;
    assert!(world.decide().events.iter().any(is_held));
    world.facts.now += 60_000;
    world.decide();
    assert_eq!(world.share(NEW), 0);
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
    let ordered = order(
        &world.record,
        &world.settings,
        &world.facts,
        &Order::Promote { all: false },
        &"ann".into(),
    );
    world.record = ordered.unwrap().record;
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
    assert_eq!(world.said.last().map(Event::severity), Some(Severity::Alert));
    for _ in 0..20 {
        world.pass(SECOND, FINE, errors(0.5));
    }
    assert!(world.is_taken_back());
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
fn a_paused_rollout_stays_and_is_judged() {
    let mut world = World::new(1, Settings::default()).deploy();
    let paused = order(
        &world.record,
        &world.settings,
        &world.facts,
        &Order::Pause,
        &"ann".into(),
    );
    world.record = paused.unwrap().record;
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
