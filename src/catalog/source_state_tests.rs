//! Tests of what one source says and of what is withheld.

use super::*;
use std::net::SocketAddr;

use crate::catalog::probe::Answer;
use crate::model::Standing;
use crate::model::{Expose, Instance, Policy};

fn record(ids: std::ops::Range<u16>) -> ServiceRecord {
    let instance = |n: u16| Instance::new(format!("{n:03}"), ([127, 0, 0, 1], n + 1).into());
    ServiceRecord {
        instances: ids.map(instance).collect(),
        ..ServiceRecord::default()
    }
}

fn reported(complete: bool, services: Vec<(&str, Option<ServiceRecord>)>) -> Change {
    Change::new(
        services.into_iter().map(|(n, r)| (n.into(), r)).collect(),
        complete,
    )
}

fn state() -> SourceState {
    let mut state = SourceState::new(Some(GuardRule::default()));
    state.set_status(Status::Live, Duration::ZERO);
    state.apply(
        reported(true, vec![("a", Some(record(0..20))), ("b", Some(record(0..5)))]),
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
        "what it knows is not received yet"
    );
    state.apply(reported(true, vec![]), second(3));
    assert_eq!((state.condition(), state.since()), (Condition::Empty, second(3)));
    state.apply(reported(false, vec![("a", Some(record(0..20)))]), second(4));
    assert_eq!(state.condition(), Condition::Live);
    state.apply(reported(false, vec![("a", None)]), second(5));
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
    state.apply(reported(true, vec![]), second(1));
    assert_eq!((state.ask(second(60)), state.due()), (None, Some(second(61))));
    assert!(
        state.release(Some(second(61))).services.is_empty(),
        "not by time alone"
    );
    assert_eq!(state.ask(second(61)), Some(1));
    assert_eq!((state.ask(second(62)), state.due()), (None, None), "it was asked");
    assert_eq!(state.verified(0), Touched::default(), "before the question");
    // One of two is back, and something else goes meanwhile: that was not due.
    state.apply(reported(false, vec![("a", Some(record(0..20)))]), second(62));
    state.apply(reported(false, vec![("a", None)]), second(63));
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
        reported(true, vec![("c", Some(record(0..1)))]),
        Duration::from_secs(1),
    );
    assert_eq!(touched.services.len(), 3, "two of them stand differently now");
    assert_eq!((state.instances(), state.withheld().count()), (26, 2));
    // The registry is itself again: nothing is withheld any more.
    let all = vec![("a", Some(record(0..20))), ("b", Some(record(0..5))), ("c", None)];
    assert!(state.apply(reported(true, all), Duration::from_secs(2)).status);
    assert_eq!(
        (state.instances(), state.withheld().count(), state.due()),
        (25, 0, None)
    );
}

