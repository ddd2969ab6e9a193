//! Steady load through Envoy, which keeps its connections and records each failure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::client::{Call, Client};
use super::wait;

/// Load that is under way.
pub(crate) struct Load {
    stop: CancellationToken,
    workers: JoinSet<()>,
    seen: Arc<Mutex<Report>>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// All requests.
    pub(crate) sent: u64,
    /// Answers by server.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Each failure, in the order of time.
    pub(crate) failures: Vec<Failure>,
}

/// A request that no server answered.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Since the load began.
    pub(crate) at: Duration,
    pub(crate) call: Call,
    pub(crate) text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} s  {}  {}", self.at.as_secs_f64(), self.call, self.text)
    }
}

#[expect(clippy::disallowed_methods, reason = "a failure is recorded with its time")]
fn now() -> Instant {
    Instant::now()
}

impl Load {
    /// Starts `workers` clients for each call, which together make `rps` requests a second of it.
    pub(crate) fn start(address: SocketAddr, calls: &[Call], rps: u32, workers: u32) -> Self {
        let each = (0..workers).flat_map(|n| calls.iter().map(move |c| (n, vec![c.clone()])));
        Self::spawn(address, each.collect(), rps, workers)
    }

    /// Starts `workers` clients which together make `rps` requests a second, and go round all the calls.
    pub(crate) fn over(address: SocketAddr, calls: &[Call], rps: u32, workers: u32) -> Self {
        let each = (0..workers).map(|n| {
            let mut calls = calls.to_vec();
            let share = calls.len() / workers as usize; // each begins at another one
            calls.rotate_left(share * n as usize);
            (n, calls)
        });
        Self::spawn(address, each.collect(), rps, workers)
    }

    fn spawn(address: SocketAddr, each: Vec<(u32, Vec<Call>)>, rps: u32, workers: u32) -> Self {
        let stop = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Report::default()));
        let began = now();
        let mut set = JoinSet::new();
        let pace = Duration::from_secs(1) * workers / rps;
        for (number, calls) in each {
            let (stop, seen) = (stop.clone(), seen.clone());
            set.spawn(async move {
                let client = Client::new(address);
                let mut calls = calls.into_iter().cycle();
                // The workers take turns, so that requests are spread evenly.
                let first = tokio::time::Instant::from_std(began + pace * number / workers);
                let mut ticks = tokio::time::interval_at(first, pace);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                    let Some(call) = calls.next() else { return };
                    let answer = client.call(&call).await;
                    let mut report = seen.lock().expect("no worker panics");
                    report.sent += 1;
                    match answer {
                        Ok(server) => *report.answers.entry(server).or_default() += 1,
                        Err(refusal) => report.failures.push(Failure {
                            at: now().duration_since(began),
                            call,
                            text: refusal.to_string(),
                        }),
                    }
                }
            });
        }
        Self {
            stop,
            workers: set,
            seen,
        }
    }

    /// Where it stands.
    pub(crate) fn report(&self) -> Report {
        self.seen.lock().expect("no worker panics").clone()
    }

    /// Waits until so many more requests are through. A single failure ends the test.
    pub(crate) async fn goes_on(&self, requests: u64) {
        let target = self.report().sent + requests;
        wait::until(wait::PATIENCE, "the load goes on", async || {
            let sent = self.report().clean().sent;
            wait::holds(sent >= target, || format!("{sent} of {target} requests"))
        })
        .await;
    }

    /// Ends it; requests under way are finished.
    pub(crate) async fn finish(mut self) -> Report {
        self.stop.cancel();
        while let Some(worker) = self.workers.join_next().await {
            worker.expect("no worker panics");
        }
        self.report()
    }
}

impl Report {
    /// Fails when a single request failed.
    fn clean(self) -> Self {
        let first: Vec<String> = self.failures.iter().take(12).map(ToString::to_string).collect();
        assert!(
            self.failures.is_empty(),
            "{} of {} requests failed: {:?}; the first ones:\n{}",
            self.failures.len(),
            self.sent,
            self.reasons(),
            first.join("\n")
        );
        self
    }

    /// How many failed by status and reason.
    pub(crate) fn reasons(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for failure in &self.failures {
            *reasons.entry(failure.text.as_str()).or_default() += 1;
        }
        reasons
    }

    /// Fails when a request failed by something else than an answer with these words.
    pub(crate) fn assert_failed_by(&self, words: &str) {
        let is_it = |failure: &Failure| failure.text.contains(words);
        assert!(self.failures.iter().all(is_it), "{:?}", self.reasons());
    }

    /// Fails when a single request failed, or when there were too few to prove anything.
    pub(crate) fn assert_clean(self, at_least: u64) {
        let sent = self.clean().sent;
        assert!(sent >= at_least, "only {sent} requests, {at_least} are needed");
    }
}
