//! What all streams of access logs share, and the places of those that are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::floods::Floods;
use crate::grpc::Options;
use crate::grpc::turns::Turns;
use crate::intake::Loads;
use crate::metrics::Metrics;

/// Each thread of an Envoy that has something to log does so on a connection of its own: together they take no more than
/// this part of all connections.
const PART: usize = 4;

/// What all streams of access logs share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) loads: Arc<Loads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) floods: Arc<Floods>,
    pub(super) options: Options,
    pub(super) turns: Turns,
    /// Streams that are open.
    pub(super) open: AtomicUsize,
}

impl Shared {
    /// Maximum of streams.
    pub(super) fn most(&self) -> usize {
        (self.options.max_connections / PART).max(1)
    }
}

/// One of the streams that may be open.
#[derive(Debug)]
pub(super) struct Place(Arc<Shared>);

impl Place {
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(shared.clone());
        shared.metrics.log_streams.inc();
        let before = shared.open.fetch_add(1, Ordering::Relaxed);
        (before < shared.most()).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.log_streams.dec();
    }
}
