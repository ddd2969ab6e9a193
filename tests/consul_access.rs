//! What a Consul source does about its token, against a scripted agent: one that changes, one that is
//! refused, and one that hides what it may not see.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the fake is a module of this test alone")]

mod consul_fake;
#[path = "consul/hidden.rs"]
mod hidden;

use std::time::Duration;

use consul_fake::{Fake, Hub, health, say};
use xds_bridge::model::Status;

const RIGHTS: &str = "/v1/internal/acl/authorize";

fn issues(hub: &Hub) -> Vec<String> {
    let (_, source) = hub.catalog().sources().next().unwrap();
    source
        .issues()
        .map(|i| format!("{}: {}", i.entry, i.reason))
        .collect()
}

#[tokio::test]
async fn a_new_token_is_used_and_everything_confirmed_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set("users", &[2]);
    // The old one does not see `users`, and no index tells of rights.
    fake.script(|ask| match (ask.path.as_str(), ask.token.as_str(), ask.index) {
        ("/v1/catalog/services", "old", None) => say(200, 102, r#"{"consul":[],"orders":[]}"#),
        _ => None,
    });
    let mut hub = Hub::watch(&address, Some(file.clone()));
    hub.until_live().await;
    assert_eq!(hub.ports("users"), None);
    fake.forget();
    std::fs::write(&file, "").unwrap(); // being written
    std::fs::write(&file, "new\n").unwrap();
    hub.until_ports("users", &[2]).await;
    for path in ["/v1/catalog/services", "/v1/health/service/orders", "/v1/kv/xds/"] {
        assert!(
            fake.seen(|ask| ask.path == path && ask.token == "new" && ask.consistent),
            "{path}"
        );
    }
    assert_eq!(hub.statuses, [Status::Live], "and was live all the time");
}

#[tokio::test]
async fn a_blocked_read_with_a_token_of_before_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    let mut hub = Hub::watch(&address, Some(file.clone()));
    hub.until_live().await;
    std::fs::write(&file, "new\n").unwrap();
    // Whatever comes with the old one is refused, from when the new one was seen.
    let seen = async {
        while !fake.seen(|ask| ask.token == "new") {
            tokio::time::sleep(Duration::from_millis(5)).await; // waits for a level
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .expect("the new one is used");
    fake.script(|ask| {
        if ask.token == "old" {
            say(403, 1, "ACL not found")
        } else {
            None
        }
    });
    fake.set("orders", &[1, 2]);
    hub.until_ports("orders", &[1, 2]).await;
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn what_the_token_hides_is_not_gone() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    fake.set("users", &[3]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.forget();
    // One instance, and it is on the node `n` as all are.
    fake.script(|ask| {
        (ask.path == RIGHTS)
            .then(|| say(200, 1, r#"[{"Allow":true},{"Allow":false}]"#))
            .flatten()
    });
    fake.set("orders", &[2]);
    hub.until("an issue", |hub| {
        issues(hub).iter().any(|i| i.contains("node:read of n"))
    })
    .await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    // All of it, and its name.
    fake.script(|ask| {
        (ask.path == RIGHTS)
            .then(|| say(200, 1, r#"[{"Allow":false}]"#))
            .flatten()
    });
    fake.set("orders", &[]);
    hub.until("an issue", |hub| {
        issues(hub).iter().any(|i| i.contains("service:read of orders"))
    })
    .await;
    // The others go on, and none of it is an outage.
    fake.set("users", &[3, 4]);
    hub.until_ports("users", &[3, 4]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    // The right is there again: what Consul says now is believed.
    fake.script(|_| None);
    hub.until("orders gone", |hub| hub.ports("orders").is_none())
        .await;
    assert_eq!((issues(&hub), hub.statuses.len()), (vec![], 0));
}

/// A single look at a service that is no longer named is its reader's first, and yet nothing is gone for it.
#[tokio::test]
async fn a_first_read_knows_what_was_told_before() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        (RIGHTS, _) => say(200, 1, r#"[{"Allow":true},{"Allow":false}]"#),
        ("/v1/catalog/services", i) if i.is_none_or(|i| i < 800) => say(200, 800, r#"{"consul":[]}"#),
        // Only who reads it anew is told: the watch goes on to wait.
        ("/v1/health/service/orders", None) => say(200, 101, &health("orders", &[2])),
        _ => None,
    });
    hub.until("an issue", |hub| {
        issues(hub).iter().any(|i| i.contains("node:read of n"))
    })
    .await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
}

/// Without ACLs, with an agent that does not know the question, or with something in between that forbids it.
#[tokio::test]
async fn where_nobody_can_tell_a_confirmed_loss_is_believed() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2, 3, 4, 5]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    let mut left = vec![1, 2, 3, 4, 5];
    for (status, body) in [
        (401, "ACL support disabled"),
        (404, "page not found"),
        (403, "forbidden by the proxy"),
        (200, "<html>"),
    ] {
        fake.script(move |ask| (ask.path == RIGHTS).then(|| say(status, 1, body)).flatten());
        left.pop();
        fake.set("orders", &left);
        hub.until_ports("orders", &left).await;
    }
    assert_eq!((issues(&hub), hub.statuses.len()), (vec![], 1));
    // A token that is not known any more is another matter.
    fake.script(|ask| {
        (ask.path == RIGHTS)
            .then(|| say(403, 1, "ACL not found"))
            .flatten()
    });
    fake.set("orders", &[]);
    hub.until_away("ACL not found").await;
    assert_eq!(hub.ports("orders"), Some(left));
}
