//! The Consul source against a scripted agent: what it believes, what it holds, and when it says so.
//! Never against a real Consul (see `integration/`), and never with a fixed sleep.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the fake is a module of this test alone")]

#[path = "consul/answers.rs"]
mod answers;
#[path = "consul/away.rs"]
mod away;
mod consul_fake;
#[path = "consul/cut.rs"]
mod cut;
#[path = "consul/hostile.rs"]
mod hostile;
#[path = "consul/limited.rs"]
mod limited;
#[path = "consul/multiplexed.rs"]
mod multiplexed;
#[path = "../integration/support/pki.rs"]
mod pki;
#[path = "consul/pressure.rs"]
mod pressure;
#[path = "consul/streamed.rs"]
mod streamed;

use consul_fake::{Fake, Hub, Reply, health, say};
use xds_bridge::model::{Severity, Status};

async fn two_services() -> (std::sync::Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    fake.set("users ü/1", &[3]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    (fake, hub)
}

/// Whatever was on its way has arrived when this has.
async fn settle(fake: &Fake, hub: &mut Hub) {
    fake.set("sentinel", &[9]);
    hub.until_ports("sentinel", &[9]).await;
}

#[tokio::test]
async fn the_first_change_is_complete_and_then_single_services_follow() {
    let (fake, mut hub) = two_services().await;
    assert_eq!(hub.statuses, [Status::Live]);
    assert_eq!(hub.changes.len(), 1);
    assert!(hub.changes[0].complete);
    assert_eq!(
        hub.named(),
        [("orders".into(), Some(2)), ("users ü/1".into(), Some(1))]
    );
    hub.forget();
    fake.set("orders", &[1, 2, 4]);
    hub.until_ports("orders", &[1, 2, 4]).await;
    fake.set("orders", &[1, 2, 4]); // a wake-up that brings nothing
    settle(&fake, &mut hub).await;
    assert!(hub.changes.iter().all(|c| !c.complete));
    assert_eq!(hub.named().iter().filter(|(name, _)| name == "orders").count(), 1);
}

#[tokio::test]
async fn an_empty_catalog_is_complete_and_empty() {
    let (fake, address) = Fake::start().await;
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    assert!(hub.changes[0].complete && hub.changes[0].services.is_empty());
    settle(&fake, &mut hub).await;
}

#[tokio::test]
async fn a_falling_index_is_not_believed() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    fake.script(|ask| match ask.index {
        Some(_) if ask.path.ends_with("/orders") => say(200, 3, "[]"),
        _ => None,
    });
    hub.until_away("the index of service orders fell").await;
    fake.script(|_| None);
    hub.until_live().await;
    settle(&fake, &mut hub).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    assert!(
        hub.named().iter().all(|(name, _)| name == "sentinel"),
        "{:?}",
        hub.named()
    );
}

#[tokio::test]
async fn empty_after_an_error_is_not_believed_until_confirmed() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    fake.script(|_| say(500, 1, "No cluster leader"));
    hub.until_away("500").await;
    // The restarted server: 200 with nothing in it, and `?consistent` refused.
    fake.script(|ask| match ask.path.as_str() {
        _ if ask.consistent => say(500, 1, "Not ready to serve consistent reads"),
        "/v1/catalog/services" => say(200, 500, r#"{"consul":[]}"#),
        "/v1/kv/xds/" => None,
        _ => say(200, 500, "[]"),
    });
    hub.until_away("Not ready to serve consistent reads").await;
    // Consistent reads are right again, the others still are not.
    fake.script(|ask| match ask.path.as_str() {
        _ if ask.consistent => None,
        "/v1/catalog/services" if ask.index.is_none_or(|i| i < 500) => say(200, 500, r#"{"consul":[]}"#),
        "/v1/health/service/orders" if ask.index.is_none_or(|i| i < 500) => say(200, 500, "[]"),
        _ => None,
    });
    hub.until_live().await;
    fake.jump(1000);
    fake.script(|_| None);
    settle(&fake, &mut hub).await;
    assert!(
        hub.named().iter().all(|(name, _)| name == "sentinel"),
        "{:?}",
        hub.named()
    );
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
}

#[tokio::test]
async fn an_outage_is_away_and_back() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    fake.script(|ask| ask.index.and_then(|_| say(500, 1, "rpc error")));
    hub.until_away("rpc error").await;
    fake.forget();
    fake.script(|_| None);
    hub.until_live().await;
    for path in [
        "/v1/catalog/services",
        "/v1/health/service/orders",
        "/v1/health/service/users ü/1",
    ] {
        assert!(
            fake.seen(|ask| ask.path == path && ask.consistent),
            "{path} is confirmed"
        );
    }
    assert_eq!(hub.named(), []);
}

