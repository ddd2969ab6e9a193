//! Where facts come from. A source watches one registry, parses each answer
//! purely into a [`Change`], and hands it to the hub in one place: its [`Sink`].
//!
//! A source never empties the catalog because it cannot reach its registry:
//! it says [`Status::Away`] and keeps trying.

pub mod consul;
mod entry;
pub mod etcd;
pub mod file;
mod newest;
mod place;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use crate::registry::budget::{Budget, Known};

use crate::model::change::What;
use crate::model::{Change, Event, Measured, Status};

/// One watched registry.
pub trait Source: Send + 'static {
    /// Watches until `stop`, delivering into `sink`. Never returns before `stop`
    /// (or a closed sink): errors are retried inside, with backoff.
    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// The way to the hub. Bounded: a source that is faster than the hub waits.
#[derive(Clone, Debug)]
pub struct Sink {
    source: Arc<str>,
    hub: mpsc::Sender<Event>,
    asked: watch::Receiver<u64>,
}

/// The hub is gone: stop.
#[derive(Debug, thiserror::Error)]
#[error("the hub has stopped")]
pub struct HubGone;

impl Sink {
    /// The sink of the source with this name in `bridge.toml`.
    #[must_use]
    pub fn new(source: Arc<str>, hub: mpsc::Sender<Event>) -> Self {
        let asked = watch::channel(0).1;
        Self { source, hub, asked }
    }

    /// With the way by which the hub asks the source to verify what it holds.
    #[must_use]
    pub fn asked_by(mut self, asked: watch::Receiver<u64>) -> Self {
        self.asked = asked;
        self
    }

    /// How often the hub has asked the source to verify what it holds: to ask its registry for all of it
    /// anew, in the way that is right even after a restart, to tell what differs, and then [`Self::verified`].
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.clone()
    }

    /// All was asked for anew since the hub asked for that for the `nth` time; what differed was told.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn verified(&self, nth: u64) -> Result<(), HubGone> {
        self.send(What::Verified(nth)).await
    }

    /// The source's name.
    #[must_use]
    pub const fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Delivers facts; waits while the hub is busy.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn change(&self, change: Change) -> Result<(), HubGone> {
        self.send(What::Change(change)).await
    }

    /// Delivers a change of the source's own condition.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn status(&self, status: Status) -> Result<(), HubGone> {
        self.send(What::Status(status)).await
    }

    /// Delivers what the operator should know of a source that works; `None`: nothing any more.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn note(&self, note: Option<String>) -> Result<(), HubGone> {
        self.send(What::Note(note)).await
    }

    /// Delivers a number for the metrics.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn measured(&self, measured: Measured) -> Result<(), HubGone> {
        self.send(What::Measured(measured)).await
    }

    async fn send(&self, what: What) -> Result<(), HubGone> {
        self.hub
            .send(Event {
                source: self.source.clone(),
                what,
            })
            .await
            .map_err(|_| HubGone)
    }
}
