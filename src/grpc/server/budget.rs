//! Bytes of requests that have begun and are not here in full. There is a maximum for all connections together;
//! when it is used up, the connection that holds the most of it is closed: whoever sends small requests, as
//! nearly all clients do, never is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::large::Large;

/// What each connection may hold without its being counted: the first request of an Envoy with few clusters.
const FREE: usize = 128 << 10;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    /// Of one connection.
    each: usize,
    table: Mutex<Table>,
    large: Large,
}

#[derive(Debug, Default)]
struct Table {
    counted: usize,
    holders: HashMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    bytes: usize,
    close: CancellationToken,
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Account {
    id: u64,
    budget: Arc<Budget>,
}

/// One connection has too much under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

const fn counted(bytes: usize) -> usize {
    bytes.saturating_sub(FREE)
}

impl Budget {
    pub(super) fn new(most: usize, each: usize, large: Large) -> Arc<Self> {
        Arc::new(Self {
            most,
            each: each.saturating_add(FREE),
            table: Mutex::default(),
            large,
        })
    }

    /// For a connection that ends when `close` is cancelled.
    pub(super) fn account(self: &Arc<Self>, close: CancellationToken) -> Account {
        let mut table = self.lock();
        let id = table.next;
        table.next += 1;
        table.holders.insert(id, Holder { bytes: 0, close });
        Account {
            id,
            budget: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the data whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// How large requests are read, of all connections.
    pub(super) fn large(&self) -> &Large {
        &self.budget.large
    }

    /// One of its streams holds `now` bytes, where it held `before`.
    ///
    /// # Errors
    /// [`TooMuch`]: the connection has too much under way; it is counted all the same.
    pub(super) fn change(&self, before: usize, now: usize) -> Result<(), TooMuch> {
        if before == now {
            return Ok(());
        }
        let mut table = self.budget.lock();
        let table = &mut *table;
        let Some(holder) = table.holders.get_mut(&self.id) else {
            return Ok(());
        };
        if holder.close.is_cancelled() {
            return Err(TooMuch); // what it holds was taken out of the sum, and goes with it
        }
        let was = counted(holder.bytes);
        holder.bytes = (holder.bytes + now).saturating_sub(before);
        table.counted = (table.counted + counted(holder.bytes)).saturating_sub(was);
        let too_much = now > before && holder.bytes > self.budget.each;
        if now > before && table.counted > self.budget.most {
            table.close_largest();
        }
        if too_much { Err(TooMuch) } else { Ok(()) }
    }
}

impl Table {
    /// Its bytes are counted no longer: they go with it.
    fn close_largest(&mut self) {
        let open = self
            .holders
            .values_mut()
            .filter(|holder| !holder.close.is_cancelled() && counted(holder.bytes) > 0);
        if let Some(largest) = open.max_by_key(|holder| holder.bytes) {
            largest.close.cancel();
            self.counted = self.counted.saturating_sub(counted(largest.bytes));
            largest.bytes = 0;
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut table = self.budget.lock();
        if let Some(holder) = table.holders.remove(&self.id) {
            table.counted = table.counted.saturating_sub(counted(holder.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn open(budget: &Arc<Budget>) -> (Account, CancellationToken) {
        let close = CancellationToken::new();
        (budget.account(close.clone()), close)
    }

    #[test]
    fn the_largest_is_closed_when_all_is_used() {
        let budget = Budget::new(1_000 * KIB, 900 * KIB, Large::new(1));
        let (large, large_closes) = open(&budget);
        let (small, small_closes) = open(&budget);
        let many: Vec<_> = (0..100).map(|_| open(&budget)).collect();
        for (one, _) in &many {
            assert_eq!(one.change(0, FREE), Ok(()), "all of them hold this at no cost");
        }
        assert_eq!(large.change(0, FREE + 600 * KIB), Ok(()));
        assert_eq!(small.change(0, FREE + 400 * KIB), Ok(()));
        assert!(!large_closes.is_cancelled());
        assert_eq!(small.change(FREE + 400 * KIB, FREE + 401 * KIB), Ok(()));
        assert!(large_closes.is_cancelled() && !small_closes.is_cancelled());
        assert!(many.iter().all(|(_, close)| !close.is_cancelled()));
        drop(large);
        assert_eq!(small.change(FREE + 401 * KIB, 0), Ok(()));
        assert_eq!(budget.lock().counted, 0);
    }

    #[test]
    fn one_connection_has_its_bound() {
        let budget = Budget::new(1_000 * KIB, 100 * KIB, Large::new(1));
        let (one, close) = open(&budget);
        assert_eq!(one.change(0, FREE + 100 * KIB), Ok(()));
        assert_eq!(one.change(0, 1), Err(TooMuch));
        assert_eq!(one.change(1, 0), Ok(()));
        assert!(!close.is_cancelled());
        drop(one);
        assert_eq!(budget.lock().counted, 0);
    }
}
