//! The etcd source and client against a real etcd: nothing is lost, nothing is removed by an outage.
//!
//! Never uses a fixed port, and leaves no process behind. Waits for states, with deadlines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod certificates;
mod members;
mod prefixes;
mod proxy;
mod support;
mod trouble;
mod users;

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{CompactionOptions, PutOptions, Txn, TxnOp};
use tokio::time::timeout;
use xds_bridge::model::Status;
use xds_bridge::registry::etcd::{Access, Connection, Error, Kv, Message, Pages};

use self::support::{Bridge, DEADLINE, Node, PREFIX, connect, free_port, key, ports, stored, value};

#[tokio::test(flavor = "multi_thread")]
async fn listing_and_watching_under_writers_ends_equal_to_etcd() {
    let node = Node::start().await;
    let mut writers = Vec::new();
    for writer in 0..4_usize {
        let mut client = node.connect().await;
        writers.push(tokio::spawn(async move {
            for n in 0..1250_usize {
                let key = key((n * 7 + writer) % 20, n % 13);
                if n % 5 == 4 {
                    client.delete(key, None).await.unwrap();
                } else {
                    client
                        .put(key, value(1 + (n * 31 + writer * 7919) % 60_000), None)
                        .await
                        .unwrap();
                }
            }
        }));
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    for writer in writers {
        // The hub's side must go on reading, or the source waits for it.
        while !writer.is_finished() {
            let _ = timeout(Duration::from_millis(5), bridge.next()).await;
        }
        writer.await.unwrap();
    }
    let wanted = stored(&mut node.connect().await).await;
    assert!(wanted.len() == 20, "{wanted:?}");
    bridge.until("equal to etcd", |b| b.ports() == wanted).await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_transaction_is_one_change() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    let first = bridge.next().await.expect("facts come before the status");
    assert!(first.complete && first.services.is_empty(), "reachable and empty");
    bridge.live().await;
    let puts = [(0, "a", 1), (0, "b", 2), (1, "a", 3)]
        .map(|(s, id, port)| TxnOp::put(key(s, id), value(port), None));
    client.txn(Txn::new().and_then(puts)).await.unwrap();
    let change = bridge.next().await.unwrap();
    assert_eq!(change.services.len(), 2, "{change:?}");
    assert_eq!(bridge.ports(), ports([("s0", &[1, 2]), ("s1", &[3])]));
    bridge.stop().await;
}

#[tokio::test]
async fn a_bad_value_and_a_stray_key_cost_nobody_else() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    client.put(key(0, "a"), value(1), None).await.unwrap();
    bridge.until("s0", |b| b.ports() == ports([("s0", &[1])])).await;
    client.put(key(0, "a"), vec![b'x'; 1 << 20], None).await.unwrap();
    client.put(b"/services/\xff".as_slice(), "x", None).await.unwrap();
    client.put(key(1, "a"), value(2), None).await.unwrap();
    bridge
        .until("s1", |b| b.ports() == ports([("s0", &[1]), ("s1", &[2])]))
        .await;
    let (_, state) = bridge.catalog.sources().next().unwrap();
    let entries: BTreeSet<_> = state.issues().map(|i| i.entry.as_str()).collect();
    assert_eq!(
        entries,
        BTreeSet::from(["/services/\u{fffd}", "/services/s0/instances/a"])
    );
    client.delete(key(0, "a"), None).await.unwrap();
    bridge
        .until("s0 is gone", |b| b.ports() == ports([("s1", &[2])]))
        .await;
}

