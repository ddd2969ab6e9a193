//! A store that is quiet, a peer that answers no progress requests, a member that is frozen, and a watch that is
//! dead though the member answers: each is told from the others.

use std::time::Duration;

use super::fake::{Ask, Fake, Reply, Then, created};
use super::source_hub::Hub;
use super::{QUICK, config, instance, orders, put, ranges};
use xds_bridge::config::EtcdSource;
use xds_bridge::model::Status;
use xds_bridge::source::etcd::{EtcdWatcher, Timing};

/// Looks beside the watch all the time; the bound of silence leaves a busy machine its time.
const ATTENTIVE: Timing = Timing {
    probe: Duration::from_millis(50),
    answer: Duration::from_millis(300),
    silence: Duration::from_secs(2),
    ..QUICK
};

fn attentive(config: &EtcdSource) -> Hub {
    Hub::hearing(EtcdWatcher::new(config).with_timing(ATTENTIVE))
}

fn heads(fake: &Fake) -> usize {
    fake.count(|ask| matches!(ask, Ask::Head { .. }))
}

fn progresses(fake: &Fake) -> usize {
    fake.count(|ask| matches!(ask, Ask::Progress { .. }))
}

fn compares(fake: &Fake) -> usize {
    fake.count(|ask| matches!(ask, Ask::Compare { .. }))
}

/// A write that no watch of ours is to see.
fn write_elsewhere(fake: &Fake) {
    fake.txn(&[("/elsewhere", Some("x"))]);
}

/// Waits for a level of the fake, while the source does its work.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(in_time.is_ok(), "{what}");
}

/// No request for progress is answered.
fn mute(ask: &Ask) -> Option<Reply> {
    matches!(ask, Ask::Progress { .. }).then_some(Reply::Hang)
}

/// As etcd 3.6 and later do it: nobody has written since the watch began at the next revision.
#[tokio::test]
async fn a_quiet_store_is_not_away_where_progress_is_not_answered() {
    let (fake, address) = Fake::start().await;
    fake.script(mute);
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    // Twice as long as an unanswered member would be believed.
    until("it is asked where it is", || heads(&fake) >= 60).await;
    put(&fake, &[1]);
    hub.until_ports("orders", &[1]).await;
    assert_eq!(hub.statuses, [Status::Live]);
    assert_eq!(fake.watched_from().len(), 1, "one watch all the time");
    assert_eq!(progresses(&fake), 0, "a store that stands still owes nothing");
}

#[tokio::test]
async fn writes_elsewhere_are_settled_by_progress_where_it_is_answered() {
    let (fake, address) = Fake::start().await;
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    for n in 1..=3 {
        write_elsewhere(&fake);
        until("progress is asked for", || progresses(&fake) >= n).await;
    }
    put(&fake, &[1]);
    hub.until_ports("orders", &[1]).await;
    assert_eq!((compares(&fake), fake.watched_from().len()), (0, 1));
    assert_eq!(hub.statuses, [Status::Live]);
}

/// As `etcd grpc-proxy` does it. It is asked for progress once, and by reads from then on.
#[tokio::test]
async fn a_peer_without_progress_is_remembered_and_kept_by_reads() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    fake.script(mute);
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    // Two reads for each comparison.
    for n in 1..=3 {
        write_elsewhere(&fake);
        until("the keys are compared", || compares(&fake) >= 2 * n).await;
        let seen = heads(&fake);
        until("and it is well", || heads(&fake) >= seen + 2).await;
    }
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(progresses(&fake), 1, "remembered");
    assert_eq!((fake.watched_from().len(), ranges(&fake)), (1, 1));
    assert_eq!(hub.statuses, [Status::Live]);
}

/// What a comparison has found to be as before is where a new watch begins: no compaction hits it.
#[tokio::test]
async fn a_comparison_moves_the_place_from_which_is_watched_on() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    fake.script(mute);
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    for _ in 0..5 {
        write_elsewhere(&fake);
    }
    until("the keys are compared", || compares(&fake) >= 2).await;
    let seen = heads(&fake);
    until("and it is well", || heads(&fake) >= seen + 2).await;
    fake.compact();
    fake.cut_watches(super::UNAVAILABLE);
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!((fake.watched_from(), ranges(&fake)), (vec![3, 8], 1));
}

