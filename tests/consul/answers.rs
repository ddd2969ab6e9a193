//! The Consul source and answers that no good agent gives, or gives at the wrong time: what each means,
//! and that none of them takes an instance away.

use std::sync::Arc;
use std::time::Duration;

use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Ask, Fake, Hub, Reply, Rest, Welcome, health, say, timing};
use crate::settle;

/// Blocking reads end soon, and so do those that are never answered.
fn impatient() -> Timing {
    Timing {
        wait: Duration::from_millis(100),
        slack: Duration::from_millis(400),
        ..timing()
    }
}

async fn orders(timing: &Timing) -> (Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1, 2]);
    fake.set("users", &[3]);
    let mut hub = Hub::with(&ConsulSource::new(address), timing);
    hub.until_live().await;
    hub.forget();
    (fake, hub)
}

fn watches_orders(ask: &Ask) -> bool {
    ask.path.ends_with("/orders") && ask.index.is_some()
}

/// An answer to the watch of `orders` with this index, if any, and this end.
fn odd(index: Option<&str>, body: &str, rest: Rest) -> Reply {
    let mut headers = vec![("x-consul-knownleader", "true".to_owned())];
    headers.extend(index.map(|index| ("x-consul-index", index.to_owned())));
    if rest == Rest::Cut {
        headers.push(("content-length", (body.len() + 1).to_string()));
    }
    Reply::Odd {
        status: 200,
        headers,
        body: body.to_owned(),
        rest,
    }
}

/// The watch of `orders` is answered so until the source says why it is away; then all is as it was.
async fn is_away_and_holds(reply: Reply, reason: &str) {
    let (fake, mut hub) = orders(&timing()).await;
    fake.script(move |ask| watches_orders(ask).then(|| reply.clone()));
    hub.until_away(reason).await;
    fake.forget();
    fake.script(|_| None);
    hub.until_live().await;
    fake.until_seen(|ask| ask.path.ends_with("/orders") && ask.consistent)
        .await;
    settle(&fake, &mut hub).await;
    assert_eq!(hub.named(), [("sentinel".into(), Some(1))], "{reason}");
}

#[tokio::test]
async fn an_index_of_zero_has_fallen() {
    is_away_and_holds(odd(Some("0"), "[]", Rest::Nothing), "fell").await;
}

#[tokio::test]
async fn an_answer_without_an_index_is_not_of_consul() {
    is_away_and_holds(odd(None, "[]", Rest::Nothing), "without X-Consul-Index").await;
}

#[tokio::test]
async fn an_index_that_is_no_number_is_none() {
    for index in ["x", "-1", "1e9", "99999999999999999999999"] {
        is_away_and_holds(odd(Some(index), "[]", Rest::Nothing), "without X-Consul-Index").await;
    }
}

#[tokio::test]
async fn the_index_of_an_error_is_not_read() {
    // It neither falls to 1, nor is the next read asked with what the error said.
    let (fake, mut hub) = orders(&timing()).await;
    for index in [1, 900] {
        fake.forget();
        fake.script(move |ask| {
            watches_orders(ask)
                .then(|| say(500, index, "rpc error"))
                .flatten()
        });
        hub.until_away("500: rpc error").await;
        fake.script(|_| None);
        hub.until_live().await;
        fake.until_seen(|ask| ask.path.ends_with("/orders") && ask.consistent)
            .await;
    }
    settle(&fake, &mut hub).await;
    assert!(!fake.seen(|ask| ask.index == Some(900) || ask.index == Some(1) && watches_orders(ask)));
    assert!(
        !hub.statuses.iter().any(|s| format!("{s:?}").contains("fell")),
        "{:?}",
        hub.statuses
    );
}

#[tokio::test]
async fn html_with_200_is_not_of_consul() {
    is_away_and_holds(
        odd(None, "<html>Please log in</html>", Rest::Nothing),
        "without X-Consul-Index",
    )
    .await;
}

#[tokio::test]
async fn a_truncated_body_is_not_read() {
    let body = health("orders", &[1]);
    is_away_and_holds(odd(Some("900"), &body, Rest::Cut), "broke off").await;
}

