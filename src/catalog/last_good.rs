//! What takes the place of a key that cannot be read: its last good value, per instance and key, while the
//! instance lives. A slip in a declaration that worked must not take its route away. Pure.
//!
//! An exposure that the operator does not define is a slip as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
        Issue::warning(format!("{}/{id}", self.service), reason)
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
        issues.push(place.sentence(id, format!("{}; {consequence}", place.wrong(key, &unknown))));
    }
    kept
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::declaration::{self, Spelling};
    use crate::model::service::{Registered, assemble};
    use crate::model::{Health, Protocol};

    fn exposures() -> Exposures {
        ["internal".into(), "edge".into()].into()
    }

    const fn place(exposures: &Exposures, first: bool) -> Place<'_> {
        Place {
            service: "orders",
            exposures,
            first,
        }
    }

    fn record(keys: &[(&str, &str)], health: Health) -> ServiceRecord {
        let declared = declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut Vec::new());
        let registered = Registered {
            id: "x-1",
            address: ([10, 0, 0, 7], 80).into(),
            health,
            weight: 7,
            zone: "of the node",
        };
        ServiceRecord {
            instances: vec![assemble(&registered, declared)],
            ..ServiceRecord::default()
        }
    }

    /// What is served after these declarations, one after the other, and which keys are stale then.
    fn after(declarations: &[&[(&str, &str)]]) -> (Instance, Vec<String>) {
        let mut served: Option<ServiceRecord> = None;
        for keys in declarations {
            let mut next = record(keys, Health::Healthy);
            fill(&mut next, served.as_ref(), place(&exposures(), true));
            served = Some(next);
        }
        let served = served.unwrap();
        let named = served
            .issues
            .iter()
            .filter(|i| i.reason.contains("stays in force"));
        assert_eq!(named.count(), served.stale.len(), "each stale key is named");
        let stale = served
            .stale
            .iter()
            .map(|(_, key)| key.unwrap().to_string())
            .collect();
        (served.instances[0].clone(), stale)
    }

    #[test]
    fn each_key_keeps_its_last_good_value_while_it_cannot_be_read() {
        let good: &[(&str, &str)] = &[
            ("weight", "90"),
            ("state", "drain"),
            ("zone", "a"),
            ("version", "v1"),
            ("protocol", "grpc"),
            ("expose", "edge"),
            ("all-unhealthy", "closed"),
            ("route", "path=/a"),
            ("route-2", "path=/b"),
        ];
        let bad: &[(&str, &str)] = &[
            ("weight", "ninety"),
            ("state", "drian"),
            ("zone", "a/b"),
            ("version", "v 1"),
            ("protocol", "gprc"),
            ("expose", "egde"),
            ("all-unhealthy", "shut"),
            ("Route", "path=/a"),
            ("route-2", "path=/b timeout=5"),
        ];
        let (wanted, _) = after(&[good]);
        for slips in [&[bad][..], &[bad, bad]] {
            let all = [&[good], slips].concat();
            let (seen, stale) = after(&all);
            let facts = |i: &Instance| (i.weight, i.health, i.zone.clone(), i.version.clone());
            assert_eq!(facts(&seen), facts(&wanted));
            assert_eq!(
                Policy {
                    slips: BTreeSet::new(),
                    ..(*seen.policy).clone()
                },
                *wanted.policy
            );
            assert_eq!(stale.len(), 9, "{stale:?}");
            let (fixed, stale) = after(&[&all[..], &[good]].concat());
            assert_eq!(
                (&*fixed.policy, facts(&fixed), stale.len()),
                (&*wanted.policy, facts(&wanted), 0)
            );
        }
        let (gone, stale) = after(&[good, &[]]);
        assert_eq!(
            (gone.weight, &*gone.policy, stale.len()),
            (7, &Policy::default(), 0),
            "a key that is taken out is gone"
        );
    }

    #[test]
    fn a_new_instance_takes_the_default() {
        let (seen, stale) = after(&[&[
            ("state", "drian"),
            ("weight", "x"),
            ("route", "path=x"),
            ("expose", "egde"),
        ]]);
        assert_eq!((seen.health, seen.weight), (Health::Healthy, 7));
        assert!(seen.policy.routes.is_empty() && stale.is_empty());
        let (seen, stale) = after(&[&[], &[("weight", "x"), ("protocol", "spdy")]]);
        assert_eq!(
            (seen.weight, seen.policy.protocol, stale.len()),
            (7, None, 0),
            "nor one that never said it"
        );
    }

    #[test]
    fn what_the_registry_says_goes_on_changing() {
        let first = record(&[("zone", "a"), ("state", "up")], Health::Healthy);
        let mut next = record(&[("zone", "a b"), ("state", "pu")], Health::Unhealthy);
        fill(&mut next, Some(&first), place(&exposures(), true));
        assert_eq!(
            (next.instances[0].health, &*next.instances[0].zone),
            (Health::Unhealthy, "a")
        );
    }

    #[test]
    fn what_is_no_longer_allowed_is_not_kept() {
        let first = record(&[("expose", "gone")], Health::Healthy);
        let mut next = record(&[("expose", "egde")], Health::Healthy);
        fill(&mut next, Some(&first), place(&exposures(), true));
        assert!(next.stale.is_empty());
        assert_eq!(
            next.instances[0].policy.expose, None,
            "nor is what nobody defines"
        );
    }

    #[test]
    fn what_is_wrong_and_what_becomes_of_it_is_named() {
        let good: &[(&str, &str)] = &[
            ("timeout", "5s"),
            ("expose", "edge"),
            ("route", "host=API.x path=/a header=X-A:1 timeout=2s"),
            ("weight", "90"),
        ];
        let bad: &[(&str, &str)] = &[
            ("timeout", "5"),
            ("expose", "egde, internal"),
            ("route", "x"),
            ("weight", "x"),
        ];
        let first = record(good, Health::Healthy);
        let said = |before: Option<&ServiceRecord>| {
            let mut next = record(bad, Health::Healthy);
            fill(&mut next, before, place(&exposures(), false));
            let issues = next.issues.iter();
            let text: Vec<String> = issues.map(|i| format!("{}: {}\n", i.entry, i.reason)).collect();
            text.concat()
        };
        expect![[r"
            orders/x-1: weight: cannot be read; the last good value 90 stays in force until a readable one is registered
            orders/x-1: expose: exposure `egde` is not in bridge.toml; there are edge, internal; the last good value edge stays in force until a readable one is registered
            orders/x-1: route: cannot be read; the last good value host=api.x path=/a header=x-a:1 timeout=2s stays in force until a readable one is registered
            orders/x-1: timeout: cannot be read; the last good value 5s stays in force until a readable one is registered
        "]]
        .assert_eq(&said(Some(&first)));
        expect![[r"
            orders/x-1: expose: exposure `egde` is not in bridge.toml; there are edge, internal; only internal counts
        "]]
        .assert_eq(&said(None));
    }

    #[test]
    fn what_was_registered_again_and_cannot_be_read_is_not_the_entry_of_before() {
        let first = record(&[("weight", "3")], Health::Healthy);
        let garbage = ServiceRecord {
            unread: vec!["x-1".into()],
            ..ServiceRecord::default()
        };
        let after = |before: &ServiceRecord, is_first| {
            let mut next = garbage.clone();
            fill(&mut next, Some(before), place(&exposures(), is_first));
            next
        };
        assert!(
            after(&first, false).instances.is_empty(),
            "the source knows it by now"
        );
        let carried = after(&first, true);
        assert_eq!(carried.instances, first.instances);
        assert_eq!(
            after(&carried, false).instances,
            first.instances,
            "carried over a restart, it stays while it cannot be read"
        );
    }

    #[test]
    fn an_entry_that_cannot_be_read_does_not_stand_beside_its_newer_registration() {
        let first = record(&[("state", "drain")], Health::Healthy);
        let mut next = record(&[], Health::Healthy);
        next.instances[0].id = "x-2".into();
        next.unread = vec!["x-1".into()];
        fill(&mut next, Some(&first), place(&exposures(), true));
        let seen: Vec<_> = next.instances.iter().map(|i| (&*i.id, i.health)).collect();
        assert_eq!(seen, [("x-2", Health::Healthy)]);
        assert!(next.stale.is_empty());
    }

    #[test]
    fn an_entry_and_a_document_that_cannot_be_read_are_those_of_before() {
        let mut first = record(&[("weight", "3")], Health::Healthy);
        first.policy = Some(Policy {
            protocol: Some(Protocol::Grpc),
            ..Policy::default()
        });
        let mut next = ServiceRecord {
            unread: vec!["".into(), "x-1".into(), "x-2".into()],
            ..ServiceRecord::default()
        };
        fill(&mut next, Some(&first), place(&exposures(), true));
        assert_eq!((&next.instances, &next.policy), (&first.instances, &first.policy));
        assert_eq!(next.stale.len(), 2);
    }
}
