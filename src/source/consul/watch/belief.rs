//! What one reader has confirmed of its subject, and in which epoch. Pure, but for the parked read that it carries.

use futures::future::BoxFuture;

use super::stream::Stream;
use crate::registry::consul::{Answer, Error};
use crate::source::consul::capacity::Rank;
use crate::source::consul::news::Audited;

/// What was confirmed, and when.
pub(crate) struct Belief {
    /// Epoch and index; `None`: to be confirmed.
    confirmed: Option<(u64, u64)>,
    pub(super) stream: Stream,
    /// A blocking read of an epoch that is over.
    pub(super) parked: Option<Parked>,
    /// Set when the audit reads.
    pub(super) audit: Option<Audited>,
    /// The rank of the next read that confirms it.
    pub(super) rank: Rank,
}

/// A blocking read that nobody waits for at the moment.
pub(super) struct Parked {
    /// The index that it waits to pass.
    pub(super) index: u64,
    /// The agent may answer it from its own copy.
    pub(super) streamed: bool,
    pub(super) read: Blocked,
}

/// A blocking read under way.
pub(super) type Blocked = BoxFuture<'static, Result<Answer, Error>>;

impl Belief {
    fn ranked(rank: Rank) -> Self {
        Self {
            confirmed: None,
            stream: Stream::default(),
            parked: None,
            audit: None,
            rank,
        }
    }

    /// Of a watch.
    pub(super) fn watched() -> Self {
        Self::ranked(Rank::Start)
    }

    /// Of a read beside the watch.
    pub(crate) fn of_audit(audit: Option<Audited>) -> Self {
        let rank = if audit.is_some() {
            Rank::Round
        } else {
            Rank::Change
        };
        Self {
            audit,
            ..Self::ranked(rank)
        }
    }

    /// Of a swept service.
    pub(super) fn swept() -> Self {
        Self::ranked(Rank::Round)
    }

    /// Takes out the index that was confirmed in this epoch; `None`: to be confirmed. A step puts it back only when
    /// all went well.
    pub(super) fn take(&mut self, epoch: u64) -> Option<u64> {
        self.confirmed
            .take()
            .filter(|(e, _)| *e == epoch)
            .map(|(_, index)| index)
    }

    /// Whether something of this epoch was confirmed.
    pub(super) fn holds(&self, epoch: u64) -> bool {
        self.confirmed.is_some_and(|(e, _)| e == epoch)
    }

    pub(super) const fn hold(&mut self, epoch: u64, index: u64) {
        self.confirmed = Some((epoch, index));
        if matches!(self.rank, Rank::Change) && self.audit.is_none() {
            self.rank = Rank::Start; // for the next epoch
        }
    }

    /// A change is to be confirmed: that goes before the confirmations of a start.
    pub(super) fn prefer(&mut self) {
        if self.rank == Rank::Start {
            self.rank = Rank::Change;
        }
    }
}
