//! A hub that remembers what a Consul source told it. Never answers a request, and never sleeps.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::config::ConsulSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Catalog, Change, Event, Measured, Status};
use xds_bridge::source::consul::{ConsulWatcher, Timing};
use xds_bridge::source::{Sink, Source as _};

use super::{DEADLINE, Fake};

/// Short times; audits only where a test asks for them.
pub fn timing() -> Timing {
    Timing {
        slack: Duration::from_millis(1500),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(20),
        pace: Duration::from_millis(1),
        sweep: Duration::from_millis(20),
        look: Duration::from_millis(10),
        settle: Duration::from_millis(100),
        audit_pace: (Duration::from_secs(3600), Duration::from_secs(3600)),
        ..Timing::default()
    }
}

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
    pub fn watch(address: &str, token_file: Option<std::path::PathBuf>) -> Self {
        Self::of(&ConsulSource {
            token_file,
            ..ConsulSource::new(address.to_owned())
        })
    }

    /// With a whole configuration.
    pub fn of(config: &ConsulSource) -> Self {
        Self::with(config, timing())
    }

    pub fn with(config: &ConsulSource, timing: Timing) -> Self {
        let (hub, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let watcher = Box::new(ConsulWatcher::new(config).with_timing(timing));
        let ask = watch::Sender::new(0);
        let sink = Sink::new("c".into(), hub).asked_by(ask.subscribe());
        tokio::spawn(watcher.run(sink, stop.clone()));
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

    /// Waits until so many reads block and nothing else is asked.
    pub async fn until_quiet(&mut self, fake: &Fake, blocked: usize) {
        let mut asked = fake.asked.subscribe();
        let wait = async {
            while fake.blocked() < blocked || fake.reads.load(Ordering::SeqCst) > 0 {
                asked.changed().await.unwrap();
            }
        };
        let quiet = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        assert!(quiet, "{} reads block, not {blocked}", fake.blocked());
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
