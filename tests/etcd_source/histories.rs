//! What a member's history can do to a watch: cuts, fragments, repetitions, compaction, backups.

use std::time::Duration;

use etcd_client::proto::{PbResponseHeader, PbWatchResponse};

use super::fake::{Ask, Fake, OK, OUT_OF_RANGE, Reply, Then, UNAVAILABLE, created, told};
use super::source_hub::Hub;
use super::{QUICK, break_then, config, hub, orders, put, ranges, watched};
use xds_bridge::model::Status;
use xds_bridge::model::change::What;
use xds_bridge::source::etcd::{EtcdWatcher, Timing};
use xds_bridge::source::{Budget, Sink, Source as _};

#[tokio::test]
async fn a_cut_between_two_fragments_applies_nothing_of_them() {
    let (fake, mut hub) = watched().await;
    let all: Vec<_> = [2, 3].map(orders).into();
    let writes: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), Some(v.as_str()))).collect();
    let events = fake.write_unseen(&writes);
    break_then(&fake, move |header| {
        let half = told(header, &events[..1], true);
        Reply::Say(vec![created(header), half], Then::End(UNAVAILABLE))
    });
    hub.until_ports("orders", &[1, 2, 3]).await;
    assert_eq!(hub.named(), [("orders".into(), Some(3))], "both or none");
    assert_eq!(fake.watched_from(), [3, 3, 3], "the half was not counted");
    assert_eq!(ranges(&fake), 1);
}

#[tokio::test]
async fn a_transaction_in_fragments_is_one_change() {
    let (fake, mut hub) = watched().await;
    let all: Vec<_> = [2, 3, 4].map(orders).into();
    let writes: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), Some(v.as_str()))).collect();
    let events = fake.write_unseen(&writes);
    break_then(&fake, move |header| {
        let parts = [(&events[..1], true), (&events[1..2], true), (&events[2..], false)];
        let parts = parts.map(|(some, more)| told(header, some, more));
        Reply::Say([vec![created(header)], parts.to_vec()].concat(), Then::Follow)
    });
    hub.until_ports("orders", &[1, 2, 3, 4]).await;
    assert_eq!(hub.named(), [("orders".into(), Some(4))]);
}

/// Deleting everything below a prefix of others is one revision, however many keys there were.
#[tokio::test]
async fn a_revision_too_large_to_be_put_together_is_listed() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(QUICK);
    let mut hub = Hub::hearing(watcher.within(Budget::new(512 << 10)));
    hub.until_ports("orders", &[1]).await;
    hub.until_live().await;
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    let many: Vec<String> = (0..1_000)
        .map(|n| format!("/services/others/instances/{n}"))
        .collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), None)).collect();
    let events = fake.write_unseen(&many);
    break_then(&fake, move |header| {
        let parts = std::iter::repeat_n(told(header, &events, true), 3);
        Reply::Say([created(header)].into_iter().chain(parts).collect(), Then::Stay)
    });
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(ranges(&fake), 2);
}

/// A header ran 1,300 revisions ahead of the last event once.
#[tokio::test]
async fn a_cut_between_catch_up_messages_goes_on_after_the_last_event() {
    let (fake, mut hub) = watched().await;
    let two = fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    fake.write_unseen(&[(&orders(3).0, Some(&orders(3).1))]);
    break_then(&fake, move |header| {
        let ahead = PbResponseHeader {
            revision: 3050,
            ..header
        };
        Reply::Say(
            vec![created(ahead), told(ahead, &two, false)],
            Then::End(UNAVAILABLE),
        )
    });
    hub.until_ports("orders", &[1, 2, 3]).await;
    assert_eq!(fake.watched_from(), [3, 3, 4]);
    assert_eq!(ranges(&fake), 1, "nothing is listed anew");
}

/// Up to etcd 3.6.1 a watch is set back when its member takes a snapshot from the leader.
#[tokio::test]
async fn events_from_before_the_position_change_nothing() {
    let (fake, mut hub) = watched().await;
    let old = fake.write_unseen(&[(&orders(1).0, None)]);
    let new = fake.write_unseen(&[
        (&orders(1).0, Some(&orders(1).1)),
        (&orders(2).0, Some(&orders(2).1)),
    ]);
    let last = fake.write_unseen(&[(&orders(3).0, Some(&orders(3).1))]);
    break_then(&fake, move |header| {
        let told = [&new, &old, &last].map(|events| told(header, events, false));
        Reply::Say([vec![created(header)], told.to_vec()].concat(), Then::Follow)
    });
    let third = |hub: &Hub| hub.ports("orders").is_some_and(|ports| ports.contains(&3));
    hub.until("the third instance", third).await;
    assert_eq!(hub.ports("orders").as_deref(), Some(&[1, 2, 3][..]));
}

