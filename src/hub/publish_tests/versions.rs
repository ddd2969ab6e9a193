//! The versions of a service.

use std::fmt::Write as _;

use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, RouteConfiguration};
use envoy_types::pb::google::protobuf::BoolValue;
use expect_test::expect;
use prost::Message as _;

use super::*;
use crate::model::declaration::{self, Spelling};
use crate::model::rollouts::{Mode, RolloutKeys};
use crate::model::{Rollouts, RouteRule, Shares};
use crate::xds::{Client, Kind};

/// One source, with what is made of it.
struct Scene {
    catalog: Catalog,
    builder: Builder,
}

impl Scene {
    fn new() -> Self {
        Self {
            catalog: Catalog::new([("s".into(), None)]),
            builder: Builder::new(network()),
        }
    }

    /// A service of this protocol with an instance of each of these versions; none: it is gone.
    fn serve(&mut self, name: &str, protocol: Protocol, versions: &[&str]) -> Vec<Update> {
        let policy = Arc::new(Policy {
            protocol: Some(protocol),
            rollout: RolloutKeys {
                mode: Some(Mode::Auto),
                ..RolloutKeys::default()
            },
            ..Policy::default()
        });
        let instance = |(version, port): (&&str, u16)| {
            Instance::from(Facts {
                version: (*version).into(),
                policy: policy.clone(),
                ..Facts::new(*version, ([127, 0, 0, 1], port).into())
            })
        };
        let record = ServiceRecord {
            instances: versions.iter().zip(1..).map(instance).collect(),
            ..ServiceRecord::default()
        };
        let record = (!versions.is_empty()).then_some(record);
        let what = What::Change(Change::new(vec![(name.into(), record)], false));
        let source = "s".into();
        let touched = self.catalog.apply(Event { source, what }, Duration::ZERO);
        self.builder
            .build(&self.catalog, &touched.services, Duration::ZERO)
    }

    fn roll_out(&mut self, weights: &[(&str, u32)]) -> Vec<Update> {
        let shares = Shares {
            weights: weights
                .iter()
                .map(|(version, weight)| ((*version).into(), *weight))
                .collect(),
            stable: weights
                .first()
                .map(|(version, _)| (*version).into())
                .unwrap_or_default(),
            ..Shares::default()
        };
        let rollouts = Rollouts {
            services: [("a".into(), shares)].into(),
        };
        let touched = self.builder.planner.set_rollouts(rollouts);
        self.builder.build(&self.catalog, &touched, Duration::ZERO)
    }
}

#[test]
fn a_share_that_changes_touches_no_cluster() {
    let mut scene = Scene::new();
    let _ = scene.serve("b", Protocol::Http1, &["1", "2"]);
    let first = scene.serve("a", Protocol::Http1, &["1"]);
    assert_eq!(
        kinds(&first),
        ["+cds a", "+eds a", "+cds a@1", "+eds a@1", "+rds internal"]
    );
    let second = scene.serve("a", Protocol::Http1, &["1", "2"]);
    assert_eq!(
        kinds(&second),
        ["+eds a", "+cds a@2", "+eds a@2", "+eds a@1", "+rds internal"]
    );
    let shared = scene.roll_out(&[("1", 9_000), ("2", 1_000)]);
    assert_eq!(
        kinds(&shared),
        ["+eds a", "+eds a@2", "+eds a@1", "+rds internal"],
        "and not b"
    );
    assert_eq!(kinds(&scene.roll_out(&[("1", 9_000), ("2", 1_000)])), [""; 0]);
    let third = scene.serve("a", Protocol::Http1, &["2"]);
    assert_eq!(
        kinds(&third),
        ["+eds a", "+eds a@2", "-eds a@1", "-cds a@1", "+rds internal"]
    );
}

