//! Tests of the guard against mass removal.

use super::*;
use crate::model::instance::{Facts, Health};
use crate::model::withheld::kept;

fn ids(numbers: std::ops::Range<usize>) -> Vec<Arc<str>> {
    numbers.map(|n| n.to_string().into()).collect()
}

fn addresses(count: usize) -> Vec<SocketAddr> {
    let port = |n: usize| u16::try_from(n + 1).unwrap();
    (0..count).map(|n| ([127, 0, 0, 1], port(n)).into()).collect()
}

fn loss(name: &str, before: usize, missing: usize) -> Turn {
    Turn {
        name: name.into(),
        before,
        missing: ids(0..missing),
        addresses: addresses(missing),
        coming: Vec::new(),
    }
}

fn gain(name: &str, coming: usize) -> Turn {
    Turn {
        coming: ids(0..coming),
        ..loss(name, 0, 0)
    }
}

fn guard() -> Guard {
    Guard::new(GuardRule::default())
}

fn held(guard: &mut Guard, turns: &[Turn], total: usize, second: u64) -> Vec<String> {
    let mut names: Vec<String> = guard
        .judge(turns, total, Duration::from_secs(second))
        .iter()
        .map(ToString::to_string)
        .collect();
    names.sort();
    names
}

#[test]
fn small_and_honest_removals_pass() {
    let mut guard = guard();
    assert_eq!(
        held(&mut guard, &[loss("a", 2, 2)], 2, 0),
        [""; 0],
        "two are never too many"
    );
    assert_eq!(
        held(&mut guard, &[loss("b", 40, 20)], 1000, 60),
        [""; 0],
        "half is not more than half"
    );
    assert_eq!(
        held(&mut guard, &[loss("c", 40, 0), loss("d", 1, 0)], 60, 90),
        [""; 0]
    );
}

#[test]
fn most_of_a_service_is_withheld_alone() {
    assert_eq!(held(&mut guard(), &[loss("a", 4, 3)], 1000, 0), ["a"]);
    assert_eq!(
        held(&mut guard(), &[loss("a", 20, 11), loss("b", 20, 2)], 1000, 0),
        ["a"]
    );
}

/// How many of thirty services of one instance pass, one after the other, before it is too much.
fn passed(meanwhile: impl Fn(&mut Guard, usize)) -> usize {
    let mut guard = guard();
    let mut n = 0;
    while n < 30 && held(&mut guard, &[loss(&format!("s{n}"), 1, 1)], 30 - n, 1).is_empty() {
        meanwhile(&mut guard, n);
        n += 1;
    }
    n
}

#[test]
fn most_of_everything_is_withheld_however_it_is_spread() {
    let many: Vec<Turn> = (0..20).map(|n| loss(&format!("s{n}"), 1, 1)).collect();
    assert_eq!(held(&mut guard(), &many, 30, 0).len(), 20);
    // One by one within the window: the first ones pass, then it is too much.
    assert_eq!(passed(|_, _| {}), 15, "half of thirty");
    // Slowly, over time, each may go.
    let mut slow = guard();
    for (n, loss) in many.iter().enumerate() {
        let second = 20 * n as u64;
        assert_eq!(
            held(&mut slow, std::slice::from_ref(loss), 30 - n, second),
            [""; 0]
        );
    }
}

#[test]
fn small_services_that_go_at_once_are_withheld_and_one_after_the_other_they_pass() {
    let four: Vec<Turn> = (0..4).map(|n| loss(&format!("s{n}"), 2, 2)).collect();
    assert_eq!(held(&mut guard(), &four, 8, 0).len(), 4);
    assert_eq!(held(&mut guard(), &four[..2], 8, 0), [""; 0], "half of them");
    let mut guard = guard();
    for (n, one) in four.iter().enumerate() {
        assert_eq!(
            held(&mut guard, std::slice::from_ref(one), 8 - 2 * n, n as u64),
            [""; 0]
        );
    }
}

#[test]
fn what_is_new_makes_up_for_nothing_that_goes() {
    let more = |guard: &mut Guard, n: usize| {
        assert_eq!(held(guard, &[gain(&format!("new-{n}"), 1)], 29 - n, 1), [""; 0]);
    };
    assert_eq!(passed(more), 15);
    // Nor does what came a moment ago count for less when it goes.
    let mut guard = guard();
    assert_eq!(held(&mut guard, &[gain("a", 1000)], 10, 0), [""; 0]);
    assert_eq!(
        held(&mut guard, &[loss("a", 1000, 11)], 1010, 1),
        [""; 0],
        "few of many"
    );
    let rest = Turn {
        missing: ids(11..600),
        ..loss("a", 1999, 0)
    };
    assert_eq!(held(&mut guard, &[rest], 999, 2), ["a"]);
}

