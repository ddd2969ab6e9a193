//! The blocking reads that are on their way. When a connection ends without a byte, they tell an
//! agent that is gone (all of them end with it) from one that only allows no further connection.
//! Never awaits while it holds its lock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the next one.
    next: u64,
    open: BTreeSet<u64>,
}

/// One read on its way; over when dropped.
#[derive(Debug)]
pub(super) struct Flight {
    all: Arc<Flights>,
    number: u64,
}

/// A moment, between two beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Flights {
    pub(super) fn begin(self: &Arc<Self>) -> Flight {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number);
        Flight {
            all: self.clone(),
            number,
        }
    }

    pub(super) fn now(&self) -> Mark {
        Mark(self.state().next)
    }

    /// Whether any that had begun then is still on its way.
    pub(super) fn alive_since(&self, mark: Mark) -> bool {
        self.state().open.first().is_some_and(|number| *number < mark.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.all.state().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_had_begun_tell_that_the_agent_lives() {
        let flights = Arc::new(Flights::default());
        let (first, second) = (flights.begin(), flights.begin());
        let mark = flights.now();
        let later = flights.begin();
        drop(first);
        assert!(flights.alive_since(mark));
        drop(second);
        assert!(!flights.alive_since(mark), "the later one may not know yet");
        assert!(flights.alive_since(flights.now()));
        drop(later);
        assert!(!flights.alive_since(flights.now()));
    }
}