#[tokio::test]
async fn garbage_is_reported_and_what_is_known_stays() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    fake.script(|ask| {
        ask.path
            .ends_with("/orders")
            .then(|| say(200, 900, "<html>"))
            .flatten()
    });
    let issues = |hub: &Hub| {
        hub.catalog()
            .sources()
            .next()
            .unwrap()
            .1
            .issues()
            .cloned()
            .collect::<Vec<_>>()
    };
    hub.until("an issue", |hub| !issues(hub).is_empty()).await;
    assert_eq!(
        (issues(&hub)[0].entry.as_str(), issues(&hub)[0].severity),
        ("orders", Severity::Rejected)
    );
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.jump(1000);
    fake.script(|_| None);
    fake.set("orders", &[1, 2, 5]);
    hub.until_ports("orders", &[1, 2, 5]).await;
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    assert_eq!(hub.statuses, [], "one bad answer is no outage");
}

#[tokio::test]
async fn a_removal_is_confirmed_first() {
    let (fake, mut hub) = two_services().await;
    // The names lack it, its health does not: it stays.
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        ("/v1/catalog/services", i) if i.is_none_or(|i| i < 800) => {
            say(200, 800, r#"{"consul":[],"new":[]}"#)
        }
        ("/v1/health/service/new", i) if i.is_none_or(|i| i < 800) => say(200, 800, &health("new", &[7])),
        _ => None,
    });
    hub.until_ports("new", &[7]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.forget();
    fake.jump(1000);
    fake.set("orders", &[]);
    hub.until("orders gone", |hub| hub.ports("orders").is_none())
        .await;
    assert!(fake.seen(|ask| ask.path.ends_with("/orders") && ask.consistent));
    assert!(
        fake.seen(|ask| ask.path.ends_with("/consul") && ask.consistent),
        "with the canary"
    );
}

#[tokio::test]
async fn when_asked_all_is_confirmed_anew_and_nothing_is_away_meanwhile() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    for nth in 1..=2 {
        fake.forget();
        hub.ask.send_replace(nth);
        hub.until("verified", |hub| hub.verified == nth).await;
        for path in [
            "/v1/catalog/services",
            "/v1/health/service/orders",
            "/v1/health/service/users ü/1",
        ] {
            assert!(fake.seen(|ask| ask.path == path && ask.consistent), "{path}");
        }
    }
    assert_eq!((hub.statuses.len(), hub.changes.len()), (0, 0), "{hub:?}");
    // Not while it is away: what was asked is answered when it is back.
    fake.script(|_| say(500, 1, "No cluster leader"));
    hub.until_away("500").await;
    hub.ask.send_replace(3);
    fake.script(|_| None);
    hub.until("verified", |hub| hub.verified == 3).await;
    assert_eq!(
        hub.statuses.last(),
        Some(&Status::Live),
        "first live, then verified"
    );
}

