//! What takes the place of a key that cannot be read: its last good value, per instance and key, while the
//! instance lives. A slip in a declaration that worked must not take its route away. Pure.
//!
//! An exposure that the operator does not define is a slip as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::code::Code;
use crate::model::instance::Instance;
use crate::model::issue::Issue;
use crate::model::key::Key;
use crate::model::policy::{Expose, Policy};
use crate::model::service::ServiceRecord;

/// Sentences about stale keys of one service; the rest is counted.
const MAX_ISSUES: usize = 100;

/// The names of the exposures that the operator defines.
pub type Exposures = BTreeSet<Arc<str>>;

/// What a record is read with.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The service's name, for messages.
    pub service: &'a str,
    /// The operator's; empty: any may be named.
    pub exposures: &'a Exposures,
    /// The source had not delivered before: what is known of it is from before a restart of the bridge. Later it
    /// knows itself what its unreadable entries said last: one that it has nothing of was registered again.
    pub first: bool,
}

/// Fills what cannot be read in `record` from `before`, what is served of the same service and source.
pub fn fill(record: &mut ServiceRecord, before: Option<&ServiceRecord>, place: Place<'_>) {
    let mut stale: Vec<(Arc<str>, Option<Key>)> = Vec::new();
    let mut issues = Vec::new();
    let known = before.map_or(&[][..], |before| &before.instances);
    let carried: BTreeSet<&Arc<str>> = before
        .iter()
        .flat_map(|before| &before.stale)
        .filter(|(_, key)| key.is_none())
        .map(|(id, _)| id)
        .collect();
    let unread: BTreeSet<&Arc<str>> = record
        .unread
        .iter()
        .filter(|id| place.first || carried.contains(id))
        .collect();
    if unread.iter().any(|id| id.is_empty()) && record.policy.is_none() {
        record.policy = before.and_then(|before| before.policy.clone());
        stale.extend(record.policy.is_some().then(|| ("".into(), None)));
    }
    if !unread.is_empty() {
        let mut ids: BTreeSet<Arc<str>> = record.instances.iter().map(|i| i.id.clone()).collect();
        // One that was registered again under another id is there already.
        let mut places: BTreeSet<_> = record.instances.iter().map(|i| i.address).collect();
        for last in known.iter().filter(|last| unread.contains(&last.id)) {
            if !ids.contains(&last.id) && places.insert(last.address) {
                ids.insert(last.id.clone());
                stale.push((last.id.clone(), None));
                record.instances.push(last.clone());
            }
        }
        record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    }
    issues.extend(stale.iter().map(|(id, _)| place.sentence(id, WHOLE)));
    if let Some(policy) = &mut record.policy {
        let last = before.and_then(|before| before.policy.as_ref());
        let kept = keep(policy, last, "", place, &mut issues);
        stale.extend(kept.into_iter().map(|key| ("".into(), Some(key))));
    }
    let exposures = place.exposures;
    if record.instances.iter().any(|i| has_slips(i, exposures)) {
        let known: BTreeMap<&str, &Instance> = known.iter().map(|last| (&*last.id, last)).collect();
        for instance in record.instances.iter_mut().filter(|i| has_slips(i, exposures)) {
            let last = known.get(&*instance.id).copied();
            let mut kept = keep_own(instance, last, place, &mut issues);
            kept.extend(keep_policy(instance, last, place, &mut issues));
            stale.extend(kept.into_iter().map(|key| (instance.id.clone(), Some(key))));
        }
    }
    record.issues.extend(issues.into_iter().take(MAX_ISSUES));
    record.stale = stale;
}

const WHOLE: &str =
    "the entry cannot be read; the last good one stays in force until a readable one is registered";

impl Place<'_> {
    /// `id`: of the instance, `""` for the policy document.
    fn sentence(self, id: &str, reason: impl Into<String>) -> Issue {
        let id = if id.is_empty() { "policy" } else { id };
        Issue::warning(format!("{}/{id}", self.service), reason).of_kind(Code::ValueKept)
    }

    /// The names in `expose` that the operator does not define.
    fn unknown(self, policy: &Policy) -> Vec<&str> {
        let Some(Expose::On(names)) = policy.expose.as_ref().filter(|_| !self.exposures.is_empty()) else {
            return Vec::new();
        };
        let unknown = names
            .iter()
            .filter(|name| !self.exposures.contains(name.as_str()));
        unknown.map(String::as_str).collect()
    }

    /// What is wrong with a key that cannot be used.
    fn wrong(self, key: Key, unknown: &[&str]) -> String {
        if key != Key::Expose || unknown.is_empty() {
            return format!("{key}: cannot be read");
        }
        let there: Vec<&str> = self.exposures.iter().map(|name| &**name).collect();
        let (noun, verb) = if unknown.len() == 1 {
            ("exposure", "is")
        } else {
            ("exposures", "are")
        };
        let unknown = unknown.join("`, `");
        format!(
            "{key}: {noun} `{unknown}` {verb} not in bridge.toml; there are {}",
            there.join(", ")
        )
    }
}

