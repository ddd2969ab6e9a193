//! How long things take with Consul, the pauses between attempts, and the clock of a source. Never sleeps itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::clock::now;

/// By this factor the longest pause between attempts to reach an agent is shorter than that before everything is read
/// again.
const AWAY_SHARE: u32 = 6;

/// How long things take. The default is right for real agents; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a blocking read may block.
    pub wait: Duration,
    /// How much longer than Consul itself may take we wait for an answer.
    pub slack: Duration,
    /// The shortest pause between two attempts to pass the gate (the jitter adds up to as much again).
    pub backoff_min: Duration,
    /// The longest pause before everything is read again, without the jitter: after trouble that returns again and
    /// again, and after useless answers.
    pub backoff_max: Duration,
    /// Time without trouble after which pauses start at the shortest again.
    pub calm: Duration,
    /// The pause after a blocking read that brought nothing, so that nothing on the way can make us spin.
    pub pace: Duration,
    /// The shortest time from one sweep to the next.
    pub sweep: Duration,
    /// The time between two checks of the files of token and TLS.
    pub look: Duration,
    /// When a connection of a dead agent ends without a byte, all others have ended after this time.
    pub settle: Duration,
    /// Where reads are cut off on the way: the time between two that may last as long as configured.
    pub relearn: Duration,
    /// How long after trouble an agent's own copy of a service may lag behind its servers.
    pub recovery: Duration,
    /// Time without a request turned away after which more watches are tried.
    pub grow: Duration,
    /// In this time each service is read once beside its watch.
    pub audit: Duration,
    /// The least and the longest time between two such reads.
    pub audit_pace: (Duration, Duration),
    /// How far a watch may be behind such a read.
    pub grace: Duration,
    /// The time between two checks of a peering.
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
    /// Pauses of 125–250 ms, doubling to 15–30 s, forever.
    pub(super) fn delays(&self) -> ExponentialBackoff {
        pauses(self.backoff_min, self.backoff_max)
    }

    /// Pauses of 125–250 ms, doubling to 2.5–5 s, forever: between attempts to reach an agent that is away. Each is a
    /// few small requests of one prober, whatever the number of services. An agent that is back may go unused for
    /// this long.
    pub(super) fn tries(&self) -> ExponentialBackoff {
        pauses(self.backoff_min, self.backoff_max / AWAY_SHARE)
    }

    /// Pauses of 100–200 ms, doubling: before a failed request is sent again.
    pub(super) fn retries(&self) -> ExponentialBackoff {
        pauses(self.pace, self.backoff_max)
    }

    /// The next pause; the sequence never ends, so the fallback is never taken.
    pub(super) fn next(&self, delays: &mut ExponentialBackoff) -> Duration {
        delays.next().unwrap_or(self.backoff_max)
    }
}

/// The clock of one source: pure parts are given the time since it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(now())
    }

    pub(super) fn now(self) -> Duration {
        now().saturating_duration_since(self.0)
    }

    /// The instant of this time.
    pub(super) fn at(self, time: Duration) -> Instant {
        self.0 + time
    }

    /// The time of this instant.
    pub(super) fn since_start(self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.0)
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
