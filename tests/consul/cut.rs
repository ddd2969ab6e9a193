//! The Consul source behind something that ends long reads: a proxy, a load balancer, or a `write_timeout` of the
//! agent. That is no outage, costs no watch, and teaches how long reads may block.

use std::time::Duration;

use h2::Reason;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::{Measured, Status};
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Fake, Hub, Reply, say, timing};
use crate::multiplexed::Site;

/// Longer than the shortest end that teaches, and far below what is asked for.
const LIMIT: Duration = Duration::from_millis(1_500);

fn patient() -> Timing {
    Timing {
        wait: Duration::from_secs(300),
        ..timing()
    }
}

fn longest_wait(fake: &Fake) -> Option<u64> {
    let waits = fake
        .asked(|ask| ask.index.is_some())
        .into_iter()
        .filter_map(|ask| {
            let wait = ask.query.split('&').find_map(|p| p.strip_prefix("wait="))?;
            wait.strip_suffix("ms")?.parse().ok()
        });
    waits.max()
}

/// Reads are ended after the limit: it is learned, and a change of this service arrives.
async fn teaches(fake: &Fake, hub: &mut Hub, name: &str) {
    let ended = |hub: &Hub| hub.measured.iter().any(|m| matches!(m, Measured::Cut(_)));
    hub.until("reads are ended", ended).await;
    for port in [20, 21] {
        fake.set(name, &[port]);
        hub.until_ports(name, &[port]).await;
        // From some moment on no read is longer than what was learned.
        let shorter = async {
            while longest_wait(fake).is_none_or(|wait| wait > 1_500) {
                fake.forget();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let learned = tokio::time::timeout(Duration::from_secs(30), shorter).await;
        learned.expect("reads stay as long as before");
    }
    let away = hub
        .statuses
        .iter()
        .any(|status| matches!(status, Status::Away { .. }));
    assert!(!away, "{:?}", hub.statuses);
    let swept = hub
        .measured
        .iter()
        .any(|m| matches!(m, Measured::Swept(n) if *n > 0));
    assert!(!swept, "watches were given up");
}

async fn ended_by(reply: Reply) {
    let (fake, address) = Fake::start().await;
    for n in 0..5 {
        fake.set(&format!("s{n}"), &[n + 1]);
    }
    fake.cut_after(LIMIT, reply);
    let mut hub = Hub::with(&ConsulSource::new(address), patient());
    hub.until_live().await;
    teaches(&fake, &mut hub, "s0").await;
}

/// HTTP/2: the streams of reads are reset one by one, as by a server whose writes have a timeout.
#[tokio::test]
async fn by_reset_streams() {
    let site = Site::of(5).await;
    let mut hub = site.watched(patient()).await;
    site.fake.cut_after(LIMIT, Reply::Drop(Reason::INTERNAL_ERROR));
    site.changes(&mut hub, 9).await; // the reads of before know no limit
    teaches(&site.fake, &mut hub, &site.names[0]).await;
}

#[tokio::test]
async fn by_a_closed_connection() {
    ended_by(Reply::Drop(Reason::INTERNAL_ERROR)).await;
}

#[tokio::test]
async fn by_a_gateway() {
    for status in [504, 502] {
        ended_by(say(status, 1, "upstream request timeout").unwrap()).await;
    }
}

/// Then nobody answers a plain read either.
#[tokio::test]
async fn an_agent_that_ends_is_away() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.cut_after(LIMIT, say(504, 1, "").unwrap());
    let mut hub = Hub::with(&ConsulSource::new(address), patient());
    hub.until_live().await;
    fake.script(|_| say(504, 1, "no upstream"));
    hub.until_away("504").await;
    assert_eq!(hub.ports("orders").as_deref(), Some(&[1][..]));
}
