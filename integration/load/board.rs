//! What the streams have received, written by each stream, read by the measurement.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::decode::Seen;
use crate::numbers::now;
use crate::requests::Held;

/// Nothing takes longer on any machine that a measurement makes sense on.
const PATIENCE: Duration = Duration::from_secs(60);

/// One stream.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Answers, and resources in them, by type.
    pub(crate) clusters: Count,
    pub(crate) endpoints: Count,
    /// When the last answer about endpoints was there in full, in nanoseconds of the board.
    at: AtomicU64,
}

/// Answers of one type.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) answers: AtomicU32,
    pub(crate) resources: AtomicU32,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Board {
    began: Instant,
    pub(crate) slots: Vec<Slot>,
    pub(crate) bytes: AtomicU64,
    /// When anything was received last.
    last: AtomicU64,
    /// What the first stream holds: clusters, endpoints.
    pub(crate) held: Mutex<(Held, Held)>,
}

impl Count {
    fn note(&self, seen: &Seen) {
        self.answers.fetch_add(1, Relaxed);
        self.resources.fetch_add(seen.resources, Relaxed);
    }
}

impl Slot {
    pub(crate) fn endpoints(&self) -> u32 {
        self.endpoints.resources.load(Relaxed)
    }
}

impl Board {
    pub(crate) fn new(streams: usize) -> Self {
        Self {
            began: now(),
            slots: (0..streams).map(|_| Slot::default()).collect(),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from((at - self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// A piece arrived.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.last.store(self.nanos(now()), Relaxed);
    }

    /// A response about clusters (`true`) or endpoints was there in full.
    pub(crate) fn note(&self, stream: usize, clusters: bool, seen: Seen) {
        let slot = &self.slots[stream];
        if clusters {
            slot.clusters.note(&seen);
        } else {
            slot.at.store(self.nanos(now()), Relaxed);
            slot.endpoints.note(&seen);
        }
        if !seen.held.is_empty() {
            let mut held = self.held.lock().expect("a lock that nobody poisons");
            let held = if clusters { &mut held.0 } else { &mut held.1 };
            held.extend(seen.held);
        }
    }

    /// When this stream's last answer about endpoints was there.
    pub(crate) fn at(&self, stream: usize) -> Instant {
        self.began + Duration::from_nanos(self.slots[stream].at.load(Relaxed))
    }

    /// When anything was received last.
    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_nanos(self.last.load(Relaxed))
    }

    /// Waits until `done` holds for each of these streams.
    pub(crate) async fn until(&self, what: &str, streams: &[usize], done: impl Fn(usize, &Slot) -> bool) {
        let began = now();
        let mut open = streams.to_vec();
        loop {
            open.retain(|stream| !done(*stream, &self.slots[*stream]));
            if open.is_empty() {
                return;
            }
            let some = open.len();
            assert!(
                now() - began < PATIENCE,
                "{what}: {some} of {} not",
                streams.len()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
