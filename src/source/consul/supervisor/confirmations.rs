//! Services that are to be read once more, to confirm what they are: in their order, a few at a time, and each once at a
//! time. Lists of names may change faster than they can be confirmed. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Reads under way at once; each then waits for its turn among all reads beside the watches.
const AT_ONCE: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Confirmations {
    states: HashMap<Arc<str>, State>,
    /// Those that wait, in their order.
    queue: BTreeMap<u64, Arc<str>>,
    last: u64,
    under_way: usize,
}

#[derive(Debug)]
enum State {
    /// Its place in the queue.
    Waits(u64),
    /// Is being read; true: to be read again after that.
    Read(bool),
}

impl Confirmations {
    /// The service is to be read.
    pub(super) fn add(&mut self, name: Arc<str>) {
        match self.states.get_mut(&name) {
            Some(State::Waits(_)) => {}
            Some(State::Read(again)) => *again = true,
            None => {
                self.last += 1;
                self.queue.insert(self.last, name.clone());
                self.states.insert(name, State::Waits(self.last));
            }
        }
    }

    /// Begins the next read, where there is one to begin. It is over with [`Self::ended`].
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        if self.under_way >= AT_ONCE {
            return None;
        }
        let (_, name) = self.queue.pop_first()?;
        self.under_way += 1;
        self.states.insert(name.clone(), State::Read(false));
        Some(name)
    }

    /// A read has ended.
    pub(super) fn ended(&mut self, name: &Arc<str>) {
        let Some(&State::Read(again)) = self.states.get(name) else {
            return; // it was given up by `failed`
        };
        self.states.remove(name);
        self.under_way -= 1;
        if again {
            self.add(name.clone());
        }
    }

    /// A read has ended, nobody knows which.
    pub(super) fn failed(&mut self) {
        self.under_way = 0;
        self.states.retain(|_, state| matches!(state, State::Waits(_)));
    }

    /// The service is no longer known.
    pub(super) fn forget(&mut self, name: &str) {
        match self.states.get_mut(name) {
            Some(State::Waits(place)) => {
                self.queue.remove(place);
                self.states.remove(name);
            }
            Some(State::Read(again)) => *again = false,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(all: &mut Confirmations) -> Vec<Arc<str>> {
        std::iter::from_fn(|| all.next()).collect()
    }

    #[test]
    fn a_few_at_once_in_their_order_and_none_twice() {
        let mut all = Confirmations::default();
        let names: Vec<Arc<str>> = (0..100).map(|n| format!("s{n}").into()).collect();
        for name in names.iter().chain(&names).rev() {
            all.add(name.clone());
        }
        let mut first = started(&mut all);
        first.reverse();
        assert_eq!(first, names[100 - AT_ONCE..]);
        all.ended(&names[99]);
        assert_eq!(started(&mut all), [names[99 - AT_ONCE].clone()]);
        all.forget(&names[98 - AT_ONCE]);
        all.ended(&names[98]);
        assert_eq!(started(&mut all), [names[97 - AT_ONCE].clone()]);
        assert_eq!((all.states.len(), all.queue.len()), (97, 97 - AT_ONCE));
    }

    #[test]
    fn who_is_doubted_while_it_is_read_is_read_again() {
        let (mut all, a) = (Confirmations::default(), Arc::from("a"));
        all.add(Arc::clone(&a));
        assert_eq!(started(&mut all).len(), 1);
        all.add(a.clone());
        all.add(a.clone());
        assert!(started(&mut all).is_empty());
        all.ended(&a);
        assert_eq!(started(&mut all).len(), 1);
        all.add(a.clone());
        all.forget("a");
        all.ended(&a);
        assert!(started(&mut all).is_empty() && all.states.is_empty());
    }

    #[test]
    fn a_read_that_failed_keeps_no_place() {
        let mut all = Confirmations::default();
        for n in 0..AT_ONCE {
            all.add(format!("s{n}").into());
        }
        let first = started(&mut all);
        all.failed();
        for name in &first {
            all.add(name.clone());
        }
        // The read of before ends while the name waits, and counts no more.
        all.ended(&first[0]);
        assert_eq!(started(&mut all), first);
        all.ended(&first[0]);
        all.add("new".into());
        assert_eq!(started(&mut all).len(), 1);
    }
}
