//! Watches: how many there may be, and over which connections.

use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use super::{Capacity, Watches};
use crate::registry::consul::Client;

impl Capacity {
    /// The client of the blocking reads that are always there.
    pub(crate) fn fixed_client(&self) -> Client {
        self.watches().slots.fixed()
    }

    /// The maximum number of watches now.
    pub(crate) fn max_watches(&self) -> usize {
        self.watches().budget.limit()
    }

    /// Whether one more watch fits beside this many.
    pub(crate) fn has_room(&self, watches: usize) -> bool {
        watches < self.max_watches()
    }

    /// The connections are shared by many requests (HTTP/2), or not.
    pub(crate) fn set_multiplexed(&self, multiplexed: bool) {
        self.watches().budget.transport(multiplexed);
    }

    /// The slot and the client of a new watch.
    pub(crate) fn assign(&self, multiplexed: bool) -> (usize, Client) {
        self.watches().slots.take(multiplexed)
    }

    /// A watch has ended. `full`: its connection had no room for it.
    pub(crate) fn release(&self, slot: usize, full: bool) {
        let mut watches = self.watches();
        watches.slots.give_back(slot);
        if full {
            watches.slots.full(slot);
        }
    }

    /// A request was turned away while there were this many watches. True: fewer are allowed from now on.
    pub(crate) fn turned_away(&self, watches: usize) -> bool {
        let now = self.clock.now();
        self.watches().budget.turned_away(watches, now)
    }

    /// Whether watches may be added up to the maximum, which grows back after a calm time.
    pub(crate) fn may_add_watches(&self) -> bool {
        let now = self.clock.now();
        self.watches().budget.may_add(now)
    }

    /// When to ask [`Self::may_add_watches`] again.
    pub(crate) fn watches_due(&self) -> Option<Instant> {
        let due = self.watches().budget.due();
        due.map(|due| self.clock.at(due))
    }

    pub(super) fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
