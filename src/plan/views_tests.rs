//! Who sees which services, and what a change of one is a change of.

use super::*;
use crate::model::filters::Authorization;
use crate::model::{AccessLog, Bind, Exposure, Fleet, LogFormat, LogTarget, RouteRule, Service, Traffic};

fn network(fleets: &[(&str, &[&str], bool)]) -> Network {
    let fleets = fleets.iter().map(|(name, services, needs)| {
        let services = services.iter().map(|s| (*s).to_owned()).collect();
        let needs = *needs;
        (Arc::from(*name), Fleet { services, needs })
    });
    Network {
        fleets: fleets.collect(),
        ..Network::default()
    }
}

/// A service that calls these, with a route.
fn note(views: &mut Views, name: &str, needs: &[&str], route: &str) {
    let policy = Policy {
        needs: Some(needs.iter().map(|name| Arc::from(*name)).collect()),
        routes: [(1, RouteRule::parse(route).unwrap())].into(),
        ..Policy::default()
    };
    let service = Service {
        name: name.into(),
        policy: policy.clone(),
        ..Service::default()
    };
    let effective = crate::model::Effective::of(&service, &crate::model::Clusters::DEFAULT);
    let exposures = [(Arc::from("internal"), Exposure::internal())].into();
    let claims = crate::plan::claims(&service, &effective, &exposures).claims;
    views.note(&name.into(), &policy, &claims);
}

/// `service: sections; fleets` of what has changed.
fn settled(views: &mut Views) -> Vec<String> {
    let all = views.settle().into_iter();
    all.map(|(name, audience)| match audience {
        Some(audience) => format!(
            "{name}: {}; {}",
            audience.sections.join(","),
            audience.fleets.join(",")
        ),
        None => format!("{name}: -"),
    })
    .collect()
}

#[test]
fn a_fleet_sees_what_is_listed_and_what_its_own_service_calls() {
    let mut views = Views::new(&network(&[("*", &[], true), ("edge", &["web-*", "api"], false)]));
    for (name, needs) in [
        ("web-1", &["stock"][..]),
        ("api", &[]),
        ("stock", &[]),
        ("edge", &["api"]),
    ] {
        note(&mut views, name, needs, "path=/");
    }
    // The fleet `edge` has a rule of its own, which asks for no needs.
    assert_eq!(
        settled(&mut views),
        [
            "api: edge; api",
            "edge: ; ",
            "stock: ; stock,web-1",
            "web-1: edge; web-1"
        ]
    );
    note(&mut views, "web-1", &["api"], "path=/");
    assert_eq!(settled(&mut views), ["api: edge; api,web-1", "stock: ; stock"]);
    note(&mut views, "web-1", &["api"], "path=/other");
    assert!(
        settled(&mut views).is_empty(),
        "nothing that decides it has changed"
    );
    views.remove(&"web-1".into());
    assert_eq!(settled(&mut views), ["api: edge; api", "web-1: -"]);
}

#[test]
fn what_listeners_send_to_by_themselves_is_in_each_view() {
    let mut network = network(&[("edge", &["web"], false), ("*", &[], true)]);
    let mut listener = Listener::new(Bind::Internal, "internal".into());
    listener.traffic = Traffic::Tcp {
        service: Some("db".into()),
    };
    listener.access_log = Some(AccessLog {
        to: LogTarget::Service("logs".into()),
        format: LogFormat::Text,
    });
    network.listeners.insert("db".into(), listener);
    if let Some(inside) = network.exposures.get_mut("internal") {
        inside.filters.authorization = Some(Authorization {
            service: "authz".into(),
            grpc: true,
            timeout: std::time::Duration::from_secs(1),
            open: false,
            path_prefix: String::new(),
            request_headers: Vec::new(),
            upstream_headers: Vec::new(),
        });
    }
    let mut views = Views::new(&network);
    for name in ["db", "logs", "web", "other", "authz"] {
        note(&mut views, name, &[], "path=/");
    }
    assert_eq!(
        settled(&mut views),
        [
            "authz: *,edge; authz",
            "db: *,edge; db",
            "logs: *,edge; logs",
            "other: ; other",
            "web: edge; web"
        ]
    );
}

#[test]
fn targets_of_routes_are_seen_with_the_service_that_sends_to_them() {
    let mut views = Views::new(&network(&[("edge", &["web"], false), ("web", &[], true)]));
    note(&mut views, "shadow", &[], "path=/");
    note(&mut views, "web", &[], "path=/ mirror=shadow:10%");
    assert_eq!(settled(&mut views), ["shadow: edge; web", "web: edge; web"]);
    note(&mut views, "web", &[], "path=/");
    assert_eq!(settled(&mut views), ["shadow: ; "]);
}

#[test]
fn without_fleets_nothing_is_kept_and_another_network_looks_at_all_again() {
    let mut views = Views::new(&network(&[]));
    note(&mut views, "web", &["api"], "path=/");
    assert!(settled(&mut views).is_empty() && views.services.is_empty());
    let mut views = Views::new(&network(&[("edge", &["web"], false)]));
    note(&mut views, "web", &[], "path=/");
    note(&mut views, "api", &[], "path=/");
    assert_eq!(settled(&mut views), ["api: ; ", "web: edge; "]);
    views.renew(&network(&[("edge", &["*"], false)]));
    assert_eq!(settled(&mut views), ["api: edge; "]);
    views.renew(&network(&[]));
    assert_eq!(settled(&mut views), ["api: -", "web: -"]);
}
