//! How many reads that do not block may be on their way at once: fewer when the agent turns them away,
//! one more after each row of answered ones. Never none: connections of reads are not those of watches,
//! so one of them is always there to go on with.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Reads at once, at most. Over HTTP/1.1 each needs a connection, and hyper may open a second one for it
/// while it waits for an idle one. Agents allow 200 connections of one client: 150 watches, reads twice,
/// and a few idle ones.
const MOST: usize = 32;
const LEAST: usize = 1;
/// So many answered ones in a row, and one more is tried.
const ROW: usize = 64;
/// So many turned away in a row, and nothing can be read at all.
const STARVED: usize = 32;

#[derive(Debug)]
pub(super) struct Reads {
    permits: Semaphore,
    allowed: AtomicUsize,
    answered: AtomicUsize,
    turned_away: AtomicUsize,
}

impl Reads {
    pub(super) const fn new() -> Self {
        Self {
            permits: Semaphore::const_new(MOST),
            allowed: AtomicUsize::new(MOST),
            answered: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn. The semaphore is never closed: without a permit the read would only be early.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// A read was answered.
    pub(super) fn answered(&self) {
        self.turned_away.store(0, Ordering::Relaxed);
        let row = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if row.is_multiple_of(ROW) && self.step(|allowed| (allowed < MOST).then_some(allowed + 1)) {
            self.permits.add_permits(1);
        }
    }

    /// A read was turned away: its place is given up.
    pub(super) fn turned_away(&self, permit: Option<SemaphorePermit<'_>>) {
        self.answered.store(0, Ordering::Relaxed);
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        let fewer = |allowed: usize| (allowed > LEAST).then(|| allowed - 1);
        if let Some(permit) = permit
            && self.step(fewer)
        {
            permit.forget();
        }
    }

    /// Whether nothing was answered for so long that the agent must be taken for away.
    pub(super) fn starved(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed) > MOST + STARVED
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
        let reads = Reads::new();
        for _ in 0..100 {
            reads.turned_away(reads.turn().await);
        }
        assert_eq!(reads.permits.available_permits(), LEAST);
        assert!(reads.starved());
        for _ in 0..ROW {
            drop(reads.turn().await);
            reads.answered();
        }
        assert_eq!(reads.permits.available_permits(), LEAST + 1);
        assert!(!reads.starved());
        for _ in 0..ROW * 100 {
            reads.answered();
        }
        assert_eq!(reads.permits.available_permits(), MOST);
    }
}
