//! Shares of versions.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::model::rollouts::{Mode, RolloutKeys};
use crate::model::{Clusters, Facts, InstanceKeys, Own, Policy, Share};

/// Instances as `VERSION:LETTERS[:SHARE]`: a letter each, healthy, draining, unhealthy, off.
fn service(versions: &[&str]) -> Arc<Service> {
    let mut service = Service {
        name: "orders".into(),
        policy: Policy {
            rollout: RolloutKeys {
                mode: Some(Mode::Auto),
                ..RolloutKeys::default()
            },
            ..Policy::default()
        },
        ..Service::default()
    };
    let mut port = 0;
    for version in versions {
        let mut words = version.split(':');
        let (name, letters) = (words.next().unwrap(), words.next().unwrap());
        let share = words.next().filter(|share| !share.is_empty());
        let share = share.map(|share| match share {
            "routes" => Share::Routes,
            share => Share::Of(share.parse().unwrap()),
        });
        let reads = words.next().and_then(|reads| reads.split_once('-'));
        let data_reads = reads.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
        for letter in letters.chars() {
            port += 1;
            let health = match letter {
                'h' => Health::Healthy,
                'd' => Health::Draining,
                'u' => Health::Unhealthy,
                _ => Health::Off,
            };
            let own = (share.is_some() || data_reads.is_some()).then(|| {
                Arc::new(Own {
                    declared: InstanceKeys {
                        share,
                        data_reads,
                        ..InstanceKeys::default()
                    },
                    health,
                    registered_weight: 1,
                    registered_zone: Arc::default(),
                    registered_region: Arc::default(),
                })
            });
            let facts = Facts {
                health,
                version: name.into(),
                own,
                ..Facts::new(port.to_string(), ([127, 0, 0, 1], port).into())
            };
            service.instances.push(facts.into());
        }
    }
    Arc::new(service)
}

fn shares(stable: &str, weights: &[(&str, u32)]) -> Shares {
    Shares {
        weights: weights
            .iter()
            .map(|(version, weight)| ((*version).into(), *weight))
            .collect(),
        stable: stable.into(),
        ..Shares::default()
    }
}

fn of(service: &Arc<Service>, shares: Option<&Shares>) -> Versions {
    let effective = Effective::of(service, &Clusters::DEFAULT);
    Versions::of(service, &effective, shares, &|_| false, None).unwrap()
}

/// `VERSION WEIGHT`, `+` with a spare, `-` for those that no request may ask for; then the weights of the plain cluster.
fn seen(service: &Arc<Service>, shares: Option<&Shares>) -> String {
    let versions = of(service, shares);
    let mut text = String::new();
    for part in &versions.split.unwrap().parts {
        let spare = if part.has_spare { "+" } else { "" };
        let barred = if part.forced { "" } else { "-" };
        let _ = write!(text, "{}={}{spare}{barred} ", part.version, part.weight);
    }
    let plain = versions.plain.instances.iter();
    let plain: Vec<String> = plain.map(|i| format!("{}:{}", i.version, i.weight)).collect();
    text + "| " + &plain.join(" ") + "\n"
}