#[test]
fn part_of_a_service_is_withheld_and_its_new_instances_are_served() {
    let mut state = state();
    state.apply(
        reported(false, vec![("a", Some(record(18..22)))]),
        Duration::from_secs(1),
    );
    assert_eq!(state.record("a").map(|r| r.instances.len()), Some(22));
    assert_eq!(state.due(), Some(Duration::from_secs(61)));
    state.apply(
        reported(false, vec![("a", Some(record(18..23)))]),
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
    state.apply(reported(true, vec![]), Duration::from_secs(1));
    let refill = |a, b| reported(false, vec![("a", Some(record(a))), ("b", Some(record(b)))]);
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
    state.apply(reported(true, vec![]), Duration::from_secs(1));
    state.set_status(away("gone"), Duration::from_secs(2));
    assert_eq!(state.due(), None);
    assert!(state.release(Some(Duration::from_secs(100))).services.is_empty());
    assert_eq!(state.release(None).services.len(), 2, "but the operator can");
    assert_eq!(state.instances(), 0);
}

#[test]
fn an_entry_that_is_registered_again_as_garbage_is_gone() {
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
    running.apply(reported(true, vec![("a", Some(record(0..2)))]), Duration::ZERO);
    running.apply(reported(false, vec![("a", Some(garbage()))]), Duration::ZERO);
    assert_eq!(
        ids(&running),
        ["001".into()],
        "the source has nothing good of it any more"
    );

    let mut restarted = SourceState::new(None);
    restarted.recall(reported(true, vec![("a", Some(record(0..2)))]), Duration::ZERO);
    for complete in [true, false] {
        restarted.apply(reported(complete, vec![("a", Some(garbage()))]), Duration::ZERO);
        assert_eq!(
            ids(&restarted),
            ["000".into(), "001".into()],
            "known from before the restart"
        );
    }
}

#[test]
fn what_can_be_used_again_is_reported_once() {
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
        let change = reported(false, vec![("a", Some(record.clone()))]);
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

fn at(n: u16) -> SocketAddr {
    ([127, 0, 0, 1], n + 1).into()
}

#[test]
fn the_status_is_renewed_whenever_the_number_of_withheld_instances_changes() {
    let mut state = state();
    let mut say = |a, second| state_after(&mut state, a, second);
    assert_eq!(say(11..20, 1), (true, 11));
    assert_eq!(say(18..20, 2), (true, 18), "more of the same service");
    assert_eq!(say(18..20, 3), (false, 18));
    assert_eq!(say(9..20, 4), (true, 9));
    assert_eq!(say(0..20, 5), (true, 0));
}

/// Whether the status changed, and how many are withheld.
fn state_after(state: &mut SourceState, a: std::ops::Range<u16>, second: u64) -> (bool, usize) {
    let touched = state.apply(
        reported(false, vec![("a", Some(record(a)))]),
        Duration::from_secs(second),
    );
    let counted: usize = state.withheld().map(|(_, w)| w.missing).sum();
    assert_eq!(counted, state.withheld_instances());
    (touched.status, counted)
}

#[test]
fn an_instance_that_refuses_twice_leaves_and_one_that_accepts_stays() {
    let second = Duration::from_secs(1);
    let mut state = state();
    state.apply(reported(false, vec![("a", Some(record(14..20)))]), second);
    let asked = state.questions(second);
    assert_eq!(asked, (0..14).map(at).collect::<Vec<_>>());
    for n in 0..14 {
        let answer = if n < 4 { Answer::Accepted } else { Answer::Refused };
        let touched = state.probed(at(n), answer, second);
        assert!(touched.status && touched.services.len() == 1, "{n}");
    }
    let standings: Vec<Standing> = state.record("a").unwrap().withheld.values().copied().collect();
    assert_eq!(
        standings,
        [[Standing::Recent; 4].as_slice(), &[Standing::Doubtful; 10]].concat()
    );
    assert_eq!(
        (
            state.withheld_instances(),
            state.withheld_alive(),
            state.instances()
        ),
        (14, 4, 25)
    );
    let again = second * 2;
    assert_eq!(state.questions(again).len(), 14);
    let gone: usize = (4..14)
        .map(|n| state.probed(at(n), Answer::Refused, again).gone)
        .sum();
    assert_eq!(gone, 10);
    assert_eq!(
        (
            state.withheld_instances(),
            state.withheld_alive(),
            state.instances()
        ),
        (4, 4, 15)
    );
    // It was certain: one that deregisters now is an ordinary one.
    state.apply(reported(false, vec![("b", Some(record(0..4)))]), again);
    assert_eq!((state.withheld_instances(), state.instances()), (4, 14));
    // What is left of the loss is believed in time.
    state.release(Some(Duration::from_secs(61)));
    assert_eq!(
        (
            state.withheld_instances(),
            state.withheld_alive(),
            state.instances()
        ),
        (0, 0, 10)
    );
    assert!(state.record("a").unwrap().withheld.is_empty());
    assert_eq!(state.probe_due(), None);
}

#[test]
fn a_service_leaves_with_its_last_instance() {
    let second = Duration::from_secs(1);
    let mut state = state();
    state.apply(reported(true, vec![]), second);
    // Both services have servers at the same addresses.
    while let Some(now) = state.probe_due() {
        for address in state.questions(now) {
            state.probed(address, Answer::Refused, now);
        }
    }
    assert_eq!(
        (state.services(), state.instances(), state.withheld().count()),
        (0, 0, 0)
    );
    assert_eq!(state.due(), None);
}

#[test]
fn an_instance_that_registers_again_is_no_longer_probed() {
    let second = Duration::from_secs(1);
    let mut state = state();
    state.apply(reported(true, vec![]), second);
    assert_eq!(state.questions(second).len(), 16, "the first ones");
    let back = record(0..3);
    state.apply(
        reported(false, vec![("a", Some(back)), ("b", Some(record(0..5)))]),
        second,
    );
    assert_eq!(state.withheld_instances(), 17);
    let touched = state.probed(at(0), Answer::Refused, second);
    assert_eq!(touched, Touched::default(), "its registry lists it");
    let touched = state.probed(at(7), Answer::Refused, second);
    assert_eq!(touched.services.into_iter().collect::<Vec<_>>(), ["a".into()]);
}

/// The same instances, exposed at the edge.
fn at_the_edge(ids: std::ops::Range<u16>) -> ServiceRecord {
    let mut record = record(ids);
    let policy = Arc::new(Policy {
        expose: Some(Expose::On(vec!["edge".to_owned()])),
        ..Policy::default()
    });
    for instance in &mut record.instances {
        instance.policy = policy.clone();
    }
    record
}

#[test]
fn what_names_an_exposure_counts_once_that_is_defined() {
    let exposures = |names: &[&str]| -> Exposures { names.iter().map(|name| (*name).into()).collect() };
    let (inside, both) = (exposures(&["internal"]), exposures(&["internal", "edge"]));
    let mut state = SourceState::new(None);
    state.set_exposures(&inside, Duration::ZERO);
    state.apply(
        reported(
            true,
            vec![("a", Some(at_the_edge(0..2))), ("b", Some(record(0..1)))],
        ),
        Duration::ZERO,
    );
    let exposed = |state: &SourceState| state.record("a").unwrap().instances[0].policy.expose.is_some();
    assert!(!exposed(&state) && state.issues().count() == 2);
    for _ in 0..2 {
        let touched = state.set_exposures(&both, Duration::from_secs(1));
        assert!(touched.services.iter().map(|name| &**name).eq(["a"]) && touched.issues);
        assert!(exposed(&state) && state.issues().count() == 0);
        assert_eq!(
            state.last_delivery(),
            Some(Duration::ZERO),
            "the source sent nothing"
        );
        assert_eq!(state.set_exposures(&both, Duration::ZERO), Touched::default());
        state.set_exposures(&inside, Duration::from_secs(2));
        assert!(!exposed(&state) && state.issues().count() == 2);
    }
}

#[test]
fn other_exposures_let_nothing_go_that_is_withheld() {
    let mut state = SourceState::new(Some(GuardRule::default()));
    state.set_status(Status::Live, Duration::ZERO);
    state.set_exposures(&["internal".into(), "edge".into()].into(), Duration::ZERO);
    state.apply(
        reported(true, vec![("a", Some(at_the_edge(0..20)))]),
        Duration::ZERO,
    );
    state.apply(reported(true, vec![]), Duration::from_secs(1));
    assert_eq!(state.withheld_instances(), 20);
    state.set_exposures(&["internal".into()].into(), Duration::from_secs(2));
    assert_eq!((state.withheld_instances(), state.instances()), (20, 20));
}