#[test]
fn what_came_back_is_not_missing() {
    let mut guard = guard();
    let ten = |letter: char| -> Vec<Turn> { (0..10).map(|n| loss(&format!("{letter}{n}"), 1, 1)).collect() };
    let back: Vec<Turn> = (0..10).map(|n| gain(&format!("a{n}"), 1)).collect();
    assert_eq!(held(&mut guard, &ten('a'), 20, 0), [""; 0]);
    assert_eq!(held(&mut guard, &back, 10, 1), [""; 0]);
    assert_eq!(held(&mut guard, &ten('b'), 20, 2), [""; 0], "ten of twenty again");
    assert_eq!(
        held(&mut guard, &ten('a')[..1], 10, 3),
        ["a0"],
        "eleven of twenty"
    );
}

#[test]
fn one_that_comes_and_goes_is_missing_once() {
    let mut guard = guard();
    for _ in 0..50 {
        assert_eq!(held(&mut guard, &[loss("a", 1, 1)], 3, 1), [""; 0]);
        assert_eq!(held(&mut guard, &[gain("a", 1)], 2, 1), [""; 0]);
    }
}

fn record(ids: &[(&str, u16, Health)]) -> ServiceRecord {
    let instance = |(id, port, health): &(&str, u16, Health)| {
        Instance::from(Facts {
            health: *health,
            ..Facts::new(*id, ([10, 0, 0, 1], *port).into())
        })
    };
    ServiceRecord {
        instances: ids.iter().map(instance).collect(),
        ..ServiceRecord::default()
    }
}

#[test]
fn what_is_registered_again_under_another_id_is_not_missing() {
    let (drains, well) = (Health::Draining, Health::Healthy);
    let served = record(&[("a-old", 1, drains), ("b-old", 2, well), ("c", 3, well)]);
    let reported = record(&[("a-new", 1, well), ("c", 3, well)]);
    let turn = turn(&"orders".into(), Some(&served), Some(&reported));
    assert_eq!(
        (turn.missing, turn.coming),
        (vec!["b-old".into()], vec!["a-new".into()])
    );
    // What drained before it left does not stand before its successor.
    let both = record(&[("a-new", 1, well), ("b-old", 2, well), ("c", 3, well)]);
    assert_eq!(kept(&served, Some(&reported)), both);
}

#[test]
fn who_drained_before_leaves_in_order_unless_nobody_is_left() {
    let (drains, well) = (Health::Draining, Health::Healthy);
    let served = record(&[("a", 1, drains), ("b", 2, drains), ("c", 3, well), ("d", 4, well)]);
    let rest = record(&[("d", 4, well)]);
    let gone = turn(&"orders".into(), Some(&served), Some(&rest));
    assert_eq!((gone.before, gone.missing), (4, vec!["c".into()]));
    let both = record(&[("c", 3, well), ("d", 4, well)]);
    assert_eq!(held_back(&served, Some(&rest)), both);
    assert_eq!(kept(&served, Some(&rest)), served, "for who needs all of it");
    for none in [None, Some(&ServiceRecord::default())] {
        assert_eq!(turn(&"orders".into(), Some(&served), none).missing.len(), 4);
        assert_eq!(held_back(&served, none), served);
    }
}

#[test]
fn it_is_let_through_after_the_hold_or_when_accepted() {
    let mut guard = Guard::new(GuardRule::default());
    guard.withhold("a".into(), None, &addresses(20), Duration::from_secs(5));
    guard.withhold("a".into(), None, &addresses(20), Duration::from_secs(30));
    assert_eq!(
        guard.due(),
        Some(Duration::from_secs(65)),
        "since it was first withheld"
    );
    assert!(guard.release(Some(Duration::from_secs(64))).is_empty());
    assert_eq!(guard.release(Some(Duration::from_secs(65))).len(), 1);
    guard.withhold("b".into(), None, &addresses(20), Duration::from_secs(70));
    guard.withhold("b".into(), None, &addresses(21), Duration::from_secs(80));
    assert_eq!(
        guard.due(),
        Some(Duration::from_secs(140)),
        "more would go: it starts again"
    );
    assert_eq!(guard.release(None).len(), 1);
    assert_eq!(guard.due(), None);
}
