//! Members that are of another cluster or all away, and a burst of events.

use std::time::Duration;

use super::fake::{Fake, Reply, Then, UNAVAILABLE, created, told};
use super::source_hub::Hub;
use super::{break_then, config, hub, instance, orders, put, ranges, watched};
use xds_bridge::source::etcd::EtcdWatcher;

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_refused_until_all_are_of_one() {
    let ((ours, a), (other, b)) = (Fake::start().await, Fake::start().await);
    other.set_cluster_id(88);
    put(&ours, &[1]);
    put(&other, &[2]);
    let mut hub = hub(&config(&[&a, &b]));
    hub.until_live().await;
    ours.set_down(true);
    hub.until_away("belongs to cluster 58").await;
    assert_eq!(hub.ports("orders").unwrap(), [1]);
    ours.set_down(false);
    hub.until_live().await;
    assert_eq!(hub.ports("orders").unwrap(), [1]);
    ours.write_unseen(&[(&orders(1).0, None), (&orders(2).0, Some(&orders(2).1))]);
    ours.set_cluster_id(88);
    ours.cut_watches(UNAVAILABLE);
    hub.until_ports("orders", &[2]).await;
}

#[tokio::test]
async fn a_burst_that_waited_is_few_changes_and_an_equal_state_is_none() {
    let (fake, mut hub) = watched().await;
    let events: Vec<_> = (0..10_000_u16)
        .map(|n| fake.write_unseen(&[(&orders(n % 50 + 1).0, Some(&orders(n % 50 + 1).1))]))
        .collect();
    break_then(&fake, move |header| {
        let mut messages = vec![created(header)];
        messages.extend(events.iter().map(|events| told(header, events, false)));
        Reply::Say(messages, Then::Follow)
    });
    hub.until("all 50", |hub| hub.ports("orders").unwrap().len() == 50)
        .await;
    let sentinel = instance("/services/users", 7);
    fake.txn(&[(&sentinel.0, Some(&sentinel.1))]);
    hub.until_ports("users", &[7]).await;
    assert!(hub.changes.len() <= 60, "{} changes", hub.changes.len());
    assert_eq!(fake.watched_from(), [3, 3], "one watch brought them all");
}

#[tokio::test]
async fn a_whole_cluster_down_for_15_minutes_is_tried_on_and_keeps_its_last_state() {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let mut hub = Hub::hearing(EtcdWatcher::new(&config(&[&address])));
    hub.until_live().await;
    tokio::time::pause();
    fake.set_down(true);
    let (start, before) = (xds_bridge::clock::now(), fake.connections());
    let mut tries = Vec::new();
    let elapsed = || xds_bridge::clock::now().duration_since(start);
    let next_try = async || {
        let known = fake.connections();
        while fake.connections() == known {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    while elapsed() < Duration::from_secs(15 * 60) {
        next_try().await;
        tries.push(elapsed());
    }
    assert_eq!(hub.ports("orders").unwrap(), [1], "still served");
    // Pauses of up to 5 s, drawn from zero on: about one try in 2.5 s, each of one connection.
    let made = fake.connections() - before;
    assert!((100..=800).contains(&made), "{made} tries");
    // Those at the bound: the first ones are short without any jitter.
    let late = tries.windows(2).filter(|w| w[0] > Duration::from_secs(5 * 60));
    let pauses: Vec<_> = late.map(|w| w[1].saturating_sub(w[0])).collect();
    assert!(pauses.iter().all(|p| *p <= Duration::from_secs(10)), "{pauses:?}");
    assert!(
        pauses.iter().any(|p| *p > Duration::from_millis(2_500)),
        "{pauses:?}"
    );
    assert!(
        pauses.iter().any(|p| *p < Duration::from_secs(2)),
        "jitter: {pauses:?}"
    );
    fake.set_down(false);
    put(&fake, &[2]);
    next_try().await;
    tokio::time::resume();
    hub.until_ports("orders", &[1, 2]).await;
    hub.until_live().await;
    assert!(hub.statuses.len() > 2, "it was away: {:?}", hub.statuses);
    assert_eq!(ranges(&fake), 1, "and nothing was listed anew");
}