#[tokio::test]
async fn events_that_come_twice_change_nothing() {
    let (fake, mut hub) = watched().await;
    let events = fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1)), (&orders(1).0, None)]);
    break_then(&fake, move |header| {
        let once = told(header, &events, false);
        Reply::Say(
            vec![created(header), once.clone(), once.clone(), once],
            Then::Follow,
        )
    });
    hub.until_ports("orders", &[2]).await;
    put(&fake, &[3]);
    hub.until_ports("orders", &[2, 3]).await;
    assert_eq!(
        hub.named(),
        [("orders".into(), Some(1)), ("orders".into(), Some(2))]
    );
}

#[tokio::test]
async fn a_stream_that_ends_in_order_goes_on_from_where_it_was() {
    let (fake, mut hub) = watched().await;
    fake.cut_watches(OK);
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!((fake.watched_from(), ranges(&fake)), (vec![3, 3], 1));
}

#[tokio::test]
async fn compacted_inside_the_stream_lists_anew_and_what_is_gone_is_gone() {
    let (fake, mut hub) = watched().await;
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1)), (&orders(1).0, None)]);
    fake.compact();
    fake.cut_watches(OK);
    hub.until_ports("orders", &[2]).await;
    put(&fake, &[3]);
    hub.until_ports("orders", &[2, 3]).await;
    assert_eq!((fake.watched_from(), ranges(&fake)), (vec![3, 3, 4], 2));
}

#[tokio::test]
async fn compacted_during_the_paging_begins_again() {
    let (fake, address) = Fake::start().await;
    for first in (1..=1_200).step_by(100) {
        put(&fake, &(first..first + 100).collect::<Vec<u16>>());
    }
    let mut compacted = false;
    fake.script(move |ask| match ask {
        Ask::Range { revision: 1.., .. } if !std::mem::replace(&mut compacted, true) => Some(Reply::Fail(
            OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
        )),
        _ => None,
    });
    let mut hub = hub(&config(&[&address]));
    hub.until_live().await;
    assert_eq!(hub.ports("orders").unwrap().len(), 1_200);
    assert_eq!(hub.statuses, [Status::Live], "no outage");
}

#[tokio::test]
async fn a_history_that_ends_below_the_start_is_a_restored_backup() {
    let (fake, mut hub) = watched().await;
    put(&fake, &[2, 3]);
    hub.until_ports("orders", &[1, 2, 3]).await;
    fake.wipe(2, 2_000);
    fake.write_unseen(&[(&orders(9).0, Some(&orders(9).1))]);
    fake.cut_watches(UNAVAILABLE);
    hub.until_ports("orders", &[9]).await;
    put(&fake, &[10]);
    hub.until_ports("orders", &[9, 10]).await;
}

/// The restored history may have passed ours before we are back.
#[tokio::test]
async fn a_lower_raft_term_or_index_is_a_restored_backup() {
    for (term, index) in [(1, 2_000), (2, 1)] {
        let (fake, mut hub) = watched().await;
        fake.wipe(term, index);
        for port in 20..40 {
            fake.write_unseen(&[(&orders(9).0, Some(&orders(port).1))]);
        }
        fake.cut_watches(UNAVAILABLE);
        hub.until_ports("orders", &[39]).await;
        assert_eq!(ranges(&fake), 2);
    }
}

/// A watch may stand for weeks: the index of its beginning is passed by any backup.
#[tokio::test]
async fn a_backup_below_the_index_of_the_last_sign_of_life_is_told() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let probe = Duration::from_millis(20);
    let mut hub = Hub::hearing(EtcdWatcher::new(&config(&[&address])).with_timing(Timing { probe, ..QUICK }));
    hub.until_live().await;
    let all: Vec<u16> = (1..30).collect();
    for port in &all[1..] {
        put(&fake, &[*port]);
    }
    hub.until_ports("orders", &all).await;
    // The second one is asked for when the index that came with the first is known.
    let signs = || fake.count(|ask| matches!(ask, Ask::Head { .. }));
    let before = signs();
    while signs() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Past the index at which the watch began, and past our revision.
    fake.wipe(2, 980);
    for port in 100..140 {
        fake.write_unseen(&[(&orders(9).0, Some(&orders(port).1))]);
    }
    fake.cut_watches(UNAVAILABLE);
    hub.until_ports("orders", &[139]).await;
}