#[tokio::test]
async fn the_same_index_brings_nothing() {
    let (fake, mut hub) = orders(&timing()).await;
    fake.script(|ask| {
        let index = ask.index.unwrap_or_default().to_string();
        watches_orders(ask).then(|| odd(Some(&index), "[]", Rest::Nothing))
    });
    fake.until_seen_times(5, watches_orders).await;
    fake.script(|_| None);
    settle(&fake, &mut hub).await;
    assert_eq!(hub.named(), [("sentinel".into(), Some(1))]);
    assert_eq!(hub.statuses, []);
}

#[tokio::test]
async fn a_watch_that_drips_or_is_lost_is_confirmed_and_no_outage() {
    for reply in [odd(Some("900"), "[", Rest::Never), Reply::Hang] {
        let (fake, mut hub) = orders(&impatient()).await;
        fake.forget();
        fake.script(move |ask| watches_orders(ask).then(|| reply.clone()));
        fake.until_seen_times(2, |ask| ask.path.ends_with("/orders") && ask.consistent)
            .await;
        // What changes meanwhile is seen by the confirmation.
        fake.set("orders", &[1, 2, 4]);
        hub.until_ports("orders", &[1, 2, 4]).await;
        assert_eq!(hub.statuses, [], "{:?}", hub.statuses);
    }
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_not_believed() {
    let (fake, mut hub) = orders(&impatient()).await;
    fake.forget();
    fake.script(|ask| watches_orders(ask).then_some(Reply::Hang));
    fake.until_seen(|ask| ask.path.ends_with("/orders") && ask.consistent)
        .await;
    let late = fake.count(watches_orders);
    let said = std::sync::atomic::AtomicUsize::new(0);
    // Those that were given up are answered now; the agent does not know that nobody listens.
    fake.script(move |ask| {
        let old = watches_orders(ask) && said.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < late;
        old.then(|| say(200, 900, "[]")).flatten()
    });
    settle(&fake, &mut hub).await;
    assert!(
        hub.named().iter().all(|(name, _)| name == "sentinel"),
        "{:?}",
        hub.named()
    );
    assert_eq!(hub.ports("orders"), Some(vec![1, 2]));
}

#[tokio::test]
async fn a_half_open_agent_is_away_and_holds() {
    let (fake, mut hub) = orders(&impatient()).await;
    // New connections are accepted and nothing is ever said on them; those of now are cut.
    fake.door.welcome(Welcome::Ignore);
    fake.door.hang_up();
    hub.until_away("").await;
    assert_eq!(hub.named(), []);
    fake.door.welcome(Welcome::Serve);
    hub.until_live().await;
    assert_eq!(hub.named(), []);
}

#[tokio::test]
async fn an_agent_that_is_frozen_is_found_by_the_audit() {
    let timing = Timing {
        slack: Duration::from_millis(400),
        audit_pace: (Duration::from_millis(50), Duration::from_millis(50)),
        ..timing()
    };
    let (fake, mut hub) = orders(&timing).await;
    fake.script(|_| Some(Reply::Hang));
    hub.until_away("no answer within").await;
    fake.script(|_| None);
    hub.until_live().await;
    assert_eq!(hub.named(), []);
}

#[tokio::test]
async fn without_a_leader_nothing_is_removed() {
    let (fake, mut hub) = orders(&timing()).await;
    let leaderless = |body: &str| Reply::Odd {
        status: 200,
        headers: vec![
            ("x-consul-index", "900".to_owned()),
            ("x-consul-knownleader", "false".to_owned()),
        ],
        body: body.to_owned(),
        rest: Rest::Nothing,
    };
    fake.script(move |ask| match ask.path.as_str() {
        _ if ask.index.is_some_and(|index| index >= 900) => None,
        "/v1/catalog/services" => Some(leaderless(r#"{"consul":[]}"#)),
        "/v1/kv/xds/" => None,
        _ => Some(leaderless("[]")),
    });
    hub.until_away("no leader").await;
    fake.script(|_| None);
    hub.until_live().await;
    settle(&fake, &mut hub).await;
    assert_eq!(hub.named(), [("sentinel".into(), Some(1))]);
    assert!(hub.statuses.contains(&Status::Live));
}
