//! The Consul source and an agent that streams (Consul 1.10 and newer): health reads with an index are answered
//! from its own copy, without a known leader. What the copy says is news, and never evidence by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Ask, Fake, Hub, Reply, Rest, health, say, streamed_headers, timing};
use crate::settle;

async fn two_services() -> (Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    fake.streams();
    fake.set("orders", &[1, 2]);
    fake.set("users", &[3]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.forget();
    (fake, hub)
}

fn watches_orders(ask: &Ask) -> bool {
    ask.path.ends_with("/orders") && ask.index.is_some()
}

fn confirms_orders(ask: &Ask) -> bool {
    ask.path.ends_with("/orders") && ask.consistent && ask.index.is_none()
}

fn streamed(index: u64, ports: &[u16]) -> Reply {
    Reply::Odd {
        status: 200,
        headers: streamed_headers(index),
        body: health("orders", ports),
        rest: Rest::Nothing,
    }
}

#[tokio::test]
async fn streamed_changes_arrive_and_the_source_is_never_away() {
    let (fake, mut hub) = two_services().await;
    for port in 10..18 {
        fake.set("orders", &[1, port]);
        hub.until_ports("orders", &[1, port]).await;
    }
    fake.set("orders", &[]);
    hub.until("gone", |hub| hub.ports("orders").is_none()).await;
    assert_eq!(hub.statuses, [], "never away");
}

#[tokio::test]
async fn a_copy_that_is_in_step_is_news_without_a_confirmation() {
    let (fake, mut hub) = two_services().await;
    fake.set("orders", &[1, 2, 3]);
    hub.until_ports("orders", &[1, 2, 3]).await;
    fake.forget();
    fake.set("orders", &[1, 2, 3, 4]);
    hub.until_ports("orders", &[1, 2, 3, 4]).await;
    assert!(!fake.seen(confirms_orders), "one request for a change");
}

/// After an outage the copies of a client agent subscribe again one by one, and sleep until they do.
#[tokio::test]
async fn the_copies_of_a_client_agent_are_not_relied_on_before_they_have_recovered() {
    let (fake, address) = Fake::start().await;
    fake.streams();
    fake.is_a_client();
    fake.set("orders", &[1, 2]);
    let unsorted = |ask: &Ask| watches_orders(ask) && !ask.query.contains("near=_agent&");
    fake.script(move |ask| unsorted(ask).then_some(Reply::Hang));
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    for port in 10..13 {
        fake.set("orders", &[1, port]);
        hub.until_ports("orders", &[1, port]).await;
    }
    assert!(!fake.seen(unsorted), "servers are waited for, not the copy");
    assert!(!fake.seen(|ask| ask.path.ends_with("/services") && ask.query.contains("near=")));
}

/// A read that waits on such a copy since before the outage is not waited for, though nothing has changed meanwhile.
#[tokio::test]
async fn a_read_that_waits_on_a_copy_is_given_up_after_an_outage() {
    let (fake, address) = Fake::start().await;
    fake.streams();
    fake.is_a_client();
    fake.set("orders", &[1, 2]);
    let timing = Timing {
        recovery: Duration::from_secs(2),
        ..timing()
    };
    let on_a_copy = |ask: &Ask| watches_orders(ask) && !ask.query.contains("near=_agent&");
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    for port in 10.. {
        fake.set("orders", &[1, port]);
        hub.until_ports("orders", &[1, port]).await;
        if fake.seen(on_a_copy) {
            break; // it has recovered
        }
    }
    fake.script(|ask| {
        ask.path
            .ends_with("/services")
            .then(|| say(500, 1, "no leader"))?
    });
    fake.set("users", &[3]);
    hub.until_away("").await;
    fake.forget();
    fake.script(|_| None);
    hub.until_live().await;
    let by_servers = |ask: &Ask| watches_orders(ask) && ask.query.contains("near=_agent&");
    fake.until_seen(by_servers).await;
    fake.set("orders", &[1, 7]);
    hub.until_ports("orders", &[1, 7]).await;
}

#[tokio::test]
async fn copies_are_relied_on_once_they_have_recovered_and_those_of_a_server_at_once() {
    for is_server in [true, false] {
        let (fake, address) = Fake::start().await;
        fake.streams();
        if !is_server {
            fake.is_a_client();
        }
        fake.set("orders", &[1, 2]);
        let timing = Timing {
            recovery: if is_server {
                Duration::from_secs(3_600)
            } else {
                Duration::ZERO
            },
            ..timing()
        };
        let mut hub = Hub::with(&ConsulSource::new(address), &timing);
        hub.until_live().await;
        fake.until_seen(watches_orders).await;
        assert!(!fake.seen(|ask| ask.query.contains("near=")));
    }
}

/// The copy of an agent whose server came back empty, or from a snapshot: what left meanwhile is still in it.
#[tokio::test]
async fn a_copy_of_before_neither_adds_nor_hides_anything() {
    let (fake, mut hub) = two_services().await;
    fake.forget();
    fake.script(|ask| watches_orders(ask).then(|| streamed(900, &[1, 2, 3])));
    fake.until_seen_times(3, confirms_orders).await;
    assert!(
        !fake.seen(|ask| ask.index == Some(900)),
        "nobody waits behind an index that the servers have not reached"
    );
    // What changes while the copy is not to be used.
    fake.set("orders", &[1, 2, 4]);
    hub.until_ports("orders", &[1, 2, 4]).await;
    fake.script(|_| None);
    fake.set("orders", &[4, 5]);
    hub.until_ports("orders", &[4, 5]).await;
    assert_eq!(hub.statuses, [], "never away");
}

/// A change beside the service raises its index for all reads but the streamed ones: their wait ends with the
/// lower one.
#[tokio::test]
async fn a_streamed_index_that_falls_is_confirmed_and_no_outage() {
    let (fake, mut hub) = two_services().await;
    fake.forget();
    let once = AtomicUsize::new(0);
    fake.script(move |ask| {
        let first = watches_orders(ask) && once.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| streamed(7, &[]))
    });
    fake.until_seen(confirms_orders).await;
    settle(&fake, &mut hub).await;
    assert_eq!(hub.named(), [("sentinel".into(), Some(1))]);
    assert_eq!(hub.statuses, [], "never away");
}

