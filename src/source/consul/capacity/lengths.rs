//! How long the blocking reads of one source last: how long to wait, and what the ends that are seen mean. The
//! judgements are those of `waits` (reads that Consul ends early) and `cuts` (reads that something on the way cuts
//! off); what both consider the same length is in `alike`. The shell of the two: locks and the clock, no I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cuts::Cuts;
use super::waits::Waits;
use crate::source::consul::timing::Clock;

#[derive(Debug)]
pub(crate) struct Lengths {
    waits: Mutex<Waits>,
    cuts: Mutex<Cuts>,
    /// Of the times of [`Cuts`].
    clock: Clock,
}

impl Lengths {
    /// `wait`: how long to wait until a limit is known; `relearn`: the time between two tests of a known limit.
    pub(crate) fn new(wait: Duration, relearn: Duration) -> Self {
        Self {
            waits: Mutex::default(),
            cuts: Mutex::new(Cuts::new(wait, relearn)),
            clock: Clock::start(),
        }
    }

    /// How long a blocking read that begins now may block.
    pub(crate) fn wait(&self) -> Duration {
        self.cuts().begin(self.clock.now())
    }

    /// A read was answered after this time. True: the limit that was known no longer applies.
    pub(crate) fn answered(&self, wait: Duration, lasted: Duration) -> bool {
        self.cuts().answered(self.clock.now(), wait, lasted)
    }

    /// A read that began then was cut off on the way. The new wait, when that shows a new limit.
    pub(crate) fn cut(&self, wait: Duration, begun: Instant, lasted: Duration) -> Option<Duration> {
        let begun = self.clock.since_start(begun);
        self.cuts().cut(begun, wait, lasted)
    }

    /// A read ended without a change. True: before its time, and not as others did.
    pub(crate) fn ended(&self, wait: Duration, time: Duration) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.ended(wait, time)
    }

    /// Reads that were cut off on the way since this was called last.
    pub(crate) fn take_cuts(&self) -> u64 {
        self.cuts().take_count()
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
