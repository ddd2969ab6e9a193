//! What all streams of load reports share, and the places of those that are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::grpc::Options;
use crate::grpc::turns::Turns;
use crate::intake::Loads;
use crate::metrics::Metrics;

/// What all streams of load reports share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) loads: Arc<Loads>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) floods: Arc<Floods>,
    pub(super) options: Options,
    pub(super) turns: Turns,
    /// Streams that are open.
    pub(super) open: AtomicUsize,
}

/// One of the streams that may be open.
#[derive(Debug)]
pub(super) struct Place(Arc<Shared>);

impl Place {
    /// A client needs one stream, so there are as many as connections.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(shared.clone());
        shared.metrics.load_streams.inc();
        let before = shared.open.fetch_add(1, Ordering::Relaxed);
        (before < shared.options.max_connections).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.load_streams.dec();
    }
}
