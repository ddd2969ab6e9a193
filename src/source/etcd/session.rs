//! The loop of the etcd source: which member, from which revision, and what to do when it breaks.
//!
//! Never decodes (that is [`State`]) and never ends for an error of etcd.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use super::backoff::Backoff;
use super::state::State;
use crate::config::{EtcdPrefix, EtcdSource};
use crate::model::Status;
use crate::registry::etcd::{Error, Etcd, Event, Message, Origin, Watch};
use crate::source::{HubGone, Sink};

/// How often etcd is asked for a sign of life.
const PROBE: Duration = Duration::from_secs(10);
/// Two unanswered probes: the member is frozen or cut off.
const SILENCE: Duration = Duration::from_secs(20);
/// After so long without a break the next one is a first one.
const HEALTHY: Duration = Duration::from_secs(60);
/// Events taken together when the watch is ahead of us.
const MAX_GATHERED: usize = 10_000;
/// The same in bytes of their values.
const MAX_GATHERED_BYTES: usize = 16 * 1024 * 1024;
/// Listed keys decoded before other tasks get their turn.
const DECODED_AT_ONCE: usize = 1_000;

/// One source at work.
pub(super) struct Session {
    etcd: Etcd,
    prefix: String,
    sink: Sink,
    source: Arc<str>,
    state: State,
    backoff: Backoff,
    /// Where to watch on; `None`: list first.
    position: Option<Position>,
    /// The cluster whose facts we hold.
    cluster: Option<u64>,
    /// Endpoints that showed another cluster since ours was last seen.
    strangers: BTreeSet<String>,
    /// Listed anew already, and no message since: the next time waits.
    relisted: bool,
}

/// How far we are.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Of the listing, then of the last event.
    revision: i64,
    raft_term: u64,
}

