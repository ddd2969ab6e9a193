//! The Consul source behind something that ends long reads: a proxy, a load balancer, or a `write_timeout` of the
//! agent. That is no outage, costs no watch, and teaches how long reads may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// How long blocking reads were to last, in milliseconds.
fn waits(fake: &Fake) -> Vec<u64> {
    let asks = fake.asked(|ask| ask.index.is_some()).into_iter();
    asks.filter_map(|ask| {
        let wait = ask.query.split('&').find_map(|p| p.strip_prefix("wait="))?;
        wait.strip_suffix("ms")?.parse().ok()
    })
    .collect()
}

fn longest_wait(fake: &Fake) -> Option<u64> {
    waits(fake).into_iter().max()
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
    let mut hub = Hub::with(&ConsulSource::new(address), &patient());
    hub.until_live().await;
    teaches(&fake, &mut hub, "s0").await;
}

/// HTTP/2: the streams of reads are reset one by one, as by a server whose writes have a timeout.
#[tokio::test]
async fn by_reset_streams() {
    let site = Site::of(5).await;
    let mut hub = site.watched(&patient()).await;
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

/// The limit of a proxy is raised, or taken away: one read now and then lasts as configured, and shows it.
#[tokio::test]
async fn a_limit_that_is_gone_is_noticed() {
    const CONFIGURED: Duration = Duration::from_secs(4);
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.cut_after(LIMIT, Reply::Drop(Reason::INTERNAL_ERROR));
    let patient = Timing {
        wait: CONFIGURED,
        relearn: Duration::from_secs(2),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &patient);
    hub.until_live().await;
    let lasts = async |wanted: &dyn Fn(u64) -> bool| {
        let all = async {
            loop {
                fake.forget();
                // Three watches: more reads than the one that looks for the limit.
                fake.until_seen_times(6, |ask| ask.index.is_some()).await;
                if waits(&fake).into_iter().filter(|wait| wanted(*wait)).count() >= 5 {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await
    };
    lasts(&|wait| wait < 1_500)
        .await
        .expect("the limit is not learned");
    fake.cut_after(Duration::from_secs(3600), Reply::Drop(Reason::INTERNAL_ERROR));
    lasts(&|wait| wait == 4_000)
        .await
        .expect("reads stay short though nothing ends them");
}

/// A proxy whose every tenth answer is its own: its connection to the agent was just closed, or the agent restarts
/// behind it. Reads that block, and reads that do not.
#[tokio::test]
async fn one_answer_in_ten_of_a_gateway_is_no_outage() {
    let (fake, address) = Fake::start().await;
    for n in 0..5 {
        fake.set(&format!("s{n}"), &[1]);
    }
    let (seen, refused) = (AtomicUsize::new(1), Arc::new(AtomicUsize::new(0)));
    let count = refused.clone();
    fake.script(move |_| {
        // As if by chance, and the same in each run.
        let nth = seen
            .fetch_add(1, Ordering::SeqCst)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let tenth = (nth >> 40).is_multiple_of(10);
        count.fetch_add(usize::from(tenth), Ordering::SeqCst);
        let status = [502, 503, 504][(nth >> 32) % 3];
        tenth.then(|| say(status, 1, "no healthy upstream")).flatten()
    });
    let mut hub = Hub::with(&ConsulSource::new(address), &patient());
    hub.until_live().await;
    for port in 2..12 {
        for n in 0..5 {
            fake.set(&format!("s{n}"), &[port]);
            hub.until_ports(&format!("s{n}"), &[port]).await;
        }
    }
    assert!(refused.load(Ordering::SeqCst) > 10);
    assert!(
        hub.statuses.iter().all(|status| *status == Status::Live),
        "{:?}",
        hub.statuses
    );
}

/// Then nobody answers a plain read either.
#[tokio::test]
async fn an_agent_that_ends_is_away() {
    let (fake, address) = Fake::start().await;
    fake.set("orders", &[1]);
    fake.cut_after(LIMIT, say(504, 1, "").unwrap());
    let mut hub = Hub::with(&ConsulSource::new(address), &patient());
    hub.until_live().await;
    fake.script(|_| say(504, 1, "no upstream"));
    hub.until_away("504").await;
    assert_eq!(hub.ports("orders").as_deref(), Some(&[1][..]));
}
