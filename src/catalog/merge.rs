//! What all sources say of one service, as one: instances by address, then the votes of instances, then documents. Pure.

use std::sync::Arc;

use super::probe;
use super::union::{Part, Union, union};
use super::vote;
use crate::model::{Policy, Service, ServiceRecord};

impl Service {
    /// Merges what the sources say, each with its priority. Records come strongest first: for an
    /// address that two sources know, the first one's facts count, and a policy document
    /// of the first one wins key by key. An address within one record counts once. `before`: what the
    /// instances declared until now, for ties.
    #[must_use]
    pub fn merge(name: &Arc<str>, records: &[(u32, &ServiceRecord)], before: Option<&Policy>) -> Self {
        let parts: Vec<Part<'_>> = records
            .iter()
            .map(|(priority, record)| Part {
                priority: *priority,
                instances: &record.instances,
                withheld: &record.withheld,
            })
            .collect();
        let Union {
            instances,
            behind,
            withheld,
        } = union(&parts);
        let (elected, conflicts) = vote::elect(&instances, before);
        let documents = records
            .iter()
            .filter_map(|(_, r)| r.policy.as_ref())
            .fold(Policy::default(), Policy::over);
        let documented = !documents.routes.is_empty();
        let overridden = documents.overrides(&elected);
        let policy = documents.over(&elected);
        Self {
            name: name.clone(),
            unsure: probe::behind(&instances, &withheld),
            instances,
            behind,
            policy,
            elected,
            conflicts,
            documented,
            overridden,
            overruled: Vec::new(),
            addressed: false,
            kept: None,
        }
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
