//! Tests of what one source says and of what is withheld.

use super::*;
use crate::model::{Health, Instance, Policy};

fn record(ids: std::ops::Range<u16>) -> ServiceRecord {
    let instance = |n: u16| Instance {
        id: format!("{n:03}").into(),
        address: ([127, 0, 0, 1], n + 1).into(),
        health: Health::Healthy,
        weight: 1,
        zone: "".into(),
        version: "".into(),
        policy: Arc::new(Policy::default()),
        own: None,
        created: 0,
    };
    ServiceRecord {
        instances: ids.map(instance).collect(),
        ..ServiceRecord::default()
    }
}

fn told(complete: bool, services: Vec<(&str, Option<ServiceRecord>)>) -> Change {
    let services = services.into_iter().map(|(n, r)| (n.into(), r)).collect();
    Change {
        services,
        complete,
        stray: None,
    }
}

fn state() -> SourceState {
    let mut state = SourceState::new(Some(GuardRule::default()));
    state.set_status(Status::Live, Duration::ZERO);
    state.apply(
        told(true, vec![("a", Some(record(0..20))), ("b", Some(record(0..5)))]),
        Duration::ZERO,
    );
    state
}

fn away(reason: &str) -> Status {
    Status::Away {
        reason: reason.into(),
    }
}

#[test]
fn connecting_live_empty_and_away_are_never_mixed_up() {
    let second = Duration::from_secs;
    let mut state = SourceState::new(Some(GuardRule::default()));
    assert_eq!(state.condition(), Condition::Connecting);
    state.set_status(away("refused"), second(1));
    state.set_status(away("timed out"), second(2));
    assert_eq!((state.condition(), state.since()), (Condition::Away, second(1)));
    state.set_status(Status::Live, second(3));
    assert_eq!(
        state.condition(),
        Condition::Live,
        "what it knows is not heard yet"
    );
    state.apply(told(true, vec![]), second(3));
    assert_eq!((state.condition(), state.since()), (Condition::Empty, second(3)));
    state.apply(told(false, vec![("a", Some(record(0..20)))]), second(4));
    assert_eq!(state.condition(), Condition::Live);
    state.apply(told(false, vec![("a", None)]), second(5));
    assert_eq!(
        (state.condition(), state.instances()),
        (Condition::Empty, 20),
        "what it says is withheld"
    );
    let (_, withheld) = state.withheld().next().unwrap();
    assert_eq!(state.believed_at(withheld), Some(second(65)));
    state.set_status(away("gone"), second(6));
    let (_, withheld) = state.withheld().next().unwrap();
    assert_eq!(
        (state.condition(), state.believed_at(withheld)),
        (Condition::Away, None)
    );
}

#[test]
fn a_source_that_can_verify_is_believed_only_after_it_did() {
    let second = Duration::from_secs;
    let mut state = state();
    state.can_verify();
    state.apply(told(true, vec![]), second(1));
    assert_eq!((state.ask(second(60)), state.due()), (None, Some(second(61))));
    assert!(
        state.release(Some(second(61))).services.is_empty(),
        "not by time alone"
    );
    assert_eq!(state.ask(second(61)), Some(1));
    assert_eq!((state.ask(second(62)), state.due()), (None, None), "it was asked");
    assert_eq!(state.verified(0), Touched::default(), "before the question");
    // One of two is back, and something else goes meanwhile: that was not due.
    state.apply(told(false, vec![("a", Some(record(0..20)))]), second(62));
    state.apply(told(false, vec![("a", None)]), second(63));
    let touched = state.verified(1);
    assert_eq!(touched.services.into_iter().collect::<Vec<_>>(), ["b".into()]);
    assert_eq!((state.instances(), state.due()), (20, Some(second(123))));
    // Away in between: what it was asked before does not count.
    assert_eq!(state.ask(second(123)), Some(2));
    state.set_status(away("gone"), second(124));
    assert_eq!((state.verified(2), state.due()), (Touched::default(), None));
    state.set_status(Status::Live, second(125));
    assert_eq!(state.ask(second(125)), Some(3));
    assert_eq!(state.verified(3).services.len(), 1);
    assert_eq!(state.instances(), 0);
}

#[test]
fn an_empty_answer_is_withheld_and_what_is_new_is_served() {
    let mut state = state();
    let touched = state.apply(
        told(true, vec![("c", Some(record(0..1)))]),
        Duration::from_secs(1),
    );
    assert_eq!(touched.services.into_iter().collect::<Vec<_>>(), ["c".into()]);
    assert_eq!((state.instances(), state.withheld().count()), (26, 2));
    // The registry is itself again: nothing is withheld any more.
    let all = vec![("a", Some(record(0..20))), ("b", Some(record(0..5))), ("c", None)];
    assert!(state.apply(told(true, all), Duration::from_secs(2)).status);
    assert_eq!(
        (state.instances(), state.withheld().count(), state.due()),
        (25, 0, None)
    );
}

