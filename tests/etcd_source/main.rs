//! The etcd source against a scripted member: what breaks a watch, where it goes on, and what is said of it.
//! Never against a real etcd (see `integration/etcd_watch`), and never with a fixed sleep.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "the fake is a module of this test alone")]

mod fake;
mod histories;
mod login;
mod members;
mod prefixes;
mod quiet;
#[path = "../source_hub/mod.rs"]
mod source_hub;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbResponseHeader;
use fake::{Ask, Fake, Reply, UNAVAILABLE};
use source_hub::Hub;
use xds_bridge::config::EtcdSource;
use xds_bridge::source::etcd::{EtcdWatcher, Timing};

const QUICK: Timing = Timing {
    probe: Duration::from_secs(10),
    answer: Duration::from_secs(4),
    silence: Duration::from_secs(20),
    backoff_min: Duration::from_millis(5),
    backoff_max: Duration::from_millis(20),
    away_max: Duration::from_millis(20),
};

/// The key of an instance of `orders`, and its value.
fn orders(port: u16) -> (String, String) {
    instance("/services/orders", port)
}

fn instance(service: &str, port: u16) -> (String, String) {
    (
        format!("{service}/instances/{port}"),
        format!(r#"{{"address":"10.0.0.7","port":{port}}}"#),
    )
}

/// One transaction of new instances of `orders`.
fn put(fake: &Fake, ports: &[u16]) -> i64 {
    let all: Vec<_> = ports.iter().map(|port| orders(*port)).collect();
    let writes: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), Some(v.as_str()))).collect();
    fake.txn(&writes)
}

fn config(addresses: &[&String]) -> EtcdSource {
    EtcdSource::new(addresses.iter().map(ToString::to_string).collect(), "/services/")
}

fn hub(config: &EtcdSource) -> Hub {
    Hub::hearing(EtcdWatcher::new(config).with_timing(QUICK))
}

/// A member with port 1 of `orders`, and a source that watches it.
async fn watched() -> (Arc<Fake>, Hub) {
    let (fake, address) = Fake::start().await;
    put(&fake, &[1]);
    let mut hub = hub(&config(&[&address]));
    hub.until_live().await;
    hub.forget();
    (fake, hub)
}

/// The watch of now ends with this, and the next one is answered so.
fn break_then(fake: &Fake, answer: impl FnOnce(PbResponseHeader) -> Reply + Send + 'static) {
    let (header, mut answer) = (fake.header(), Some(answer));
    fake.script(move |ask| match ask {
        Ask::Watch { .. } => answer.take().map(|answer| answer(header)),
        _ => None,
    });
    fake.cut_watches(UNAVAILABLE);
}

fn ranges(fake: &Fake) -> usize {
    fake.count(|ask| matches!(ask, Ask::Range { .. }))
}