#[tokio::test]
async fn a_frozen_member_is_left_for_the_next() {
    let ((frozen, a), (other, b)) = (Fake::start().await, Fake::start().await);
    for fake in [&frozen, &other] {
        put(fake, &[1]);
    }
    frozen.script(|ask| matches!(ask, Ask::Progress { .. } | Ask::Head { .. }).then_some(Reply::Hang));
    let mut hub = attentive(&config(&[&a, &b]));
    hub.until_away("does not answer").await;
    assert!(heads(&frozen) > 1, "one read that hangs is not believed");
    hub.until_live().await;
    assert_eq!(other.watched_from(), [3], "from where we were");
    assert_eq!(ranges(&other), 0);
}

/// Without a quorum, as it says itself. What it says is the reason that is shown.
#[tokio::test]
async fn a_member_that_cannot_answer_is_left_with_its_own_words() {
    let (fake, address) = Fake::start().await;
    fake.script(|ask| match ask {
        Ask::Head { .. } => Some(Reply::Fail(super::UNAVAILABLE, "etcdserver: no leader")),
        _ => None,
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_away("no leader").await;
}

/// A standing watch is served on by etcd when the right to read is taken away.
#[tokio::test]
async fn a_read_that_is_refused_is_an_answer() {
    let (fake, address) = Fake::start().await;
    fake.script(|ask| match ask {
        Ask::Head { .. } => Some(Reply::Fail(
            super::fake::PERMISSION_DENIED,
            "etcdserver: permission denied",
        )),
        Ask::Progress { .. } => Some(Reply::Hang),
        _ => None,
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    until("it is asked where it is", || heads(&fake) >= 60).await;
    put(&fake, &[1]);
    hub.until_ports("orders", &[1]).await;
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn a_dead_watch_beside_a_member_that_answers_is_opened_again_and_nothing_is_lost() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let (header, mut dead) = (fake.header(), true);
    fake.script(move |ask| match ask {
        Ask::Watch { .. } if std::mem::take(&mut dead) => Some(Reply::Say(vec![created(header)], Then::Stay)),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    // One registered, one gone, and one that is written again: the number of keys is as before.
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1)), (&orders(1).0, None)]);
    hub.until_ports("orders", &[2]).await;
    fake.write_unseen(&[]);
    put(&fake, &[3]);
    hub.until_ports("orders", &[2, 3]).await;
    assert!(
        hub.statuses.iter().all(|status| *status == Status::Live),
        "{:?}",
        hub.statuses
    );
    assert_eq!(fake.watched_from(), [3, 2], "again, one revision earlier");
    assert_eq!(ranges(&fake), 1);
}

/// One of the members behind a balancer is frozen, and comparisons always meet that one.
#[tokio::test]
async fn a_dead_watch_is_found_though_the_keys_cannot_be_compared() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let (header, mut dead) = (fake.header(), true);
    fake.script(move |ask| match ask {
        Ask::Watch { .. } if std::mem::take(&mut dead) => Some(Reply::Say(vec![created(header)], Then::Stay)),
        Ask::Compare { .. } => Some(Reply::Hang),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!((fake.watched_from(), ranges(&fake)), (vec![3, 2], 1));
}

#[tokio::test]
async fn a_comparison_that_is_not_answered_is_asked_for_again() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let mut frozen = true;
    fake.script(move |ask| match ask {
        Ask::Compare { .. } if std::mem::take(&mut frozen) => Some(Reply::Hang),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    write_elsewhere(&fake);
    until("the keys are compared", || compares(&fake) >= 3).await;
    let seen = heads(&fake);
    until("and it is well", || heads(&fake) >= seen + 2).await;
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(hub.statuses, [Status::Live]);
    assert_eq!(fake.watched_from().len(), 1);
}

#[tokio::test]
async fn a_dead_watch_is_opened_again_at_the_next_endpoint_where_there_is_one() {
    let ((dead, a), (other, b)) = (Fake::start().await, Fake::start().await);
    for fake in [&dead, &other] {
        put(fake, &[1]);
    }
    let header = dead.header();
    dead.script(move |ask| match ask {
        Ask::Watch { .. } => Some(Reply::Say(vec![created(header)], Then::Stay)),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&a, &b]));
    hub.until_live().await;
    for fake in [&dead, &other] {
        fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    }
    hub.until_ports("orders", &[1, 2]).await;
    let live = |status: &Status| *status == Status::Live;
    assert!(hub.statuses.iter().all(live), "{:?}", hub.statuses);
    assert_eq!((other.watched_from(), ranges(&other)), (vec![2], 0));
}

/// A deletion shows by the count of keys only.
#[tokio::test]
async fn a_deletion_that_a_dead_watch_keeps_back_is_found() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1, 2]);
    let (header, mut dead) = (fake.header(), true);
    fake.script(move |ask| match ask {
        Ask::Watch { .. } if std::mem::take(&mut dead) => Some(Reply::Say(vec![created(header)], Then::Stay)),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    fake.write_unseen(&[(&orders(1).0, None)]);
    hub.until_ports("orders", &[2]).await;
    assert_eq!(ranges(&fake), 1);
}

/// Whatever stands between passes on no watch at all: said, and listed as often as it is tried.
#[tokio::test]
async fn watches_that_stay_dead_are_an_outage_and_listings_show_how_things_are() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let member = fake.clone();
    fake.script(move |ask| match ask {
        Ask::Watch { .. } => Some(Reply::Say(vec![created(member.header())], Then::Stay)),
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    for port in 2..4 {
        fake.write_unseen(&[(&orders(port).0, Some(&orders(port).1))]);
        hub.until_away("though reads are answered").await;
        hub.until_ports("orders", &(1..=port).collect::<Vec<_>>()).await;
        hub.until_live().await;
    }
}

/// The watch stands and says nothing: etcd waits until the new history has passed the old one.
#[tokio::test]
async fn a_restored_backup_is_found_while_the_watch_stands() {
    for (term, writes) in [(2, 1), (1, 40)] {
        let (fake, address) = Fake::start().await;
        put(&fake, &[1]);
        put(&fake, &[2]);
        put(&fake, &[3]);
        fake.script(mute);
        let mut hub = attentive(&config(&[&address]));
        hub.until_live().await;
        fake.wipe(term, 2_000);
        for n in 0..writes {
            fake.write_unseen(&[(&orders(9).0, Some(&orders(100 + n).1))]);
        }
        hub.until_ports("orders", &[99 + writes]).await;
        assert!(
            hub.statuses.iter().all(|status| *status == Status::Live),
            "{:?}",
            hub.statuses
        );
        let other = instance("/services/users", 7);
        fake.txn(&[(&other.0, Some(&other.1))]);
        hub.until_ports("users", &[7]).await;
    }
}

/// The only endpoint is a proxy, and what stands behind it is another cluster now. The watch is as silent as before.
#[tokio::test]
async fn another_cluster_is_found_while_the_watch_stands() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    fake.script(mute);
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    fake.set_cluster_id(88);
    fake.write_unseen(&[(&orders(1).0, None), (&orders(2).0, Some(&orders(2).1))]);
    hub.until_ports("orders", &[2]).await;
    assert_eq!(ranges(&fake), 2);
}

/// `etcd grpc-proxy` confirms the second watch of a range itself: no cluster, no term, and our own revision.
#[tokio::test]
async fn a_watch_that_is_confirmed_without_an_origin_is_taken_for_no_other_cluster() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    fake.script(|ask| match ask {
        Ask::Watch { from, .. } => {
            let header = etcd_client::proto::PbResponseHeader {
                revision: *from,
                ..Default::default()
            };
            Some(Reply::Say(vec![created(header)], Then::Follow))
        }
        ask => mute(ask),
    });
    let mut hub = attentive(&config(&[&address]));
    hub.until_live().await;
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!((fake.watched_from(), ranges(&fake)), (vec![3], 1));
    // And a backup that was restored meanwhile is seen behind it.
    fake.wipe(2, 2_000);
    fake.write_unseen(&[(&orders(9).0, Some(&orders(9).1))]);
    fake.cut_watches(super::UNAVAILABLE);
    hub.until_ports("orders", &[9]).await;
}

/// After an outage the pauses are long. A watch that was found well once makes the next break a first one.
#[tokio::test]
async fn pauses_are_short_again_after_a_watch_was_well() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let timing = Timing {
        backoff_min: Duration::from_millis(250),
        backoff_max: Duration::from_secs(3600),
        away_max: Duration::from_secs(3600),
        silence: Duration::from_secs(20),
        ..ATTENTIVE
    };
    let mut hub = Hub::hearing(EtcdWatcher::new(&config(&[&address])).with_timing(timing));
    hub.until_live().await;
    let tries = async |wanted: usize| {
        let (start, before) = (xds_bridge::clock::now(), fake.connections());
        while fake.connections() < before + wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        xds_bridge::clock::now().duration_since(start)
    };
    tokio::time::pause();
    fake.set_down(true);
    tries(14).await;
    fake.set_down(false);
    tries(1).await;
    tokio::time::resume();
    hub.until_live().await;
    let seen = heads(&fake);
    until("it is well", || heads(&fake) >= seen + 2).await;
    tokio::time::pause();
    fake.set_down(true);
    // 0.25 s, 0.5 s and 1 s at most; pauses of up to an hour otherwise.
    let three = tries(3).await;
    assert!(three < Duration::from_secs(5), "{three:?}");
}
