//! A real etcd that is full, a member that only learns, and users that are turned on and off meanwhile.

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, CompactionOptions};
use xds_bridge::config::EtcdSource;

use super::support::{Bridge, DEADLINE, Node, PREFIX, key, ports, value};
use super::users;
use crate::support::wait;

/// A full etcd takes no writes but deletions. What is there is read and watched on.
#[tokio::test]
async fn a_full_etcd_is_served_on_and_followed_when_it_has_room_again() {
    let args = ["--quota-backend-bytes=6000000"];
    let node = Node::with(tempfile::tempdir().unwrap(), &args, None).await;
    let mut client = node.connect().await;
    for n in 1..=3 {
        client.put(key(0, n), value(n), None).await.unwrap();
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    let full = loop {
        if let Err(error) = client.put("/elsewhere", vec![b'x'; 1_000_000], None).await {
            break error.to_string();
        }
    };
    assert!(full.contains("space exceeded"), "{full}");
    assert!(client.put(key(0, 4), value(4), None).await.is_err());
    client.delete(key(0, 1), None).await.unwrap();
    bridge
        .timed("deleted in a full etcd", |b| {
            b.ports() == ports([("s0", &[2, 3])])
        })
        .await;
    let mut second = Bridge::start(&[&node]);
    second.live().await;
    assert_eq!(second.ports(), bridge.ports(), "one that begins now");

    // The mend of etcd's manual: compact, defragment, disarm.
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    client.defragment().await.unwrap();
    let member = client.status().await.unwrap().header().unwrap().member_id();
    let mut ours = AlarmOptions::new();
    ours.with_member(member);
    client
        .alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(ours))
        .await
        .unwrap();
    client.put(key(0, 4), value(4), None).await.unwrap();
    for mut bridge in [bridge, second] {
        bridge
            .timed("registered when etcd has room again", |b| {
                b.ports() == ports([("s0", &[2, 3, 4])])
            })
            .await;
        bridge.live().await;
        bridge.stop().await;
    }
}

/// It knows everything and answers nothing: neither at the start nor later is it mistaken for etcd.
#[tokio::test]
async fn a_learner_is_passed_over_and_takes_nothing_away() {
    let [mut one, two, three] = Node::three().await;
    let mut client = two.connect().await;
    client.put(key(0, "a"), value(1), None).await.unwrap();
    let learner = two.learner().await;
    let mut bridge = Bridge::start(&[&learner, &one]);
    let first = bridge.next().await;
    assert!(
        first.is_some_and(|change| change.complete),
        "facts come first: {:?}",
        bridge.status
    );
    bridge.live().await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    one.kill();
    bridge.away("rpc not supported for learner").await;
    wait::until(DEADLINE, "there is a leader, perhaps a new one", async || {
        let written = client.put(key(0, "b"), value(2), None).await;
        written.map(drop).map_err(|e| e.to_string())
    })
    .await;
    one.run(one.client).await;
    bridge
        .until("back", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;
    bridge.live().await;
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
    drop(three);
}

/// One bridge has a name and a password all the time, the other one has none.
#[tokio::test]
async fn users_that_are_turned_on_and_off_while_watching_take_nothing_away() {
    let (mut node, mut root) = users::with_users(&[]).await;
    users::allow(&mut root, PREFIX).await;
    root.put(key(0, "a"), value(1), None).await.unwrap();
    root.auth_disable().await.unwrap();
    let mut known = Bridge::of(&users::config(&node, &[PREFIX]));
    let mut nobody = Bridge::of(&EtcdSource::new(vec![node.endpoint()], PREFIX));
    known.live().await;
    nobody.live().await;

    for round in 0..2 {
        node.connect().await.auth_enable().await.unwrap();
        // A watch that stands is not asked who it is, a new one is.
        node.restart(None).await;
        nobody.away("fix: user and password_file").await;
        let mut root = users::root(&node).await;
        root.put(key(1 + round, "a"), value(1), None).await.unwrap();
        known
            .until("with a login", |b| b.ports().len() == 2 + round)
            .await;
        known.live().await;
        assert_eq!(nobody.ports().len(), 1 + round);
        root.auth_disable().await.unwrap();
        nobody
            .until("nobody is asked", |b| b.ports().len() == 2 + round)
            .await;
        nobody.live().await;
        // And with a token that says nothing any more.
        node.restart(None).await;
        let mut client = node.connect().await;
        client.put(key(0, "b"), value(2 + round), None).await.unwrap();
        let wanted = u16::try_from(2 + round).unwrap();
        for bridge in [&mut known, &mut nobody] {
            bridge
                .until("a later change", |b| b.ports()["s0"] == [1, wanted].into())
                .await;
            bridge.live().await;
            bridge.lost.remove("s0");
            assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
        }
    }
    known.stop().await;
    nobody.stop().await;
}
