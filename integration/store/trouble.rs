//! Restarts, outages, compaction, restored backups, another cluster's silence: a watch keeps what it saw, says that it
//! is away, and is right again by itself.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use xds_bridge::config::{EtcdSource, SourceConfig};
use xds_bridge::registry::store::{Held, If, Status, Store, StoreError};

use xds_bridge::source::{self, Budget};

use super::scene::{ROOT, Scene, TTL, Watched, consul_at, etcd_at};
use crate::support::consul::Consul;
use crate::support::etcd::Etcd;
use crate::support::process;
use crate::support::registry::Registry;
use crate::support::tap::Tap;
use crate::support::wait;

async fn put(store: &Store, key: &str, value: &str) {
    // The first write after an outage may find the old connection.
    wait::until(wait::PATIENCE, &format!("a write of {key}"), async || {
        store
            .put(key, value.as_bytes(), If::Always)
            .await
            .map_err(|error| error.to_string())
    })
    .await;
}

async fn restarted(mut scene: Scene) {
    let store = scene.store();
    put(&store, "a", "1").await;
    let mut watched = scene.watch();
    watched.until(&[("a", "1")]).await;
    let registry = scene.registry.as_mut().unwrap();
    registry.kill();
    watched.until_away("", &[("a", "1")]).await;
    let failed = store.put("a", b"2", If::Always).await;
    assert!(
        matches!(failed, Err(StoreError::Away { uncertain: false, .. })),
        "nobody is there: {failed:?}"
    );
    registry.restart().await;
    watched.until(&[("a", "1")]).await;
    put(&store, "b", "2").await;
    watched.until(&[("a", "1"), ("b", "2")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_killed_and_restarted() {
    restarted(Scene::etcd().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_is_killed_and_restarted() {
    restarted(Scene::consul().await).await;
}

/// What a hold is goes with the registry's word: an outage is overdue, and no loss.
async fn held_through_an_outage(scene: Scene, tap: Tap, way: Store) {
    let hold = way.hold("replicas/a", b"", TTL).await.unwrap();
    let mut changes = hold.changes();
    let direct = scene.store();
    tap.shut();
    tokio::time::timeout(
        hold.ttl() * 2 + wait::PATIENCE,
        changes.wait_for(|held| *held == Held::Overdue),
    )
    .await
    .expect("it is overdue")
    .unwrap();
    // Nobody renews it: it ends, and only the registry knows.
    wait::until(hold.ttl() * 2 + wait::PATIENCE, "the key is gone", async || {
        let found = direct.get("replicas/a").await.unwrap();
        wait::holds(found.is_none(), || "it is there".to_owned())
    })
    .await;
    assert_eq!(hold.held(), Held::Overdue);
    tap.open();
    tokio::time::timeout(wait::PATIENCE, changes.wait_for(|held| *held == Held::Lost))
        .await
        .expect("it is lost")
        .unwrap();
    let again = way.hold("replicas/a", b"", TTL).await.unwrap();
    assert_ne!(again.token(), hold.token());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_in_etcd_is_lost_by_an_outage() {
    let etcd = Etcd::start().await;
    let tap = Tap::before(etcd.address()).await;
    let way = etcd_at(format!("http://{}", tap.address));
    held_through_an_outage(Scene::with(Registry::Etcd(etcd)), tap, way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_in_consul_is_lost_by_an_outage() {
    let consul = Consul::start().await;
    let tap = Tap::before(consul.address()).await;
    let way = consul_at(format!("http://{}", tap.address));
    held_through_an_outage(Scene::with(Registry::Consul(consul)), tap, way).await;
}

/// etcd gives a lease its whole time again when it restarts: the hold goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_outlives_a_restart_of_etcd() {
    let mut etcd = Etcd::start().await;
    let store = etcd_at(etcd.url());
    let hold = store.hold("replicas/a", b"", TTL).await.unwrap();
    let mut changes = hold.changes();
    etcd.kill();
    let overdue = changes.wait_for(|held| *held == Held::Overdue);
    tokio::time::timeout(wait::PATIENCE, overdue)
        .await
        .expect("it is overdue")
        .unwrap();
    etcd.restart().await;
    let back = changes.wait_for(|held| *held == Held::Yes);
    tokio::time::timeout(wait::PATIENCE, back)
        .await
        .expect("it is held again")
        .unwrap();
    hold.fenced_put("a", b"1", If::Absent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_compacted_while_the_watch_is_away() {
    let etcd = Etcd::start().await;
    let tap = Tap::before(etcd.address()).await;
    let direct = etcd_at(etcd.url());
    put(&direct, "a", "1").await;
    put(&direct, "gone", "1").await;
    let mut watched = Watched::of(&etcd_at(format!("http://{}", tap.address)));
    watched.until(&[("a", "1"), ("gone", "1")]).await;
    tap.shut();
    watched.until_away("", &[("a", "1"), ("gone", "1")]).await;
    for n in 0..50 {
        put(&direct, "a", &n.to_string()).await;
    }
    direct.delete("gone", If::Always).await.unwrap();
    let mut client = etcd.client().await;
    let revision = client.get("a", None).await.unwrap().header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    tap.open();
    watched.until(&[("a", "49")]).await;
}

/// Other keys make the store move on; what is ours is compacted behind the watch, which stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_under_a_standing_watch_changes_nothing() {
    let etcd = Etcd::start().await;
    let store = etcd_at(etcd.url());
    put(&store, "a", "1").await;
    let mut watched = Watched::of(&store);
    watched.until(&[("a", "1")]).await;
    let mut client = etcd.client().await;
    for n in 0..20 {
        client.put("other", n.to_string(), None).await.unwrap();
    }
    let revision = client.get("a", None).await.unwrap().header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    put(&store, "a", "2").await;
    watched.until(&[("a", "2")]).await;
}

/// As a backup from before: the revision falls, and etcd would be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_lost_all_its_data() {
    let mut etcd = Etcd::start().await;
    let store = etcd_at(etcd.url());
    for n in 0..30 {
        put(&store, "a", &n.to_string()).await;
    }
    let mut watched = Watched::of(&store);
    watched.until(&[("a", "29")]).await;
    etcd.kill();
    watched.until_away("", &[("a", "29")]).await;
    etcd.wipe();
    etcd.restart().await;
    watched.until(&[]).await;
    put(&store, "b", "1").await;
    watched.until(&[("b", "1")]).await;
}

/// Nobody is woken by it, and the index falls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_consul_is_restored() {
    let scene = Scene::consul().await;
    let Some(Registry::Consul(consul)) = &scene.registry else {
        panic!("a Consul")
    };
    let (store, file) = (scene.store(), scene.folder.path().join("snapshot"));
    put(&store, "a", "before").await;
    consul.save(&file).await;
    for n in 0..30 {
        put(&store, "a", &n.to_string()).await;
    }
    put(&store, "b", "after").await;
    let mut watched = scene.watch();
    watched.until(&[("a", "29"), ("b", "after")]).await;
    consul.restore(&file).await;
    watched.until(&[("a", "before")]).await;
    put(&store, "c", "1").await;
    watched.until(&[("a", "before"), ("c", "1")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_keeps_what_stays_and_forgets_what_was_held() {
    let mut scene = Scene::file();
    let store = scene.store();
    let first = store.put("stays", b"1", If::Absent).await.unwrap();
    let hold = store.hold("replicas/a", b"", TTL).await.unwrap();
    hold.put("answers/1", b"").await.unwrap();
    hold.fenced_put("kept", b"2", If::Absent).await.unwrap();
    let other = Store::in_file(scene.folder.path().join("inside/state.json"));
    let refused = other
        .put("stays", b"2", If::Always)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("another process uses it"), "{refused}");
    let mut watched = Watched::of(&other);
    watched.until_away("another process uses it", &[]).await;
    // As a process that is killed.
    std::mem::forget(hold);
    drop(store);
    drop(watched);
    drop(other);
    let text = std::fs::read_to_string(scene.folder.path().join("inside/state.json")).unwrap();
    assert!(text.contains("stays") && text.contains("kept"), "{text}");
    assert!(!text.contains("replicas") && !text.contains("answers"), "{text}");
    let copy = scene.folder.path().join("inside/copy.json");
    std::fs::write(&copy, text).unwrap();
    let store = Store::in_file(copy.clone());
    let kept: Vec<String> = store
        .list()
        .await
        .unwrap()
        .iter()
        .map(|e| e.key.to_string())
        .collect();
    assert_eq!(kept, ["kept", "stays"]);
    store.put("stays", b"3", If::Revision(first)).await.unwrap();
    drop(store);
    // What it cannot read it does not overwrite.
    for damaged in ["{\"version\": 2, \"revision\": 1, \"entries\": {}}", "{", ""] {
        std::fs::write(&copy, damaged).unwrap();
        let store = Store::in_file(copy.clone());
        // The task of the one before may have it for a moment yet.
        wait::until(wait::PATIENCE, "a refusal to read it", async || {
            let error = store.put("a", b"", If::Always).await.unwrap_err().to_string();
            wait::holds(error.contains("move it away to begin without it"), || error)
        })
        .await;
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), damaged);
        let mut watched = Watched::of(&store);
        watched.until_away("copy.json", &[]).await;
        // It is looked at again.
        std::fs::remove_file(&copy).unwrap();
        watched.until(&[]).await;
    }
    scene.reopen();
}

/// A frozen registry is away after a while, whatever its connections say.
async fn frozen(mut scene: Scene) {
    let store = scene.store();
    put(&store, "a", "1").await;
    let mut watched = scene.watch();
    watched.until(&[("a", "1")]).await;
    scene.signal("STOP");
    watched.until_away("", &[("a", "1")]).await;
    scene.signal("CONT");
    watched.until(&[("a", "1")]).await;
    put(&store, "a", "2").await;
    watched.until_for(Duration::from_secs(60), &[("a", "2")]).await;
    assert_eq!(watched.view().status, Status::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_frozen() {
    frozen(Scene::etcd().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_is_frozen() {
    frozen(Scene::consul().await).await;
}

/// One of two members is dead, or belongs to another cluster: neither reads nor writes are lost to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_member_and_one_of_another_cluster_are_left_for_the_next() {
    let (mut one, two) = (Etcd::start().await, Etcd::start().await);
    let theirs = etcd_at(two.url());
    put(&theirs, "theirs", "1").await;
    let config = SourceConfig::Etcd(EtcdSource::new(vec![one.url(), two.url()], "/services/"));
    let store = source::store(&config, ROOT, &Budget::default()).unwrap();
    store.put("a", b"1", If::Absent).await.unwrap();
    let mut watched = Watched::of(&store);
    watched.until(&[("a", "1")]).await;
    one.kill();
    // The other one is not believed: it knows nothing of ours.
    watched.until_away("another cluster", &[("a", "1")]).await;
    one.restart().await;
    watched.until(&[("a", "1")]).await;

    let [nobody] = process::ports();
    let dead = format!("http://127.0.0.1:{nobody}");
    let config = SourceConfig::Etcd(EtcdSource::new(vec![dead, two.url()], "/services/"));
    let store = source::store(&config, ROOT, &Budget::default()).unwrap();
    store.put("b", b"2", If::Absent).await.unwrap();
    let hold = store.hold("replicas/a", b"", TTL).await.unwrap();
    hold.release().await.unwrap();
    let mut watched = Watched::of(&store);
    watched.until(&[("b", "2"), ("theirs", "1")]).await;
}

/// The registry has applied it, and nobody knows: that must not look like a write that failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_uncertain() {
    let consul = Consul::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = consul_at(format!("http://{}", listener.local_addr().unwrap()));
    let target = consul.address();
    // Passes on one request, and closes where its answer would follow.
    let passing = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let (mut request, mut answer) = (vec![0; 16 << 10], [0]);
        while !request.ends_with(b"}}]") {
            request.clear();
            client.read_buf(&mut request).await.unwrap();
            server.write_all(&request).await.unwrap();
        }
        server.read_exact(&mut answer).await.unwrap();
    });
    let lost = store.put("a", b"1", If::Absent).await;
    assert!(
        matches!(lost, Err(StoreError::Away { uncertain: true, .. })),
        "{lost:?}"
    );
    let words = lost.unwrap_err().to_string();
    assert!(words.ends_with("; whether it was written is unknown"), "{words}");
    passing.await.unwrap();
    let entry = consul_at(consul.url()).get("a").await.unwrap();
    assert!(entry.is_some_and(|entry| *entry.value == *b"1"));
}
