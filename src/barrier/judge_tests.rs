//! When a question is answered, and by what.

use super::*;

const PATIENCE: Patience = Patience {
    in_flight: Duration::from_secs(10),
    is_bounded: true,
    connecting: Duration::from_secs(1),
    grace: Duration::from_secs(5),
};

const fn s(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn client(node: &str) -> Client {
    ("edge".to_owned(), node.to_owned())
}

fn draining(acked: &[&str]) -> Seen {
    Seen {
        health: Some(Health::Draining),
        acked: acked.iter().map(|node| client(node)).collect(),
        ..Seen::default()
    }
}

fn report(node: &str, open: u64, certain_at: Option<Duration>) -> Flight {
    Flight {
        client: client(node),
        open,
        certain_at,
    }
}

fn drained(judge: &mut Judge, seen: &Seen, now: u64) -> Verdict {
    judge.judge(Wanted::Drained, seen, PATIENCE, s(now))
}

#[test]
fn one_that_serves_is_not_drained() {
    let mut seen = draining(&[]);
    seen.health = Some(Health::Healthy);
    assert_eq!(
        drained(&mut Judge::default(), &seen, 0),
        Verdict::NotServed(Some(Health::Healthy))
    );
}

#[test]
fn where_nobody_is_connected_nothing_is_under_way() {
    assert_eq!(drained(&mut Judge::default(), &draining(&[]), 0), Verdict::Done);
    let mut gone = draining(&[]);
    gone.health = None;
    assert_eq!(drained(&mut Judge::default(), &gone, 0), Verdict::Done);
}

#[test]
fn who_has_not_acknowledged_is_named() {
    let mut seen = draining(&["a"]);
    seen.lagging.insert(client("b"), s(3));
    let Verdict::NotAcked { lagging, .. } = drained(&mut Judge::default(), &seen, 4) else {
        panic!("b lags");
    };
    assert_eq!(lagging, [(client("b"), s(3))]);
}

#[test]
fn who_disconnected_is_unknown_for_a_while() {
    let mut seen = draining(&[]);
    seen.unknown.insert(client("b"), s(1));
    let mut judge = Judge::default();
    let Verdict::NotAcked { unknown, .. } = drained(&mut judge, &seen, 5) else {
        panic!("b may go on");
    };
    assert_eq!(unknown, [(client("b"), s(1))]);
    assert_eq!(drained(&mut judge, &seen, 6), Verdict::Done);
    assert!(judge.given_up().contains(&client("b")), "it is named");
    let mut back = draining(&["b"]);
    assert!(matches!(drained(&mut judge, &back, 20), Verdict::Busy { .. }));
    back.reports = vec![report("b", 0, Some(s(22)))];
    assert_eq!(drained(&mut judge, &back, 22), Verdict::Done);
    assert!(judge.given_up().is_empty());
}

#[test]
fn after_a_start_clients_of_before_are_waited_for() {
    let mut seen = draining(&[]);
    seen.returning = Some(s(0));
    let mut judge = Judge::default();
    let Verdict::NotAcked { returning, .. } = drained(&mut judge, &seen, 4) else {
        panic!("they may come back");
    };
    assert_eq!(returning, Some(s(5)));
    assert_eq!(drained(&mut judge, &seen, 5), Verdict::Done);
}

#[test]
fn a_report_counts_only_when_it_is_newer_than_the_last_acknowledgement() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.reports = vec![report("a", 0, Some(s(1)))];
    assert!(matches!(
        drained(&mut judge, &seen, 2),
        Verdict::Busy { unreported: 1, .. }
    ));
    seen.reports = vec![report("a", 2, Some(s(3)))];
    let Verdict::Busy { open, by, .. } = drained(&mut judge, &seen, 3) else {
        panic!("two are open");
    };
    assert_eq!((open, by), (2, vec![("a".to_owned(), 2)]));
    seen.reports = vec![report("a", 0, Some(s(4)))];
    assert_eq!(drained(&mut judge, &seen, 4), Verdict::Done);
}

#[test]
fn a_request_that_waits_for_a_connection_is_in_no_report() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.reports = vec![report("a", 0, Some(s(3)))];
    assert!(
        matches!(drained(&mut judge, &seen, 2), Verdict::Busy { .. }),
        "known since 2"
    );
    assert!(matches!(
        drained(&mut judge, &seen, 3),
        Verdict::Busy { unreported: 1, .. }
    ));
    seen.reports = vec![report("a", 0, Some(s(4)))];
    assert_eq!(drained(&mut judge, &seen, 4), Verdict::Done);
}

#[test]
fn requests_of_a_cluster_that_was_replaced_are_in_no_report() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.rebuilt = Some(s(0));
    for now in [1, 5, 9] {
        seen.reports = vec![report("a", 0, Some(s(now)))];
        let Verdict::Busy { silent, .. } = drained(&mut judge, &seen, now) else {
            panic!("not known");
        };
        assert_eq!(silent.map(|(count, _)| count), Some(1));
    }
    seen.reports = vec![report("a", 0, Some(s(10)))];
    assert_eq!(drained(&mut judge, &seen, 11), Verdict::Done);
}

