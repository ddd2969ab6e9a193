//! The blocking reads that are under way. When a connection ends without a byte, they distinguish an agent that is gone (all
//! of them end with it) from one that only allows no further connection. Never awaits while it holds its lock.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct InFlight(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the next one.
    next: u64,
    open: BTreeSet<u64>,
}

/// One read under way; over when dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    all: Arc<InFlight>,
    number: u64,
}

/// A moment between the starts of two reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl InFlight {
    pub(crate) fn begin(self: &Arc<Self>) -> Flight {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.open.insert(number);
        Flight {
            all: self.clone(),
            number,
        }
    }

    pub(crate) fn now(&self) -> Mark {
        Mark(self.state().next)
    }

    /// Whether any that had begun by then is still under way.
    pub(crate) fn alive_since(&self, mark: Mark) -> bool {
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
        let reads = Arc::new(InFlight::default());
        let (first, second) = (reads.begin(), reads.begin());
        let mark = reads.now();
        let later = reads.begin();
        drop(first);
        assert!(reads.alive_since(mark));
        drop(second);
        assert!(!reads.alive_since(mark), "the later one may not know yet");
        assert!(reads.alive_since(reads.now()));
        drop(later);
        assert!(!reads.alive_since(reads.now()));
    }
}