fn stays(value: impl std::fmt::Display) -> String {
    format!("the last good value {value} stays in force until a readable one is registered")
}

/// Whether a record, or the policy document in it, names an exposure that is not defined.
pub(super) fn names_unknown(record: &ServiceRecord, exposures: &Exposures) -> bool {
    let mut policies = record
        .instances
        .iter()
        .map(|instance| &*instance.policy)
        .chain(&record.policy);
    policies.any(|policy| unknown_exposure(policy, exposures))
}

fn has_slips(instance: &Instance, exposures: &Exposures) -> bool {
    !instance.policy.slips.is_empty()
        || unknown_exposure(&instance.policy, exposures)
        || instance
            .own
            .as_ref()
            .is_some_and(|own| !own.declared.slips.is_empty())
}

fn unknown_exposure(policy: &Policy, exposures: &Exposures) -> bool {
    let unknown = |name: &String| !exposures.contains(name.as_str());
    matches!(&policy.expose, Some(Expose::On(names)) if !exposures.is_empty() && names.iter().any(unknown))
}

/// The keys of the instance itself that keep their last good value.
fn keep_own(
    instance: &mut Instance,
    last: Option<&Instance>,
    place: Place<'_>,
    issues: &mut Vec<Issue>,
) -> Vec<Key> {
    let own = instance
        .own
        .as_deref()
        .filter(|own| !own.declared.slips.is_empty());
    let (Some(own), Some(last)) = (own, last.map(|last| last.declared())) else {
        return Vec::new();
    };
    let mut own = own.clone();
    let mut kept = Vec::new();
    for key in own.declared.slips.clone() {
        if own.declared.take(key, &last) {
            let value = last.shown(key).unwrap_or_default();
            let reason = format!("{}; {}", place.wrong(key, &[]), stays(value));
            issues.push(place.sentence(&instance.id, reason));
            kept.push(key);
        }
    }
    instance.follow(&own);
    instance.own = Some(Arc::new(own));
    kept
}

fn keep_policy(
    instance: &mut Instance,
    last: Option<&Instance>,
    place: Place<'_>,
    issues: &mut Vec<Issue>,
) -> Vec<Key> {
    if instance.policy.slips.is_empty() && !unknown_exposure(&instance.policy, place.exposures) {
        return Vec::new();
    }
    let mut policy = (*instance.policy).clone();
    let last = last.map(|last| &*last.policy);
    let kept = keep(&mut policy, last, &instance.id, place, issues);
    instance.policy = Arc::new(policy);
    kept
}

/// The keys of a policy that keep their last good value. Exposures that are not defined count as not named.
fn keep(
    policy: &mut Policy,
    last: Option<&Policy>,
    id: &str,
    place: Place<'_>,
    issues: &mut Vec<Issue>,
) -> Vec<Key> {
    let unknown: Vec<String> = place.unknown(policy).into_iter().map(str::to_owned).collect();
    let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
    if !unknown.is_empty() {
        policy.slips.insert(Key::Expose);
    }
    let mut kept = Vec::new();
    for key in policy.slips.clone() {
        let last = last.filter(|last| key != Key::Expose || place.unknown(last).is_empty());
        let consequence = if last.is_some_and(|last| policy.take(key, last)) {
            kept.push(key);
            stays(policy.shown(key).unwrap_or_default())
        } else if key == Key::Expose && !unknown.is_empty() {
            if let Some(Expose::On(names)) = &mut policy.expose {
                names.retain(|name| place.exposures.contains(name.as_str()));
            }
            if matches!(&policy.expose, Some(Expose::On(names)) if names.is_empty()) {
                policy.expose = None;
                "counts as not declared".to_owned()
            } else {
                format!("only {} counts", policy.shown(key).unwrap_or_default())
            }
        } else {
            continue; // what was read of it says so
        };
        let issue = place.sentence(id, format!("{}; {consequence}", place.wrong(key, &unknown)));
        let is_exposure = key == Key::Expose && !unknown.is_empty();
        issues.push(if is_exposure {
            issue.of_kind(Code::ExposureUnknown)
        } else {
            issue
        });
    }
    kept
}

#[cfg(test)]
#[path = "last_good_tests.rs"]
mod tests;