#[test]
fn open_calls_are_waited_for_however_long_they_take() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    for now in 1..100 {
        seen.reports = vec![report("a", 1, Some(s(now)))];
        assert!(matches!(drained(&mut judge, &seen, now), Verdict::Busy { .. }));
    }
}

#[test]
fn who_does_not_report_is_given_the_time_of_the_longest_request() {
    for reports in [vec![], vec![report("a", 0, None)], vec![report("a", 3, None)]] {
        let mut judge = Judge::default();
        let mut seen = draining(&["a"]);
        seen.reports = reports;
        let Verdict::Busy { silent, .. } = drained(&mut judge, &seen, 1) else {
            panic!("not known");
        };
        assert_eq!(silent, Some((1, s(12))));
        assert!(matches!(drained(&mut judge, &seen, 11), Verdict::Busy { .. }));
        assert_eq!(drained(&mut judge, &seen, 12), Verdict::Done);
    }
}

#[test]
fn a_client_that_comes_in_between_starts_the_time_again() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    assert!(matches!(drained(&mut judge, &seen, 1), Verdict::Busy { .. }));
    seen.lagging.insert(client("b"), s(5));
    assert!(matches!(drained(&mut judge, &seen, 5), Verdict::NotAcked { .. }));
    let seen = draining(&["a", "b"]);
    assert!(matches!(drained(&mut judge, &seen, 6), Verdict::Busy { .. }));
    assert!(matches!(drained(&mut judge, &seen, 16), Verdict::Busy { .. }));
    assert_eq!(drained(&mut judge, &seen, 17), Verdict::Done);
}

#[test]
fn a_client_that_leaves_after_it_acknowledged_may_have_requests_under_way() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.reports = vec![report("a", 3, Some(s(2)))];
    assert!(matches!(
        drained(&mut judge, &seen, 3),
        Verdict::Busy { open: 3, .. }
    ));
    let mut seen = draining(&[]);
    seen.reports = vec![report("a", 3, None)]; // it has left there, too
    let Verdict::Busy { silent, .. } = drained(&mut judge, &seen, 4) else {
        panic!("its requests go on");
    };
    assert_eq!(silent, Some((1, s(15))));
    assert!(matches!(drained(&mut judge, &seen, 14), Verdict::Busy { .. }));
    assert_eq!(drained(&mut judge, &seen, 15), Verdict::Done);
}

#[test]
fn one_that_drains_alone_gets_requests_all_the_same() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.alone = true;
    seen.reports = vec![report("a", 0, Some(s(1)))];
    assert_eq!(drained(&mut judge, &seen, 5), Verdict::Alone);
    seen.health = None;
    assert!(
        matches!(drained(&mut judge, &seen, 5), Verdict::Busy { .. }),
        "it has left"
    );
}

#[test]
fn serving_is_when_every_client_has_it_and_there_are_enough() {
    let serving =
        |seen: &Seen, clients| Judge::default().judge(Wanted::Serving { clients }, seen, PATIENCE, s(1));
    let mut seen = draining(&["a"]);
    assert_eq!(serving(&seen, 0), Verdict::NotServed(Some(Health::Draining)));
    seen.health = Some(Health::Healthy);
    assert_eq!(serving(&seen, 1), Verdict::Done);
    assert!(matches!(serving(&seen, 2), Verdict::NotAcked { missing: 1, .. }));
    seen.lagging.insert(client("b"), s(1));
    assert!(matches!(serving(&seen, 1), Verdict::NotAcked { .. }));
}

#[test]
fn requests_that_were_seen_and_that_nobody_tells_of_any_more_may_take_any_time() {
    let unbounded = Patience {
        is_bounded: false,
        ..PATIENCE
    };
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.reports = vec![report("a", 3, Some(s(1)))];
    judge.judge(Wanted::Drained, &seen, unbounded, s(1));
    // It leaves its registry: what is under way is in no report any more.
    seen.health = None;
    seen.reports = vec![report("a", 0, None)];
    let verdict = judge.judge(Wanted::Drained, &seen, unbounded, s(1_000));
    assert!(matches!(verdict, Verdict::Busy { open: 3, .. }), "{verdict:?}");
    assert_eq!(
        judge.judge(Wanted::Drained, &seen, PATIENCE, s(1_000)),
        Verdict::Done
    );
}

#[test]
fn clients_of_two_fleets_with_one_name_do_not_answer_for_each_other() {
    let mut judge = Judge::default();
    let mut seen = draining(&["a"]);
    seen.acked.insert(("batch".to_owned(), "a".to_owned()));
    seen.reports = vec![report("a", 0, Some(s(1)))];
    drained(&mut judge, &seen, 1);
    seen.reports = vec![report("a", 0, Some(s(5)))];
    let Verdict::Busy { silent, .. } = drained(&mut judge, &seen, 5) else {
        panic!("one does not report");
    };
    assert_eq!(silent.map(|(count, _)| count), Some(1));
}
