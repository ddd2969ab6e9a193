//! Which of several declarations is in force. Each rolling deploy passes through a disagreement. Pure.
//!
//! Each key is decided by itself, and only instances that declare it vote: one that declares nothing has no
//! opinion. The version with most serving voters wins; a tie keeps what is in force.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::Conflict;
use crate::model::instance::{Facts, Instance};
use crate::model::key::Key;
use crate::model::policy::Policy;

/// Serving voters, then whether it is in force, then all voters.
type Votes = (usize, bool, usize);

/// Instances of one version that declare the same.
struct Group<'a> {
    version: &'a Arc<str>,
    policy: &'a Arc<Policy>,
    /// Only routes lead to it: of what its service is it has no vote, beside those.
    apart: bool,
    serving: usize,
    all: usize,
}

/// Those that declare something. Most instances share what they declare with the one before: a service of ten
/// thousands has few groups.
fn groups(instances: &[Instance]) -> Vec<Group<'_>> {
    let nothing = Policy::default();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut known: HashMap<(*const Policy, &str, bool), Option<usize>> = HashMap::new();
    let mut last: Option<(&Facts, Option<usize>)> = None;
    for facts in instances.iter().map(|instance| &**instance) {
        let alike = |last: &Facts| {
            let same = Arc::ptr_eq(&last.policy, &facts.policy) && last.version == facts.version;
            same && last.is_apart() == facts.is_apart()
        };
        let at = match last {
            Some((last, at)) if alike(last) => at,
            _ => *known
                .entry((Arc::as_ptr(&facts.policy), &*facts.version, facts.is_apart()))
                .or_insert_with(|| {
                    (*facts.policy != nothing).then(|| {
                        groups.push(Group::of(facts));
                        groups.len() - 1
                    })
                }),
        };
        last = Some((facts, at));
        if let Some(group) = at.and_then(|at| groups.get_mut(at)) {
            group.serving += usize::from(facts.health.serves());
            group.all += 1;
        }
    }
    groups
}

impl<'a> Group<'a> {
    /// Of nobody yet.
    fn of(facts: &'a Facts) -> Self {
        Self {
            version: &facts.version,
            policy: &facts.policy,
            apart: facts.is_apart(),
            serving: 0,
            all: 0,
        }
    }
}

/// What the instances declare together. `before`: what was in force until now.
pub(super) fn elect(instances: &[Instance], before: Option<&Policy>) -> (Policy, Vec<Conflict>) {
    let mut groups = groups(instances);
    if instances.iter().all(|instance| instance.is_apart()) {
        for group in &mut groups {
            group.apart = false;
        }
    }
    decide(&groups, before)
}

fn decide(groups: &[Group<'_>], before: Option<&Policy>) -> (Policy, Vec<Conflict>) {
    let keys: BTreeSet<Key> = groups.iter().flat_map(|group| group.policy.keys()).collect();
    let (mut policy, mut conflicts) = (Policy::default(), Vec::new());
    for key in keys {
        if let Some(winner) = one(groups, before, key, &mut conflicts) {
            policy.take(key, winner);
        }
    }
    (policy, conflicts)
}

/// What a policy declares under a key, to be compared.
#[derive(Clone, Copy)]
struct Value<'a> {
    key: Key,
    policy: &'a Policy,
}

impl Ord for Value<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.policy.compare(other.policy, self.key)
    }
}

impl PartialOrd for Value<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Value<'_> {}

/// A policy with the value of one key that wins.
fn one<'a>(
    groups: &[Group<'a>],
    before: Option<&'a Policy>,
    key: Key,
    conflicts: &mut Vec<Conflict>,
) -> Option<&'a Policy> {
    let in_force = before.map(|policy| Value { key, policy });
    let mut values: BTreeMap<(&Arc<str>, Value<'_>), Votes> = BTreeMap::new();
    let mut versions: BTreeMap<&Arc<str>, Votes> = BTreeMap::new();
    for group in groups
        .iter()
        .filter(|group| group.policy.says(key) && (!group.apart || matches!(key, Key::Route(_))))
    {
        let policy = &**group.policy;
        let value = Value { key, policy };
        let current = in_force == Some(value);
        for votes in [
            values.entry((group.version, value)).or_default(),
            versions.entry(group.version).or_default(),
        ] {
            votes.0 += group.serving;
            votes.1 |= current;
            votes.2 += group.all;
        }
    }
    // Of equal ones the lower name, so that all replicas agree.
    let (winner, _) = versions
        .iter()
        .max_by_key(|(version, votes)| (**votes, Reverse(**version)))?;
    let within = values.iter().filter(|((version, _), _)| version == winner);
    let ((_, value), _) = within.max_by_key(|((_, value), votes)| (**votes, Reverse(*value)))?;
    let losers: BTreeSet<&Arc<str>> = values
        .keys()
        .filter(|(_, other)| other != value)
        .map(|(version, _)| *version)
        .collect();
    if !losers.is_empty() {
        conflicts.push(Conflict {
            key,
            winner: (*winner).clone(),
            losers: losers.into_iter().cloned().collect(),
        });
    }
    Some(value.policy)
}

#[cfg(test)]
#[path = "vote_tests.rs"]
mod tests;
