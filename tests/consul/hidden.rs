//! The Consul source and answers that say themselves that the token hides something
//! (`X-Consul-Results-Filtered-By-ACLs`, Consul 1.11 and newer): what is hidden stays and is named, all else goes on.

use std::fmt::Write as _;

use crate::consul_fake::{Ask, Fake, Hub, Reply, Rest, filtered, say};
use crate::{RIGHTS, issues};

const NAMES: &str = "/v1/catalog/services";

fn hides_orders(ask: &Ask) -> Option<Reply> {
    match ask.path.as_str() {
        // Rights move no index: who blocks is not woken.
        "/v1/health/service/orders" if ask.index.is_none() => filtered(101, "[]"),
        NAMES if ask.index.is_none() => filtered(102, r#"{"consul":[],"users":[]}"#),
        RIGHTS => say(200, 1, r#"[{"Allow":false}]"#),
        _ => None,
    }
}

async fn two_services() -> (std::sync::Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    fake.set("users", &[3]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.forget();
    (fake, hub)
}

async fn until_issue(hub: &mut Hub, words: &[&str]) {
    hub.until(&format!("an issue with {words:?}"), |hub| {
        let named = |issue: &String| words.iter().all(|word| issue.contains(word));
        issues(hub).iter().any(named)
    })
    .await;
}

#[tokio::test]
async fn a_hidden_service_stays_alone_and_comes_back_by_itself() {
    let (fake, mut hub) = two_services().await;
    fake.script(|ask| match ask.path.as_str() {
        // Woken by something, and everything is hidden.
        "/v1/health/service/orders" if ask.index.is_some_and(|index| index < 700) => filtered(700, "[]"),
        NAMES if ask.index.is_some_and(|index| index < 700) => filtered(700, r#"{"consul":[],"users":[]}"#),
        _ => hides_orders(ask),
    });
    until_issue(&mut hub, &["orders: ", "service:read of orders"]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.jump(800);
    fake.set("users", &[3, 4]);
    hub.until_ports("users", &[3, 4]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    // The right comes back, and no index moves.
    fake.script(|ask| match ask.path.as_str() {
        "/v1/health/service/orders" if ask.index.is_none() => {
            say(200, 101, &crate::consul_fake::health("orders", &[1, 2]))
        }
        _ => None,
    });
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    fake.script(|_| None);
    fake.set("orders", &[2, 5]);
    hub.until_ports("orders", &[2, 5]).await;
    assert_eq!(hub.statuses, [], "never away");
}

/// Found by another reader than its watch, which waits for an index that rights do not move.
#[tokio::test]
async fn a_service_that_only_the_names_hide_comes_back_though_its_watch_is_not_woken() {
    let (fake, mut hub) = two_services().await;
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        (NAMES, Some(index)) if index < 700 => filtered(700, r#"{"consul":[],"users":[]}"#),
        ("/v1/health/service/orders", Some(_)) => Some(Reply::Hang),
        _ => hides_orders(ask),
    });
    until_issue(&mut hub, &["service:read of orders"]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.script(|_| None);
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    assert_eq!((hub.ports("orders"), hub.statuses.len()), (Some(vec![1, 2]), 0));
}

/// Nobody says which right is lacking: the header is enough.
#[tokio::test]
async fn what_says_that_it_is_filtered_is_held_also_where_nobody_tells_the_rights() {
    let (fake, mut hub) = two_services().await;
    let answers = [(401, "ACL support disabled"), (404, "not found"), (200, "<html>")];
    for (step, (status, body)) in (1..).zip(answers) {
        let index = step * 1000;
        fake.script(move |ask| match ask.path.as_str() {
            "/v1/health/service/orders" if ask.index.is_none_or(|asked| asked < index) => {
                filtered(index, "[]")
            }
            RIGHTS => say(status, 1, body),
            _ => None,
        });
        until_issue(&mut hub, &["orders: ", "what is missing is hidden"]).await;
        assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
        fake.script(|_| None);
        fake.jump(index + 100);
        fake.set("orders", &[1, 2]);
        hub.until("no issue", |hub| issues(hub).is_empty()).await;
    }
    assert_eq!(hub.statuses, []);
}

/// Instances by node and port.
fn on_nodes(entries: &[(&str, u16)]) -> String {
    let mut body = String::new();
    for (node, port) in entries {
        write!(
            body,
            r#",{{"Node":{{"Node":"{node}","Address":"10.0.0.1"}},
                "Service":{{"ID":"i{port}","Service":"orders","Port":{port}}},"Checks":[]}}"#
        )
        .unwrap();
    }
    format!("[{}]", body.trim_start_matches(','))
}

fn orders_are(fake: &Fake, index: u64, entries: &[(&str, u16)], hidden: bool) {
    let body = on_nodes(entries);
    fake.script(move |ask| match ask.path.as_str() {
        "/v1/health/service/orders" if ask.index.is_none_or(|asked| asked < index) => {
            if hidden {
                filtered(index, &body)
            } else {
                say(200, index, &body)
            }
        }
        RIGHTS => {
            // The service, then the nodes of what is lost, in order: m is denied.
            say(200, 1, r#"[{"Allow":true},{"Allow":false}]"#)
        }
        _ => None,
    });
}

#[tokio::test]
async fn of_a_partly_hidden_service_the_rest_goes_on() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    orders_are(&fake, 200, &[("m", 2), ("n", 1)], false);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.forget();
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    // m is hidden; what is on n changes, comes and goes.
    orders_are(&fake, 300, &[("n", 1)], true);
    until_issue(&mut hub, &["orders: ", "node:read of m"]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    orders_are(&fake, 400, &[("n", 1), ("n", 3)], true);
    hub.until_ports("orders", &[1, 2, 3]).await;
    // What is lost on n is gone: the answer about rights names m first.
    let body = on_nodes(&[("n", 3)]);
    fake.script(move |ask| match ask.path.as_str() {
        "/v1/health/service/orders" if ask.index.is_none_or(|asked| asked < 500) => filtered(500, &body),
        RIGHTS => say(200, 1, r#"[{"Allow":true},{"Allow":false},{"Allow":true}]"#),
        _ => None,
    });
    hub.until_ports("orders", &[2, 3]).await;
    until_issue(&mut hub, &["node:read of m"]).await;
    orders_are(&fake, 600, &[("m", 2), ("n", 3)], false);
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    orders_are(&fake, 700, &[("n", 3), ("n", 4)], false);
    // Now it is gone, under the same token.
    let body = on_nodes(&[("n", 3)]);
    fake.script(move |ask| match ask.path.as_str() {
        "/v1/health/service/orders" if ask.index.is_none_or(|asked| asked < 800) => say(200, 800, &body),
        RIGHTS => say(200, 1, r#"[{"Allow":true},{"Allow":true}]"#),
        _ => None,
    });
    hub.until_ports("orders", &[3]).await;
    assert_eq!((issues(&hub), hub.statuses.len()), (vec![], 0));
}

#[tokio::test]
async fn a_hidden_policy_stays_in_force_and_the_others_go_on() {
    let (fake, address) = Fake::start().await;
    let protocol = |hub: &Hub, name: &str| hub.catalog().service(&name.into()).unwrap().protocol().as_str();
    for name in ["orders", "users"] {
        fake.set(name, &[1]);
        fake.set_key(&format!("xds/{name}/policy"), Some(r#"{"protocol":"grpc"}"#));
    }
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.forget();
    fake.script(|ask| match (ask.path.as_str(), ask.index) {
        ("/v1/kv/xds/", index) if index.is_none_or(|index| index < 700) => {
            filtered(700, r#"["xds/users/policy"]"#)
        }
        ("/v1/kv/xds/orders/policy", _) => say(403, 1, "Permission denied: lacks permission 'key:read'"),
        _ => None,
    });
    until_issue(&mut hub, &["xds/orders/policy", "403"]).await;
    assert_eq!(protocol(&hub, "orders"), "grpc");
    fake.jump(800);
    fake.set_key("xds/users/policy", Some(r#"{"protocol":"http2"}"#));
    hub.until("the other policy", |hub| protocol(hub, "users") == "http2")
        .await;
    assert_eq!(protocol(&hub, "orders"), "grpc");
    // Readable again, at the same index; and then it is deleted.
    fake.script(|_| None);
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    assert_eq!(protocol(&hub, "orders"), "grpc");
    fake.set_key("xds/orders/policy", None);
    hub.until("no policy", |hub| protocol(hub, "orders") == "http1")
        .await;
    assert_eq!(hub.statuses, []);
}

/// A whole list that is refused, and an empty one that is filtered.
#[tokio::test]
async fn all_policies_hidden_at_once_stay_in_force() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set_key("xds/orders/policy", Some(r#"{"protocol":"grpc"}"#));
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    for status in [403_u16, 404] {
        fake.forget();
        fake.script(move |ask| match ask.path.as_str() {
            "/v1/kv/xds/" if ask.index.is_none_or(|index| index < 700) => Some(Reply::Odd {
                status,
                headers: vec![
                    ("x-consul-index", "700".to_owned()),
                    ("x-consul-results-filtered-by-acls", "true".to_owned()),
                ],
                body: "Permission denied".to_owned(),
                rest: Rest::Nothing,
            }),
            "/v1/kv/xds/orders/policy" => say(403, 1, "Permission denied"),
            _ => None,
        });
        fake.set_key("xds/other/policy", None); // wakes who blocks
        fake.until_seen_times(3, |ask| ask.path == "/v1/kv/xds/" && ask.consistent)
            .await;
        let service = hub.catalog().service(&"orders".into()).unwrap();
        assert_eq!(service.protocol().as_str(), "grpc", "{status}");
        fake.script(|_| None);
        fake.jump(1000 + u64::from(status) * 10);
        fake.set("sentinel", &[status]);
        hub.until_ports("sentinel", &[status]).await;
    }
    let service = hub.catalog().service(&"orders".into()).unwrap();
    assert_eq!((service.protocol().as_str(), hub.statuses.len()), ("grpc", 1));
}
