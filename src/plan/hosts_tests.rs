//! What is imported for a wider host, on narrower ones.

use super::super::imported::tests::claim;
use super::*;

struct Scene {
    hosts: Hosts,
    claims: BTreeMap<Arc<str>, Vec<Claim>>,
}

impl Scene {
    fn new() -> Self {
        Self {
            hosts: Hosts::default(),
            claims: BTreeMap::new(),
        }
    }

    /// A service claims these routes now, and no others: what each host that is looked at again has.
    fn claims(&mut self, name: &str, routes: &[&str]) -> Vec<String> {
        let name: Arc<str> = name.into();
        let after: Vec<Claim> = routes.iter().map(|route| claim(&name, route)).collect();
        let before = self
            .claims
            .insert(name.clone(), after.clone())
            .unwrap_or_default();
        let mut touched = Touched::new();
        self.hosts.replace(&name, &before, &after, &mut touched);
        let mut shown = Vec::new();
        for (exposure, host) in touched {
            let of = |service: &Arc<str>| self.claims.get(service).map_or(&[][..], Vec::as_slice);
            let seniority = |_: &str| Seniority::LAST;
            let outcome = self
                .hosts
                .decide((&exposure, &host), of, Duration::ZERO, &seniority);
            let names: Vec<&str> = outcome.claims.iter().map(|claim| &*claim.cluster).collect();
            assert!(outcome.claims.iter().all(|claim| claim.host == *host));
            shown.push(format!("{host}: {}", names.join(" ")));
        }
        shown
    }
}

#[test]
fn an_imported_route_of_every_host_stands_on_each_narrower_one_by_its_priority() {
    let mut scene = Scene::new();
    let of_host = "host=a.x path=/* priority=10 imported=traefik";
    assert_eq!(scene.claims("web", &[of_host]), ["a.x: web"]);
    let wide = "path=/* method=GET priority=50 imported=traefik";
    assert_eq!(scene.claims("all", &[wide]), ["*: all", "a.x: all web"]);
    // It moves behind, and goes.
    let low = "path=/* method=GET priority=5 imported=traefik";
    assert_eq!(scene.claims("all", &[low]), ["*: all", "a.x: web all"]);
    assert_eq!(scene.claims("all", &[]), ["*: ", "a.x: web"]);
    assert_eq!(scene.claims("web", &[]), ["a.x: "]);
    assert_eq!(scene.hosts.all(), Touched::new());
}

#[test]
fn a_host_that_only_wider_routes_are_of_is_not_made() {
    let mut scene = Scene::new();
    let wide = "path=/* priority=50 imported=fabio";
    assert_eq!(scene.claims("all", &[wide]), ["*: all"]);
    assert_eq!(scene.claims("web", &["host=a.x path=/x/"]), ["a.x: web all"]);
    assert_eq!(scene.claims("web", &[]), ["a.x: "]);
}

#[test]
fn a_route_of_our_own_for_every_host_stands_on_no_narrower_one() {
    let mut scene = Scene::new();
    assert_eq!(scene.claims("all", &["path=/"]), ["*: all"]);
    assert_eq!(scene.claims("web", &["host=a.x path=/x/"]), ["a.x: web"]);
    assert_eq!(
        scene.claims("all", &["path=/ method=GET"]),
        ["*: all"],
        "a.x stays as it is"
    );
}

/// What a service claims that declares this route on an exposure where all hosts and names may be claimed.
fn on_edge(name: &str, route: &str) -> Vec<Claim> {
    use crate::model::{Clusters, Effective, Exposure, Policy, RouteRule, Service};
    let service = Service {
        name: name.into(),
        policy: Policy {
            expose: Some(crate::model::Expose::On(vec!["edge".to_owned()])),
            routes: [(1, RouteRule::parse(route).unwrap())].into(),
            ..Policy::default()
        },
        ..Service::default()
    };
    let edge = Exposure {
        sni: vec!["*".to_owned()],
        service_hosts: Vec::new(),
        ..Exposure::internal()
    };
    let effective = Effective::of(&service, &Clusters::DEFAULT);
    crate::plan::claims(&service, &effective, &[("edge".into(), edge)].into()).claims
}

#[test]
fn a_name_of_tls_takes_no_host_from_a_service_that_has_requests_there() {
    let mut hosts = Hosts::default();
    let mut all: BTreeMap<Arc<str>, Vec<Claim>> = BTreeMap::new();
    let mut set = |name: &str, route: Option<&str>| {
        let name: Arc<str> = name.into();
        let after = route.map(|route| on_edge(&name, route)).unwrap_or_default();
        let before = all.insert(name.clone(), after.clone()).unwrap_or_default();
        let mut touched = Touched::new();
        hosts.replace(&name, &before, &after, &mut touched);
        touched.extend(hosts.names_of(&touched));
        let decide = |(exposure, host): &(Arc<str>, Arc<str>)| {
            let of = |service: &Arc<str>| all.get(service).map_or(&[][..], Vec::as_slice);
            let outcome = hosts.decide((exposure, host), of, Duration::ZERO, &|_| Seniority::LAST);
            let names: Vec<&str> = outcome.claims.iter().map(|claim| &*claim.cluster).collect();
            format!("{host}: {}", names.join(" "))
        };
        touched.iter().map(decide).collect::<Vec<_>>()
    };
    assert_eq!(set("shop", Some("host=shop.a.test")), ["shop.a.test: shop"]);
    assert_eq!(set("evil", Some("sni=shop.a.test")), ["sni:shop.a.test: "]);
    // What nobody has is free.
    assert_eq!(set("free", Some("sni=db.test")), ["sni:db.test: free"]);
    // With the requests gone the name is free; who has it keeps it.
    assert_eq!(set("shop", None), ["shop.a.test: ", "sni:shop.a.test: evil"]);
    assert_eq!(
        set("shop", Some("host=shop.a.test")),
        ["shop.a.test: shop", "sni:shop.a.test: evil"]
    );
}
