//! What all tasks of one Consul source share: the client, the circuit, the limits on
//! reads, the times, and the way to the keeper.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::circuit::Circuit;
use super::document::Documents;
use super::flights::Flights;
use super::known::Known;
use super::lengths::Lengths;
use super::pace::{Pace, Rank};
use super::parse::{Found, Names};
use super::reads::Reads;
use super::timing::Timing;
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Backend, Client, Crowding, Error, Grant, Mode, Peering, Query, Right};

/// Reads at once beside those of the watches.
pub(super) const ASIDES: usize = 16;
/// How often a read is tried that the agent turns away for want of room.
const TRIES: u32 = 5;
/// The same when a gateway before Consul answers for it (502, 503, 504): one such answer is no outage.
pub(super) const GATEWAY_TRIES: u32 = 3;
/// The same when requests are limited by the second: each try waits for its turn.
pub(super) const LIMITED_TRIES: u32 = 20;
/// What is hidden from the token is read again by so many reads a second at most.
const HIDDEN_READS: u32 = 20;

/// Something read, believed when its epoch still holds.
#[derive(Debug)]
pub(super) struct News {
    pub(super) epoch: u64,
    pub(super) index: u64,
    pub(super) fact: Fact,
    /// Read beside the watch.
    pub(super) audit: Option<Audited>,
}

/// Why the agent is not trusted after an index went back.
pub(super) fn fell(what: &str) -> String {
    format!("the index of {what} fell: a server restarted or was restored")
}

/// What was known when an audit asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Audited {
    pub(super) epoch: u64,
    pub(super) index: u64,
}

#[derive(Debug)]
pub(super) enum Fact {
    Names(Names),
    /// `Err`: the agent is well, but this answer cannot be read.
    Service {
        name: Arc<str>,
        found: Result<Arc<Found>, String>,
        /// What is missing there because the token may not read it.
        hidden: Option<Hidden>,
    },
    /// `None`: they cannot be read; those known stay.
    Documents(Option<Documents>),
}

/// Entries of a service that were known and cannot be read any more; they stay as they were.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    /// `<node>/<service id>` of each.
    pub(super) ids: BTreeSet<String>,
    /// For people.
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) struct Link {
    /// The source's name, for logs.
    pub(super) source: Arc<str>,
    /// For reads that do not block: a connection of theirs is never taken by one that does.
    pub(super) client: Client,
    /// What of the catalog is served.
    pub(super) selection: Arc<ConsulSelection>,
    pub(super) circuit: Circuit,
    /// The gate is to be passed anew, so that all is confirmed again.
    pub(super) verify: Notify,
    pub(super) known: Arc<Known>,
    pub(super) timing: Timing,
    /// Permits for reads beside the watches: sweeps and single looks.
    pub(super) asides: Semaphore,
    /// The blocking reads.
    pub(super) flights: Arc<Flights>,
    /// Counts what a swept service's change cannot happen without.
    pub(super) moves: watch::Sender<u64>,
    /// Counts requests that were turned away for want of room.
    pub(super) turned_away: watch::Sender<u64>,
    /// How many services have something that the token may not read.
    pub(super) hidden: AtomicU32,
    /// What to know of the peering, for people.
    pub(super) peering_note: watch::Sender<Option<String>>,
    /// When requests may leave, where they are limited by the second.
    pub(super) pace: Pace,
    reads: Reads,
    /// How long blocking reads last.
    pub(super) lengths: Lengths,
    /// The keeper has a read to count that was ended on the way.
    pub(super) was_cut: Notify,
    /// When a plain read last asked whether somebody is there, and whether there was.
    answered: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// The agent streams: an index of its watches may be higher than that of an audit.
    streams: AtomicBool,
    /// Until then the agent's own copies may lag behind its servers.
    recovered: Mutex<Option<Instant>>,
    /// An epoch, and the highest index of any answer in it that was not streamed.
    newest: Mutex<(u64, u64)>,
    news: mpsc::Sender<News>,
}

impl Link {
    pub(super) fn new(
        source: Arc<str>,
        client: Client,
        selection: ConsulSelection,
        timing: &Timing,
        news: mpsc::Sender<News>,
    ) -> Self {
        Self {
            source,
            client,
            selection: Arc::new(selection),
            circuit: Circuit::new(),
            verify: Notify::new(),
            known: Arc::default(),
            timing: *timing,
            asides: Semaphore::new(ASIDES),
            flights: Arc::default(),
            moves: watch::Sender::new(0),
            turned_away: watch::Sender::new(0),
            hidden: AtomicU32::new(0),
            peering_note: watch::Sender::new(None),
            pace: Pace::new(timing.grow, timing.slack * 3),
            reads: Reads::new(),
            lengths: Lengths::new(timing.wait, timing.relearn),
            was_cut: Notify::new(),
            answered: tokio::sync::Mutex::default(),
            streams: AtomicBool::new(false),
            recovered: Mutex::default(),
            newest: Mutex::default(),
            news,
        }
    }