#[tokio::test]
async fn a_service_that_comes_and_goes_ends_as_it_is() {
    let (fake, mut hub) = two_services().await;
    for round in 1..=30 {
        fake.set("orders", &[]);
        if round % 3 == 0 {
            hub.until("orders gone", |hub| hub.ports("orders").is_none())
                .await;
        }
        fake.set("orders", &[round]);
        if round % 2 == 0 {
            hub.until_ports("orders", &[round]).await;
        }
    }
    hub.until_ports("orders", &[30]).await;
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn lost_rights_are_away_and_remove_nothing() {
    let (fake, mut hub) = two_services().await;
    hub.forget();
    // No node:read: names, but every health is empty.
    fake.script(|ask| match ask.index {
        i if ask.path.contains("/health/") && i.is_none_or(|i| i < 900) => say(200, 900, "[]"),
        _ => None,
    });
    hub.until_away("node:read").await;
    // No service:read either.
    fake.script(|ask| {
        ask.path
            .ends_with("/services")
            .then(|| say(200, 901, "{}"))
            .flatten()
    });
    hub.until_away("service:read").await;
    fake.script(|_| None);
    hub.until_live().await;
    assert_eq!(hub.named(), []);
}

#[tokio::test]
async fn a_hung_agent_is_away() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.script(|_| Some(Reply::Hang));
    let mut hub = Hub::watch(&address, None);
    hub.until_away("").await;
    assert_eq!(hub.changes, []);
    fake.script(|_| None);
    hub.until_live().await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
}

#[tokio::test]
async fn a_rotated_token_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old\n").unwrap();
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.script(|ask| {
        if ask.token == "old" {
            None
        } else {
            say(403, 1, "ACL not found")
        }
    });
    let mut hub = Hub::watch(&address, Some(file.clone()));
    hub.until_live().await;
    fake.script(|ask| {
        if ask.token == "new" {
            None
        } else {
            say(403, 1, "ACL not found")
        }
    });
    hub.until_away("ACL not found").await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
    assert!(
        hub.statuses.iter().all(|s| !format!("{s:?}").contains("old")),
        "the token is in no message"
    );
    std::fs::write(&file, "new\n").unwrap();
    hub.until_live().await;
    fake.set("orders", &[1, 2]);
    hub.until_ports("orders", &[1, 2]).await;
}

