//! What bridges share (`registry::store`): one suite of behaviours for etcd, Consul and the file, and what only one of
//! them has.

mod questions;
mod rights;
pub(crate) mod scene;
mod trouble;

use std::collections::BTreeMap;

use futures::future::join_all;
use xds_bridge::registry::store::{Held, If, MAX_VALUE, Revision, Store, StoreError};

use crate::support::wait;
use questions::{
    a_question_is_asked_again_after_our_presence_was_lost, all_bridges_answer_what_one_asks,
    drains_are_seen_by_all_bridges,
};
use scene::{ROOT, Scene, TTL};

/// Each behaviour for each kind of store, as a test of its own.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod etcd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Scene::etcd().await).await; })*
        }
        mod consul {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Scene::consul().await).await; })*
        }
        mod file {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Scene::file()).await; })*
        }
    };
}

suite!(
    keys_are_written_read_listed_and_deleted,
    a_compare_is_lost_by_name_and_changes_nothing,
    eight_writers_lose_no_write,
    one_of_eight_is_the_first,
    a_watch_shows_what_is_there,
    a_hold_keeps_its_keys_and_takes_them_with_it,
    a_hold_is_kept_alive_and_ends_without_its_holder,
    a_write_of_who_lost_its_hold_is_refused,
    all_bridges_answer_what_one_asks,
    a_question_is_asked_again_after_our_presence_was_lost,
    drains_are_seen_by_all_bridges,
);

async fn text(store: &Store, key: &str) -> Option<String> {
    let entry = store
        .get(key)
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"));
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn all(store: &Store) -> BTreeMap<String, String> {
    let entries = store.list().await.unwrap();
    entries
        .into_iter()
        .map(|entry| {
            let value = String::from_utf8(entry.value.to_vec()).unwrap();
            (entry.key.to_string(), value)
        })
        .collect()
}

#[expect(clippy::needless_pass_by_value, reason = "where it is called it is made")]
fn changed<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Changed { .. })), "{result:?}");
}

#[expect(clippy::needless_pass_by_value, reason = "where it is called it is made")]
fn not_held<T: std::fmt::Debug>(result: Result<T, StoreError>, key: &str) {
    let right = matches!(&result, Err(StoreError::NotHeld { key: of }) if of == key);
    assert!(right, "{result:?}");
}

