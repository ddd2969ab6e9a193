//! What is published for fleets that see a part of the services.

use super::*;
use crate::model::{Fleet, RouteRule};
use crate::xds::{Client, Kind, Reach, View, Viewer};

fn declared(name: &str, port: u16, policy: Policy) -> Event {
    let record = ServiceRecord {
        instances: vec![Instance::from(Facts {
            policy: Arc::new(policy),
            ..Facts::new("1", ([127, 0, 0, 1], port).into())
        })],
        ..ServiceRecord::default()
    };
    Event {
        source: "s".into(),
        what: What::Change(Change::new(vec![(name.into(), Some(record))], false)),
    }
}

fn with_fleets() -> Network {
    let sees_needs = Fleet {
        needs: true,
        ..Fleet::default()
    };
    Network {
        fleets: [("web".into(), sees_needs)].into(),
        ..network()
    }
}

fn web() -> Viewer {
    Viewer {
        view: Some(View {
            section: "web".into(),
            own: true,
        }),
        ..Viewer::of(Client::Envoy, &"web".into())
    }
}

/// What of it the fleet may have, without routes.
fn seen(updates: &[Update]) -> Vec<String> {
    let visible = updates.iter().filter(|update| match update {
        Update::Put(draft) | Update::PutFor(_, draft) => {
            draft.kind != Kind::Route && draft.reach.admits(&web())
        }
        _ => false,
    });
    kinds(&visible.cloned().collect::<Vec<_>>())
}

/// The hosts of the last route configuration as the fleet gets it.
fn hosts(updates: &[Update]) -> Vec<String> {
    use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
    use prost::Message as _;
    let draft = updates.iter().rev().find_map(|update| match update {
        Update::Put(draft) if draft.kind == Kind::Route => Some(draft),
        _ => None,
    });
    let local = draft.unwrap().local.as_ref().unwrap();
    let routes = RouteConfiguration::decode(&*local.body(&web())).unwrap();
    let host = |host: envoy_types::pb::envoy::config::route::v3::VirtualHost| {
        format!("{} {}", host.name, host.routes.len())
    };
    routes.virtual_hosts.into_iter().map(host).collect()
}

#[test]
fn a_fleet_gets_its_own_service_and_what_that_one_needs() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(with_fleets());
    let mut apply = |event, builder: &mut Builder| {
        let touched = catalog.apply(event, Duration::ZERO);
        builder.build(&catalog, &touched.services, Duration::ZERO)
    };
    let shared = |path: &str| Policy {
        protocol: Some(Protocol::Grpc),
        routes: [(1, RouteRule::parse(&format!("host=shared path={path}")).unwrap())].into(),
        ..Policy::default()
    };
    let of_stock = apply(declared("stock", 1, shared("/stock")), &mut builder);
    assert_eq!(seen(&of_stock), [""; 0]);
    assert!(hosts(&of_stock).is_empty());
    let api_listener = of_stock.iter().find_map(|update| match update {
        Update::Put(draft) if draft.kind == Kind::Listener => Some(&draft.reach),
        _ => None,
    });
    assert!(
        matches!(api_listener, Some(Reach::NamedInViews(_))),
        "gRPC clients of the fleet cannot dial it either"
    );
    apply(declared("orders", 2, shared("/orders")), &mut builder);

    let needs = |names: &[&str]| Policy {
        needs: Some(names.iter().map(|name| Arc::from(*name)).collect()),
        ..Policy::default()
    };
    let of_web = apply(declared("web", 3, needs(&["stock"])), &mut builder);
    assert_eq!(
        seen(&of_web),
        ["+cds web", "+eds web", "+cds stock", "+eds stock", "+lds stock"],
        "what it needs is published once more, for one fleet more"
    );
    assert_eq!(hosts(&of_web), ["shared 1", "stock 1", "web 1"]);

    let of_web = apply(declared("web", 3, needs(&["orders", "stock"])), &mut builder);
    assert_eq!(hosts(&of_web), ["orders 1", "shared 2", "stock 1", "web 1"]);

    // Nothing that decides who sees whom: the endpoints alone.
    let of_web = apply(declared("web", 4, needs(&["orders", "stock"])), &mut builder);
    assert_eq!(kinds(&of_web), ["+eds web"]);
}

#[test]
fn without_fleets_everybody_sees_everything() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(with_fleets());
    let touched = catalog.apply(event("a", Some(1)), Duration::ZERO);
    let first = builder.build(&catalog, &touched.services, Duration::ZERO);
    assert!(seen(&first).is_empty());
    let network = Arc::new(network());
    builder.planner.set_network(network.clone());
    builder.translator.set_network(network);
    let after = builder.build(&catalog, &BTreeSet::new(), Duration::ZERO);
    // Its endpoints for the other network, and then both for the other views.
    assert_eq!(seen(&after), ["+eds a", "+cds a", "+eds a"]);
    let local = |update: &Update| matches!(update, Update::Put(draft) if draft.local.is_some());
    assert!(!after.iter().any(local));
}

#[test]
fn the_versions_of_a_service_are_for_whoever_sees_it() {
    let mut catalog = Catalog::new([("s".into(), None)]);
    let mut builder = Builder::new(with_fleets());
    let mut apply = |event| {
        let touched = catalog.apply(event, Duration::ZERO);
        builder.build(&catalog, &touched.services, Duration::ZERO)
    };
    let mut split = Policy::default();
    split.rollout.mode = Some(crate::model::rollouts::Mode::Auto);
    assert!(seen(&apply(declared("orders", 1, split))).is_empty());
    let needs = Policy {
        needs: Some(vec!["orders".into()]),
        ..Policy::default()
    };
    assert_eq!(
        seen(&apply(declared("web", 2, needs))),
        [
            "+cds web",
            "+eds web",
            "+cds orders",
            "+eds orders",
            "+cds orders@",
            "+eds orders@"
        ]
    );
}
