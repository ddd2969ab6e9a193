//! The Consul source and answers that hold too much, or never begin: what is known stays, and others go on.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;
use xds_bridge::source::Budget;
use xds_bridge::source::consul::ConsulWatcher;

use crate::consul_fake::{Fake, Hub, Reply, health, say, timing};

/// Waits until an issue says this.
async fn until_named(hub: &mut Hub, words: &str) {
    let named = |hub: &Hub| {
        let source = hub.catalog().source("c");
        source.is_some_and(|source| source.issues().any(|issue| issue.reason.contains(words)))
    };
    hub.until(words, named).await;
}

/// Answers each read of a service with this, as a change.
fn answers(fake: &Fake, service: &'static str, index: u64, body: String) {
    fake.script(move |ask| match ask.index {
        _ if !ask.path.ends_with(service) => None,
        Some(known) if known >= index => Some(Reply::Hang),
        _ => say(200, index, &body),
    });
}

/// Of each answer the length is within what one may have; together they hold too much, or one does.
#[tokio::test]
async fn an_answer_beyond_the_budget_costs_what_it_is_about_only() {
    let (fake, address) = Fake::start().await;
    for name in ["orders", "users"] {
        fake.set(name, &[1]);
    }
    let watcher = ConsulWatcher::new(&ConsulSource::new(address)).with_timing(timing());
    let mut hub = Hub::hearing(watcher.within(Budget::new(1 << 20)));
    hub.until_live().await;
    answers(&fake, "/orders", 900, format!("[{}]", " ".repeat(2 << 20)));
    until_named(&mut hub, "limits.source_memory").await;
    fake.jump(1_000);
    fake.set("users", &[2]);
    hub.until_ports("users", &[2]).await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
    assert!(
        hub.statuses.iter().all(|status| *status == Status::Live),
        "{:?}",
        hub.statuses
    );
    fake.script(|_| None);
    fake.set("orders", &[3]);
    hub.until_ports("orders", &[3]).await;
}

#[tokio::test]
async fn more_instances_or_elements_than_anybody_registers_are_not_read() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    let many = vec![r#"{"Service":{"ID":"a"}}"#; 40_001].join(",");
    answers(&fake, "/orders", 900, format!("[{many}]"));
    until_named(&mut hub, "more than 40000 elements").await;
    assert_eq!(hub.ports("orders"), Some(vec![1]), "what is known stays");
    let one = health("orders", &[1]);
    let one = one.trim_matches(['[', ']']);
    let checks = format!(r#""Checks":[{}]"#, vec!["{}"; 4097].join(","));
    let odd = one.replace(r#""Checks":[]"#, &checks).replace("i1", "odd");
    answers(&fake, "/orders", 901, format!("[{one},{odd}]"));
    until_named(&mut hub, "more than 4096 elements").await;
    assert_eq!(hub.ports("orders"), Some(vec![1]));
}

/// A service that is not listed any more is confirmed by one read at a time.
#[tokio::test]
async fn lists_that_change_faster_than_they_are_confirmed_start_no_further_reads() {
    let (fake, address) = Fake::start().await;
    for name in ["orders", "users"] {
        fake.set(name, &[1]);
    }
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    fake.forget();
    let lists = AtomicU64::new(0);
    fake.script(move |ask| {
        if ask.path.ends_with("/catalog/services") {
            let n = lists.fetch_add(1, Ordering::Relaxed);
            return say(
                200,
                1_000 + n,
                &format!(r#"{{"consul":[],"users":[],"other-{n}":[]}}"#),
            );
        }
        (ask.path.ends_with("/orders") && ask.index.is_none()).then_some(Reply::Hang)
    });
    fake.set("users", &[2]);
    fake.until_seen_times(20, |ask| ask.path.ends_with("/catalog/services"))
        .await;
    let reads = fake.count(|ask| ask.path.ends_with("/orders") && ask.index.is_none());
    assert!((1..5).contains(&reads), "{reads}");
}

/// Each is read and thrown away: no deadline of ours bounds how fast.
#[tokio::test]
async fn continue_without_end_is_no_agent() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", port.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = port.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = tcp.read(&mut request).await;
                while tcp.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_away("interim answers").await;
}
