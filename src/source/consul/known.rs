//! The entries that each service had when it was told last, whoever read it: its watch, a sweep or a
//! single look. What is missing is a loss also for whom it is the first read. And how many may be known in all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::registry::weight::INSTANCE;

type Ids = Arc<BTreeSet<String>>;

/// Why a service's answer is not taken in.
pub(super) const NO_ROOM: &str = "more instances than limits.source_memory allows to be known (an instance counts \
     1 KiB and a service 8 KiB, three quarters of it in all); what is known of the service stays";

/// Entries by service. Locked for a look only.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<All>);

#[derive(Debug)]
struct All {
    ids: HashMap<Arc<str>, Ids>,
    /// How many instances each service has, or is about to have, and all together; and how many they may.
    instances: HashMap<Arc<str>, usize>,
    sum: usize,
    most: usize,
}

impl Default for All {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            instances: HashMap::new(),
            sum: 0,
            most: usize::MAX,
        }
    }
}

impl Known {
    /// `<node>/<service id>` of each; none of a service that nobody has read.
    pub(super) fn of(&self, service: &str) -> Ids {
        self.all().ids.get(service).cloned().unwrap_or_default()
    }

    pub(super) fn hold(&self, service: &Arc<str>, ids: Ids) {
        self.all().ids.insert(service.clone(), ids);
    }

    pub(super) fn forget(&self, service: &str) {
        let mut all = self.all();
        all.ids.remove(service);
        all.sum -= all.instances.remove(service).unwrap_or_default();
    }

    /// So much may be known of instances from now on; what is known already stays.
    pub(super) fn bound(&self, most: usize) {
        self.all().most = most / INSTANCE;
    }

    /// What the instances weigh.
    pub(super) fn weight(&self) -> usize {
        self.all().sum.saturating_mul(INSTANCE)
    }

    /// The service is about to have so many instances; `adds`: some that it did not have. False: there is no room
    /// for them. Who has others again and again fills it with those of before, while they are withheld.
    pub(super) fn fits(&self, service: &Arc<str>, instances: usize, adds: bool) -> bool {
        let mut all = self.all();
        let before = all.instances.get(service).copied().unwrap_or_default();
        let sum = all.sum - before + instances;
        if adds && sum > all.most {
            return false;
        }
        all.sum = sum;
        all.instances.insert(service.clone(), instances);
        true
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_services_share_the_room() {
        let (known, [a, b]) = (Known::default(), ["a", "b"].map(Arc::from));
        known.bound(5 * INSTANCE);
        assert!(known.fits(&a, 3, true) && known.fits(&b, 2, true));
        assert!(!known.fits(&b, 3, true));
        assert!(known.fits(&a, 2, false) && known.fits(&b, 3, true));
        known.bound(INSTANCE);
        assert!(known.fits(&b, 3, false), "what is known stays");
        assert!(!known.fits(&b, 3, true), "and is replaced by nothing");
        known.forget(&b);
        assert_eq!(known.weight(), 2 * INSTANCE);
    }
}
