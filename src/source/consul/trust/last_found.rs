//! What was found last of each service, for all who read it: a watch, a sweep, an audit or a single read. Entries that
//! are missing from an answer are a loss also for a task that reads the service for the first time.
//!
//! A view of the ledger, which owns this fact: only the supervisor writes it, right after the ledger has accepted a
//! finding. A finding names what it was compared with ([`News`](crate::source::consul::news::News)), so the ledger
//! notices when that was out of date.
//!
//! Also how many instances may be known in all: readers reserve room for what they have found.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::registry::weight::INSTANCE;
use crate::source::consul::decode::Found;

/// Why a service's answer is not used.
pub(crate) const NO_ROOM: &str = "more instances than limits.source_memory allows to be known (an instance counts \
     1 KiB and a service 8 KiB, three quarters of it in all); what is known of the service stays";

/// Findings by service. Locked for a look-up only.
#[derive(Debug, Default)]
pub(crate) struct LastFound(Mutex<All>);

#[derive(Debug)]
struct All {
    found: HashMap<Arc<str>, Arc<Found>>,
    /// Instances that each service has, or is about to have.
    instances: HashMap<Arc<str>, usize>,
    /// Of all services together.
    sum: usize,
    max: usize,
}

impl Default for All {
    fn default() -> Self {
        Self {
            found: HashMap::new(),
            instances: HashMap::new(),
            sum: 0,
            max: usize::MAX,
        }
    }
}

/// The number of instances that may take the place of others where there is no room.
const FEW: usize = 10;

impl LastFound {
    /// Empty for a service that has not been read.
    pub(crate) fn get(&self, service: &str) -> Arc<Found> {
        self.all().found.get(service).cloned().unwrap_or_default()
    }

    /// `None`: the service is no longer known.
    pub(crate) fn set(&self, service: &Arc<str>, found: Option<Arc<Found>>) {
        let mut all = self.all();
        if let Some(found) = found {
            all.found.insert(service.clone(), found);
        } else {
            all.found.remove(service);
            all.sum -= all.instances.remove(service).unwrap_or_default();
        }
    }

    /// Sets how much the instances of all services may weigh from now on; those that are known stay.
    pub(crate) fn bound(&self, max: usize) {
        self.all().max = max / INSTANCE;
    }

    /// What the instances weigh.
    pub(crate) fn weight(&self) -> usize {
        self.all().sum.saturating_mul(INSTANCE)
    }

    /// The service is about to have this many instances; it did not have `added` of these, and no longer has `missing`
    /// previous ones. False: there is no room for them. The missing ones need room, too: they may be withheld. A few may
    /// always take the place of others, as in a deploy.
    pub(crate) fn fits(&self, service: &Arc<str>, instances: usize, added: usize, missing: usize) -> bool {
        let mut all = self.all();
        let before = all.instances.get(service).copied().unwrap_or_default();
        let sum = all.sum - before + instances;
        let replaces = instances <= before && added <= FEW.max(before / 10);
        if added > 0 && sum.saturating_add(missing) > all.max && !replaces {
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
        let (known, [a, b]) = (LastFound::default(), ["a", "b"].map(Arc::from));
        known.bound(5 * INSTANCE);
        assert!(known.fits(&a, 3, 3, 0) && known.fits(&b, 2, 2, 0));
        assert!(!known.fits(&b, 3, 1, 0));
        assert!(known.fits(&a, 2, 0, 1) && known.fits(&b, 3, 1, 0));
        known.bound(INSTANCE);
        assert!(known.fits(&b, 3, 0, 0), "what is known stays");
        assert!(known.fits(&b, 3, 1, 1), "and is replaced in a deploy");
        assert!(!known.fits(&b, 4, 1, 0));
        known.bound(100 * INSTANCE);
        assert!(known.fits(&b, 90, 90, 3));
        assert!(
            !known.fits(&b, 90, 90, 90),
            "the previous ones may be withheld beside them"
        );
        known.bound(0);
        assert!(
            known.fits(&b, 90, 10, 10) && !known.fits(&b, 90, 11, 11),
            "but not many at once"
        );
        assert!(known.fits(&b, 3, 3, 90));
        known.set(&b, None);
        assert_eq!(known.weight(), 2 * INSTANCE);
    }
}
