//! Tests of [`super::State`]: keys and values in, changes out.

use super::*;
use crate::model::{Severity, change::What};
use crate::registry::weight::INSTANCE;

const ORDERS: &str = "/services/orders/instances/";

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Event {
    Event::Put(kv(key, value, 1))
}

fn kv(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, create_revision: i64) -> Kv {
    let (key, value) = (key.as_ref().to_vec(), value.as_ref().to_vec());
    let size = value.len();
    Kv {
        key,
        value,
        size,
        mod_revision: 9,
        create_revision,
    }
}

fn delete(key: impl AsRef<[u8]>) -> Event {
    Event::Delete {
        key: key.as_ref().to_vec(),
        mod_revision: 9,
    }
}

fn good(port: u16) -> String {
    format!(r#"{{"address":"10.0.0.7","port":{port}}}"#)
}

fn state() -> State {
    State::new(&EtcdPrefix::native("/services/"))
}

/// `orders[8080,8081]!1 users-` : ports, how many issues, `-` for gone.
fn show(change: &Change) -> String {
    let mut words: Vec<String> = change
        .services
        .iter()
        .map(|(name, record)| {
            let Some(record) = record else {
                return format!("{name}-");
            };
            let ports: Vec<_> = record
                .instances
                .iter()
                .map(|i| i.address.port().to_string())
                .collect();
            let policy = if record.policy.is_some() { "+policy" } else { "" };
            let issues = match record.issues.len() {
                0 => String::new(),
                n => format!("!{n}"),
            };
            format!("{name}[{}]{policy}{issues}", ports.join(","))
        })
        .collect();
    words.sort();
    words.extend(change.complete.then(|| "complete".to_owned()));
    words.extend(change.stray.as_ref().map(|s| format!("stray {}", s.len())));
    words.join(" ")
}

fn relist(state: &mut State, kvs: &[Kv]) -> Change {
    let mut relisting = state.relist(false);
    for kv in kvs {
        relisting.put(state, kv);
    }
    relisting.finish(state)
}

#[test]
fn a_transaction_is_one_change_and_a_replay_is_none() {
    let mut state = state();
    let events = vec![
        put(format!("{ORDERS}a"), good(1)),
        put(format!("{ORDERS}b"), good(2)),
        put("/services/users/policy", r#"{"protocol":"grpc"}"#),
    ];
    assert_eq!(show(&state.apply(events.clone())), "orders[1,2] users[]+policy");
    assert_eq!(state.apply(events), Change::default());
    let there_and_back = vec![
        put(format!("{ORDERS}a"), good(7)),
        put(format!("{ORDERS}a"), good(1)),
    ];
    assert_eq!(state.apply(there_and_back), Change::default());
    let instances = state.record("orders").unwrap().instances;
    let policy = |nth: usize| instances[nth].policy.clone();
    assert!(Arc::ptr_eq(&policy(0), &policy(1)), "equal policies are one");
}

#[test]
fn the_last_key_takes_the_service_with_it() {
    let mut state = state();
    state.apply([
        put(format!("{ORDERS}a"), good(1)),
        put("/services/orders/policy", "{}"),
    ]);
    assert_eq!(
        show(&state.apply([delete(format!("{ORDERS}a"))])),
        "orders[]+policy"
    );
    assert_eq!(show(&state.apply([delete("/services/orders/policy")])), "orders-");
    assert_eq!(
        state.apply([delete("/services/orders/policy"), delete("/services/x/policy")]),
        Change::default()
    );
}

#[test]
fn good_to_bad_keeps_the_last_good_until_the_key_is_gone() {
    let mut state = state();
    let key = format!("{ORDERS}a");
    state.apply([put(&key, good(1))]);
    let change = state.apply([put(&key, "{broken")]);
    assert_eq!(show(&change), "orders[1]!1");
    let issue = &change.services[0].1.as_ref().unwrap().issues[0];
    assert_eq!((issue.severity, &issue.entry), (Severity::Warning, &key));
    assert!(
        issue.reason.ends_with("the last good value is still served"),
        "{}",
        issue.reason
    );
    assert_eq!(
        show(&state.apply([put(&key, r#"{"address":"db","port":1}"#)])),
        "orders[1]!1"
    );
    assert_eq!(show(&state.apply([put(&key, good(2))])), "orders[2]");
    state.apply([put(&key, "{broken")]);
    assert_eq!(show(&state.apply([delete(&key)])), "orders-");
    assert_eq!(
        show(&state.apply([put(&key, "{broken")])),
        "orders[]!1",
        "what was deleted is no last good"
    );
}

#[test]
fn a_bad_newcomer_is_rejected_alone() {
    let mut state = state();
    let huge = format!(
        "{{\"address\":\"10.0.0.7\",\"port\":80,\"x\":\"{}\"}}",
        "x".repeat(2 << 20)
    );
    let change = state.apply([
        put(format!("{ORDERS}a"), good(1)),
        put(format!("{ORDERS}b"), &huge),
        put(format!("{ORDERS}c"), "[]"),
    ]);
    assert_eq!(show(&change), "orders[1]!2");
    let issues = &change.services[0].1.as_ref().unwrap().issues;
    assert!(
        issues
            .iter()
            .all(|i| i.severity == Severity::Rejected && i.reason.len() < 200),
        "{issues:?}"
    );
    assert_eq!(issues[0].entry, format!("{ORDERS}b"));
}

#[test]
fn a_bad_policy_keeps_the_last_good_one() {
    let mut state = state();
    state.apply([put("/services/orders/policy", r#"{"protocol":"grpc"}"#)]);
    assert_eq!(
        show(&state.apply([put("/services/orders/policy", "no")])),
        "orders[]+policy!1"
    );
    assert_eq!(
        show(&state.apply([put("/services/users/policy", "no")])),
        "users[]!1"
    );
}

#[test]
fn stray_keys_are_named_up_to_a_hundred() {
    let mut state = state();
    let change = state.apply([put(b"/services/\xff/policy", "x"), put("/services/orders", "x")]);
    let stray = change.stray.unwrap();
    assert_eq!(stray.len(), 2);
    assert!(
        stray
            .iter()
            .any(|i| i.entry == "/services/\u{fffd}/policy" && i.reason.contains("UTF-8"))
    );
    assert_eq!(state.apply([put("/services/orders", "y")]), Change::default());
    let many = (0..250).map(|n| put(format!("/services/x{n}"), ""));
    let stray = state.apply(many).stray.unwrap();
    assert_eq!(stray.len(), MAX_STRAY + 1);
    assert!(stray[MAX_STRAY].reason.starts_with("100 or more"));
    let gone = (0..250).map(|n| delete(format!("/services/x{n}")));
    assert_eq!(state.apply(gone).stray.unwrap().len(), 2);
}

#[test]
fn a_listing_is_complete_and_what_it_lacks_is_gone() {
    let mut state = state();
    let a = kv(format!("{ORDERS}a"), good(1), 5);
    let b = kv("/services/users/instances/b", good(2), 6);
    assert_eq!(show(&relist(&mut state, &[])), "complete stray 0");
    assert_eq!(
        show(&relist(&mut state, &[a.clone(), b])),
        "orders[1] users[2] complete stray 0"
    );
    assert_eq!(
        show(&relist(&mut state, std::slice::from_ref(&a))),
        "orders[1] complete stray 0"
    );
    assert_eq!(state.apply([Event::Put(a)]), Change::default());
}

#[test]
fn a_listing_keeps_the_last_good_of_the_same_key_only() {
    let mut state = state();
    let key = format!("{ORDERS}a");
    relist(&mut state, &[kv(&key, good(1), 5)]);
    assert_eq!(
        show(&relist(&mut state, &[kv(&key, "{", 5)])),
        "orders[1]!1 complete stray 0"
    );
    assert_eq!(
        show(&relist(&mut state, &[kv(&key, "{", 8)])),
        "orders[]!1 complete stray 0"
    );
}

#[test]
fn the_hub_finds_nothing_new_in_an_equal_listing() {
    let mut state = state();
    let mut catalog = crate::catalog::Catalog::new([("etcd".into(), None)]);
    let mut touched = |change| {
        catalog
            .apply(
                crate::model::Event {
                    source: "etcd".into(),
                    what: What::Change(change),
                },
                std::time::Duration::ZERO,
            )
            .services
            .len()
    };
    let kvs = [
        kv(format!("{ORDERS}a"), good(1), 5),
        kv("/services/users/policy", "{}", 6),
    ];
    assert_eq!(touched(relist(&mut state, &kvs)), 2);
    assert_eq!(touched(relist(&mut state, &kvs)), 0);
}

#[test]
fn a_key_of_megabytes_is_not_kept() {
    let key = |last: &str| format!("/services/{}{last}", "x".repeat(2 << 20));
    let mut state = state();
    let change = state.apply([put(key("a"), ""), put(key("b"), "")]);
    assert_eq!(change.stray.unwrap().len(), 2, "they differ beyond what is kept");
    assert!(state.stray.iter().all(|kept| kept.len() < 2 * MAX_REMEMBERED));
    assert_eq!(state.apply([delete(key("a"))]).stray.unwrap().len(), 1);
    assert_eq!(state.apply([delete(key("b"))]).stray.unwrap(), []);
}

#[test]
fn what_there_is_no_room_for_is_named_and_what_is_known_stays() {
    let mut state = state();
    state.bound(SERVICE + 2 * INSTANCE);
    let instance = |id: &str, port| put(format!("{ORDERS}{id}"), good(port));
    assert_eq!(
        show(&state.apply([instance("a", 1), instance("b", 2)])),
        "orders[1,2]"
    );
    let change = state.apply([instance("c", 3), put("/services/users/policy", "{}")]);
    assert_eq!(show(&change), "stray 1");
    let reason = &change.stray.unwrap()[0].reason;
    assert!(
        reason.starts_with("1 or more values are left out") && reason.contains("limits.source_memory"),
        "{reason}"
    );
    assert_eq!(
        show(&state.apply([instance("b", 4)])),
        "orders[1,4]",
        "what is known may change"
    );
    assert_eq!(state.weight(), SERVICE + 2 * INSTANCE);
    let most = SERVICE + 2 * INSTANCE;
    assert!(!state.may_take_more(most) && state.may_take_more(most + INSTANCE + SERVICE));
    assert_eq!(show(&state.apply([delete("/services/users/policy")])), "stray 1");
    assert!(state.may_take_more(most + INSTANCE));
    assert_eq!(
        show(&state.apply([delete(format!("{ORDERS}a")), instance("c", 3)])),
        "orders[4,3] stray 0"
    );
    assert!(!state.may_take_more(usize::MAX), "nothing is left out");

    let all = [("a", 1), ("b", 2), ("c", 3)].map(|(id, port)| kv(format!("{ORDERS}{id}"), good(port), 1));
    let mut relisting = state.relist(false);
    assert!(all.iter().all(|kv| {
        relisting.put(&state, kv);
        relisting.full().is_none() || kv.key.ends_with(b"c")
    }));
    assert!(
        relisting.full().is_some(),
        "a part of it would look like removals"
    );
    let mut relisting = state.relist(true);
    let news = [kv("/services/a/instances/new", good(9), 1)];
    for kv in news.iter().chain(&all) {
        relisting.put(&state, kv);
    }
    assert!(relisting.full().is_none());
    assert_eq!(
        show(&relisting.finish(&mut state)),
        "orders[2,3] complete stray 1",
        "what is known goes first"
    );
    assert!(state.may_take_more(most + 2 * (SERVICE + INSTANCE)) && !state.may_take_more(most + INSTANCE));
    assert_eq!(
        show(&relist(&mut state, &all[..2])),
        "orders[1,2] complete stray 0"
    );
    assert_eq!(
        show(&state.apply(["a", "b"].map(|id| delete(format!("{ORDERS}{id}"))))),
        "orders-"
    );
    assert_eq!(state.weight(), 0);
}
