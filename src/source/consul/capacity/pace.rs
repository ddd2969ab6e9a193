//! When requests may be sent to an agent that limits them per second (`limits.rpc_rate` of the agent,
//! `limits.request_limits` of the servers). The rate is learned: a refusal cuts it to what was answered, and each
//! answer raises it a little. Requests that a change waits for go before those that a start waits for, and both before
//! sweeps and audits. Without a refusal nothing waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::source::consul::timing::Clock;

/// Which requests go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Confirms a change.
    #[default]
    Change,
    /// Confirms something because an epoch began.
    Start,
    /// Sweeps and audits.
    Round,
}

const RANKS: usize = 3;
/// The lowest rate, in requests per second.
const MIN_RATE: f64 = 0.5;
/// What a refusal leaves of the rate, and what when far more was refused than answered.
const CUT: f64 = 0.8;
const DEEP_CUT: f64 = 0.5;
/// What each answer adds to the rate: a tenth in a second, whatever the rate is.
const RAISE: f64 = 0.1;
/// Refusals this soon after a cut have the same cause.
const BURST: Duration = Duration::from_secs(1);
/// What was answered in this time is what the agent allows.
const WINDOW: Duration = Duration::from_secs(1);
/// How long the first of a rank lets those of higher ranks pass, before it takes its turn like them: otherwise
/// changes that never end would keep a start, or services that are swept, waiting forever.
const YIELDS: Duration = Duration::from_secs(2);
/// Refusals in a row, over a time that is long enough, after which nothing can be read at all.
const STARVED: u32 = 4;

/// The rate, and what it follows from. Pure: the time goes in.
#[derive(Debug)]
struct Rate {
    /// Requests per second; `None`: no limit was met.
    limit: Option<f64>,
    /// Requests that may be sent at once, at most those of a second.
    saved: f64,
    counted: Duration,
    answered: VecDeque<Duration>,
    cut: Option<Duration>,
    refused: Option<Duration>,
    /// Refusals since the last cut.
    refusals: usize,
    /// Since nothing was answered: the first refusal, and how many there were.
    row: Option<(Duration, u32)>,
    /// Time without a refusal after which there is no limit any more.
    calm: Duration,
}

impl Rate {
    const fn new(calm: Duration) -> Self {
        Self {
            limit: None,
            saved: 0.0,
            counted: Duration::ZERO,
            answered: VecDeque::new(),
            cut: None,
            refused: None,
            refusals: 0,
            row: None,
            calm,
        }
    }

    fn answered(&mut self, now: Duration) {
        self.row = None;
        self.taken(now);
    }

    /// The agent has probably counted a request whose answer comes late.
    fn taken(&mut self, now: Duration) {
        self.answered.push_back(now);
        self.forget(now);
        if let Some(limit) = &mut self.limit {
            *limit += RAISE;
        }
    }

    fn refused(&mut self, now: Duration) {
        self.refused = Some(now);
        let (since, times) = self.row.unwrap_or((now, 0));
        self.row = Some((since, times.saturating_add(1)));
        self.refusals += 1;
        if self.cut.is_some_and(|cut| now < cut + BURST) {
            return;
        }
        self.forget(now);
        let answered = self.answered.len();
        let cut = if self.refusals > answered + 2 {
            DEEP_CUT
        } else {
            CUT
        };
        #[allow(clippy::cast_precision_loss, reason = "requests of one second")]
        let limit = match self.limit {
            Some(limit) => limit * cut,
            None => answered as f64 / WINDOW.as_secs_f64() * CUT,
        };
        self.limit = Some(limit.max(MIN_RATE));
        self.refusals = 0;
        self.cut = Some(now);
        self.saved = 0.0;
        self.counted = now;
    }

    /// `None`: a request may be sent now, and is counted. Else when to ask again.
    fn take(&mut self, now: Duration) -> Option<Duration> {
        self.limit = self.limit.filter(|_| !self.is_calm(now));
        let limit = self.limit?;
        let passed = now.saturating_sub(self.counted).as_secs_f64();
        self.saved = (self.saved + passed * limit).min(limit.max(1.0));
        self.counted = now;
        if self.saved >= 1.0 {
            self.saved -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - self.saved) / limit))
    }

    /// Whether nothing was answered for this long.
    fn is_starved(&self, now: Duration, long: Duration) -> bool {
        let long_ago = |(since, times): (Duration, u32)| times >= STARVED && now >= since + long;
        self.row.is_some_and(long_ago)
    }

    fn is_calm(&self, now: Duration) -> bool {
        self.refused.is_none_or(|refused| now >= refused + self.calm)
    }

    fn forget(&mut self, now: Duration) {
        while self.answered.front().is_some_and(|at| *at + WINDOW < now) {
            self.answered.pop_front();
        }
    }
}

/// The same for many requests at once.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Mutex<Rate>,
    /// The first of each rank asks when it may be sent, the others wait for it, in their order.
    first: [tokio::sync::Mutex<()>; RANKS],
    waiting: [AtomicUsize; RANKS],
    /// Time without any answer after which the agent counts as away.
    patience: Duration,
    clock: Clock,
}

/// One that waits; no longer when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    pub(crate) fn new(calm: Duration, patience: Duration) -> Self {
        Self {
            rate: Mutex::new(Rate::new(calm)),
            first: Default::default(),
            waiting: Default::default(),
            patience,
            clock: Clock::start(),
        }
    }

    /// Waits until a request of this rank may be sent.
    pub(crate) async fn turn(&self, rank: Rank) {
        if self.rate().limit.is_none() {
            return;
        }
        let waiting = &self.waiting[rank as usize];
        waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(waiting);
        let _first = self.first[rank as usize].lock().await;
        let since = self.now();
        loop {
            let before = &self.waiting[..rank as usize];
            let others = before.iter().any(|waiting| waiting.load(Ordering::Relaxed) > 0);
            let after_others = others && self.now() < since + YIELDS;
            let pause = {
                let mut rate = self.rate();
                let now = self.now();
                if after_others {
                    // The first of the higher ranks takes what is free.
                    rate.limit.map(|limit| Duration::from_secs_f64(1.0 / limit))
                } else {
                    rate.take(now)
                }
            };
            let Some(pause) = pause else { return };
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) fn answered(&self) {
        let now = self.now();
        self.rate().answered(now);
    }

    /// A blocking read was sent in its turn: it is answered when something changes.
    pub(crate) fn sent(&self) {
        let now = self.now();
        self.rate().taken(now);
    }

    pub(crate) fn limited(&self) {
        let now = self.now();
        self.rate().refused(now);
    }

    /// Whether nothing was answered for too long: the agent counts as away.
    pub(crate) fn starved(&self) -> bool {
        let now = self.now();
        self.rate().is_starved(now, self.patience)
    }

    /// For people, while there is a limit: what helps.
    pub(crate) fn note(&self) -> Option<&'static str> {
        let now = self.now();
        let rate = self.rate();
        (rate.limit.is_some() && !rate.is_calm(now)).then_some(NOTE)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NOTE: &str = "the agent or its servers limit requests per second (429), so reads wait for their turn and \
                    changes may come late; raise limits.rpc_rate and limits.rpc_max_burst of the agent, or (Consul \
                    1.15 and newer) limits.request_limits of the servers";

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
