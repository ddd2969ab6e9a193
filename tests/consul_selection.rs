//! What a Consul source reads and serves by its configuration, against a scripted agent: the scope of
//! each request, the names that are watched, the instances that are selected.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the fake is a module of this test alone")]

mod consul_fake;
#[path = "consul/peers.rs"]
mod peers;

use consul_fake::{Fake, Hub, health, say};
use xds_bridge::config::{ConsulSelection, ConsulSource};

fn list(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

/// Health of `orders`: instances by port, and the tags of each.
fn tagged(entries: &[(u16, &[&str])]) -> String {
    let one = |(port, tags): &(u16, &[&str])| {
        format!(
            r#"{{"Node":{{"Node":"n","Address":"10.0.0.1"}},
                "Service":{{"ID":"i{port}","Service":"orders","Port":{port},"Tags":{tags:?}}},"Checks":[]}}"#
        )
    };
    format!("[{}]", entries.iter().map(one).collect::<Vec<_>>().join(","))
}

/// Answers for `orders` with this from this index on.
fn orders(fake: &Fake, index: u64, entries: &[(u16, &[&str])]) {
    let body = tagged(entries);
    fake.script(move |ask| {
        let asked = ask.path.ends_with("/orders") && ask.index.is_none_or(|i| i < index);
        asked.then(|| say(200, index, &body)).flatten()
    });
}

#[tokio::test]
async fn a_name_that_is_not_selected_is_never_asked_for() {
    let (fake, address) = Fake::start().await;
    for name in ["shop-a", "shop-test", "orders", "users"] {
        fake.set(name, &[1]);
        fake.set_key(&format!("xds/{name}/policy"), Some("{}"));
    }
    let mut hub = Hub::of(&ConsulSource {
        selection: ConsulSelection {
            services: list(&["orders", "shop-*"]),
            ignore_services: list(&["*-test"]),
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(address)
    });
    hub.until_live().await;
    fake.set("users", &[]);
    fake.set("shop-b", &[2]);
    hub.until_ports("shop-b", &[2]).await;
    for (name, served) in [
        ("shop-a", true),
        ("orders", true),
        ("users", false),
        ("shop-test", false),
    ] {
        assert_eq!(hub.ports(name).is_some(), served, "{name}");
        let asked = |prefix: &str, rest: &str| fake.seen(|ask| ask.path == format!("{prefix}{name}{rest}"));
        assert_eq!(asked("/v1/health/service/", ""), served, "{name}");
        assert_eq!(asked("/v1/kv/xds/", "/policy"), served, "{name}");
    }
}

/// A tag that changes is told by an entry that is there: nothing is lost, and nothing to be confirmed.
#[tokio::test]
async fn an_instance_goes_in_and_out_of_the_selection_by_its_tags() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    let (prod, none): (&[&str], &[&str]) = (&["x", "prod"], &["x"]);
    orders(&fake, 200, &[(1, prod), (2, prod), (3, none)]);
    let mut hub = Hub::of(&ConsulSource {
        selection: ConsulSelection {
            tags: list(&["prod"]),
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(address)
    });
    hub.until_live().await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.forget();
    orders(&fake, 300, &[(1, none), (2, prod), (3, none)]);
    hub.until_ports("orders", &[2]).await;
    orders(&fake, 400, &[(1, none), (2, none), (3, none)]);
    hub.until("no service", |hub| hub.ports("orders").is_none()).await;
    orders(&fake, 500, &[(1, prod), (2, none), (3, prod)]);
    hub.until_ports("orders", &[1, 3]).await;
    let confirmed = |fake: &Fake| fake.seen(|ask| ask.path.ends_with("/orders") && ask.consistent);
    assert!(!confirmed(&fake), "nothing was lost");
    // Not served, and yet: an entry that is missing may be the first of many.
    orders(&fake, 600, &[(1, prod), (3, prod), (4, prod)]);
    hub.until_ports("orders", &[1, 3, 4]).await;
    assert!(confirmed(&fake), "an entry is missing");
    assert_eq!(hub.statuses.len(), 1, "never away: {:?}", hub.statuses);
}

#[tokio::test]
async fn each_request_names_its_scope() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set_key("xds/orders/policy", Some("{}"));
    // Consul's own service is in the default namespace only.
    fake.script(|ask| {
        let names = ask.path == "/v1/catalog/services" && ask.index.is_none();
        names.then(|| say(200, 100, r#"{"orders":[]}"#)).flatten()
    });
    let some = |text: &str| Some(text.to_owned());
    let mut hub = Hub::of(&ConsulSource {
        datacenter: some("eu-1"),
        namespace: some("shop"),
        partition: some("a"),
        ..ConsulSource::new(address)
    });
    hub.until_live().await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
    // rs-consul, which finds out whether anybody answers, knows no partitions.
    let scoped = |query: &str| query.contains("dc=eu-1") && query.contains("ns=shop");
    assert!(!fake.seen(|ask| !scoped(&ask.query)));
    let whole = |query: &str| query.contains("dc=eu-1&ns=shop&partition=a&");
    for path in [
        "/v1/catalog/services",
        "/v1/health/service/orders",
        "/v1/kv/xds/",
        "/v1/kv/xds/orders/policy",
    ] {
        assert!(fake.seen(|ask| ask.path == path && whole(&ask.query)), "{path}");
    }
    assert!(!fake.seen(|ask| ask.path.ends_with("/consul")), "no canary there");
}

#[tokio::test]
async fn the_named_services_of_a_peer_are_read() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.set("local", &[2]);
    fake.script(|ask| {
        let local = ask.path.ends_with("/orders") && !ask.query.contains("peer=west");
        local.then(|| say(200, 100, "[]")).flatten()
    });
    let mut hub = Hub::of(&ConsulSource {
        peer: Some("west".to_owned()),
        selection: ConsulSelection {
            services: list(&["orders", "users"]),
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(address)
    });
    hub.until_live().await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
    assert_eq!(hub.ports("users"), None, "not exported yet");
    fake.set("users", &[3]);
    hub.until_ports("users", &[3]).await;
    assert_eq!(hub.ports("local"), None);
    assert!(fake.seen(|ask| ask.path.ends_with("/consul") && !ask.query.contains("peer")));
}

/// Consul 1.8.7 takes no notice of `peer` and `partition`, and answers with what it has itself.
#[tokio::test]
async fn a_consul_that_does_not_know_peers_is_not_taken_for_one() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.script(|ask| {
        let asked = ask.path.ends_with("/orders");
        asked.then(|| say(200, 100, &health("orders", &[1]))).flatten()
    });
    let mut hub = Hub::of(&ConsulSource {
        peer: Some("west".to_owned()),
        selection: ConsulSelection {
            services: list(&["orders"]),
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(address)
    });
    hub.until_away("this Consul does not know peers").await;
    assert_eq!(hub.ports("orders"), None);
}
