//! What all tasks of one Consul source share: how much the agent can take, how far it is trusted, what was
//! found last, and the way to the supervisor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::capacity::Capacity;
use super::news::{Fact, News};
use super::timing::Timing;
use super::trust::Trust;
use super::trust::last_found::LastFound;
use crate::config::ConsulSelection;
use crate::registry::consul::Client;

/// Reads per second, at most, of services that are hidden from the token.
const HIDDEN_READS: u32 = 20;

#[derive(Debug)]
pub(crate) struct Context {
    /// The part of the catalog that is served.
    pub(crate) selection: Arc<ConsulSelection>,
    pub(crate) timing: Timing,
    pub(crate) capacity: Arc<Capacity>,
    pub(crate) trust: Trust,
    pub(crate) last_found: LastFound,
    /// Counts the movements of those indexes without which no swept service can change.
    movements: watch::Sender<u64>,
    /// Services of which something is hidden from the token.
    hidden_services: AtomicU32,
    news: mpsc::Sender<News>,
}

impl Context {
    pub(crate) fn new(
        client: Client,
        selection: ConsulSelection,
        timing: &Timing,
        max_watches: usize,
        news: mpsc::Sender<News>,
    ) -> Self {
        let selection = Arc::new(selection);
        let capacity = Arc::new(Capacity::new(client, timing, max_watches));
        Self {
            trust: Trust::new(capacity.clone(), selection.clone(), timing),
            capacity,
            selection,
            timing: *timing,
            last_found: LastFound::default(),
            movements: watch::Sender::new(0),
            hidden_services: AtomicU32::new(0),
            news,
        }
    }

    /// The pause before something that is hidden from the token is read again: a change of rights moves no index.
    pub(crate) fn hidden_pause(&self) -> Duration {
        let services = self.hidden_services.load(Ordering::Relaxed);
        self.timing
            .sweep
            .max(Duration::from_secs(1) / HIDDEN_READS * services)
    }

    pub(crate) fn set_hidden_services(&self, services: u32) {
        self.hidden_services.store(services, Ordering::Relaxed);
    }

    /// Something changed, whatever it was: sweeps have something to do.
    pub(crate) fn report_movement(&self) {
        self.movements.send_modify(|n| *n += 1);
    }

    /// Changes with each movement.
    pub(crate) fn movements(&self) -> watch::Receiver<u64> {
        self.movements.subscribe()
    }

    /// Sends to the supervisor. When that is gone the source ends anyway.
    pub(crate) async fn send(&self, news: News) {
        let names = matches!(news.fact, Fact::Names(_));
        let _ = self.news.send(news).await;
        if names {
            // Until it is taken: a list of a hundred thousand names, which may be another one at each answer, must not
            // wait a thousand times.
            drop(self.news.reserve_many(self.news.max_capacity()).await);
        }
    }
}