#[tokio::test]
async fn a_future_revision_lists_anew() {
    let (fake, mut hub) = watched().await;
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    break_then(&fake, |_| {
        Reply::Fail(
            OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        )
    });
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(ranges(&fake), 2);
}

#[tokio::test]
async fn a_change_too_large_to_be_decoded_is_listed() {
    let (fake, mut hub) = watched().await;
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    let text = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
    break_then(&fake, move |_| Reply::Fail(OUT_OF_RANGE, text));
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(ranges(&fake), 2);
}

/// Any other reason inside the stream: on to the next, from where we were.
#[tokio::test]
async fn a_watch_that_is_canceled_for_another_reason_is_opened_again() {
    let (fake, mut hub) = watched().await;
    break_then(&fake, |header| {
        let watch = PbWatchResponse {
            header: Some(header),
            watch_id: -1,
            canceled: true,
            cancel_reason: "watch closed".to_owned(),
            ..PbWatchResponse::default()
        };
        Reply::Say(vec![created(header), watch], Then::Stay)
    });
    hub.until_away("watch closed").await;
    put(&fake, &[2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(ranges(&fake), 1);
}

/// What is not of this watch is not served, and the watch is opened again where it was.
#[tokio::test]
async fn answers_for_another_watch_or_of_another_cluster_are_not_served() {
    type Wrong = fn(PbWatchResponse) -> PbWatchResponse;
    let all: [(&str, Wrong); 3] = [
        ("another watch", |told| PbWatchResponse { watch_id: 7, ..told }),
        ("without a header", |told| PbWatchResponse {
            header: None,
            ..told
        }),
        ("another cluster", |told| PbWatchResponse {
            header: told.header.map(|header| PbResponseHeader {
                cluster_id: header.cluster_id + 1,
                ..header
            }),
            ..told
        }),
    ];
    for (reason, wrong) in all {
        let (fake, mut hub) = watched().await;
        let ghost = fake.write_unseen(&[(&orders(9).0, Some(&orders(9).1)), (&orders(9).0, None)]);
        break_then(&fake, move |header| {
            let told = wrong(told(header, &ghost[..1], false));
            Reply::Say(vec![created(header), told], Then::Stay)
        });
        hub.until_away(reason).await;
        put(&fake, &[2]);
        hub.until_ports("orders", &[1, 2]).await;
        let served = hub.changes.iter().flat_map(|change| &change.services);
        let mut served = served.flat_map(|(_, record)| record.iter().flat_map(|record| &record.instances));
        assert!(served.all(|instance| instance.address.port() != 9), "{reason}");
        assert_eq!(ranges(&fake), 1, "{reason}: nothing is listed again");
    }
}

/// A member may send other keys for ever, each page in time.
#[tokio::test]
async fn a_listing_that_does_not_end_is_said() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let timing = Timing {
        silence: Duration::from_millis(200),
        ..QUICK
    };
    let mut hub = Hub::hearing(EtcdWatcher::new(&config(&[&address])).with_timing(timing));
    hub.until_ports("orders", &[1]).await;
    hub.until_live().await;
    fake.script(|ask| matches!(ask, Ask::Range { .. }).then_some(Reply::Hang));
    fake.write_unseen(&[(&orders(2).0, Some(&orders(2).1))]);
    fake.compact();
    fake.cut_watches(OK);
    hub.until_away("listing /services/ takes longer").await;
    assert_eq!(hub.ports("orders").as_deref(), Some(&[1][..]));
}

/// What waits for the hub and what says so have one way to it.
#[tokio::test]
async fn a_listing_that_is_late_because_the_hub_is_busy_holds_nothing_up() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let silence = Duration::from_millis(300);
    let timing = Timing {
        probe: silence / 6,
        answer: silence / 3,
        silence,
        ..QUICK
    };
    let (hub, mut events) = tokio::sync::mpsc::channel(1);
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(timing);
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(Box::new(watcher).run(Sink::new("c".into(), hub), stop));
    let mut until = async |wanted: fn(&What) -> bool| {
        let found = async { while !events.recv().await.is_some_and(|event| wanted(&event.what)) {} };
        tokio::time::timeout(Duration::from_secs(30), found)
            .await
            .expect("the source goes on");
    };
    let is_live = |what: &What| matches!(what, What::Status(Status::Live));
    for _ in 0..3 {
        until(is_live).await;
        put(&fake, &[2]);
        fake.compact();
        fake.cut_watches(OK);
        tokio::time::sleep(silence * 3).await; // so long the hub is busy
    }
    until(is_live).await;
}