#[test]
fn part_of_a_service_is_withheld_and_its_new_instances_are_served() {
    let mut state = state();
    state.apply(
        told(false, vec![("a", Some(record(18..22)))]),
        Duration::from_secs(1),
    );
    assert_eq!(state.record("a").map(|r| r.instances.len()), Some(22));
    assert_eq!(state.due(), Some(Duration::from_secs(61)));
    state.apply(
        told(false, vec![("a", Some(record(18..23)))]),
        Duration::from_secs(30),
    );
    assert_eq!(
        state.due(),
        Some(Duration::from_secs(61)),
        "since it was first seen"
    );
    assert!(state.release(Some(Duration::from_secs(60))).services.is_empty());
    assert_eq!(state.release(Some(Duration::from_secs(61))).services.len(), 1);
    assert_eq!(state.record("a").map(|r| r.instances.len()), Some(5));
}

#[test]
fn while_a_registry_fills_again_nothing_goes_that_is_only_late() {
    let mut state = state();
    state.apply(told(true, vec![]), Duration::from_secs(1));
    let refill = |a, b| told(false, vec![("a", Some(record(a))), ("b", Some(record(b)))]);
    // Most of both is back: what is missing still would be a small loss by itself.
    state.apply(refill(0..18, 0..4), Duration::from_secs(5));
    assert_eq!((state.instances(), state.withheld().count()), (25, 2));
    state.apply(refill(0..20, 0..4), Duration::from_secs(6));
    assert_eq!((state.instances(), state.withheld().count()), (25, 1));
    assert_eq!(state.due(), Some(Duration::from_secs(61)));
    state.release(Some(Duration::from_secs(61)));
    assert_eq!(
        (state.instances(), state.withheld().count()),
        (24, 0),
        "it never came"
    );
}

#[test]
fn a_source_that_is_away_cannot_stand_by_what_it_said() {
    let mut state = state();
    state.apply(told(true, vec![]), Duration::from_secs(1));
    state.set_status(away("gone"), Duration::from_secs(2));
    assert_eq!(state.due(), None);
    assert!(state.release(Some(Duration::from_secs(100))).services.is_empty());
    assert_eq!(state.release(None).services.len(), 2, "but the operator can");
    assert_eq!(state.instances(), 0);
}

#[test]
fn an_entry_that_is_registered_anew_as_garbage_is_gone() {
    let garbage = || ServiceRecord {
        unread: vec!["000".into()],
        instances: record(1..2).instances,
        ..ServiceRecord::default()
    };
    let ids = |state: &SourceState| -> Vec<Arc<str>> {
        let served = state.record("a").unwrap();
        served.instances.iter().map(|i| i.id.clone()).collect()
    };
    let mut running = SourceState::new(None);
    running.apply(told(true, vec![("a", Some(record(0..2)))]), Duration::ZERO);
    running.apply(told(false, vec![("a", Some(garbage()))]), Duration::ZERO);
    assert_eq!(
        ids(&running),
        ["001".into()],
        "the source has nothing good of it any more"
    );

    let mut restarted = SourceState::new(None);
    restarted.recall(told(true, vec![("a", Some(record(0..2)))]), Duration::ZERO);
    for complete in [true, false] {
        restarted.apply(told(complete, vec![("a", Some(garbage()))]), Duration::ZERO);
        assert_eq!(
            ids(&restarted),
            ["000".into(), "001".into()],
            "known from before the restart"
        );
    }
}

#[test]
fn what_can_be_used_again_is_told_once() {
    let wrong = || {
        let mut wrong = record(0..3);
        Arc::make_mut(&mut wrong.instances[0].policy)
            .slips
            .insert(Key::Timeout);
        wrong.instances.remove(2);
        wrong.rejected = vec!["002".into()];
        wrong.unread = vec!["".into()];
        wrong.issues = vec![Issue::rejected("x", "no port")];
        wrong
    };
    let mut right = record(0..3);
    right.policy = Some(Policy::default());
    let mut state = SourceState::new(None);
    let mut repaired = |record: &ServiceRecord| {
        let change = told(false, vec![("a", Some(record.clone()))]);
        state.apply(change, Duration::ZERO).repaired
    };
    assert_eq!(repaired(&wrong()), []);
    let all = ["", "000", "002"].map(|id| ("a".into(), id.into()));
    assert_eq!(repaired(&right), all);
    assert_eq!(repaired(&right), []);
    assert_eq!(repaired(&wrong()), []);
    let gone = record(1..2);
    assert_eq!(repaired(&gone), [], "what is gone is not repaired");
}
