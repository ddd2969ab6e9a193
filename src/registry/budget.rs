//! The bytes that registries may take, whatever they send: answers under way, and what is known of them. A read takes
//! its share as its answer grows, and waits while others hold too much; a read that would wait without end is refused. Each of
//! the two has at most three quarters: answers, because reading and judging them takes more than their bytes; what is known,
//! by weights that stand for what the whole bridge makes of it.
//!
//! Never blocks a read that holds nothing for the sake of itself, and never lets a share outlive its answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::weight::INSTANCE;

/// What is allowed where nothing is configured.
pub const DEFAULT: usize = 256 << 20;

/// Shared by all sources; cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// What all registries that are known weigh.
    known: usize,
    /// Shares that hold something, and those of them that wait for more.
    holders: usize,
    waiting: usize,
}

/// Part of the budget, of one answer; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    held: usize,
}

/// A share kept beside what it was taken for; all are equal.
#[derive(Clone, Debug, Default)]
pub struct Held(#[expect(dead_code, reason = "kept for its drop")] Option<Arc<Share>>);

/// What one registry's facts weigh, while they are known.
#[derive(Debug)]
pub struct Known {
    budget: Budget,
    weight: usize,
}

/// There is no room, and waiting would not make any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "answers of registries hold more than their part of limits.source_memory ({most} bytes) together; what is known \
     stays, and it is read again"
)]
pub struct Exhausted {
    /// What answers may hold.
    pub most: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl Budget {
    /// This number of bytes in all.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            state: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// The most that one message should hold.
    #[must_use]
    pub fn part(&self) -> usize {
        self.0.most / 4
    }

    /// An empty share.
    #[must_use]
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: 0,
        }
    }

    /// The facts of a registry, of which nothing is known yet.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            budget: self.clone(),
            weight: 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What answers may hold of this maximum. Never all of it: parsers, and connections that are closed, hold more for
    /// a moment than is counted.
    fn for_answers(&self, most: usize) -> usize {
        most.saturating_sub(self.known).clamp(most / 4, most / 4 * 3)
    }
}

impl Known {
    /// What may be known of this registry, beside the others.
    #[must_use]
    pub fn most(&self) -> usize {
        let others = self.budget.state().known - self.weight;
        (self.budget.0.most / 4 * 3).saturating_sub(others)
    }

    /// This number of instances are known now, and nothing else.
    pub fn set_instances(&mut self, instances: usize) {
        self.set(instances.saturating_mul(INSTANCE));
    }

    /// What is known now weighs this.
    pub fn set(&mut self, weight: usize) {
        let mut state = self.budget.state();
        state.known = state.known - self.weight + weight;
        drop(state);
        let less = weight < self.weight;
        self.weight = weight;
        if less {
            self.budget.0.freed.notify_waiters();
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl Share {
    /// Takes this number of bytes more; waits while others hold them.
    ///
    /// # Errors
    /// [`Exhausted`]: it alone would be too much, or all others wait, too.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let budget = self.budget.clone();
        loop {
            let mut freed = std::pin::pin!(budget.0.freed.notified());
            freed.as_mut().enable();
            let _waits = {
                let mut state = budget.state();
                let most = state.for_answers(budget.0.most);
                let wanted = self.held.saturating_add(bytes);
                if state.used.saturating_add(bytes) <= most {
                    state.used += bytes;
                    state.holders += usize::from(self.held == 0 && wanted > 0);
                    self.held = wanted;
                    return Ok(());
                }
                let holds = self.held > 0;
                if wanted > most || (holds && state.waiting + 1 >= state.holders) {
                    return Err(Exhausted { most });
                }
                state.waiting += usize::from(holds);
                Waits {
                    budget: &budget,
                    counted: holds,
                }
            };
            freed.await;
        }
    }

    /// Gives this number of bytes back.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        if bytes == 0 {
            return;
        }
        self.held -= bytes;
        let mut state = self.budget.state();
        state.used -= bytes;
        state.holders -= usize::from(self.held == 0);
        drop(state);
        self.budget.0.freed.notify_waiters();
    }

    /// Keeps it until all clones are dropped.
    #[must_use]
    pub fn keep(self) -> Held {
        Held(Some(Arc::new(self)))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.held);
    }
}

impl PartialEq for Held {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Held {}

/// Counts one that waits, also when it is dropped meanwhile.
struct Waits<'b> {
    budget: &'b Budget,
    counted: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.budget.state().waiting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_given_back_lets_others_go_on() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        one.grow(60).await.unwrap();
        two.grow(15).await.unwrap();
        let mut three = budget.share();
        let mut waits = Box::pin(three.grow(50));
        assert!(
            waits.as_mut().now_or_never().is_none(),
            "it holds nothing: it waits"
        );
        drop(one.keep());
        waits.await.unwrap();
        drop(two);
        drop(three);
        assert_eq!(budget.state().used, 0);
    }

    #[tokio::test]
    async fn answers_have_three_quarters_and_what_is_known_leaves_them_one() {
        let budget = Budget::new(100);
        assert_eq!(budget.share().grow(76).await, Err(Exhausted { most: 75 }));
        let (mut one, mut two) = (budget.known(), budget.known());
        assert_eq!(one.most(), 75);
        one.set(40);
        assert_eq!((one.most(), two.most()), (75, 35));
        let mut answer = budget.share();
        assert_eq!(answer.grow(61).await, Err(Exhausted { most: 60 }));
        two.set(50);
        assert_eq!(
            (one.most(), two.most()),
            (25, 35),
            "it may have been more for a moment"
        );
        answer.grow(25).await.unwrap();
        let mut waits = Box::pin(answer.grow(30));
        assert!(waits.as_mut().now_or_never().is_some_and(|grown| grown.is_err()));
        drop(waits);
        let mut other = budget.share();
        let mut waits = Box::pin(other.grow(10));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(one);
        waits.await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_without_end() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        one.grow(40).await.unwrap();
        two.grow(35).await.unwrap();
        let mut waits = Box::pin(one.grow(10));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(two.grow(10).await, Err(Exhausted { most: 75 }), "both would wait");
        drop(two);
        waits.await.unwrap();
        assert!(budget.share().grow(76).await.is_err(), "it alone is too much");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_not_counted() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.share(), budget.share());
        one.grow(40).await.unwrap();
        two.grow(35).await.unwrap();
        let mut waits = Box::pin(one.grow(10));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        assert!(
            Box::pin(two.grow(10)).now_or_never().is_none(),
            "the other may give back"
        );
    }
}