/// More than may be known: what is known stays, what comes beside it is left out by name, and a listing with more is
/// none.
#[tokio::test]
async fn more_than_may_be_known_takes_nothing_away() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(QUICK);
    // Three quarters are a service and 184 instances.
    let mut hub = Hub::hearing(watcher.within(Budget::new(256 << 10)));
    hub.until_live().await;
    let ports: Vec<u16> = (1..185).collect();
    for some in ports.chunks(50) {
        put(&fake, some);
    }
    let all = |hub: &Hub| hub.ports("orders").is_some_and(|ports| ports.len() == 184);
    hub.until("all of them", all).await;
    put(&fake, &[300]);
    let named = |hub: &Hub| {
        let source = hub.catalog().source("c");
        source.is_some_and(|source| {
            source
                .issues()
                .any(|issue| issue.reason.contains("limits.source_memory"))
        })
    };
    hub.until("it is named", named).await;
    assert_eq!(hub.ports("orders"), Some(ports.clone()));
    // Room for it is made by another key.
    fake.txn(&[(&orders(184).0, None)]);
    let mut others: Vec<u16> = (1..184).collect();
    others.push(300);
    let taken = |hub: &Hub| hub.ports("orders").as_ref() == Some(&others);
    hub.until("the value that was left out", taken).await;
    fake.txn(&[(&orders(300).0, None)]);
    put(&fake, &[184]);
    hub.until("all of the first ones", all).await;
    hub.until("none of them is left out", |hub| {
        !named(hub) && hub.ports("orders").as_ref() == Some(&ports)
    })
    .await;
    fake.write_unseen(&[(&orders(301).0, Some(&orders(301).1))]);
    fake.compact();
    fake.cut_watches(OK);
    hub.until("it is named again", named).await;
    assert_eq!(hub.ports("orders"), Some(ports), "what is known goes first");
    assert!(
        !hub.statuses
            .iter()
            .any(|status| matches!(status, Status::Away { reason } if reason.contains("limits.")))
    );
}

/// At the start there is nothing known that goes first, and a part of it would look like removals.
#[tokio::test]
async fn a_first_listing_that_does_not_fit_is_none() {
    let (fake, address) = Fake::start().await;
    let all: Vec<u16> = (1..200).collect();
    put(&fake, &all);
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(QUICK);
    let mut hub = Hub::hearing(watcher.within(Budget::new(256 << 10)));
    hub.until_away("limits.source_memory").await;
    assert_eq!(hub.ports("orders"), None);
}

/// The last page, which takes more than there is room for, is read again in parts.
#[tokio::test]
async fn a_last_page_without_room_is_not_the_end_of_the_listing() {
    let (fake, address) = Fake::start().await;
    let padded = |value: &str| format!("{value}{}", " ".repeat(800));
    for port in 1..=60 {
        let (key, value) = orders(port);
        fake.write_unseen(&[(&key, Some(&padded(&value)))]);
    }
    let budget = Budget::new(256 << 10);
    let mut others = budget.known();
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(QUICK);
    let mut hub = Hub::hearing(watcher.within(budget));
    hub.until_live().await;
    // A quarter is left for answers: 64 KiB, and the page takes 80.
    others.set(150 << 10);
    fake.write_unseen(&[(&orders(1).0, Some(&padded(&orders(999).1)))]);
    fake.compact();
    fake.cut_watches(OK);
    let changed = |hub: &Hub| hub.ports("orders").is_none_or(|ports| ports.contains(&999));
    hub.until("the change", changed).await;
    assert_eq!(hub.ports("orders").map(|ports| ports.len()), Some(60));
}

/// Values that are large, and of which little is kept: together more than answers may hold.
#[tokio::test]
async fn large_values_are_listed_page_by_page() {
    let (fake, address) = Fake::start().await;
    for port in 1..=40 {
        let (key, value) = orders(port);
        let value = format!("{}{}", value, " ".repeat(20 << 10));
        fake.write_unseen(&[(&key, Some(&value))]);
    }
    let watcher = EtcdWatcher::new(&config(&[&address])).with_timing(QUICK);
    let mut hub = Hub::hearing(watcher.within(Budget::new(512 << 10)));
    hub.until_live().await;
    assert_eq!(hub.ports("orders").map(|ports| ports.len()), Some(40));
}
