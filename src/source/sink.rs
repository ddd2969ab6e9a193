//! The way of a source to the hub.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::model::change::What;
use crate::model::{Change, Event, Measured, Status};

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

    /// Connects the channel by which the hub requests verification.
    #[must_use]
    pub fn asked_by(mut self, asked: watch::Receiver<u64>) -> Self {
        self.asked = asked;
        self
    }

    /// The number of the newest verification request. To answer it, the source reads its whole registry again (in
    /// the way that is right even after a restart), sends every difference, and then calls [`Self::verified`].
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<u64> {
        self.asked.clone()
    }

    /// Answers verification request `nth`: since then the source has read its whole registry again and sent every
    /// difference.
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

    /// Delivers facts; waits until the hub takes them. Each change of a large service holds all its instances: a
    /// source that went on meanwhile would fill the memory with those that wait.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn change(&self, change: Change) -> Result<(), HubGone> {
        self.send(What::Change(change)).await?;
        self.hub.reserve().await.map(drop).map_err(|_| HubGone)
    }

    /// Delivers a change of the source's own condition.
    ///
    /// # Errors
    /// [`HubGone`] when the program ends.
    pub async fn status(&self, status: Status) -> Result<(), HubGone> {
        self.send(What::Status(status)).await
    }

    /// Delivers what the operator should know about a source that works; `None` clears it.
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_source_waits_until_its_change_is_taken() {
        let (hub, mut inbox) = mpsc::channel(1);
        let sink = Sink::new("s".into(), hub);
        let mut sent = Box::pin(sink.change(Change::default()));
        assert!(sent.as_mut().now_or_never().is_none(), "nobody has taken it");
        assert!(inbox.recv().await.is_some());
        sent.await.unwrap();
        drop(inbox);
        assert!(sink.change(Change::default()).await.is_err());
    }
}
