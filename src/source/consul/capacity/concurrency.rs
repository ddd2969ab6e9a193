//! How many reads that do not block may be under way at once: fewer when the agent turns them away, one more after
//! each row of answered ones. Never zero: these reads do not share connections with watches, so there is always one
//! to go on with.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads at once, at most. Over HTTP/1.1 each needs a connection, and hyper may open a second one for it
/// while it waits for an idle one. Agents allow 200 connections of one client: 150 watches, reads twice,
/// and a few idle ones.
const MAX: usize = 32;
const MIN: usize = 1;
/// Answered reads in a row before one more at once is tried.
const ROW: usize = 64;
/// Reads turned away in a row after which nothing can be read at all.
const STARVED: usize = 32;

#[derive(Debug)]
pub(crate) struct Concurrency {
    permits: Semaphore,
    allowed: AtomicUsize,
    answered: AtomicUsize,
    turned_away: AtomicUsize,
}

impl Concurrency {
    pub(crate) const fn new() -> Self {
        Self {
            permits: Semaphore::const_new(MAX),
            allowed: AtomicUsize::new(MAX),
            answered: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
        }
    }

    /// Waits for a permit. The semaphore is never closed: without a permit the read would only be early.
    pub(crate) async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// A read was answered.
    pub(crate) fn answered(&self) {
        self.turned_away.store(0, Ordering::Relaxed);
        let row = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if row.is_multiple_of(ROW) && self.step(|allowed| (allowed < MAX).then_some(allowed + 1)) {
            self.permits.add_permits(1);
        }
    }

    /// A read was turned away: its permit is given up.
    pub(crate) fn turned_away(&self, permit: Option<SemaphorePermit<'_>>) {
        self.answered.store(0, Ordering::Relaxed);
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        let fewer = |allowed: usize| (allowed > MIN).then(|| allowed - 1);
        if let Some(permit) = permit
            && self.step(fewer)
        {
            permit.forget();
        }
    }

    /// Whether too many reads in a row were turned away: the agent counts as away.
    pub(crate) fn starved(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed) > MAX + STARVED
    }

    fn step(&self, next: impl FnMut(usize) -> Option<usize>) -> bool {
        self.allowed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turned_away_is_fewer_at_once_and_answered_is_more_again() {
        let concurrency = Concurrency::new();
        for _ in 0..100 {
            concurrency.turned_away(concurrency.acquire().await);
        }
        assert_eq!(concurrency.permits.available_permits(), MIN);
        assert!(concurrency.starved());
        for _ in 0..ROW {
            drop(concurrency.acquire().await);
            concurrency.answered();
        }
        assert_eq!(concurrency.permits.available_permits(), MIN + 1);
        assert!(!concurrency.starved());
        for _ in 0..ROW * 100 {
            concurrency.answered();
        }
        assert_eq!(concurrency.permits.available_permits(), MAX);
    }
}
