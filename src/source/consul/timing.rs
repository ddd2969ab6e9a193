//! How long things take with Consul, and the pauses between tries. Never sleeps itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Pauses between tries that nobody answers are so many times shorter than those before all is read again.
const AWAY_SHARE: u32 = 6;

/// How long things take. The default is right for real agents; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a blocking read may block.
    pub wait: Duration,
    /// How much longer than Consul may take an answer is waited for.
    pub slack: Duration,
    /// The least pause between two tries of the gate (the jitter adds up to as much again).
    pub backoff_min: Duration,
    /// The longest pause before all is read again, without the jitter: what is confirmed and breaks again and
    /// again, and answers of no use.
    pub backoff_max: Duration,
    /// So long without trouble, and the pauses start at the least again.
    pub calm: Duration,
    /// A pause after a blocking read that brought nothing: nothing in between must spin.
    pub pace: Duration,
    /// The least time from one sweep to the next.
    pub sweep: Duration,
    /// From one look at the files of token and TLS to the next.
    pub look: Duration,
    /// So long after a connection ended without a byte, all others of a dead agent have ended too.
    pub settle: Duration,
    /// Where reads are ended on the way: from one that is to last as long as configured to the next.
    pub relearn: Duration,
    /// After trouble, an agent's own copy of a service may lag so long behind its servers.
    pub recovery: Duration,
    /// So long without a request turned away, and more watches are tried.
    pub grow: Duration,
    /// In this time each service is read once beside its watch.
    pub audit: Duration,
    /// The least and the longest time between two such reads.
    pub audit_pace: (Duration, Duration),
    /// So long may a watch be behind such a read.
    pub grace: Duration,
    /// From one look at the state of a peering to the next.
    pub peering: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(300),
            slack: Duration::from_secs(10),
            backoff_min: Duration::from_millis(125),
            backoff_max: Duration::from_secs(15),
            calm: Duration::from_secs(60),
            pace: Duration::from_millis(100),
            sweep: Duration::from_secs(2),
            look: Duration::from_secs(1),
            settle: Duration::from_millis(250),
            relearn: Duration::from_secs(600),
            // Consul 1.14: pauses of up to 60 s, and as much again at random.
            recovery: Duration::from_secs(130),
            grow: Duration::from_secs(180),
            audit: Duration::from_secs(600),
            // The longest is also what finds an agent over HTTP/1.1 that takes requests and never answers.
            audit_pace: (Duration::from_millis(200), Duration::from_secs(10)),
            grace: Duration::from_secs(10),
            peering: Duration::from_secs(5),
        }
    }
}

impl Timing {
    /// Pauses of 125–250 ms, doubling to 15–30 s, for ever.
    pub(super) fn delays(&self) -> ExponentialBackoff {
        pauses(self.backoff_min, self.backoff_max)
    }

    /// Pauses of 125–250 ms, doubling to 2.5–5 s, for ever: between tries of an agent that is away. Each is a few
    /// small requests of one prober, whatever the number of services; so long may an agent be back before it is used.
    pub(super) fn tries(&self) -> ExponentialBackoff {
        pauses(self.backoff_min, self.backoff_max / AWAY_SHARE)
    }

    /// Pauses of 100–200 ms, doubling: before a read that was not answered by the agent itself is sent again.
    pub(super) fn retries(&self) -> ExponentialBackoff {
        pauses(self.pace, self.backoff_max)
    }

    /// The next pause; the sequence never ends, so the fallback is never taken.
    pub(super) fn next(&self, delays: &mut ExponentialBackoff) -> Duration {
        delays.next().unwrap_or(self.backoff_max)
    }
}

fn pauses(first: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}
