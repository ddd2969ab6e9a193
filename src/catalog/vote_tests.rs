//! Whose declarations are in force when instances disagree.

use proptest::collection::vec;
use proptest::prelude::*;

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
        region: "",
    };
    assemble(&registered, declared)
}

proptest! {
    #[test]
    fn groups_decide_as_each_instance_by_itself(
        voters in vec((0..3_usize, 0..4_usize, any::<bool>(), any::<bool>()), 0..12),
        before in 0..5_usize,
    ) {
        let declared: [&[(&str, &str)]; 4] = [
            &[],
            &[("protocol", "grpc")],
            &[("protocol", "http2"), ("route", "path=/a")],
            &[("protocol", "grpc"), ("route", "path=/b"), ("expose", "edge")],
        ];
        let versions = ["v1", "-v1", "v2"];
        // What is declared equally is one in memory, or not.
        let shared = declared.map(|keys| instance(0, "", keys).policy.clone());
        let voters = voters.into_iter().zip(1..).map(|((version, keys, serves, is_shared), n)| {
            let mut voter = instance(n, versions[version], declared[keys]);
            if !serves {
                voter.health = Health::Unhealthy;
            }
            if is_shared {
                voter.policy = shared[keys].clone();
            }
            voter
        });
        let voters: Vec<Instance> = voters.collect();
        let alone = |i| {
            let voter: &Instance = i;
            Group { serving: usize::from(voter.health.serves()), all: 1, ..Group::of(voter) }
        };
        let alone: Vec<Group<'_>> = voters.iter().map(alone).collect();
        let before = shared.get(before).map(|policy| &**policy);
        prop_assert_eq!(elect(&voters, before), decide(&alone, before));
    }
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

#[test]
fn who_stands_apart_declares_routes_and_nothing_else() {
    let apart: &[(&str, &str)] = &[
        ("share", "routes"),
        ("protocol", "grpc"),
        ("route", "path=/try version=c"),
    ];
    let one: &[(&str, &str)] = &[("protocol", "http2")];
    let (policy, conflicts) = elected(&[("c", apart), ("c", apart), ("v1", one)], None);
    assert_eq!((policy.protocol, policy.routes.len()), (Some(Protocol::Http2), 1));
    assert_eq!(conflicts, []);
    // Beside somebody who declares nothing, too.
    assert_eq!(elected(&[("c", apart), ("v1", &[])], None).0.protocol, None);
    let (alone, _) = elected(&[("c", apart)], None);
    assert_eq!(
        alone.protocol,
        Some(Protocol::Grpc),
        "nobody else is there to say it"
    );
}