#[tokio::test]
async fn compaction_while_away_lists_anew() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    client.put(key(0, "a"), value(1), None).await.unwrap();
    client.put(key(1, "a"), value(2), None).await.unwrap();
    bridge.until("both", |b| b.ports().len() == 2).await;
    bridge.live().await;
    node.kill();
    // At a port that the bridge does not know, history moves on without it, and is forgotten.
    let elsewhere = free_port();
    node.run(elsewhere).await;
    let mut client = connect(elsewhere).await;
    client.delete(key(0, "a"), None).await.unwrap();
    for n in 0..50 {
        client.put(key(2, "a"), value(100 + n), None).await.unwrap();
    }
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    client
        .compact(revision, Some(CompactionOptions::new().with_physical()))
        .await
        .unwrap();
    let etcd = open(&format!("http://127.0.0.1:{elsewhere}")).await;
    let mut watch = etcd.watch(PREFIX, 2).await.unwrap();
    let error = watch.next().await.unwrap_err();
    assert!(
        matches!(error, Error::Compacted { before } if before == revision),
        "{error:?}"
    );
    node.kill();
    node.run(node.client).await;
    bridge
        .until("listed anew", |b| {
            b.ports() == ports([("s1", &[2]), ("s2", &[149])])
        })
        .await;
    bridge.live().await;
    connect(node.client)
        .await
        .put(key(1, "b"), value(3), None)
        .await
        .unwrap();
    bridge
        .until("watching again", |b| b.ports()["s1"].len() == 2)
        .await;
    bridge.stop().await;
}