/// A restored snapshot wakes no streamed read; reads of the servers end with the index that they waited on.
#[tokio::test]
async fn a_read_that_ends_early_without_a_change_verifies_everything() {
    let (fake, mut hub) = two_services().await;
    // The watch of the service sleeps, as it does after a restore.
    fake.script(|ask| watches_orders(ask).then_some(Reply::Hang));
    fake.set("orders", &[1, 7]);
    fake.forget();
    let names = |ask: &Ask| ask.path == "/v1/catalog/services" && ask.index.is_some();
    let once = AtomicUsize::new(0);
    fake.script(move |ask| {
        if watches_orders(ask) {
            return Some(Reply::Hang);
        }
        let first = names(ask) && once.fetch_add(1, Ordering::SeqCst) == 0;
        let index = ask.index.unwrap_or_default();
        let body = r#"{"consul":[],"orders":[],"users":[]}"#;
        first.then(|| say(200, index, body)).flatten()
    });
    hub.until_ports("orders", &[1, 7]).await;
    assert_eq!(hub.statuses, [], "never away");
}

/// Something between us and Consul that ends each read at once costs one verification, not one each.
#[tokio::test]
async fn reads_that_always_end_early_verify_once() {
    let (fake, mut hub) = two_services().await;
    fake.forget();
    let names = |ask: &Ask| ask.path == "/v1/catalog/services" && ask.index.is_some();
    fake.script(move |ask| {
        let body = r#"{"consul":[],"orders":[],"users":[]}"#;
        let index = ask.index.unwrap_or_default();
        names(ask).then(|| say(200, index, body)).flatten()
    });
    fake.until_seen_times(50, names).await;
    fake.script(|_| None);
    settle(&fake, &mut hub).await;
    let confirmed = fake.count(confirms_orders);
    assert!((1..=3).contains(&confirmed), "confirmed {confirmed} times");
    assert_eq!(hub.statuses, [] as [Status; 0], "never away");
}
