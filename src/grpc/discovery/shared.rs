//! What all discovery streams of the port share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::admission::Admission;
use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::grpc::Demands;
use crate::metrics::{ByType, Metrics};

/// What all streams of the port share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) fanout: Arc<Fanout>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) floods: Arc<Floods>,
    pub(super) options: Demands,
    pub(super) admission: Admission,
    pub(super) removed: Removed,
}

impl Shared {
    /// Counts how long changes took until the last client had acknowledged them.
    pub(super) fn observe_acknowledged(&self) {
        for (kind, time) in self.fanout.acknowledged() {
            let by_type = ByType { r#type: kind.short() };
            let histogram = self.metrics.registry_to_ack.get_or_create(&by_type);
            histogram.observe(time.as_secs_f64());
        }
    }
}

/// Listeners that were removed from Envoys, by fleet: what was logged already.
#[derive(Debug, Default)]
pub(super) struct Removed(Mutex<BTreeSet<(String, String)>>);

impl Removed {
    /// No more are remembered, nor logged: the names are the clients' own.
    const MOST: usize = 100;

    /// Whether this is to be logged.
    pub(super) fn first(&self, fleet: &str, listener: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < Self::MOST && known.insert((fleet.to_owned(), listener.to_owned()))
    }
}