#[tokio::test]
async fn policy_documents_are_merged_and_their_loss_confirmed() {
    let (fake, mut hub) = two_services().await;
    let protocol = |hub: &Hub| {
        hub.catalog()
            .service(&"orders".into())
            .unwrap()
            .protocol()
            .as_str()
    };
    fake.set_key("xds/orders/policy", Some(r#"{"protocol":"grpc"}"#));
    hub.until("grpc", |hub| protocol(hub) == "grpc").await;
    fake.forget();
    fake.set_key("xds/orders/policy", None);
    hub.until("http1", |hub| protocol(hub) == "http1").await;
    assert!(fake.seen(|ask| ask.path == "/v1/kv/xds/" && ask.consistent));
    // A token without key:read is no outage.
    hub.forget();
    fake.script(|ask| {
        ask.path
            .starts_with("/v1/kv")
            .then(|| say(403, 1, "Permission denied"))
            .flatten()
    });
    settle(&fake, &mut hub).await;
    assert_eq!(hub.statuses, []);
}

#[tokio::test]
async fn services_beyond_the_connections_are_swept() {
    let (fake, address) = Fake::start().await;
    let names: Vec<String> = (0..170).map(|n| format!("s{n:03}")).collect();
    for name in &names {
        fake.set(name, &[1, 2]);
    }
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    assert_eq!(hub.changes[0].services.len(), 170);
    for name in &names {
        fake.set(name, &[2, 3]);
    }
    hub.until("all changed", |hub| {
        names.iter().all(|n| hub.ports(n) == Some(vec![2, 3]))
    })
    .await;
    for name in &names[..160] {
        fake.set(name, &[]);
    }
    hub.until("most gone", |hub| {
        names[..160].iter().all(|n| hub.ports(n).is_none())
    })
    .await;
    for name in &names[..20] {
        fake.set(name, &[4]);
    }
    hub.until("some back", |hub| {
        names[..20].iter().all(|n| hub.ports(n) == Some(vec![4]))
    })
    .await;
    assert!(fake.most() < 195, "{} requests at once", fake.most());
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test]
async fn a_name_that_consul_redirects_costs_nobody_else_anything() {
    let (fake, mut hub) = two_services().await;
    fake.script(|ask| ask.path.ends_with("/..").then(|| say(301, 1, "Moved")).flatten());
    fake.set("..", &[5]);
    settle(&fake, &mut hub).await;
    hub.forget();
    fake.set("orders", &[7]);
    hub.until_ports("orders", &[7]).await;
    assert_eq!(hub.statuses, [], "never away");
}

/// The policies were one listing with its values once: whatever else lay below `xds/` could block them.
#[tokio::test]
async fn what_else_lies_below_the_prefix_costs_the_policies_nothing() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set("users", &[2]);
    for n in 0..100 {
        fake.set_key(&format!("xds/junk/{n}"), Some("x"));
    }
    fake.set_key("xds/../policy", Some("{}"));
    fake.set_key("xds/orders/policy", Some(r#"{"protocol":"grpc"}"#));
    fake.set_key("xds/users/policy", Some(r#"{"protocol":"grpc"}"#));
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    let protocol = |hub: &Hub, name: &str| hub.catalog().service(&name.into()).unwrap().protocol().as_str();
    assert_eq!(
        (protocol(&hub, "orders"), protocol(&hub, "users")),
        ("grpc", "grpc")
    );
    assert!(!fake.seen(|ask| ask.path.contains("junk") || ask.path.contains("..")));
    // One that is too long is an issue of its own, and the last good one of it stays.
    for size in [64 << 10, 1 << 20] {
        hub.forget();
        let long = format!(r#"{{"protocol":"http1"{}}}"#, " ".repeat(size));
        fake.set_key("xds/users/policy", Some(&long));
        let http = if size > 1 << 19 { "http2" } else { "http1" };
        fake.set_key("xds/orders/policy", Some(&format!(r#"{{"protocol":"{http}"}}"#)));
        hub.until("orders", |hub| protocol(hub, "orders") == http).await;
        let (_, state) = hub.catalog().sources().next().unwrap();
        let said = state
            .issues()
            .any(|i| i.entry == "xds/users/policy" && i.reason.contains("longer than"));
        assert!(said && protocol(&hub, "users") == "grpc", "{size}");
    }
    assert_eq!(hub.statuses, [], "never away");
}

/// Consul 1.21.5 lists such keys and refuses to read them, with a 500.
#[tokio::test]
async fn a_policy_key_that_consul_refuses_costs_that_policy_only() {
    let (fake, address) = Fake::start().await;
    fake.set("a b", &[1]);
    fake.set("orders", &[2]);
    fake.set_key("xds/a b/policy", Some(r#"{"protocol":"grpc"}"#));
    fake.set_key("xds/orders/policy", Some(r#"{"protocol":"grpc"}"#));
    fake.script(|ask| {
        let refused = ask.path == "/v1/kv/xds/a b/policy";
        refused
            .then(|| say(500, 1, "invalid key name, keys should respect a format"))
            .flatten()
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    let protocol = |name: &str| hub.catalog().service(&name.into()).unwrap().protocol().as_str();
    assert_eq!((protocol("a b"), protocol("orders")), ("http1", "grpc"));
    let (_, state) = hub.catalog().sources().next().unwrap();
    let named = state
        .issues()
        .any(|i| i.entry == "xds/a b/policy" && i.reason.contains("invalid key name"));
    assert!(named, "{:?}", state.issues().collect::<Vec<_>>());
    let away = hub
        .statuses
        .iter()
        .any(|status| matches!(status, Status::Away { .. }));
    assert!(!away, "{:?}", hub.statuses);
}

#[tokio::test]
async fn a_start_without_the_policy_documents_is_no_start() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set_key("xds/orders/policy", Some(r#"{"protocol":"grpc"}"#));
    fake.script(|ask| {
        let unreadable = ask.path == "/v1/kv/xds/";
        unreadable.then(|| say(200, 1, "<html>")).flatten()
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_away("policy documents").await;
    assert_eq!(hub.changes.len(), 0, "nothing was told");
    fake.script(|_| None);
    hub.until_live().await;
    assert!(hub.changes[0].services[0].1.as_ref().unwrap().policy.is_some());
}
