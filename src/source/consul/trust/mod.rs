//! Whether what Consul answers is believed. A 200 may hold a part of the catalog, nothing at all because of missing
//! rights, or an old copy; here stands what tells such answers from the truth.
//!
//! - [`circuit`]: open or closed, and the epochs;
//! - [`gate`]: what the agent must pass for the circuit to close, and the [`canary`] that it reads;
//! - [`loss`]: whether what is missing is gone, or hidden from the token;
//! - [`peering`]: the state of the peering that is read;
//! - [`last_found`]: what was found last of each service, so that each reader notices a loss.
//!
//! Never reads a service, and never decides what is served.

pub(crate) mod canary;
pub(crate) mod circuit;
pub(crate) mod gate;
pub(crate) mod last_found;
pub(crate) mod loss;
pub(crate) mod peering;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::circuit::{Circuit, Phase};
use super::capacity::Capacity;
use super::timing::Timing;
use crate::clock::now;
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Backend, Error, Overload};

/// What all readers of one agent know of how far it is to be believed.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) circuit: Circuit,
    capacity: Arc<Capacity>,
    selection: Arc<ConsulSelection>,
    timing: Timing,
    /// The gate is to be passed again, so that everything is confirmed again.
    verify: Notify,
    /// What the operator should know of the peering.
    peering_note: watch::Sender<Option<String>>,
    /// When it was last checked whether the agent answers, and whether it did.
    answered: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// The agent streams: an index of its watches may be higher than that of an audit.
    streams: AtomicBool,
    /// Until then the agent's own copies may lag behind its servers.
    recovering: Mutex<Option<Instant>>,
    /// An epoch, and the highest index of any answer in it that was not streamed.
    newest: Mutex<(u64, u64)>,
}

/// Why the agent is suspected after an index fell.
pub(crate) fn fell(what: &str) -> String {
    format!("the index of {what} fell: a server restarted or was restored")
}

impl Trust {
    pub(crate) fn new(capacity: Arc<Capacity>, selection: Arc<ConsulSelection>, timing: &Timing) -> Self {
        Self {
            circuit: Circuit::new(),
            capacity,
            selection,
            timing: *timing,
            verify: Notify::new(),
            peering_note: watch::Sender::new(None),
            answered: tokio::sync::Mutex::default(),
            streams: AtomicBool::new(false),
            recovering: Mutex::default(),
            newest: Mutex::default(),
        }
    }

    /// Opens the circuit; logged when it was closed.
    pub(crate) fn suspect(&self, epoch: u64, reason: &str) {
        if self.circuit.trip(epoch, reason.to_owned()) {
            tracing::warn!(
                reason,
                "consul answers are not trusted until re-verified; serving last known state"
            );
        }
    }

    /// Has everything confirmed again, because of something that is no outage but may be a restored snapshot.
    pub(crate) fn verify(&self, reason: &str) {
        tracing::info!(reason, "verifying everything that is known of consul");
        self.request_verification();
    }

    /// Has everything confirmed again.
    pub(crate) fn request_verification(&self) {
        self.verify.notify_one();
    }

    /// What the operator should know of the peering.
    pub(crate) fn peering_note(&self) -> watch::Receiver<Option<String>> {
        self.peering_note.subscribe()
    }

    /// Whether many requests share one connection to the agent.
    pub(crate) fn is_multiplexed(&self) -> bool {
        matches!(self.circuit.state().phase, Phase::Live { multiplexed: true })
    }

    /// Whether a gateway before the agent answered for it again and again, and another read is answered: then it is
    /// this one read that the gateway does not pass on.
    pub(crate) async fn is_blocked_by_gateway(&self, epoch: u64, error: &Error) -> bool {
        error.is_gateway() && self.agent_answers(epoch, now()).await
    }

    /// Whether the agent answers a read that does not block, since this moment. One read is enough for all whose
    /// reads ended before it.
    pub(crate) async fn agent_answers(&self, epoch: u64, since: Instant) -> bool {
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
        let answers = match self.capacity.probe().await {
            Ok(_) => true,
            // An agent that refuses or limits us is there; what that means for us, the next read shows.
            Err(error) => {
                error.is_rate_limited() || error.is_refused() || error.overload() == Some(Overload::Reported)
            }
        };
        *answered = Some((at, answers));
        answers
    }

    /// An audit read a lower index than is held of this service (`None`: of the names). A streamed watch may hold
    /// the higher index of the same state.
    pub(crate) fn audit_index_fell(&self, epoch: u64, service: Option<&str>, differs: bool) {
        let reason = fell(service.unwrap_or("the names of services"));
        if service.is_none() || !self.streams.load(Ordering::Relaxed) {
            self.suspect(epoch, &reason);
        } else if differs {
            self.verify(&reason);
        }
    }

    /// Records any answer of this epoch.
    pub(crate) fn record(&self, epoch: u64, answer: &Answer) {
        if answer.backend == Backend::Stream {
            self.streams.store(true, Ordering::Relaxed);
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = (*newest).max((epoch, answer.index));
    }

    /// The highest index in this epoch of an answer that was not streamed: the servers have reached it.
    pub(crate) fn newest_index(&self, epoch: u64) -> u64 {
        let (of, index) = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if of == epoch { index } else { 0 }
    }

    /// The agent is about to be trusted again. Each copy that a client agent has of a service renews its
    /// subscription by itself, after pauses that have grown with the outage, and a read that waits on it sleeps
    /// through every change meanwhile (findings/consul-agent-misses-changes-after-an-outage.sh, 1.14.11).
    async fn begin_recovery(&self) {
        let client = self.capacity.client();
        let scope = client.scope();
        let remote = scope.datacenter.is_some() || scope.peer.is_some();
        let feeds_itself = !remote && client.is_server().await;
        let until = (!feeds_itself).then(|| now() + self.timing.recovery);
        *self.recovering.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Whether the agent's own copies can be relied on to see a change in time.
    pub(crate) fn has_recovered(&self) -> bool {
        let until = *self.recovering.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| now() >= until)
    }
}
