//! Which entries of a service were wrong before and are right now. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::instance::Instance;
use crate::model::service::ServiceRecord;

impl ServiceRecord {
    /// Entries that were wrong in some way here and are right in `after`: ids of instances, `""` for the policy
    /// document.
    #[must_use]
    pub fn repaired(&self, after: &Self) -> Vec<Arc<str>> {
        if self.issues.is_empty() && self.unread.is_empty() {
            return Vec::new();
        }
        let (before, still) = (self.wrong(), after.wrong());
        let there = |id: &Arc<str>| {
            if id.is_empty() {
                after.policy.is_some()
            } else {
                after.instances.binary_search_by(|i| i.id.cmp(id)).is_ok()
            }
        };
        before
            .into_iter()
            .filter(|id| !still.contains(id) && there(id))
            .collect()
    }

    fn wrong(&self) -> BTreeSet<Arc<str>> {
        let slips = |i: &&Instance| {
            !i.policy.slips.is_empty() || i.own.as_ref().is_some_and(|own| !own.declared.slips.is_empty())
        };
        let policy = self.policy.iter().filter(|policy| !policy.slips.is_empty());
        self.stale
            .iter()
            .map(|(id, _)| id.clone())
            .chain(self.unread.iter().chain(&self.rejected).cloned())
            .chain(policy.map(|_| "".into()))
            .chain(self.instances.iter().filter(slips).map(|i| i.id.clone()))
            .collect()
    }
}
