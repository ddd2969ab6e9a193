//! Who may begin when: new streams at a bounded rate, first responses a bounded number at
//! once. It delays; one client that does not read never holds up others.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::grpc::turns::Turns;

/// A first response that its client does not take counts no longer after this.
const HOLD: Duration = Duration::from_secs(2);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each section below leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all streams of the port share.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) turns: Turns,
    slots: Arc<Slots>,
}

impl Admission {
    pub(super) fn new(streams_per_second: u32, first_responses: usize) -> Self {
        Self {
            turns: Turns::new(streams_per_second),
            slots: Arc::new(Slots {
                held: Mutex::default(),
                freed: Notify::new(),
                most: first_responses,
            }),
        }
    }

    /// A place among the first responses being built; `None` when there is none now.
    pub(super) fn try_slot(&self) -> Option<Slot> {
        self.slots.clone().enter().ok()
    }

    /// Waits for a place.
    pub(super) async fn slot(&self) -> Slot {
        loop {
            let mut freed = pin!(self.slots.freed.notified());
            freed.as_mut().enable(); // before the look: a place that is freed meanwhile wakes us
            match self.slots.clone().enter() {
                Ok(slot) => return slot,
                Err(until) => {
                    let _ = tokio::time::timeout_at(until, freed).await;
                }
            }
        }
    }
}

#[derive(Debug)]
struct Slots {
    held: Mutex<Held>,
    freed: Notify,
    most: usize,
}

/// Since when each place is held, in the order they were taken.
#[derive(Debug, Default)]
struct Held {
    since: BTreeMap<u64, Instant>,
    next: u64,
}

impl Slots {
    /// A place, or when to look again at the latest.
    fn enter(self: Arc<Self>) -> Result<Slot, Instant> {
        let now = clock::now();
        let mut held = lock(&self.held);
        while let Some(oldest) = held.since.first_entry().filter(|e| *e.get() + HOLD <= now) {
            oldest.remove();
        }
        if held.since.len() >= self.most {
            let oldest = held.since.first_key_value().map_or(now, |(_, since)| *since);
            return Err(oldest + HOLD);
        }
        let id = held.next;
        held.next += 1;
        held.since.insert(id, now);
        drop(held);
        Ok(Slot { id, slots: self })
    }
}

/// A place, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    slots: Arc<Slots>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.slots.held).since.remove(&self.id);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_holds_up_nobody() {
        let admission = Admission::new(10, 1);
        let stuck = admission.slot().await;
        assert!(admission.try_slot().is_none());
        let began = clock::now();
        let second = admission.slot().await;
        assert_eq!(clock::now() - began, HOLD);
        drop(stuck); // late: it frees nobody else's place
        assert!(admission.try_slot().is_none());
        drop(second);
        assert!(admission.try_slot().is_some());
    }
}