async fn keys_are_written_read_listed_and_deleted(scene: Scene) {
    let store = scene.store();
    assert_eq!(all(&store).await, BTreeMap::new());
    assert_eq!(text(&store, "a").await, None);
    scene.foreign("xds-bridge2/a", "a neighbour").await;
    scene.foreign("xds-bridge", "the root without its slash").await;
    let longest = "x".repeat(MAX_VALUE);
    let odd = "drains/service/a%2Fb c/ü+?&=#\"";
    for (key, value) in [
        ("a", "1"),
        ("a/b", "2"),
        ("a.b", ""),
        (odd, "3"),
        ("long", &longest),
    ] {
        store.put(key, value.as_bytes(), If::Always).await.unwrap();
        assert_eq!(text(&store, key).await.as_deref(), Some(value), "{key}");
    }
    let expected: BTreeMap<String, String> = [
        ("a", "1"),
        ("a/b", "2"),
        ("a.b", ""),
        (odd, "3"),
        ("long", &longest),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    assert_eq!(all(&store).await, expected);
    store.put("a", b"4", If::Always).await.unwrap();
    assert_eq!(text(&store, "a").await.as_deref(), Some("4"));
    store.delete("a", If::Always).await.unwrap();
    store.delete("a", If::Always).await.unwrap();
    store.delete(odd, If::Always).await.unwrap();
    assert_eq!(text(&store, "a").await, None);
    assert_eq!(
        text(&store, "a/b").await.as_deref(),
        Some("2"),
        "what is below it stays"
    );
    let too_large = store.put("b", &vec![b'x'; MAX_VALUE + 1], If::Always).await;
    assert!(
        matches!(too_large, Err(StoreError::TooLarge { .. })),
        "{too_large:?}"
    );
    let no_key = store.put("b//c", b"", If::Always).await;
    assert!(matches!(no_key, Err(StoreError::Key { .. })), "{no_key:?}");
    assert_eq!(all(&store).await.len(), 3);
    scene.foreign_is("xds-bridge2/a", "a neighbour").await;
    scene.foreign_is("xds-bridge", "the root without its slash").await;
}

async fn a_compare_is_lost_by_name_and_changes_nothing(scene: Scene) {
    let store = scene.store();
    let first = store.put("a", b"1", If::Absent).await.unwrap();
    changed(store.put("a", b"2", If::Absent).await);
    let second = store.put("a", b"2", If::Revision(first)).await.unwrap();
    assert_ne!(first, second);
    changed(store.put("a", b"3", If::Revision(first)).await);
    changed(store.delete("a", If::Revision(first)).await);
    changed(store.delete("a", If::Absent).await);
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((&entry.value[..], entry.revision), (&b"2"[..], second));
    assert_eq!(store.list().await.unwrap(), [entry]);
    store.delete("a", If::Revision(second)).await.unwrap();
    store.delete("a", If::Revision(second)).await.unwrap();
    store.delete("a", If::Absent).await.unwrap();
    changed(store.put("a", b"4", If::Revision(second)).await);
    assert_eq!(text(&store, "a").await, None);
    let third = store.put("a", b"2", If::Absent).await.unwrap();
    assert!(third != first && third != second, "another key of the same name");
}

/// Each adds 1 to a number ten times, by compare and set.
async fn eight_writers_lose_no_write(scene: Scene) {
    const TIMES: usize = 10;
    scene.store().put("n", b"0", If::Absent).await.unwrap();
    let writer = async |store: Store| {
        let (mut written, mut lost) = (0, 0);
        while written < TIMES {
            let entry = store.get("n").await.unwrap().unwrap();
            let n: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            let next = (n + 1).to_string();
            match store
                .put("n", next.as_bytes(), If::Revision(entry.revision))
                .await
            {
                Ok(_) => written += 1,
                Err(error) => {
                    assert!(error.is_changed(), "{error}");
                    lost += 1;
                }
            }
        }
        lost
    };
    let stores: Vec<Store> = (0..8).map(|_| scene.store()).collect();
    let lost: usize = join_all(stores.into_iter().map(writer)).await.into_iter().sum();
    assert!(lost > 0, "there was no race");
    assert_eq!(text(&scene.store(), "n").await.as_deref(), Some("80"));
}

async fn one_of_eight_is_the_first(scene: Scene) {
    let stores: Vec<Store> = (0..8).map(|_| scene.store()).collect();
    let puts = stores.iter().enumerate().map(async |(n, store)| {
        let value = n.to_string();
        store
            .put("first", value.as_bytes(), If::Absent)
            .await
            .map(|_| value)
    });
    let (won, lost): (Vec<_>, Vec<_>) = join_all(puts).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for result in lost {
        changed(result);
    }
    assert_eq!(
        text(&stores[0], "first").await,
        won.into_iter().next().unwrap().ok()
    );

    let holds = join_all(stores.iter().map(|store| store.hold("leader", b"", TTL))).await;
    let (won, lost): (Vec<_>, Vec<_>) = holds.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for result in lost {
        changed(result);
    }
}

async fn a_watch_shows_what_is_there(scene: Scene) {
    let store = scene.store();
    store.put("a", b"1", If::Always).await.unwrap();
    let mut watched = scene.watch();
    watched.until(&[("a", "1")]).await;
    scene.foreign("xds-bridge2/a", "a neighbour").await;
    store.put("b/c", b"2", If::Always).await.unwrap();
    watched.until(&[("a", "1"), ("b/c", "2")]).await;
    store.put("a", b"3", If::Always).await.unwrap();
    store.delete("b/c", If::Always).await.unwrap();
    watched.until(&[("a", "3")]).await;
    // A burst: the last one counts.
    for n in 0..200 {
        let key = format!("k/{}", n % 7);
        store
            .put(&key, n.to_string().as_bytes(), If::Always)
            .await
            .unwrap();
    }
    store.delete("a", If::Always).await.unwrap();
    let expected = all(&store).await;
    let expected: Vec<(&str, &str)> = expected.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    watched.until(&expected).await;
    let view = watched.view();
    let revisions: Vec<Revision> = view.entries.values().map(|entry| entry.revision).collect();
    let listed: Vec<Revision> = store
        .list()
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.revision)
        .collect();
    assert_eq!(revisions, listed);
}