/// Why a watch is over.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error(transparent)]
    Etcd(#[from] Error),
    #[error("this endpoint belongs to cluster {seen:x}, our facts are from cluster {known:x}")]
    OtherCluster { seen: u64, known: u64 },
    #[error(transparent)]
    Hub(#[from] HubGone),
}

impl Session {
    pub(super) fn new(config: &EtcdSource, sink: Sink) -> Self {
        // An endpoint written twice would never be all of them in `recognise`.
        let mut endpoints = config.endpoints.clone();
        let mut seen = BTreeSet::new();
        endpoints.retain(|endpoint| seen.insert(endpoint.clone()));
        let prefix = config
            .prefixes
            .first()
            .cloned()
            .unwrap_or_else(|| EtcdPrefix::native(""));
        Self {
            etcd: Etcd::new(&endpoints),
            source: sink.source().clone(),
            sink,
            state: State::new(&prefix),
            prefix: prefix.prefix,
            backoff: Backoff::new(),
            position: None,
            cluster: None,
            strangers: BTreeSet::new(),
            relisted: false,
        }
    }

    /// Watches until the hub is gone.
    pub(super) async fn run(mut self) -> HubGone {
        loop {
            let Err(end) = self.follow().await;
            if let Break::Hub(gone) = end {
                return gone;
            }
            if matches!(&end, Break::Etcd(error) if error.needs_listing()) {
                self.position = None;
                // etcd is well and answered clearly: no reason to wait, unless it says so twice.
                if !std::mem::replace(&mut self.relisted, true) {
                    info!(source = %self.source, endpoint = self.etcd.endpoint(), "listing anew: {end}");
                    continue;
                }
            }
            if let Err(gone) = self.away(&end).await {
                return gone;
            }
        }
    }

    async fn away(&mut self, end: &Break) -> Result<(), HubGone> {
        let delay = self.backoff.next();
        let endpoint = self.etcd.endpoint().to_owned();
        let reason = explain(end);
        warn!(source = %self.source, %endpoint, retry_in = ?delay, "etcd is away: {reason}");
        self.sink
            .status(Status::Away {
                reason: format!("{endpoint}: {reason}"),
            })
            .await?;
        self.etcd.advance();
        sleep(delay).await;
        Ok(())
    }

    /// Lists if need be, then watches until something breaks.
    async fn follow(&mut self) -> Result<Infallible, Break> {
        let position = match self.position {
            Some(position) => position,
            None => self.list().await?,
        };
        let mut watch = self.etcd.watch(&self.prefix, position.revision + 1).await?;
        self.recognise(watch.origin())?;
        if self.position.is_none() || watch.origin().raft_term < position.raft_term {
            // Terms never fall within one history, though its revisions may have passed ours already.
            return Err(Error::Rewound {
                known: position.revision,
            }
            .into());
        }
        self.position = Some(Position {
            raft_term: watch.origin().raft_term,
            ..position
        });
        info!(source = %self.source, endpoint = self.etcd.endpoint(), from = position.revision + 1, "watching etcd");
        self.sink.status(Status::Live).await?;

        let (mut probe, mut silence, mut healthy) = (interval(PROBE), interval(SILENCE), interval(HEALTHY));
        probe.reset();
        silence.reset();
        healthy.reset();
        loop {
            let message = tokio::select! {
                // What etcd said comes before the complaint that it says nothing.
                biased;
                message = watch.next() => message?,
                _ = healthy.tick() => {
                    self.backoff.reset();
                    continue;
                }
                _ = silence.tick() => return Err(Error::Silent.into()),
                _ = probe.tick() => {
                    watch.request_progress().await?;
                    continue;
                }
            };
            self.relisted = false;
            if let Message::Events(events) = message {
                let (events, end) = gather(&mut watch, events);
                self.apply(events).await?;
                end?;
            }
            // Only now: time spent waiting for the hub is not etcd's silence.
            silence.reset();
        }
    }

    /// Takes the whole prefix in, and delivers it as one complete change.
    async fn list(&mut self) -> Result<Position, Break> {
        let mut pages = self.etcd.list(&self.prefix).await?;
        self.recognise(pages.origin())?;
        let mut keys = 0;
        let mut relisting = self.state.relist();
        // Decoded page by page: the values of a whole prefix are never held together.
        while let Some(page) = pages.next().await? {
            keys += page.len();
            for some in page.chunks(DECODED_AT_ONCE) {
                for kv in some {
                    relisting.put(&self.state, kv);
                }
                tokio::task::yield_now().await;
            }
        }
        let change = relisting.finish(&mut self.state);
        let revision = pages.revision();
        info!(source = %self.source, endpoint = self.etcd.endpoint(), revision, keys, "listed etcd");
        self.sink.change(change).await?;
        let position = Position {
            revision,
            raft_term: pages.origin().raft_term,
        };
        self.position = Some(position);
        Ok(position)
    }

    async fn apply(&mut self, events: Vec<Event>) -> Result<(), HubGone> {
        let last = events.iter().map(Event::mod_revision).max();
        let change = self.state.apply(events);
        if !change.services.is_empty() || change.stray.is_some() {
            self.sink.change(change).await?;
        }
        if let (Some(position), Some(last)) = (&mut self.position, last) {
            position.revision = position.revision.max(last);
        }
        Ok(())
    }

    /// Refuses an endpoint of another cluster, until each endpoint shows one: then ours was rebuilt.
    fn recognise(&mut self, origin: Origin) -> Result<(), Break> {
        let seen = origin.cluster_id;
        match self.cluster {
            Some(known) if known != seen => {
                self.strangers.insert(self.etcd.endpoint().to_owned());
                if self.strangers.len() < self.etcd.endpoints() {
                    return Err(Break::OtherCluster { seen, known });
                }
                warn!(source = %self.source, endpoint = self.etcd.endpoint(), "the etcd cluster was rebuilt");
                self.position = None;
            }
            _ => {}
        }
        self.cluster = Some(seen);
        self.strangers.clear();
        Ok(())
    }
}

/// Takes what is queued already, so that a burst becomes one change. An error waits until that is applied.
fn gather(watch: &mut Watch, mut events: Vec<Event>) -> (Vec<Event>, Result<(), Error>) {
    let weight = |events: &[Event]| -> usize { events.iter().map(Event::weight).sum() };
    let mut bytes = weight(&events);
    while events.len() < MAX_GATHERED && bytes < MAX_GATHERED_BYTES {
        match watch.next().now_or_never() {
            Some(Ok(Message::Events(more))) => {
                bytes += weight(&more);
                events.extend(more);
            }
            Some(Ok(Message::Alive)) => {}
            Some(Err(error)) => return (events, Err(error)),
            None => break,
        }
    }
    (events, Ok(()))
}

/// The error with its causes, on one line.
fn explain(end: &Break) -> String {
    let mut text = end.to_string();
    let mut cause = end.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