#[test]
fn grpc_clients_have_weighted_clusters_in_their_listener() {
    let mut scene = Scene::new();
    let first = scene.serve("a", Protocol::Grpc, &["1", "2"]);
    let listener = |updates: &[Update]| {
        let draft = updates.iter().find_map(|update| match update {
            Update::Put(draft) if draft.kind == Kind::Listener => Some(draft.needs.clone()),
            _ => None,
        });
        draft.map(|needs| needs.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        listener(&first),
        Some(vec!["a@1".to_owned(), "a@2".to_owned()]),
        "clusters come first"
    );
    let shared = scene.roll_out(&[("1", 10_000), ("2", 0)]);
    assert!(listener(&shared).is_some(), "one may still be asked for");
    let other = |updates: &[Update]| {
        let others = updates
            .iter()
            .filter(|update| matches!(update, Update::PutFor(Client::Tonic, _)));
        others.count()
    };
    assert_eq!(
        other(&scene.roll_out(&[("1", 5_000), ("2", 5_000)])),
        1,
        "tonic-xds knows no priorities"
    );
}

#[test]
fn a_service_of_the_name_of_a_version_keeps_it_and_a_newcomer_does_not_take_it() {
    let mut scene = Scene::new();
    let _ = scene.serve("a@1", Protocol::Http1, &[""]);
    let first = kinds(&scene.serve("a", Protocol::Http1, &["1", "2"]));
    assert!(first.contains(&"+cds a".to_owned()), "{first:?}");
    assert!(
        !first.iter().any(|one| one.contains("cds a@")),
        "no version has a cluster: {first:?}"
    );
    let said = |scene: &Scene, words: &str| {
        let issues: Vec<String> = scene.builder.issues().map(|issue| issue.reason.clone()).collect();
        assert!(
            issues.iter().any(|reason| reason.starts_with(words)),
            "{issues:?}"
        );
    };
    said(&scene, "versions: `a@1` is a service of its own");
    // It leaves: its cluster becomes that of the version, without being removed in between.
    let after = kinds(&scene.serve("a@1", Protocol::Http1, &[]));
    for cluster in ["a@1", "a@2"] {
        assert!(after.contains(&format!("+cds {cluster}")), "{after:?}");
        assert!(!after.contains(&format!("-cds {cluster}")), "{after:?}");
    }
    // It comes back, and the version has the cluster.
    let back = kinds(&scene.serve("a@1", Protocol::Http1, &[""]));
    assert!(!back.iter().any(|one| one.contains("cds")), "{back:?}");
    said(&scene, "is the name of the cluster of a version of `a`");
    // The version leaves: the cluster becomes that of the service.
    let gone = kinds(&scene.serve("a", Protocol::Http1, &["2"]));
    assert!(gone.contains(&"+cds a@1".to_owned()), "{gone:?}");
    assert!(!gone.contains(&"-cds a@1".to_owned()), "{gone:?}");
}

/// `HEADERS -> CLUSTERS`
fn seen(route: &Route) -> String {
    let mut text = String::new();
    for header in &route.r#match.as_ref().unwrap().headers {
        let _ = write!(text, "{} ", header.name);
    }
    let Some(Action::Route(action)) = &route.action else {
        panic!("{route:?}");
    };
    let target = match action.cluster_specifier.as_ref().unwrap() {
        ClusterSpecifier::Cluster(name) => name.clone(),
        ClusterSpecifier::WeightedClusters(clusters) => {
            let one = |c: &envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight| {
                format!("{}={}", c.name, c.weight.unwrap().value)
            };
            clusters.clusters.iter().map(one).collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    let policy = action.retry_policy.as_ref();
    let elsewhere = policy.is_some_and(|policy| policy.retry_priority.is_some());
    format!(
        "{text}-> {target}{}\n",
        if elsewhere { ", retries elsewhere" } else { "" }
    )
}

#[test]
fn the_routes_of_a_service_that_is_split() {
    let mut scene = Scene::new();
    let _ = scene.serve("a", Protocol::Http1, &["1", "2", "3"]);
    let mut text = String::new();
    for weights in [
        &[("1", 9_000), ("2", 1_000)][..],
        &[("1", 10_000), ("2", 0)],
        &[("2", 10_000)],
    ] {
        let updates = scene.roll_out(weights);
        let routes = updates.iter().find_map(|update| match update {
            Update::Put(draft) if draft.kind == Kind::Route => Some(draft),
            _ => None,
        });
        let routes = routes.unwrap();
        let _ = writeln!(text, "needs {:?}", routes.needs);
        let read = RouteConfiguration::decode(&*routes.body).unwrap();
        for route in &read.virtual_hosts[0].routes {
            text += &seen(route);
        }
    }
    expect![[r#"
        needs ["a@1", "a@2"]
        x-version -> a@2
        x-version -> a@1
        -> a@2=1000 a@1=9000, retries elsewhere
        needs ["a@1", "a@2"]
        x-version -> a@2
        x-version -> a@1
        -> a@1=10000
        needs ["a@2"]
        x-version -> a@2
        -> a@2=10000
    "#]]
    .assert_eq(&text);
}

/// By the header and the hash that it declares, in place of the usual ones.
#[test]
fn a_service_says_what_its_versions_are_chosen_by() {
    let mut scene = Scene::new();
    let keys = [
        ("version-header", "x-commit"),
        ("sticky", "cookie:user:1h"),
        ("rollout", "auto"),
    ];
    let declared = declaration::parse("a", Spelling::Plain, keys, &mut Vec::new());
    let policy = Arc::new(declared.policy);
    let instance = |(version, port): (&str, u16)| {
        Instance::from(Facts {
            version: version.into(),
            policy: policy.clone(),
            ..Facts::new(version, ([127, 0, 0, 1], port).into())
        })
    };
    let record = ServiceRecord {
        instances: [("1", 1), ("2", 2)].map(instance).into(),
        ..ServiceRecord::default()
    };
    let what = What::Change(Change::new(vec![("a".into(), Some(record))], false));
    let source = "s".into();
    let touched = scene.catalog.apply(Event { source, what }, Duration::ZERO);
    let updates = scene
        .builder
        .build(&scene.catalog, &touched.services, Duration::ZERO);
    let body = updates.iter().find_map(|update| match update {
        Update::Put(draft) if draft.kind == Kind::Route => Some(draft.body.clone()),
        _ => None,
    });
    let read = RouteConfiguration::decode(&*body.unwrap()).unwrap();
    let routes = &read.virtual_hosts[0].routes;
    let text: String = routes.iter().map(seen).collect();
    expect![[r#"
        x-commit -> a@2
        x-commit -> a@1
        -> a@2=5000 a@1=5000, retries elsewhere
    "#]]
    .assert_eq(&text);
    let Some(Action::Route(action)) = &routes[2].action else {
        panic!("{routes:?}");
    };
    let Some(PolicySpecifier::Cookie(cookie)) = &action.hash_policy[0].policy_specifier else {
        panic!("{action:?}");
    };
    let lasts = cookie.ttl.as_ref().map(|ttl| ttl.seconds);
    assert_eq!((&*cookie.name, lasts), ("user", Some(3_600)));
    let Some(ClusterSpecifier::WeightedClusters(clusters)) = &action.cluster_specifier else {
        panic!("{action:?}");
    };
    let chosen = clusters.random_value_specifier.as_ref();
    assert_eq!(
        chosen,
        Some(&RandomValueSpecifier::UseHashPolicy(BoolValue { value: true }))
    );
}

#[test]
fn a_route_leads_to_one_version_or_nowhere() {
    let mut scene = Scene::new();
    let rules = [
        "path=/new version=2 host-rewrite=*",
        "path=/gone version=9",
        // What is for all comes first, also where the version is not there.
        "path=/all version=9 retry=off",
        "path=/all",
    ];
    let rules = rules.map(|text| RouteRule::parse(text).unwrap());
    let policy = Policy {
        routes: (1..).zip(rules).collect(),
        ..Policy::default()
    };
    let instance = |(version, port): (&str, u16)| {
        Instance::from(Facts {
            version: version.into(),
            ..Facts::new(version, ([127, 0, 0, 1], port).into())
        })
    };
    let record = ServiceRecord {
        instances: [("1", 1), ("2", 2)].map(instance).into(),
        policy: Some(policy),
        ..ServiceRecord::default()
    };
    let what = What::Change(Change::new(vec![("a".into(), Some(record))], false));
    let source = "s".into();
    let touched = scene.catalog.apply(Event { source, what }, Duration::ZERO);
    let updates = scene
        .builder
        .build(&scene.catalog, &touched.services, Duration::ZERO);
    let body = |kind: Kind, name: &str| {
        let draft = updates.iter().find_map(|update| match update {
            Update::Put(draft) if draft.kind == kind && &*draft.name == name => Some(draft.body.clone()),
            _ => None,
        });
        draft.unwrap()
    };
    let routes = RouteConfiguration::decode(&*body(Kind::Route, "internal")).unwrap();
    let mut text = String::new();
    for host in &routes.virtual_hosts {
        for route in &host.routes {
            match &route.action {
                Some(Action::DirectResponse(respond)) => writeln!(text, "{}", respond.status).unwrap(),
                Some(Action::Route(action)) => {
                    let rewrite = action.host_rewrite_specifier.is_some();
                    write!(text, "{} {rewrite} {}", host.name, seen(route)).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(text.contains("true -> a@2=10000\n"), "{text}");
    assert_eq!(text.matches("503\n").count(), 1, "{text}");
    let issues: Vec<String> = scene.builder.issues().map(|issue| issue.reason.clone()).collect();
    for said in [
        "is for the version `9`, which has no instance",
        "is declared for the version `9` and for others",
    ] {
        assert!(issues.iter().any(|reason| reason.contains(said)), "{issues:?}");
    }
    for cluster in ["a", "a@1", "a@2"] {
        let of = body(Kind::Endpoints, cluster);
        let text = String::from_utf8_lossy(&of).into_owned();
        assert!(
            text.contains("127.0.0.1:"),
            "each endpoint has its address for a host: {cluster}"
        );
    }
}
