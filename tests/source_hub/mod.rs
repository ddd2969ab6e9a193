//! A hub that remembers what a source told it. Waits for states, never sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(dead_code, reason = "each kind of source is asked something else")]

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::catalog::Catalog;
use xds_bridge::model::change::What;
use xds_bridge::model::{Change, Event, Measured, Status};
use xds_bridge::source::{Sink, Source};

const DEADLINE: Duration = Duration::from_secs(60);

/// Holds what a source delivered, as the real hub would.
pub struct Hub {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    pub changes: Vec<Change>,
    pub statuses: Vec<Status>,
    pub note: Option<String>,
    pub measured: Vec<Measured>,
    /// By which the source is asked to verify, and how often it did.
    pub ask: watch::Sender<u64>,
    pub verified: u64,
    _stop: DropGuard,
}

impl Hub {
    /// The hub of this source, which begins its work.
    pub fn hearing(source: impl Source) -> Self {
        let (hub, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let ask = watch::Sender::new(0);
        let sink = Sink::new("c".into(), hub).asked_by(ask.subscribe());
        tokio::spawn(Box::new(source).run(sink, stop.clone()));
        let (changes, statuses) = (Vec::new(), Vec::new());
        Self {
            events,
            catalog: Catalog::new([("c".into(), None)]),
            changes,
            statuses,
            note: None,
            measured: Vec::new(),
            ask,
            verified: 0,
            _stop: stop.drop_guard(),
        }
    }

    /// Waits until what was delivered is as wanted.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let seen = tokio::time::timeout(DEADLINE, self.listen(wanted)).await.is_ok();
        assert!(seen, "not within {DEADLINE:?}: {what}; {self:?}");
    }

    async fn listen(&mut self, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let event = self.events.recv().await.expect("the source ended");
            match &event.what {
                What::Change(change) => self.changes.push(change.clone()),
                What::Status(status) => self.statuses.push(status.clone()),
                What::Note(note) => self.note.clone_from(note),
                What::Measured(measured) => self.measured.push(*measured),
                What::Verified(nth) => self.verified = *nth,
            }
            self.catalog.apply(event, Duration::ZERO);
        }
    }

    pub async fn until_ports(&mut self, name: &str, ports: &[u16]) {
        self.until(&format!("{name} {ports:?}"), |hub| {
            hub.ports(name).as_deref() == Some(ports)
        })
        .await;
    }

    pub async fn until_away(&mut self, word: &str) {
        let away = |s: Option<&Status>| matches!(s, Some(Status::Away { reason }) if reason.contains(word));
        self.until(&format!("away: {word}"), |hub| away(hub.statuses.last()))
            .await;
    }

    pub async fn until_live(&mut self) {
        self.until("live", |hub| hub.statuses.last() == Some(&Status::Live))
            .await;
    }

    /// The ports of a service; `None`: there is no such service.
    pub fn ports(&self, name: &str) -> Option<Vec<u16>> {
        let service = self.catalog.service(&name.into())?;
        Some(service.instances.iter().map(|i| i.address.port()).collect())
    }

    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Forgets what happened so far.
    pub fn forget(&mut self) {
        self.changes.clear();
        self.statuses.clear();
    }

    /// The services that changes since the last `forget` named, with how many instances they left.
    pub fn named(&self) -> Vec<(String, Option<usize>)> {
        let all = self.changes.iter().flat_map(|c| &c.services);
        all.map(|(name, record)| (name.to_string(), record.as_ref().map(|r| r.instances.len())))
            .collect()
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "statuses {:?}, changes {:?}", self.statuses, self.named())
    }
}
