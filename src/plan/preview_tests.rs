//! What would change.

use expect_test::expect;

use super::*;
use crate::model::declaration::{self, Spelling};
use crate::model::{Declared, Exposure, Facts};

fn declared(keys: &[(&str, &str)]) -> Declared {
    declaration::parse("x", Spelling::Plain, keys.iter().copied(), &mut Vec::new())
}

fn instance(id: &str, keys: &[(&str, &str)]) -> Instance {
    Facts {
        policy: Arc::new(declared(keys).policy),
        ..Facts::new(id, ([10, 0, 0, 7], 80).into())
    }
    .into()
}

fn scene() -> Scene {
    let record = |name: &str, keys: &[(&str, &str)]| {
        let instances = vec![instance(name, keys)];
        let record = ServiceRecord {
            instances,
            ..ServiceRecord::default()
        };
        (Arc::from(name), Arc::new(record))
    };
    let records = vec![
        record("web", &[("route", "host=api.x"), ("timeout", "2s")]),
        record("cart", &[]),
    ];
    Scene {
        sources: [("etcd".into(), (0, records))].into(),
        network: Arc::default(),
        decisions: Decisions::default(),
        rollouts: Rollouts::default(),
    }
}

/// What changes, in lines.
fn shown(change: impl FnOnce(&mut Scene)) -> String {
    let before = scene();
    let mut after = before.clone();
    change(&mut after);
    let found = difference(&before, &after);
    let route = |r: &RouteChange| {
        format!(
            "{} {} {}: {:?} -> {:?}\n",
            r.exposure, r.host, r.requests, r.before, r.after
        )
    };
    let mut text: String = found.routes.iter().map(route).collect();
    for (what, all) in [("cluster", &found.clusters), ("listener", &found.listeners)] {
        text.extend(
            all.iter()
                .map(|(name, fate)| format!("{what} {name}: {fate:?}\n")),
        );
    }
    text.extend(
        found
            .issues
            .iter()
            .map(|i| format!("{}: {}\n", i.entry, &i.reason[..40.min(i.reason.len())])),
    );
    text + if found.hurts() { "hurts\n" } else { "" }
}

fn policy(keys: &[(&str, &str)]) -> Proposal {
    Proposal::Policy(Box::new(declared(keys).policy))
}

#[test]
fn a_proposal_changes_what_it_says_and_nothing_else() {
    expect![""].assert_eq(&shown(|_| {}));
    expect![[r#"
        internal * path=/cart: None -> Some("cart")
    "#]]
    .assert_eq(&shown(|s| {
        s.propose(&"cart".into(), policy(&[("route", "path=/cart")]));
    }));
    expect![[r#"
        internal web path=/: Some("web") -> Some("web")
        web: route, timeout: declared by its instance
        hurts
    "#]]
    .assert_eq(&shown(|s| {
        s.propose(
            &"web".into(),
            policy(&[("timeout", "9s"), ("route", "host=api.x timeout=2s")]),
        );
    }));
    expect![[r#"
        internal basket path=/: None -> Some("basket")
        cluster basket: Added
    "#]]
    .assert_eq(&shown(|s| {
        s.propose(&"basket".into(), Proposal::Instance(instance("b1", &[])));
    }));
}

#[test]
fn who_loses_requests_and_what_is_refused_is_named() {
    expect![[r#"
        internal api.x path=/: Some("web") -> Some("cart")
        web: route: path=/ on host `api.x` is that of
        hurts
    "#]]
    .assert_eq(&shown(|s| {
        s.propose(&"cart".into(), policy(&[("route", "host=api.x")]));
    }));
    expect![[r#"
        cart/policy: expose: exposure `edge` is not in bridge
        hurts
    "#]]
    .assert_eq(&shown(|s| {
        s.propose(&"cart".into(), policy(&[("expose", "edge")]));
    }));
}

#[test]
fn another_network_is_compared_too() {
    let found = shown(|s| {
        let mut network = Network::default();
        let inside = Exposure {
            service_hosts: Vec::new(),
            ..Exposure::internal()
        };
        network.exposures.insert("internal".into(), inside);
        s.network = Arc::new(network);
    });
    expect![[r#"
        internal cart path=/: Some("cart") -> None
        internal web path=/: Some("web") -> None
        hurts
    "#]]
    .assert_eq(&found);
}

#[test]
fn whose_envoys_are_concerned_is_named() {
    let before = scene();
    let mut after = before.clone();
    let mut network = Network::default();
    let listener = |fleets: &[&str]| crate::model::Listener {
        fleets: fleets.iter().map(|name| Arc::from(*name)).collect(),
        ..crate::model::Listener::new(crate::model::Bind::Internal, "internal".into())
    };
    network.listeners.insert("one".into(), listener(&["shop"]));
    network
        .listeners
        .insert("two".into(), listener(&["edge", "shop"]));
    let fleet = crate::model::Fleet {
        needs: false,
        services: vec!["web".to_owned()],
    };
    network.fleets.insert("edge".into(), fleet);
    after.network = Arc::new(network);
    after.propose(&"cart".into(), policy(&[("route", "path=/cart")]));
    let found = difference(&before, &after);
    let fleets: Vec<&str> = found.routes[0].fleets.iter().map(|name| &**name).collect();
    assert_eq!(fleets, ["edge", "shop"]);
    let sight = |service: &str| {
        let change = found.sight.iter().find(|change| &*change.service == service);
        let after = change.and_then(|change| change.after.clone());
        after.map(|after| after.sections.to_vec())
    };
    assert_eq!(sight("web"), Some(vec!["edge".into()]));
    assert_eq!(sight("cart"), Some(Vec::new()));
}
