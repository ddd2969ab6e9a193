//! The Consul source and the services of a peer: Consul lists none, and answers `[]` for one that is gone, for
//! a peering that is gone, and for one that nobody knows. Only the first takes anything away.

use std::sync::Arc;

use xds_bridge::config::{ConsulSelection, ConsulSource};

use crate::consul_fake::{Fake, Hub, Reply, filtered, say};

const PEERING: &str = "/v1/peering/west";

/// A peering in this state, that has been connected for a while or not.
fn peering(state: &str, beats: bool) -> Option<Reply> {
    let at = if beats {
        "2026-11-27T09:52:19.858467194Z"
    } else {
        "0001-01-01T00:00:00Z"
    };
    let body = format!(r#"{{"Name":"west","State":"{state}","StreamStatus":{{"LastHeartbeat":"{at}"}}}}"#);
    say(200, 20, &body)
}

fn issues(hub: &Hub) -> Vec<String> {
    let (_, source) = hub.catalog().sources().next().unwrap();
    source
        .issues()
        .map(|i| format!("{}: {}", i.entry, i.reason))
        .collect()
}

async fn of_west() -> (Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    fake.set("users", &[3]);
    fake.script(|ask| (ask.path == PEERING).then(|| peering("ACTIVE", true)).flatten());
    let mut hub = Hub::of(&ConsulSource {
        peer: Some("west".to_owned()),
        selection: ConsulSelection {
            services: vec!["orders".to_owned(), "users".to_owned()],
            ..ConsulSelection::default()
        },
        ..ConsulSource::new(address)
    });
    hub.until_live().await;
    hub.forget();
    (fake, hub)
}

#[tokio::test]
async fn the_last_instance_of_a_peer_leaves_and_comes_back() {
    let (fake, mut hub) = of_west().await;
    fake.forget();
    fake.set("orders", &[2]);
    hub.until_ports("orders", &[2]).await;
    fake.set("orders", &[]);
    hub.until("orders gone", |hub| hub.ports("orders").is_none())
        .await;
    let confirmed = |path: &str| fake.seen(|ask| ask.path.ends_with(path) && ask.index.is_none());
    assert!(confirmed("/orders") && confirmed(PEERING));
    fake.set("orders", &[5]);
    hub.until_ports("orders", &[5]).await;
    assert_eq!((issues(&hub), hub.statuses.len(), &hub.note), (vec![], 0, &None));
}

#[tokio::test]
async fn what_belongs_to_a_peering_that_is_not_active_is_held_and_named() {
    let (fake, mut hub) = of_west().await;
    for (reply, word) in [
        (say(404, 1, "Peering not found for \"west\""), "does not exist"),
        (peering("DELETING", true), "its state is DELETING"),
        (peering("FAILING", true), "its state is FAILING"),
        (peering("TERMINATED", true), "its state is TERMINATED"),
        (peering("ACTIVE", false), "first heartbeat"),
        (
            say(403, 1, "Permission denied: lacks permission 'peering:read'"),
            "peering:read",
        ),
        (
            say(404, 1, "Invalid URL path: not a recognized HTTP API endpoint"),
            "1.13",
        ),
        (
            say(500, 1, "rpc error: peering must be enabled to use this endpoint"),
            "1.13",
        ),
    ] {
        fake.script(move |ask| (ask.path == PEERING).then(|| reply.clone()).flatten());
        fake.set("orders", &[]);
        fake.set("users", &[]);
        hub.until(&format!("both named: {word}"), |hub| {
            let all = issues(hub);
            let named = |name: &str| {
                all.iter()
                    .any(|issue| issue.starts_with(name) && issue.contains(word))
            };
            named("orders: ") && named("users: ")
        })
        .await;
        assert_eq!(
            (hub.ports("orders"), hub.ports("users")),
            (Some(vec![1, 2]), Some(vec![3]))
        );
        hub.until("the status tells", |hub| {
            hub.note.as_ref().is_some_and(|note| note.contains(word))
        })
        .await;
        // First the instances: a peering that is active with none is a removal.
        fake.set("orders", &[1, 2]);
        fake.set("users", &[3]);
        hub.until("no issue", |hub| issues(hub).is_empty()).await;
        fake.script(|ask| (ask.path == PEERING).then(|| peering("ACTIVE", true)).flatten());
        hub.until("no note", |hub| hub.note.is_none()).await;
    }
    assert_eq!(
        (hub.named(), hub.statuses.len()),
        (vec![], 0),
        "nothing was away or changed"
    );
    // From a new peering the instances may go one after the other, though it is active.
    fake.script(|ask| (ask.path == PEERING).then(|| peering("ACTIVE", false)).flatten());
    fake.set("orders", &[2]);
    hub.until("a part is held", |hub| {
        issues(hub).iter().any(|issue| issue.contains("first heartbeat"))
    })
    .await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
    fake.set("orders", &[1, 2]);
    hub.until("no issue", |hub| issues(hub).is_empty()).await;
    // Nobody can tell how the peering is: one of several that leaves is believed.
    let refused = say(403, 1, "Permission denied: lacks permission 'peering:read'");
    fake.script(move |ask| (ask.path == PEERING).then(|| refused.clone()).flatten());
    fake.set("orders", &[2]);
    hub.until_ports("orders", &[2]).await;
    // What was held leaves as soon as the peering is active, though nothing else moves.
    fake.script(|ask| (ask.path == PEERING).then(|| peering("FAILING", true)).flatten());
    fake.set("users", &[]);
    hub.until("held", |hub| !issues(hub).is_empty()).await;
    fake.script(|ask| (ask.path == PEERING).then(|| peering("ACTIVE", true)).flatten());
    hub.until("users gone", |hub| hub.ports("users").is_none()).await;
}

#[tokio::test]
async fn an_agent_that_fails_when_asked_for_the_peering_is_away() {
    let (fake, mut hub) = of_west().await;
    fake.script(|ask| {
        (ask.path == PEERING)
            .then(|| say(500, 1, "No cluster leader"))
            .flatten()
    });
    fake.set("orders", &[]);
    hub.until_away("No cluster leader").await;
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
}

/// What a peer exports is hidden as a whole from a token to which one service of the own cluster is denied.
#[tokio::test]
async fn what_the_token_hides_of_a_peer_is_held_and_named() {
    let (fake, mut hub) = of_west().await;
    fake.script(|ask| match ask.path.as_str() {
        PEERING => peering("ACTIVE", true),
        "/v1/health/service/orders" if ask.index.is_none_or(|index| index < 700) => filtered(700, "[]"),
        _ => None,
    });
    hub.until("named", |hub| {
        issues(hub)
            .iter()
            .any(|issue| issue.contains("service:write of any"))
    })
    .await;
    assert_eq!((hub.ports("orders"), hub.statuses.len()), (Some(vec![1, 2]), 0));
}
