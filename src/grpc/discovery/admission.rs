//! Who may begin when: new streams at a bounded rate, first responses a bounded number at
//! once. It delays; only a queue that would last
//! longer than a client waits is refused. One client that does not read never holds up others.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::grpc::pace::Pace;

/// The longest time that a new stream waits for its turn: Envoy and gRPC give up after 15 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// A first response that its client does not take counts no longer after this.
const HOLD: Duration = Duration::from_secs(2);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each section below leaves the data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all streams of the port share.
#[derive(Debug)]
pub(super) struct Admission {
    pace: Mutex<Pace>,
    slots: Arc<Slots>,
}

impl Admission {
    pub(super) fn new(streams_per_second: u32, first_responses: usize) -> Self {
        Self {
            pace: Mutex::new(Pace::new(streams_per_second, streams_per_second, clock::now())),
            slots: Arc::new(Slots {
                held: Mutex::default(),
                freed: Notify::new(),
                most: first_responses,
            }),
        }
    }

    /// When a stream that opens now may begin.
    ///
    /// # Errors
    /// The queue is too long; to be tried again after this.
    pub(super) fn turn(&self, now: Instant) -> Result<Instant, Duration> {
        let mut pace = lock(&self.pace);
        let wait = pace.wait(now);
        if wait > PATIENCE {
            return Err(wait);
        }
        pace.take(now);
        Ok(now + wait)
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

/// An age within 20 % of this one, so that streams that began together do not end together.
pub(super) fn jittered(age: Duration) -> Duration {
    // std's own randomness is good enough to spread.
    let permille = 800 + u32::try_from(RandomState::new().hash_one(()) % 401).unwrap_or(200);
    age.saturating_mul(permille) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_too_long_is_refused() {
        let admission = Admission::new(10, 1);
        let now = clock::now();
        let turns: Vec<Result<Instant, Duration>> = (0..62).map(|_| admission.turn(now)).collect();
        assert_eq!(turns[9], Ok(now));
        assert_eq!(turns[10], Ok(now + Duration::from_millis(100)));
        assert_eq!(turns[59], Ok(now + Duration::from_secs(5)));
        assert_eq!(turns[60], Err(Duration::from_millis(5_100)));
        assert_eq!(turns[61], turns[60], "a refused one takes no turn");
    }

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

    #[test]
    fn ages_are_spread() {
        let ages: Vec<Duration> = (0..200).map(|_| jittered(Duration::from_secs(100))).collect();
        assert!(ages.iter().all(|a| (80..=120).contains(&a.as_secs())));
        assert!(
            ages.iter().min() < Some(&Duration::from_secs(90))
                && ages.iter().max() > Some(&Duration::from_secs(110))
        );
    }
}
