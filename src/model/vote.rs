//! Which of several declarations is in force. Each rolling deploy passes through a disagreement. Pure.
//!
//! Each key is decided by itself, and only instances that declare it vote: one that declares nothing has no
//! opinion. The version with most serving voters wins; a tie keeps what is in force.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::instance::Instance;
use super::key::Key;
use super::policy::Policy;

/// A key that instances of one service declare differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which.
    pub key: Key,
    /// The version whose value is in force.
    pub winner: Arc<str>,
    /// Versions with instances that declare another value; the winner's own, too, when they differ within it.
    pub losers: Vec<Arc<str>>,
}

/// Serving voters, then whether it is in force, then all voters.
type Votes = (usize, bool, usize);

/// What the instances declare together. `before`: what was in force until now.
pub(super) fn elect(instances: &[Instance], before: Option<&Policy>) -> (Policy, Vec<Conflict>) {
    let keys: BTreeSet<Key> = instances.iter().flat_map(|i| i.policy.keys()).collect();
    let (mut policy, mut conflicts) = (Policy::default(), Vec::new());
    for key in keys {
        if let Some(winner) = one(instances, before, key, &mut conflicts) {
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
    instances: &'a [Instance],
    before: Option<&'a Policy>,
    key: Key,
    conflicts: &mut Vec<Conflict>,
) -> Option<&'a Policy> {
    let in_force = before.map(|policy| Value { key, policy });
    let mut values: BTreeMap<(&Arc<str>, Value<'_>), Votes> = BTreeMap::new();
    let mut versions: BTreeMap<&Arc<str>, Votes> = BTreeMap::new();
    for instance in instances.iter().filter(|i| i.policy.says(key)) {
        let policy = &*instance.policy;
        let value = Value { key, policy };
        let current = in_force == Some(value);
        for votes in [
            values.entry((&instance.version, value)).or_default(),
            versions.entry(&instance.version).or_default(),
        ] {
            votes.0 += usize::from(instance.health.serves());
            votes.1 |= current;
            votes.2 += 1;
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
mod tests {
    use super::*;
    use crate::model::declaration::{self, Spelling};
    use crate::model::service::{Registered, assemble};
    use crate::model::{Health, Protocol};

    /// An instance of this version that declares these keys; with a `-` before the version it does not serve.
    fn instance(number: usize, version: &str, keys: &[(&str, &str)]) -> Instance {
        let pairs = keys
            .iter()
            .copied()
            .chain([("version", version.trim_start_matches('-'))]);
        let declared = declaration::parse("x", Spelling::Plain, pairs, &mut Vec::new());
        let registered = Registered {
            id: &number.to_string(),
            address: ([10, 0, 0, 7], u16::try_from(number).unwrap() + 1).into(),
            health: if version.starts_with('-') {
                Health::Unhealthy
            } else {
                Health::Healthy
            },
            weight: 1,
            zone: "",
        };
        assemble(&registered, declared)
    }

    fn elected(all: &[(&str, &[(&str, &str)])], before: Option<&Policy>) -> (Policy, Vec<Conflict>) {
        let instances: Vec<_> = all
            .iter()
            .enumerate()
            .map(|(n, (v, keys))| instance(n, v, keys))
            .collect();
        elect(&instances, before)
    }

    #[test]
    fn who_declares_nothing_has_no_opinion() {
        let edge: &[(&str, &str)] = &[("expose", "edge"), ("route", "path=/")];
        for bare in [1, 2, 5] {
            let mut all = vec![("v1", edge)];
            all.extend(std::iter::repeat_n(("v2", &[][..]), bare));
            let (policy, conflicts) = elected(&all, None);
            assert!(
                policy.expose.is_some() && policy.routes.len() == 1,
                "{bare} bare instances"
            );
            assert_eq!(conflicts, []);
        }
    }

    #[test]
    fn each_key_is_decided_by_itself() {
        let (policy, conflicts) = elected(
            &[
                (
                    "v1",
                    &[("protocol", "grpc"), ("route", "path=/a"), ("route-3", "path=/c")],
                ),
                ("v2", &[("protocol", "http2")]),
                ("v2", &[("protocol", "http2"), ("route-2", "path=/b")]),
            ],
            None,
        );
        assert_eq!(policy.protocol, Some(Protocol::Http2));
        assert_eq!(policy.routes.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        let only = Conflict {
            key: Key::Protocol,
            winner: "v2".into(),
            losers: vec!["v1".into()],
        };
        assert_eq!(conflicts, [only]);
    }

    #[test]
    fn a_tie_keeps_what_is_in_force() {
        let grpc: (&str, &[(&str, &str)]) = ("v1", &[("protocol", "grpc")]);
        let http2: (&str, &[(&str, &str)]) = ("v2", &[("protocol", "http2")]);
        let first = elected(&[grpc, http2], None).0;
        assert_eq!(
            first.protocol,
            Some(Protocol::Grpc),
            "the lower version where nothing is in force"
        );
        let before = Policy {
            protocol: Some(Protocol::Http2),
            ..Policy::default()
        };
        assert_eq!(
            elected(&[grpc, http2], Some(&before)).0.protocol,
            Some(Protocol::Http2)
        );
        let idle = ("-v1", grpc.1);
        assert_eq!(
            elected(&[idle, grpc, http2], Some(&before)).0.protocol,
            Some(Protocol::Http2)
        );
        assert_eq!(
            elected(&[grpc, grpc, http2], Some(&before)).0.protocol,
            Some(Protocol::Grpc)
        );
        assert_eq!(
            elected(&[idle, idle, http2], Some(&first)).0.protocol,
            Some(Protocol::Http2),
            "serving ones first"
        );
    }

    #[test]
    fn within_a_version_the_most_common_value_wins() {
        let (policy, conflicts) = elected(
            &[
                ("", &[("route", "path=/a")]),
                ("", &[("route", "path=/b")]),
                ("", &[("route", "path=/b")]),
            ],
            None,
        );
        assert_eq!(format!("{:?}", policy.routes[&1].matcher), r#"Prefix("/b")"#);
        assert_eq!(conflicts[0].losers, ["".into()]);
    }
}