async fn a_hold_keeps_its_keys_and_takes_them_with_it(scene: Scene) {
    let (store, other) = (scene.store(), scene.store());
    let hold = store.hold("replicas/a", b"one", TTL).await.unwrap();
    assert_eq!((hold.key(), hold.held()), ("replicas/a", Held::Yes));
    changed(other.hold("replicas/a", b"two", TTL).await.map(drop));
    let second = other.hold("replicas/b", b"two", TTL).await.unwrap();
    assert_ne!(hold.token(), second.token());
    store.put("stays", b"0", If::Always).await.unwrap();
    hold.put("answers/1", b"1").await.unwrap();
    hold.put("answers/1", b"2").await.unwrap();
    hold.put("answers/2", b"3").await.unwrap();
    hold.delete("answers/2").await.unwrap();
    hold.fenced_put("kept", b"5", If::Absent).await.unwrap();
    let mut watched = scene.watch();
    let before = [
        ("answers/1", "2"),
        ("kept", "5"),
        ("replicas/a", "one"),
        ("replicas/b", "two"),
        ("stays", "0"),
    ];
    watched.until(&before).await;
    hold.release().await.unwrap();
    let after = [("kept", "5"), ("replicas/b", "two"), ("stays", "0")];
    watched.until(&after).await;
    let again = other.hold("replicas/a", b"three", TTL).await.unwrap();
    again.put("answers/1", b"6").await.unwrap();
    assert_eq!(text(&store, "answers/1").await.as_deref(), Some("6"));
}

/// What is not kept alive is the clock for what is.
async fn a_hold_is_kept_alive_and_ends_without_its_holder(scene: Scene) {
    let (store, other) = (scene.store(), scene.store());
    let kept = store.hold("replicas/kept", b"", TTL).await.unwrap();
    kept.put("answers/kept", b"").await.unwrap();
    let left = other.hold("replicas/left", b"", kept.ttl()).await.unwrap();
    left.put("answers/left", b"").await.unwrap();
    drop(left);
    let mut watched = scene.watch();
    // Consul ends a session between its time and twice that.
    watched
        .until_for(
            kept.ttl() * 2 + wait::PATIENCE,
            &[("answers/kept", ""), ("replicas/kept", "")],
        )
        .await;
    assert_eq!(kept.held(), Held::Yes);
    kept.put("answers/kept", b"1").await.unwrap();
}

async fn a_write_of_who_lost_its_hold_is_refused(scene: Scene) {
    let (store, other) = (scene.store(), scene.store());
    let mut old = store.hold("leader", b"old", TTL).await.unwrap();
    let first = old.fenced_put("rollout", b"1", If::Absent).await.unwrap();
    other.delete("leader", If::Always).await.unwrap();
    let new = other.hold("leader", b"new", TTL).await.unwrap();
    assert_ne!(old.token(), new.token());
    not_held(
        old.fenced_put("rollout", b"2", If::Revision(first)).await,
        "leader",
    );
    not_held(old.fenced_put("rollout", b"2", If::Always).await, "leader");
    not_held(old.fenced_delete("rollout", If::Always).await, "leader");
    not_held(old.put("answers/1", b"").await, "leader");
    let second = new
        .fenced_put("rollout", b"3", If::Revision(first))
        .await
        .unwrap();
    changed(new.fenced_put("rollout", b"4", If::Revision(first)).await);
    new.fenced_put("rollout", b"5", If::Revision(second))
        .await
        .unwrap();
    assert_eq!(text(&store, "rollout").await.as_deref(), Some("5"));
    // It finds out by itself, too.
    tokio::time::timeout(old.ttl() * 2 + wait::PATIENCE, old.lost())
        .await
        .expect("the store says that it is lost");
    assert_eq!((old.held(), new.held()), (Held::Lost, Held::Yes));
    assert_eq!(text(&store, "leader").await.as_deref(), Some("new"));
    assert!(ROOT.ends_with('/'));
}