#[test]
fn who_is_barred_gets_nothing_also_when_nobody_else_serves() {
    let mut text = String::new();
    // One that declares less than the others of its version costs itself.
    for versions in [
        &["1:hh", "2:h::11-11"][..],
        &["1:hh::11-11", "2:h::11-12"],
        &["1:u", "2:h::13-14"],
        &["1:hh::11-11", "2:h", "3:h::13-14"],
        &["1:h::11-11", "1:h::11-12", "2:o"],
    ] {
        let shares = Shares {
            stored: Some(12),
            ..shares("1", &[("1", 5_000), ("2", 5_000)])
        };
        let _ = write!(text, "{versions:?}: {}", seen(&service(versions), Some(&shares)));
    }
    expect![[r#"
        ["1:hh", "2:h::11-11"]: 1=10000 | 1:1 1:1
        ["1:hh::11-11", "2:h::11-12"]: 2=10000 | 2:1
        ["1:u", "2:h::13-14"]: 1=10000 | 1:1
        ["1:hh::11-11", "2:h", "3:h::13-14"]: 2=10000 | 2:1
        ["1:h::11-11", "1:h::11-12", "2:o"]: 2=0+ 1=10000 | 1:1 2:1
    "#]]
    .assert_eq(&text);
    // Nobody is left: nobody gets requests, and an issue says why.
    let shares = Shares {
        stored: Some(12),
        ..shares("1", &[("1", WHOLE)])
    };
    let versions = of(&service(&["1:h::11-11", "2:h::13-13"]), Some(&shares));
    assert!(versions.plain.instances.is_empty() && versions.split.is_none());
    assert!(
        versions
            .issue
            .unwrap()
            .reason
            .contains("nobody who is healthy can read")
    );
}

#[test]
fn declared_shares_hold_while_somebody_serves() {
    let mut text = String::new();
    for versions in [
        &["1:hh"][..],
        &["1:hh", "2:h"],
        &["1:hhh", "2:h:1000"],
        &["1:hhh", "2:u:1000"],
        &["1:uu", "2:h:1000"],
        &["1:d", "2:d:1000"],
        &["1:o", "2:o:1000"],
        &["1:h:3000", "2:h:1000"],
        &["1:h:0", "2:h:0"],
        &["1:h", "2:h:0"],
        &["1:h", "2:h:9000", "3:h:3000"],
        &[":h", "2:h:1000"],
        &["1:h", "2:h", "3:h:1000"],
    ] {
        let _ = write!(text, "{versions:?}: {}", seen(&service(versions), None));
    }
    expect![[r#"
        ["1:hh"]: 1=10000 | 1:1 1:1
        ["1:hh", "2:h"]: 2=3333+ 1=6667 | 1:333350 1:333350 2:333300
        ["1:hhh", "2:h:1000"]: 2=1000+ 1=9000 | 1:300000 1:300000 1:300000 2:100000
        ["1:hhh", "2:u:1000"]: 2=0+ 1=10000 | 1:1 1:1 1:1 2:1
        ["1:uu", "2:h:1000"]: 2=10000+ 1=0+ | 1:1 1:1 2:1
        ["1:d", "2:d:1000"]: 2=1000+ 1=9000 | 1:900000 2:100000
        ["1:o", "2:o:1000"]: 2=5000 1=5000 | 1:500000 2:500000
        ["1:h:3000", "2:h:1000"]: 1=7500 2=2500 | 1:750000 2:250000
        ["1:h:0", "2:h:0"]: 1=5000 2=5000 | 1:500000 2:500000
        ["1:h", "2:h:0"]: 2=0 1=10000 | 1:1
        ["1:h", "2:h:9000", "3:h:3000"]: 2=7500+ 3=2500+ 1=0 | 2:750000 3:250000
        [":h", "2:h:1000"]: 2=1000+ =9000 | :900000 2:100000
        ["1:h", "2:h", "3:h:1000"]: 2=4500+ 3=1000+ 1=4500 | 1:450000 2:450000 3:100000
    "#]]
    .assert_eq(&text);
}

#[test]
fn what_a_rollout_says_is_stronger() {
    let all = ["1:hhh", "2:h:9000", "3:h"];
    let mut text = String::new();
    for (versions, shares) in [
        (&all[..], shares("1", &[("1", 9_000), ("2", 1_000)])),
        (&all, shares("1", &[("1", 10_000), ("2", 0)])),
        (&all, shares("2", &[("2", 10_000)])),
        (&["1:hhh", "2:u"], shares("1", &[("1", 9_000), ("2", 1_000)])),
        (&["1:uu", "2:h"], shares("1", &[("1", 9_000), ("2", 1_000)])),
        (&["1:uu", "2:h", "3:h"], shares("1", &[("1", 10_000), ("2", 0)])),
        (&["1:uu", "3:h"], shares("1", &[("1", 10_000)])),
        (&["3:h"], shares("1", &[("1", 10_000)])),
        (&["1:dd", "2:d"], shares("1", &[("1", 5_000), ("2", 5_000)])),
        (&["1:h", "2:h"], shares("1", &[("1", 1), ("2", 1)])),
    ] {
        let _ = write!(text, "{versions:?}: {}", seen(&service(versions), Some(&shares)));
    }
    expect![[r#"
        ["1:hhh", "2:h:9000", "3:h"]: 2=1000+ 3=0- 1=9000 | 1:300000 1:300000 1:300000 2:100000
        ["1:hhh", "2:h:9000", "3:h"]: 2=0 3=0- 1=10000 | 1:1 1:1 1:1
        ["1:hhh", "2:h:9000", "3:h"]: 1=0- 3=0- 2=10000 | 2:1
        ["1:hhh", "2:u"]: 2=0+ 1=10000 | 1:1 1:1 1:1 2:1
        ["1:uu", "2:h"]: 2=10000+ 1=0+ | 1:1 1:1 2:1
        ["1:uu", "2:h", "3:h"]: 2=10000+ 3=0- 1=0+ | 1:1 1:1 2:1
        ["1:uu", "3:h"]: 3=10000+- 1=0+ | 1:1 1:1 3:1
        ["3:h"]: 3=10000- | 3:1
        ["1:dd", "2:d"]: 2=5000+ 1=5000 | 1:250000 1:250000 2:500000
        ["1:h", "2:h"]: 2=5000+ 1=5000 | 1:500000 2:500000
    "#]]
    .assert_eq(&text);
}

#[test]
fn what_the_cluster_of_a_version_is_made_of() {
    let service = service(&["1:hd", "2:h"]);
    let versions = of(&service, Some(&shares("1", &[("1", 9_000), ("2", 1_000)])));
    let [candidate, stable] = &versions.services[..] else {
        panic!("two versions");
    };
    assert_eq!((&*candidate.name, &*stable.name), ("orders@2", "orders@1"));
    let ranks = |service: &Service| -> Vec<(u16, u32)> {
        let all = service.instances.iter();
        all.map(|i| (i.address.port(), service.rank(i).1)).collect()
    };
    let spare = Service::SPARE;
    assert_eq!(
        ranks(candidate),
        [(1, spare), (2, spare), (3, 0)],
        "the stable one stands behind"
    );
    assert_eq!(ranks(stable), [(1, 0), (2, 0)]);
    let none = of(&service, Some(&shares("1", &[("1", 10_000), ("2", 0)])));
    assert_eq!(
        ranks(&none.services[0]),
        [(3, 0)],
        "who asks for a version gets that"
    );
}

#[test]
fn a_mirror_needs_somebody_to_answer() {
    let mut wanted = shares("1", &[("1", 10_000), ("2", 0)]);
    wanted.mirror = Some(("2".into(), 100_000));
    let split = |versions: &[&str]| of(&service(versions), Some(&wanted)).split.unwrap();
    assert_eq!(split(&["1:h", "2:h"]).mirror, Some(("orders@2".into(), 100_000)));
    assert_eq!(split(&["1:h", "2:u"]).mirror, None);
    assert_eq!(split(&["1:h"]).mirror, None);
}

#[test]
fn a_name_that_is_taken_and_connections_leave_the_plain_cluster_alone() {
    let service = service(&["1:hhh", "2:h:1000"]);
    let effective = Effective::of(&service, &Clusters::DEFAULT);
    let versions = Versions::of(&service, &effective, None, &|name| **name == *"orders@2", None).unwrap();
    assert!(versions.split.is_none() && versions.services.is_empty());
    assert!(versions.issue.unwrap().reason.contains("`orders@2`"));
    let weights: Vec<u32> = versions.plain.instances.iter().map(|i| i.weight).collect();
    assert_eq!(weights, [300_000, 300_000, 300_000, 100_000]);
}

#[test]
fn who_declares_nothing_is_not_split() {
    let mut plain = (*service(&["1:h", "2:h"])).clone();
    plain.policy = Policy::default();
    let plain = Arc::new(plain);
    let effective = Effective::of(&plain, &Clusters::DEFAULT);
    let of = |shares: Option<&Shares>| Versions::of(&plain, &effective, shares, &|_| false, None);
    assert!(of(None).is_none());
    assert!(of(Some(&shares("1", &[("1", 10_000)]))).is_some());
    let nobody = Arc::new(Service {
        instances: Vec::new(),
        ..(*service(&[])).clone()
    });
    assert!(Versions::of(&nobody, &effective, None, &|_| false, None).is_none());
}

#[test]
fn more_versions_than_there_is_room_for_get_nothing() {
    let names: Vec<String> = (0..MAX + 3).map(|n| format!("{n}:h")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["new:h:100"]).collect();
    let versions = of(&service(&names), None);
    assert_eq!(versions.split.unwrap().parts.len(), MAX);
    assert!(
        versions.plain.instances.iter().any(|i| &*i.version == "new"),
        "who has a share comes first"
    );
    assert_eq!(versions.plain.instances.len(), MAX);
    assert!(versions.issue.is_some());
}

#[test]
fn the_stable_version_is_never_among_those_that_find_no_room() {
    let previews: Vec<String> = (0..MAX).map(|n| format!("p{n}:h:0")).collect();
    let names: Vec<&str> = previews.iter().map(String::as_str).chain(["old:hhh"]).collect();
    let versions = of(&service(&names), None);
    let weights: Vec<(String, u32)> = versions
        .split
        .unwrap()
        .shared()
        .map(|part| (part.version.to_string(), part.weight))
        .collect();
    assert_eq!(weights, [("old".to_owned(), WHOLE)]);
    assert_eq!(versions.plain.instances.len(), 3);
}

proptest! {
    /// The weights add up, and nobody is sent to a version without anybody who serves while another one has somebody; in
    /// routes and in the plain cluster.
    #[test]
    fn weights_add_up_and_lead_to_who_serves(
        letters in prop::collection::vec("[hduo]{1,4}", 1..11),
        declared in prop::collection::vec(prop::option::of(0_u32..=10_000), 11),
        rollout in prop::option::of((0_usize..11, prop::collection::btree_map(0_usize..11, 0_u32..=10_000, 0..6))),
    ) {
        let versions: Vec<String> = letters
            .iter()
            .zip(&declared)
            .enumerate()
            .map(|(n, (letters, share))| match share {
                Some(share) => format!("{n}:{letters}:{share}"),
                None => format!("{n}:{letters}"),
            })
            .collect();
        let service = service(&versions.iter().map(String::as_str).collect::<Vec<_>>());
        let shares = rollout.map(|(stable, weights)| Shares {
            weights: weights.into_iter().map(|(n, weight)| (n.to_string().into(), weight)).collect(),
            stable: stable.to_string().into(),
            ..Shares::default()
        });
        let split = of(&service, shares.as_ref());
        let parts = &split.split.as_ref().unwrap().parts;
        prop_assert_eq!(parts.iter().map(|part| part.weight).sum::<u32>(), WHOLE);
        let healthy: BTreeSet<&Arc<str>> =
            service.instances.iter().filter(|i| i.health.serves()).map(|i| &i.version).collect();
        if !healthy.is_empty() {
            for part in parts.iter().filter(|part| part.weight > 0) {
                prop_assert!(healthy.contains(&part.version), "{:?} of {:?}", part, versions);
            }
            prop_assert!(split.plain.instances.iter().any(|i| i.health.serves()));
        }
        prop_assert!(split.plain.instances.iter().all(|i| i.weight > 0));
        // In turn by weights: each version has its share of the plain cluster, as far as whole numbers allow.
        let weight = |of: &dyn Fn(&Instance) -> bool| -> f64 {
            let all = split.plain.instances.iter().filter(|i| i.health.serves() && of(i));
            all.map(|i| f64::from(i.weight)).sum()
        };
        let all = weight(&|_| true);
        for part in parts.iter().filter(|_| all > 0.0) {
            let share = weight(&|i| i.version == part.version) / all;
            let wanted = f64::from(part.weight) / f64::from(WHOLE);
            prop_assert!((share - wanted).abs() < 0.001, "{} of {}: {:?}", share, wanted, versions);
        }
    }
}

/// As long as Envoy finds nobody healthy in a cluster, it sends requests to those that drain.
#[test]
fn who_asks_for_a_version_that_drains_is_answered_by_others() {
    let mut text = String::new();
    for versions in [
        &["1:d", "2:h:3000"][..],
        &["1:h", "2:d:3000"],
        &["1:d", "2:h:3000", "3:h:1000"],
        &["1:d", "2:d:3000"],
        &["1:dh", "2:h:3000"],
        &["1:o", "2:h:0"],
    ] {
        let _ = write!(text, "{versions:?}: {}", seen(&service(versions), None));
    }
    expect![[r#"
        ["1:d", "2:h:3000"]: 2=10000+ 1=0+ | 1:1 2:1
        ["1:h", "2:d:3000"]: 2=0+ 1=10000 | 1:1 2:1
        ["1:d", "2:h:3000", "3:h:1000"]: 2=7500+ 3=2500+ 1=0+ | 1:1 2:750000 3:250000
        ["1:d", "2:d:3000"]: 2=3000+ 1=7000 | 1:700000 2:300000
        ["1:dh", "2:h:3000"]: 2=3000+ 1=7000 | 1:350000 1:700000 2:300000
        ["1:o", "2:h:0"]: 2=10000 1=0+ | 1:1 2:1
    "#]]
    .assert_eq(&text);
}

/// The versions that routes may name, each with its cluster.
fn routed(versions: &Versions) -> Vec<(String, Vec<Arc<str>>)> {
    let all = versions.routed.iter();
    all.map(|(version, split)| (version.to_string(), split.clusters().collect()))
        .collect()
}

#[test]
fn what_stands_apart_gets_no_share_whoever_serves() {
    let mut text = String::new();
    for versions in [
        &["1:h", "c:h:routes"][..],
        &["1:u", "c:h:routes"],
        &["1:o", "c:h:routes"],
        &["1:h:3000", "c:h:routes", "d:h:routes"],
        &[":h", "c:u:routes"],
    ] {
        let _ = write!(text, "{versions:?}: {}", seen(&service(versions), None));
    }
    expect![[r#"
        ["1:h", "c:h:routes"]: c=0- 1=10000 | 1:1
        ["1:u", "c:h:routes"]: c=0- 1=10000 | 1:1
        ["1:o", "c:h:routes"]: c=0- 1=10000 | 1:1
        ["1:h:3000", "c:h:routes", "d:h:routes"]: 1=10000 c=0- d=0- | 1:1
        [":h", "c:u:routes"]: c=0- =10000 | :1
    "#]]
    .assert_eq(&text);
    // A rollout neither gives it anything nor takes its routes.
    let all = service(&["1:h", "2:h", "c:h:routes"]);
    let rolled = shares("1", &[("1", 9_000), ("2", 1_000), ("c", 5_000)]);
    assert_eq!(
        routed(&of(&all, Some(&rolled))),
        [
            ("1".to_owned(), vec!["orders@1".into()]),
            ("2".to_owned(), vec!["orders@2".into()]),
            ("c".to_owned(), vec!["orders@c".into()]),
        ]
    );
    let taken_back = of(&all, Some(&shares("1", &[("1", 10_000)])));
    let names: Vec<String> = routed(&taken_back).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1", "c"]);
    // Nor has it anything of the others when it was the stable one, or the one that gets copies.
    let copied = Shares {
        mirror: Some(("c".into(), 1_000_000)),
        ..shares("c", &[("1", 0), ("c", 10_000)])
    };
    for all in [service(&["1:h", "c:h:routes"]), service(&["1:u", "c:h:routes"])] {
        let split = of(&all, Some(&copied)).split.unwrap();
        let weights: Vec<(&str, u32)> = split.parts.iter().map(|p| (&*p.version, p.weight)).collect();
        assert_eq!(weights, [("1", 10_000), ("c", 0)]);
        assert!(split.mirror.is_none() && !split.has_spare());
    }
}

#[test]
fn nobody_shares_the_requests_of_a_service_that_only_routes_lead_to() {
    let versions = of(&service(&["c:h:routes"]), None);
    assert_eq!(versions.split, None);
    assert!(versions.plain.instances.is_empty());
    assert_eq!(routed(&versions), [("c".to_owned(), vec!["orders@c".into()])]);
    // One that also has instances of the usual kind is one of the others.
    assert_eq!(
        seen(&service(&["1:h", "1:h:routes"]), None),
        "1=10000 | 1:1 1:1\n"
    );
}
