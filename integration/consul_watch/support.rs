//! The Consul source by itself, and a catalog that remembers what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::catalog::Catalog;
use xds_bridge::config::{ConsulSelection, ConsulSource};
use xds_bridge::model::change::What;
use xds_bridge::model::{Event, Measured, Service, ServiceRecord, Status};
use xds_bridge::source::consul::{ConsulWatcher, health};
use xds_bridge::source::{Sink, Source as _};

use crate::support::consul::Consul;

const PATIENCE: Duration = Duration::from_secs(60);

/// What the hub would know.
pub(super) struct Watched {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    pub(super) status: Status,
    pub(super) statuses: Vec<Status>,
    pub(super) note: Option<String>,
    pub(super) swept: usize,
    pub(super) missed: u64,
    /// How often each service changed.
    pub(super) changed: BTreeMap<String, usize>,
    _stop: DropGuard,
}

impl Watched {
    pub(super) fn start(consul: &Consul) -> Self {
        Self::of(&ConsulSource::new(consul.url()))
    }

    pub(super) fn of(config: &ConsulSource) -> Self {
        let (hub, events) = mpsc::channel(64);
        let stop = CancellationToken::new();
        tokio::spawn(Box::new(ConsulWatcher::new(config)).run(Sink::new("c".into(), hub), stop.clone()));
        Self {
            events,
            catalog: Catalog::new([("c".into(), None)]),
            status: Status::Connecting,
            statuses: Vec::new(),
            note: None,
            swept: 0,
            missed: 0,
            changed: BTreeMap::new(),
            _stop: stop.drop_guard(),
        }
    }

    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let outcome = tokio::time::timeout(PATIENCE, self.listen(wanted)).await;
        assert!(
            outcome.is_ok(),
            "not in time: {what} ({:?}, {:?})",
            self.statuses,
            self.changed
        );
    }

    async fn listen(&mut self, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let event = self.events.recv().await.expect("the source ended");
            match &event.what {
                What::Status(status) => {
                    self.status = status.clone();
                    self.statuses.push(status.clone());
                }
                What::Change(change) => {
                    for (name, _) in &change.services {
                        *self.changed.entry(name.to_string()).or_default() += 1;
                    }
                }
                What::Verified(_) | What::Measured(Measured::Cut(_)) => {}
                What::Note(note) => self.note.clone_from(note),
                What::Measured(Measured::Swept(n)) => self.swept = *n,
                What::Measured(Measured::Missed(n)) => self.missed += n,
            }
            self.catalog.apply(event, Duration::ZERO);
        }
    }

    pub(super) fn service(&self, name: &str) -> Option<Service> {
        self.catalog.service(&name.into())
    }

    pub(super) fn instances(&self, name: &str) -> usize {
        self.service(name).map_or(0, |service| service.instances.len())
    }

    pub(super) fn ports(&self, name: &str) -> Vec<u16> {
        let service = self.service(name);
        service.map_or(Vec::new(), |s| {
            s.instances.iter().map(|i| i.address.port()).collect()
        })
    }

    fn records(&self) -> BTreeMap<Arc<str>, ServiceRecord> {
        let state = self.catalog.source("c").expect("the source");
        let all = state.snapshot().into_iter();
        all.map(|(name, record)| (name, (*record).clone())).collect()
    }

    /// What is held is what a consistent read says.
    pub(super) async fn assert_as(&self, consul: &Consul) {
        assert_eq!(self.records(), health_of(consul).await);
    }

    /// It becomes so.
    pub(super) async fn settles_as(&mut self, consul: &Consul, within: Duration) {
        let wanted = health_of(consul).await;
        let settling = self.listen(|hub| hub.records() == wanted);
        let settled = tokio::time::timeout(within, settling).await.is_ok();
        assert!(settled, "{:?}\n{wanted:?}", self.records());
    }
}

/// All services but Consul's own, each read consistently.
pub(super) async fn health_of(consul: &Consul) -> BTreeMap<Arc<str>, ServiceRecord> {
    let names = consul.get("/v1/catalog/services?consistent").await;
    let mut all = BTreeMap::new();
    for name in names
        .as_object()
        .expect("names")
        .keys()
        .filter(|name| *name != "consul")
    {
        let body = consul.get(&format!("/v1/health/service/{name}?consistent")).await;
        let body = body.to_string();
        let found = health(name, body.as_bytes(), &ConsulSelection::default()).expect("its health");
        let record = Arc::unwrap_or_clone(found.record.expect("a service"));
        all.insert(name.as_str().into(), record);
    }
    all
}

/// A connection of somebody else on this host. Nothing is asked on it, so that it ends when it is dropped.
pub(super) async fn hold(consul: &Consul) -> TcpStream {
    TcpStream::connect(consul.address()).await.expect("a connection")
}
