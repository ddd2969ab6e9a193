//! What keeps its last good value, and until when.

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
        region: "",
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
