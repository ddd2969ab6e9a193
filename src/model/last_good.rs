//! What takes the place of a key that cannot be read: its last good value, per instance and key, while the
//! instance lives. A slip in a declaration that worked must not take its route away. Pure.
//!
//! An exposure that the operator does not define is a slip as well.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::Issue;
use super::declaration::{Expose, Policy};
use super::instance::{Instance, Own};
use super::key::Key;
use super::service::ServiceRecord;

/// Sentences about stale keys of one service; the rest is counted.
const MAX_ISSUES: usize = 100;

/// The names of the exposures that the operator defines.
pub type Exposures = BTreeSet<Arc<str>>;

/// Fills what cannot be read in `record` from `before`, what is served of the same service and source.
pub fn fill(record: &mut ServiceRecord, before: Option<&ServiceRecord>, exposures: &Exposures) {
    let mut stale: Vec<(Arc<str>, Option<Key>)> = Vec::new();
    let known = before.map_or(&[][..], |before| &before.instances);
    for id in &record.unread {
        if id.is_empty() && record.policy.is_none() {
            record.policy = before.and_then(|before| before.policy.clone());
            stale.extend(record.policy.is_some().then(|| (id.clone(), None)));
        }
    }
    let unreadable = record.unread.iter().filter(|id| !id.is_empty());
    let unreadable: BTreeSet<&Arc<str>> = unreadable.collect();
    if !unreadable.is_empty() {
        let mut ids: BTreeSet<Arc<str>> = record.instances.iter().map(|i| i.id.clone()).collect();
        // One that was registered again under another id is there already.
        let mut places: BTreeSet<_> = record.instances.iter().map(|i| i.address).collect();
        for last in known.iter().filter(|last| unreadable.contains(&last.id)) {
            if !ids.contains(&last.id) && places.insert(last.address) {
                ids.insert(last.id.clone());
                stale.push((last.id.clone(), None));
                record.instances.push(last.clone());
            }
        }
    }
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    if let (Some(policy), Some(last)) = (&mut record.policy, before.and_then(|b| b.policy.as_ref())) {
        let kept = keep(policy, last, exposures);
        stale.extend(kept.into_iter().map(|key| ("".into(), Some(key))));
    }
    if record
        .instances
        .iter()
        .any(|instance| has_slips(instance, exposures))
    {
        let known: BTreeMap<&str, &Instance> = known.iter().map(|last| (&*last.id, last)).collect();
        for instance in record.instances.iter_mut().filter(|i| has_slips(i, exposures)) {
            let Some(last) = known.get(&*instance.id) else {
                continue;
            };
            let mut kept = keep_own(instance, last);
            kept.extend(keep_policy(instance, last, exposures));
            stale.extend(kept.into_iter().map(|key| (instance.id.clone(), Some(key))));
        }
    }
    record
        .issues
        .extend(stale.iter().take(MAX_ISSUES).map(|(id, key)| sentence(id, *key)));
    record.stale = stale;
}

fn sentence(id: &str, key: Option<Key>) -> Issue {
    let entry = if id.is_empty() { "policy" } else { id };
    let what = key.map_or_else(|| "the entry".to_owned(), |key| key.to_string());
    let reason = format!("{what}: stale, the last good value is in force until a readable one is registered");
    Issue::warning(entry, reason)
}

fn has_slips(instance: &Instance, exposures: &Exposures) -> bool {
    !instance.policy.slips.is_empty()
        || unknown_exposure(&instance.policy, exposures)
        || instance.own.as_ref().is_some_and(|own| !own.slips.is_empty())
}

fn unknown_exposure(policy: &Policy, exposures: &Exposures) -> bool {
    let unknown = |name: &String| !exposures.contains(name.as_str());
    matches!(&policy.expose, Some(Expose::On(names)) if !exposures.is_empty() && names.iter().any(unknown))
}

/// The keys of the instance itself that keep their last good value.
fn keep_own(instance: &mut Instance, last: &Instance) -> Vec<Key> {
    let Some(own) = instance.own.as_deref().filter(|own| !own.slips.is_empty()) else {
        return Vec::new();
    };
    let mut own: Own = own.clone();
    let mut kept = Vec::new();
    for key in &own.slips {
        let said = last.own.as_deref();
        let took = match key {
            Key::Weight => said
                .and_then(|l| l.weight)
                .map(|weight| own.weight = Some(weight)),
            Key::State => said.and_then(|l| l.state).map(|state| own.state = Some(state)),
            Key::Zone => said
                .and_then(|l| l.zone.clone())
                .map(|zone| own.zone = Some(zone)),
            Key::Version if !last.version.is_empty() => {
                own.version = Some(last.version.clone());
                Some(())
            }
            _ => None,
        };
        kept.extend(took.map(|()| *key));
    }
    instance.follow(&own);
    instance.own = Some(Arc::new(own));
    kept
}

fn keep_policy(instance: &mut Instance, last: &Instance, exposures: &Exposures) -> Vec<Key> {
    if instance.policy.slips.is_empty() && !unknown_exposure(&instance.policy, exposures) {
        return Vec::new();
    }
    let mut policy = (*instance.policy).clone();
    let kept = keep(&mut policy, &last.policy, exposures);
    instance.policy = Arc::new(policy);
    kept
}

/// The keys of a policy that keep their last good value.
fn keep(policy: &mut Policy, last: &Policy, exposures: &Exposures) -> Vec<Key> {
    let mut slips = policy.slips.clone();
    if unknown_exposure(policy, exposures) {
        slips.insert(Key::Expose);
    }
    let still_allowed = |key: &Key| *key != Key::Expose || !unknown_exposure(last, exposures);
    slips
        .into_iter()
        .filter(still_allowed)
        .filter(|key| policy.take(*key, last))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::declaration::{self, Spelling};
    use crate::model::service::{Registered, assemble};
    use crate::model::{Health, Protocol};

    fn exposures() -> Exposures {
        ["internal".into(), "edge".into()].into()
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
            fill(&mut next, served.as_ref(), &exposures());
            served = Some(next);
        }
        let served = served.unwrap();
        assert_eq!(served.issues.len(), served.stale.len(), "each stale key is named");
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
            let (mended, stale) = after(&[&all[..], &[good]].concat());
            assert_eq!(
                (&*mended.policy, facts(&mended), stale.len()),
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
        fill(&mut next, Some(&first), &exposures());
        assert_eq!(
            (next.instances[0].health, &*next.instances[0].zone),
            (Health::Unhealthy, "a")
        );
    }

    #[test]
    fn what_is_no_longer_allowed_is_not_kept() {
        let first = record(&[("expose", "gone")], Health::Healthy);
        let mut next = record(&[("expose", "egde")], Health::Healthy);
        fill(&mut next, Some(&first), &exposures());
        assert!(next.stale.is_empty());
        assert_eq!(
            next.instances[0].policy.expose,
            Some(Expose::On(vec!["egde".into()]))
        );
    }

    #[test]
    fn an_entry_that_cannot_be_read_does_not_stand_beside_its_newer_registration() {
        let first = record(&[("state", "drain")], Health::Healthy);
        let mut next = record(&[], Health::Healthy);
        next.instances[0].id = "x-2".into();
        next.unread = vec!["x-1".into()];
        fill(&mut next, Some(&first), &exposures());
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
        fill(&mut next, Some(&first), &exposures());
        assert_eq!((&next.instances, &next.policy), (&first.instances, &first.policy));
        assert_eq!(next.stale.len(), 2);
    }
}