    /// One read that does not block, and that others wait for.
    pub(super) async fn read(&self, query: &Query, mode: Mode) -> Result<Answer, Error> {
        self.read_as(Rank::Change, query, mode).await
    }

    /// One read that does not block; waits for its turn. What is turned away for want of room is tried
    /// again, by fewer at once: also an idle connection that was just closed looks like that. What meets a
    /// limit by the second is tried again more slowly; what a gateway answers is tried twice more.
    pub(super) async fn read_as(&self, rank: Rank, query: &Query, mut mode: Mode) -> Result<Answer, Error> {
        let mut pauses = self.timing.retries();
        let (mut tried, mut limited) = (1, 1);
        loop {
            self.pace.turn(rank).await;
            let permit = self.reads.turn().await;
            let result = self.client.read(query, mode).await;
            let (crowded, most) = match &result {
                Ok(_) => {
                    self.reads.answered();
                    self.pace.answered();
                    return result;
                }
                Err(error) if error.is_rate_limited() => {
                    drop(permit);
                    self.pace.limited();
                    if limited >= LIMITED_TRIES || self.pace.starved() {
                        return result;
                    }
                    limited += 1;
                    continue;
                }
                Err(error) if error.crowding().is_some() => (true, TRIES),
                Err(error) if error.is_gateway() => (false, GATEWAY_TRIES),
                Err(error) if error.is_unsent() => (false, 2),
                Err(_) => (false, 1),
            };
            if crowded {
                self.reads.turned_away(permit);
            } else {
                drop(permit);
            }
            if tried >= most {
                return result;
            }
            tried += 1;
            tokio::time::sleep(self.timing.next(&mut pauses)).await;
            // Right even if the agent is another one by now.
            mode = Mode::Consistent;
        }
    }

    /// Which of these rights the token gives.
    pub(super) async fn grant(&self, rights: &[Right]) -> Result<Grant, Error> {
        self.ask(|| Box::pin(self.client.grant(rights))).await
    }

    /// How the peering of this name is.
    pub(super) async fn peering(&self, name: &str) -> Result<Peering, Error> {
        self.ask(|| Box::pin(self.client.peering(name))).await
    }

