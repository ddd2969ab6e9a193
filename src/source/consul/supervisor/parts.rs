//! What the supervisor remembers of each of its jobs: watches, the audit, hidden services, reports to the hub.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::model::Status;
use crate::source::consul::watch::audit::{Audit, Thing};

/// The watch of one service.
pub(super) struct Watch {
    /// Checked between reads.
    pub(super) wanted: Arc<AtomicBool>,
    /// Its connection.
    pub(super) slot: usize,
}

impl Watch {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    pub(super) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Release);
    }
}

/// The rolling audit.
#[derive(Debug, Default)]
pub(super) struct Audits {
    pub(super) audit: Audit,
    pub(super) under_way: usize,
    /// When the next read is due.
    pub(super) due: Duration,
    /// Changes that watches have missed, not yet reported.
    pub(super) missed: u64,
}

impl Audits {
    /// A watch sent something.
    pub(super) fn watch_sent(&mut self, thing: &Thing, index: u64) {
        self.audit.watch_sent(thing, index);
    }

    /// Another epoch has begun.
    pub(super) fn clear(&mut self) {
        self.audit.clear();
    }

    /// A read has ended.
    pub(super) const fn ended(&mut self) {
        self.under_way -= 1;
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Duration {
        self.audit.due().map_or(self.due, |due| due.min(self.due))
    }

    pub(super) const fn take_missed(&mut self) -> u64 {
        std::mem::replace(&mut self.missed, 0)
    }
}

/// The round of the services that are hidden from the token: the one read last, and when the next read is due.
#[derive(Debug, Default)]
pub(super) struct HiddenReads(pub(super) Option<(Option<Arc<str>>, Duration)>);

impl HiddenReads {
    pub(super) fn due(&self) -> Option<Duration> {
        self.0.as_ref().map(|(_, due)| *due)
    }
}

/// What was reported last.
pub(super) struct Reported {
    pub(super) status: Status,
    pub(super) note: Option<String>,
    pub(super) swept: usize,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            status: Status::Connecting,
            note: None,
            swept: 0,
        }
    }
}
