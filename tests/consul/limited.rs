//! The Consul source and an agent that limits requests by the second, as `limits.rpc_rate` does: each service
//! keeps its watch, reads wait for their turn, and the status says which limit it is.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::Status;
use xds_bridge::source::consul::Timing;

use crate::consul_fake::{Ask, Hub, Reply, say, timing};
use crate::pressure::{missed, services, swept};
use crate::settle;

/// A bucket of tokens: so many requests a second, and so many at once when it was quiet.
struct Bucket {
    rate: f64,
    burst: f64,
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    #[expect(
        clippy::disallowed_methods,
        reason = "what a limiter of requests a second works with"
    )]
    fn new(rate: f64, burst: f64) -> Self {
        let state = Mutex::new((burst, Instant::now()));
        Self { rate, burst, state }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what a limiter of requests a second works with"
    )]
    fn refuses(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let now = Instant::now();
        state.0 = (state.0 + (now - state.1).as_secs_f64() * self.rate).min(self.burst);
        state.1 = now;
        let refused = state.0 < 1.0;
        if !refused {
            state.0 -= 1.0;
        }
        refused
    }
}

/// Of a client agent that streams: its blocking reads of services cost nothing. The answer is empty, as
/// Consul 1.14 sends it.
fn costs(ask: &Ask) -> bool {
    ask.index.is_none() || !ask.path.starts_with("/v1/health/service/")
}

#[tokio::test]
async fn a_limit_by_the_second_takes_no_watch_away_and_is_named() {
    let (fake, address, names) = services(40).await;
    let bucket = Bucket::new(20.0, 5.0);
    fake.script(move |ask| {
        (costs(ask) && bucket.refuses())
            .then(|| say(429, 1, ""))
            .flatten()
    });
    let mut hub = Hub::watch(&address, None);
    hub.until_live().await;
    hub.until("the limit is named", |hub| {
        hub.note
            .as_ref()
            .is_some_and(|note| note.contains("limits.rpc_rate"))
    })
    .await;
    hub.until_quiet(&fake, names.len() + 2).await;
    let asked = fake.count(costs);
    assert!(asked < 3 * names.len(), "{asked} requests: most of them refused");
    fake.set(&names[7], &[1, 2, 3]);
    hub.until_ports(&names[7], &[1, 2, 3]).await;
    fake.set(&names[7], &[3]); // is confirmed
    hub.until_ports(&names[7], &[3]).await;
    fake.set(&names[8], &[]);
    hub.until("gone", |hub| hub.ports(&names[8]).is_none()).await;
    assert_eq!(
        (&hub.statuses[..], swept(&hub), missed(&hub)),
        (&[Status::Live][..], 0, 0)
    );
}

/// Where blocking reads count as well, and with the words of newer Consuls.
#[tokio::test]
async fn a_watch_that_meets_the_limit_is_asked_again_in_its_turn() {
    let refusals = [
        (429, "rate limit exceeded, try a different server"),
        (503, "rate limit exceeded, try again later"),
        (
            500,
            "rpc error: code = ResourceExhausted desc = rate limit exceeded",
        ),
    ];
    for (status, words) in refusals {
        let (fake, address, names) = services(5).await;
        let times = Mutex::new(3);
        fake.script(move |ask| {
            let watch = ask.index.is_some() && ask.path.ends_with("/s0003");
            let mut left = times.lock().unwrap();
            (watch && *left > 0).then(|| {
                *left -= 1;
                Reply::Say {
                    status,
                    index: 1,
                    body: words.to_owned(),
                }
            })
        });
        let mut hub = Hub::watch(&address, None);
        hub.until_live().await;
        hub.until_quiet(&fake, names.len() + 2).await;
        fake.set(&names[3], &[7]);
        hub.until_ports(&names[3], &[7]).await;
        settle(&fake, &mut hub).await;
        assert_eq!(
            (&hub.statuses[..], swept(&hub)),
            (&[Status::Live][..], 0),
            "{words}"
        );
    }
}

#[tokio::test]
async fn an_agent_that_refuses_everything_is_away_and_says_why() {
    let (fake, address, names) = services(3).await;
    let timing = Timing {
        slack: Duration::from_millis(400),
        ..timing()
    };
    let mut hub = Hub::with(&ConsulSource::new(address), &timing);
    hub.until_live().await;
    fake.script(|_| say(429, 1, ""));
    fake.set(&names[0], &[]);
    hub.until_away("rate limit of the agent or its servers").await;
    assert_eq!(hub.ports(&names[0]), Some(vec![1, 2]));
    fake.script(|_| None);
    hub.until_live().await;
}