    async fn ask<'a, T>(&self, ask: impl Fn() -> BoxFuture<'a, Result<T, Error>> + Send) -> Result<T, Error> {
        let mut pauses = self.timing.retries();
        let (mut tried, mut limited) = (1, 1);
        loop {
            self.pace.turn(Rank::Change).await;
            let permit = self.reads.turn().await;
            match ask().await {
                Err(error) if self.is_limited(&error) && limited < LIMITED_TRIES => {
                    self.pace.limited();
                    limited += 1;
                }
                Err(error) if error.is_gateway() && tried < GATEWAY_TRIES => {
                    drop(permit);
                    tried += 1;
                    tokio::time::sleep(self.timing.next(&mut pauses)).await;
                }
                result => return result,
            }
        }
    }

    /// The pause before something that is hidden from the token is read again: rights move no index.
    pub(super) fn hidden_pause(&self) -> Duration {
        let services = self.hidden.load(Ordering::Relaxed);
        self.timing
            .sweep
            .max(Duration::from_secs(1) / HIDDEN_READS * services)
    }

    /// Whether this error only says that requests are limited by the second, and some are answered.
    pub(super) fn is_limited(&self, error: &Error) -> bool {
        error.is_rate_limited() && !self.pace.starved()
    }

    /// Whether this error only says that the agent has no room for one request more: it says so, or other
    /// blocking reads live on. Then the budget of watches hears of it. When nothing can be read any more
    /// it is an outage.
    pub(super) async fn is_crowded(&self, error: &Error) -> bool {
        let crowded = match error.crowding() {
            None => false,
            Some(Crowding::Said) => true,
            Some(Crowding::Closed) => {
                let mark = self.flights.now();
                tokio::time::sleep(self.timing.settle).await;
                self.flights.alive_since(mark)
            }
        };
        crowded && {
            self.turned_away.send_modify(|n| *n += 1);
            !self.reads.starved()
        }
    }

    /// Something on the way ended a blocking read that was to last `wait`, began then, and lasted so long; the
    /// agent is well.
    pub(super) fn cut(&self, what: &Query, wait: Duration, begun: Instant, lasted: Duration, error: &Error) {
        let learned = self.lengths.cut(wait, begun, lasted);
        self.was_cut.notify_one();
        let Some(wait) = learned else { return };
        tracing::info!(
            source = %self.source,
            what = what.subject(),
            ?lasted,
            ?wait,
            reason = error.chain(),
            "blocking reads are ended on the way to consul; they last no longer than this from now on \
             (sources.NAME.wait)"
        );
    }

    /// A blocking read that was to last `wait` was answered after this time.
    pub(super) fn lasted(&self, wait: Duration, lasted: Duration) {
        if self.lengths.answered(wait, lasted) {
            tracing::info!(
                source = %self.source,
                ?lasted,
                wait = ?self.timing.wait,
                "blocking reads are no longer ended early on the way to consul; they last as configured again"
            );
        }
    }

    /// Whether a gateway before the agent answered for it again and again, and another read is answered.
    pub(super) async fn is_passed_by(&self, epoch: u64, error: &Error) -> bool {
        error.is_gateway() && self.answers(epoch, now()).await
    }

    /// Whether the agent answers a read that does not block, since this moment. One read is enough for all whose
    /// reads ended before it.
    pub(super) async fn answers(&self, epoch: u64, since: Instant) -> bool {
        let mut answered = self.answered.lock().await;
        if !self.circuit.holds(epoch) {
            return false;
        }
        if let Some((at, answers)) = *answered
            && at >= since
        {
            return answers;
        }
        let at = now();
        let mut result = self.client.read(&Query::Nodes, Mode::Plain).await;
        let mut pauses = self.timing.retries();
        for _ in 1..GATEWAY_TRIES {
            if result.as_ref().is_err_and(Error::is_gateway) {
                tokio::time::sleep(self.timing.next(&mut pauses)).await;
                result = self.client.read(&Query::Nodes, Mode::Plain).await;
            }
        }
        let answers = match result {
            Ok(_) => true,
            // Who refuses or limits us is there; what that means for us, the next read says.
            Err(error) => {
                if error.is_rate_limited() {
                    self.pace.limited();
                }
                error.is_rate_limited() || error.is_refused() || error.crowding() == Some(Crowding::Said)
            }
        };
        *answered = Some((at, answers));
        answers
    }

    /// A blocking read that was not streamed ended after this time with the index that it began with. Before
    /// its wait is over that means a restored snapshot: everything is read again, and stays meanwhile.
    pub(super) fn waited(&self, what: &Query, wait: Duration, time: Duration) {
        if self.lengths.ended(wait, time) {
            let (what, time) = (what.subject(), time.as_millis());
            self.verify(&format!(
                "a blocking read of {what} ended after {time} ms without a change"
            ));
        }
    }

    /// An audit read a lower index than is held of this service (`None`: of the names). A watch that is
    /// streamed may hold the higher index of the same state.
    pub(super) fn audit_fell(&self, epoch: u64, service: Option<&str>, differs: bool) {
        let reason = fell(service.unwrap_or("the names of services"));
        if service.is_none() || !self.streams.load(Ordering::Relaxed) {
            self.suspect(epoch, &reason);
        } else if differs {
            self.verify(&reason);
        }
    }

    /// Something that is no outage speaks for a restored snapshot.
    pub(super) fn verify(&self, reason: &str) {
        tracing::info!(source = %self.source, reason, "verifying everything that is known of consul");
        self.verify.notify_one();
    }

    /// Any answer of this epoch.
    pub(super) fn saw(&self, epoch: u64, answer: &Answer) {
        if answer.backend == Backend::Stream {
            self.streams.store(true, Ordering::Relaxed);
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max((epoch, answer.index));
    }

    /// The highest index in this epoch of an answer that was not streamed: the servers have reached it.
    pub(super) fn newest(&self, epoch: u64) -> u64 {
        let (of, index) = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if of == epoch { index } else { 0 }
    }

    /// The agent is about to be trusted again. Each copy that a client agent has of a service renews its
    /// subscription by itself, after pauses that have grown with the outage, and a read that waits on it sleeps
    /// through every change meanwhile (findings/consul-agent-misses-changes-after-an-outage.sh, 1.14.11).
    pub(super) async fn recovers(&self) {
        let scope = self.client.scope();
        let far = scope.datacenter.is_some() || scope.peer.is_some();
        let fed_by_itself = !far && self.client.is_server().await;
        let until = (!fed_by_itself).then(|| now() + self.timing.recovery);
        *self.recovered.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Whether the agent's own copies can be relied on to see a change in time.
    pub(super) fn has_recovered(&self) -> bool {
        let until = *self.recovered.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| now() >= until)
    }

    /// Something changed, whatever it was: who reads in turns has something to do.
    pub(super) fn moved(&self) {
        self.moves.send_modify(|n| *n += 1);
    }

    /// Opens the circuit, with a word in the log when it was closed.
    pub(super) fn suspect(&self, epoch: u64, reason: &str) {
        if self.circuit.trip(epoch, reason.to_owned()) {
            tracing::warn!(source = %self.source, reason, "consul is not to be trusted now; everything stays as it is");
        }
    }

    /// Tells the keeper. When the keeper is gone the source ends anyway.
    pub(super) async fn tell(&self, news: News) {
        let _ = self.news.send(news).await;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "which read began before which, in the shell"
)]
fn now() -> Instant {
    Instant::now()
}
