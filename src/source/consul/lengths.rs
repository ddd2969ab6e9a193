//! How long the blocking reads of one source last: what is asked for, and what the ends that are seen mean. The
//! judgements are those of `waits` (reads that Consul ends early) and `cuts` (reads that something on the way ends);
//! what both take for the same length stands here. The shell of the two: locks and the clock, no I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cuts::Cuts;
use super::waits::Waits;

/// Lengths that differ by less have the same cause; Consul adds up to 1/16 to a wait.
const SAME: Duration = Duration::from_secs(1);
const SHARE: u32 = 10;

/// By how much lengths may differ from this one and count as the same.
pub(super) fn about(length: Duration) -> Duration {
    SAME.max(length / SHARE)
}

/// Whether two reads ended for the same reason, as far as their lengths show it.
pub(super) fn alike(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= about(one.min(other))
}

#[derive(Debug)]
pub(super) struct Lengths {
    waits: Mutex<Waits>,
    cuts: Mutex<Cuts>,
    /// What the times of [`Cuts`] count from.
    began: Instant,
}

impl Lengths {
    /// `wait`: what is asked for until a limit is known; `relearn`: so often the limit is looked for again.
    pub(super) fn new(wait: Duration, relearn: Duration) -> Self {
        Self {
            waits: Mutex::default(),
            cuts: Mutex::new(Cuts::new(wait, relearn)),
            began: now(),
        }
    }

    /// How long the blocking read may block that begins now.
    pub(super) fn wait(&self) -> Duration {
        let since = now().saturating_duration_since(self.began);
        self.cuts().begin(since)
    }

    /// A read was answered after this time. True: the limit that was known is none any more.
    pub(super) fn answered(&self, wait: Duration, lasted: Duration) -> bool {
        let since = now().saturating_duration_since(self.began);
        self.cuts().answered(since, wait, lasted)
    }

    /// A read that began then was ended on the way. The new wait, when that shows a new limit.
    pub(super) fn cut(&self, wait: Duration, begun: Instant, lasted: Duration) -> Option<Duration> {
        let begun = begun.saturating_duration_since(self.began);
        self.cuts().cut(begun, wait, lasted)
    }

    /// A read ended without a change. True: before its time, and not as others did.
    pub(super) fn ended(&self, wait: Duration, time: Duration) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.ended(wait, time)
    }

    /// Reads that were ended on the way since this was asked last.
    pub(super) fn take_cuts(&self) -> u64 {
        self.cuts().take_count()
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long I/O took, in the shell")]
fn now() -> Instant {
    Instant::now()
}
