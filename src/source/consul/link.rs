//! What all tasks of one Consul source share: the client, the circuit, the limits on
//! reads, the times, and the way to the keeper.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::circuit::Circuit;
use super::document::Documents;
use super::known::Known;
use super::parse::{Found, Names};
use crate::config::ConsulSelection;
use crate::registry::consul::{Answer, Client, Error, Mode, Query, Right};

/// Reads at once that do not block, over all tasks. Over HTTP/1.1 each needs a connection, and hyper
/// may open a second one for it while it waits for an idle one. Agents allow 200 connections of one
/// client: 150 watches, of which so many are not blocked yet, these twice, and a few idle ones.
const READS: usize = 32;
/// Of them, reads beside the watches, when all of these are blocked.
pub(super) const ASIDES: usize = 16;

/// How long things take. The default is right for real agents; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a blocking read may block.
    pub wait: Duration,
    /// How much longer than Consul may take an answer is waited for.
    pub slack: Duration,
    /// The least pause between two tries of the gate (the jitter adds up to as much again).
    pub backoff_min: Duration,
    /// The longest such pause, without the jitter.
    pub backoff_max: Duration,
    /// So long without trouble, and the pauses start at the least again.
    pub calm: Duration,
    /// A pause after a blocking read that brought nothing: nothing in between must spin.
    pub pace: Duration,
    /// The least time from one sweep to the next.
    pub sweep: Duration,
    /// From one look at the files of token and TLS to the next.
    pub look: Duration,
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
        }
    }
}

impl Timing {
    /// Pauses of 125–250 ms, doubling to 15–30 s, for ever.
    pub(super) fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// The next pause; the sequence never ends, so the fallback is never taken.
    pub(super) fn next(&self, delays: &mut ExponentialBackoff) -> Duration {
        delays.next().unwrap_or(self.backoff_max)
    }
}

/// Something read, believed when its epoch still holds.
#[derive(Debug)]
pub(super) struct News {
    pub(super) epoch: u64,
    pub(super) index: u64,
    pub(super) fact: Fact,
}

#[derive(Debug)]
pub(super) enum Fact {
    Names(Names),
    /// `Err`: the agent is well, but this answer cannot be read.
    Service {
        name: Arc<str>,
        found: Result<Found, String>,
    },
    /// `None`: they cannot be read; those known stay.
    Documents(Option<Documents>),
}

#[derive(Debug)]
pub(super) struct Link {
    /// The source's name, for logs.
    pub(super) source: Arc<str>,
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
    reads: Semaphore,
    news: mpsc::Sender<News>,
}

impl Link {
    pub(super) fn new(
        source: Arc<str>,
        client: Client,
        selection: ConsulSelection,
        timing: Timing,
        news: mpsc::Sender<News>,
    ) -> Self {
        let (asides, reads) = (Semaphore::new(ASIDES), Semaphore::new(READS));
        Self {
            source,
            client,
            selection: Arc::new(selection),
            circuit: Circuit::new(),
            verify: Notify::new(),
            known: Arc::default(),
            timing,
            asides,
            reads,
            news,
        }
    }

    /// One read; one that does not block waits for its turn.
    pub(super) async fn read(&self, client: &Client, query: &Query, mode: Mode) -> Result<Answer, Error> {
        // The semaphore is never closed: without a permit the read would only be early.
        let _permit = match mode {
            Mode::Blocking { .. } => None,
            Mode::Plain | Mode::Consistent => self.reads.acquire().await.ok(),
        };
        let result = client.read(query, mode).await;
        match (&result, mode) {
            // A connection that ends without a byte may be the agent's limit, or an idle one that was just
            // closed. Asked again in the way that is right even if the agent is another one by now.
            (Err(error), Mode::Plain | Mode::Consistent) if error.is_unsent() => {
                tokio::time::sleep(self.timing.pace).await;
                client.read(query, Mode::Consistent).await
            }
            _ => result,
        }
    }

    /// The first of these that the token does not give.
    pub(super) async fn lacks(&self, rights: &[Right]) -> Result<Option<Right>, Error> {
        let _permit = self.reads.acquire().await.ok();
        self.client.lacks(rights).await
    }

    /// Opens the circuit, with a word in the log when it was closed.
    pub(super) fn suspect(&self, epoch: u64, reason: &str) {
        if self.circuit.trip(epoch, reason.to_owned()) {
            tracing::warn!(source = %self.source, reason, "consul is not to be trusted now; everything stays as it is");
        }
    }

    /// Tells the keeper. When the keeper is gone the source ends anyway.
    pub(super) async fn tell(&self, epoch: u64, index: u64, fact: Fact) {
        let _ = self.news.send(News { epoch, index, fact }).await;
    }
}
