//! The entries that each service had when it was told last, whoever read it: its watch, a sweep or a
//! single look. What is missing is a loss also for whom it is the first read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Ids = Arc<BTreeSet<String>>;

/// Entries by service. Locked for a look only.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Arc<str>, Ids>>);

impl Known {
    /// `<node>/<service id>` of each; none of a service that nobody has read.
    pub(super) fn of(&self, service: &str) -> Ids {
        self.all().get(service).cloned().unwrap_or_default()
    }

    pub(super) fn hold(&self, service: &Arc<str>, ids: Ids) {
        self.all().insert(service.clone(), ids);
    }

    pub(super) fn forget(&self, service: &str) {
        self.all().remove(service);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, Ids>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