#[tokio::test]
async fn an_expired_lease_removes_its_instance_until_it_is_registered_anew() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    let lease = client.lease_grant(2, None).await.unwrap().id();
    client
        .put(key(0, "a"), value(1), Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    client.put(key(0, "b"), value(2), None).await.unwrap();
    bridge
        .until("both", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;
    bridge.until("one", |b| b.ports() == ports([("s0", &[2])])).await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let under = PutOptions::new().with_lease(lease);
    client.put(key(0, "a"), value(1), Some(under)).await.unwrap();
    bridge
        .until("registered anew", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_killed_etcd_removes_nothing_and_later_changes_arrive() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..10 {
        client.put(key(n, "a"), value(100 + n), None).await.unwrap();
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    for round in 0..2_usize {
        node.kill();
        bridge
            .until("away", |b| matches!(b.status, Status::Away { .. }))
            .await;
        assert_eq!(bridge.ports().len(), 10 + round);
        node.run(node.client).await;
        bridge.live().await;
        node.connect()
            .await
            .put(key(10 + round, "a"), value(7), None)
            .await
            .unwrap();
        bridge
            .until("a later change", |b| b.ports().len() == 11 + round)
            .await;
    }
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
}

#[tokio::test]
async fn a_restored_backup_lists_anew() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..50 {
        client.put(key(n % 5, "a"), value(100 + n), None).await.unwrap();
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    node.kill();
    // The same ports make the same cluster id; the history begins anew.
    std::fs::remove_dir_all(node.folder.path().join("data")).unwrap();
    node.run(node.client).await;
    node.connect()
        .await
        .put(key(7, "a"), value(9), None)
        .await
        .unwrap();
    bridge
        .until("the restored state", |b| b.ports() == ports([("s7", &[9])]))
        .await;
    bridge.live().await;
    bridge.stop().await;
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_refused() {
    let (mut ours, other) = (Node::start().await, Node::start().await);
    ours.connect()
        .await
        .put(key(0, "a"), value(1), None)
        .await
        .unwrap();
    other
        .connect()
        .await
        .put(key(1, "a"), value(2), None)
        .await
        .unwrap();
    let mut bridge = Bridge::start(&[&ours, &other]);
    bridge.live().await;
    ours.kill();
    let refused =
        |b: &Bridge| matches!(&b.status, Status::Away { reason } if reason.contains("belongs to cluster"));
    bridge.until("refused", refused).await;
    ours.run(ours.client).await;
    bridge.live().await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    assert!(bridge.lost.is_empty());
    bridge.stop().await;
}

/// Pings too often, and etcd cuts a watch that is idle after 9 s.
#[tokio::test]
async fn an_idle_watch_is_not_cut() {
    let node = Node::start().await;
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    assert!(
        bridge.is_quiet(Duration::from_secs(62)).await,
        "{:?}",
        bridge.status
    );
    let mut client = node.connect().await;
    client.put(key(0, "a"), value(1), None).await.unwrap();
    let change = bridge.next().await.expect("a change, and no status before it");
    assert_eq!(change.services.len(), 1);
    bridge.stop().await;
}

#[tokio::test]
async fn a_dead_first_endpoint_is_passed_over() {
    let (mut dead, node) = (Node::start().await, Node::start().await);
    dead.kill();
    node.connect()
        .await
        .put(key(0, "a"), value(1), None)
        .await
        .unwrap();
    let mut bridge = Bridge::start(&[&dead, &node]);
    let first = bridge.next().await;
    assert!(
        first.is_some_and(|change| change.complete),
        "facts come first: one dead endpoint is not etcd away, {:?}",
        bridge.status
    );
    bridge.live().await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    bridge.stop().await;
}

#[tokio::test]
async fn a_long_catch_up_comes_whole() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..200 {
        client.put(key(0, n), vec![b'x'; 60 * 1024], None).await.unwrap();
    }
    // 12 MiB: more than one message of etcd, and more than tonic decodes by default.
    let etcd = open(&node.endpoint()).await;
    let (kvs, revision) = all(etcd.list(PREFIX).await.unwrap()).await;
    assert_eq!((kvs.len(), revision), (200, 201));
    let mut watch = etcd.watch(PREFIX, 2).await.unwrap();
    let mut revisions = Vec::new();
    while revisions.len() < 200 {
        if let Message::Events(events) = timeout(DEADLINE, watch.next()).await.unwrap().unwrap() {
            revisions.extend(events.iter().map(xds_bridge::registry::etcd::Event::mod_revision));
        }
    }
    assert_eq!(revisions, (2..=201).collect::<Vec<_>>());
    watch.request_progress().await.unwrap();
    assert_eq!(
        timeout(DEADLINE, watch.next()).await.unwrap().unwrap(),
        Message::Progress(201)
    );
    let error = etcd.watch(PREFIX, 1000).await.unwrap_err();
    assert!(matches!(error, Error::Rewound { known: 999 }), "{error:?}");
}

#[tokio::test]
async fn a_listing_of_several_pages_is_one_revision() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for hundred in 0..250_usize {
        let puts: Vec<_> = (0..100)
            .map(|n| TxnOp::put(key(0, hundred * 100 + n), "x", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let pages = open(&node.endpoint()).await.list(PREFIX).await.unwrap();
    // What comes and goes after the first page is not in the others.
    client.put(key(0, "z"), "x", None).await.unwrap();
    client.delete(key(0, 9_999), None).await.unwrap();
    let (kvs, revision) = all(pages).await;
    assert_eq!((kvs.len(), revision), (25_000, 251));
    assert!(kvs.iter().all(|kv| kv.key != key(0, "z").into_bytes()));
    assert!(kvs.is_sorted_by(|a, b| a.key < b.key), "each key once, in order");
}

async fn open(endpoint: &str) -> Connection {
    Connection::open(endpoint, &Access::default()).await.unwrap()
}

/// All pages of a listing, and their revision.
async fn all(mut pages: Pages) -> (Vec<Kv>, i64) {
    let mut kvs = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        kvs.extend(page);
    }
    (kvs, pages.revision())
}

/// Five hundred of them were 800 MB once: all values were held together.
#[tokio::test]
async fn large_values_come_in_small_pages() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..60 {
        client.put(key(0, n), vec![b'x'; 1_400_000], None).await.unwrap();
    }
    for hundred in 0..15_usize {
        let puts: Vec<_> = (0..100)
            .map(|n| TxnOp::put(key(1, hundred * 100 + n), "x", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let mut pages = open(&node.endpoint()).await.list(PREFIX).await.unwrap();
    let (mut large, mut small) = (0, 0);
    while let Some(page) = pages.next().await.unwrap() {
        assert!(
            page.iter().map(|kv| kv.size).sum::<usize>() < 64 << 20,
            "a page is bounded"
        );
        large += page
            .iter()
            .filter(|kv| kv.size == 1_400_000 && kv.value.len() == kv.size)
            .count();
        small += page.iter().filter(|kv| kv.value == b"x").count();
    }
    assert_eq!((large, small), (60, 1_500));
}
