//! Who gets which requests.

use super::*;
use crate::model::policy::AllowMode;
use crate::model::{Clusters, Owner, Policy};
use crate::plan::owners::{Contest, decide};

fn service(expose: Option<Expose>, routes: &[&str]) -> Service {
    let routes = (1..)
        .zip(routes.iter().map(|r| RouteRule::parse(r).unwrap()))
        .collect();
    Service {
        name: "Orders".into(),
        policy: Policy {
            expose,
            routes,
            ..Policy::default()
        },
        ..Service::default()
    }
}

/// What a service claims among the operator's defaults.
fn claimed_by(service: &Service, exposures: &BTreeMap<Arc<str>, Exposure>) -> Claimed {
    claims(service, &Effective::of(service, &Clusters::DEFAULT), exposures)
}

fn exposures() -> BTreeMap<Arc<str>, Exposure> {
    let edge = Exposure {
        hosts: vec!["api.example.com".into(), "*.shop.example".into()],
        paths: vec![Paths::parse("/{service}/").unwrap()],
        grpc: vec!["shop.*".into()],
        service_hosts: Vec::new(),
        sni: vec!["*.db.example".into()],
        ports: [5432].into(),
        ..Exposure::internal()
    };
    BTreeMap::from([("internal".into(), Exposure::internal()), ("edge".into(), edge)])
}

fn seen(claimed: &Claimed) -> Vec<String> {
    let one = |c: &Claim| format!("{} {} {:?}", c.exposure, c.host, c.matcher);
    claimed.claims.iter().map(one).collect()
}

#[test]
fn connections_are_claimed_where_the_operator_has_a_port_or_a_name_for_them() {
    let claimed = |protocol, routes: &[&str]| {
        let mut service = service(Some(Expose::On(vec!["edge".to_owned()])), routes);
        service.policy.protocol = protocol;
        let claimed = claimed_by(&service, &exposures());
        let issues = claimed.issues.iter().map(|issue| issue.reason.clone());
        (seen(&claimed), issues.collect::<Vec<_>>())
    };
    let (port, name) = (
        "edge :5432 Port(5432)",
        "edge sni:a.db.example Name { terminate: false }",
    );
    // Beside requests where it speaks HTTP, and alone else.
    let by_name = "internal orders Prefix(\"/\")";
    let both = ["port=5432", "sni=a.db.example"];
    assert_eq!(
        claimed(None, &both),
        (vec![port.to_owned(), name.to_owned()], vec![])
    );
    assert_eq!(
        claimed(Some(Protocol::Http1), &both).0,
        [port, name, by_name].map(str::to_owned)
    );
    let refused = |route: &str, why: &str| {
        let (claims, issues) = claimed(None, &[route]);
        assert!(
            claims.is_empty() && issues[0].contains(why),
            "{route}: {claims:?} {issues:?}"
        );
    };
    refused("port=5433", "port 5433 may not be claimed");
    refused("port=5433", "there are: 5432");
    refused("sni=a.example", "sni `a.example` may not be claimed");
    refused("sni=*.db.example,a.example", "sni `a.example` may not be claimed");
    refused(
        "sni=a.db.example terminate=true",
        "needs a listener with a certificate",
    );
}

#[test]
fn connections_cannot_be_had_past_a_check() {
    let of = |allow: Option<AllowMode>, any_caller: bool| {
        let expose = Some(Expose::On(vec!["edge".to_owned()]));
        let mut service = service(expose, &["port=5432"]);
        service.policy.allow = allow.map(|_| vec!["web".to_owned()]);
        service.policy.allow_mode = allow;
        let mut exposures = exposures();
        exposures.get_mut("edge").unwrap().filters.any_caller = any_caller;
        let claimed = claimed_by(&service, &exposures);
        let on_edge = claimed.claims.iter().any(|claim| &*claim.exposure == "edge");
        let said = claimed
            .issues
            .iter()
            .any(|issue| issue.reason.contains("connections without HTTP"));
        assert_ne!(on_edge, said);
        on_edge
    };
    assert!(of(None, false) && of(Some(AllowMode::Log), false) && of(Some(AllowMode::Enforce), true));
    assert!(!of(Some(AllowMode::Enforce), false));
}

#[test]
fn a_service_has_a_bounded_room_for_routes_on_all_of_their_hosts() {
    let hosts: Vec<String> = (0..16).map(|n| format!("h{n}.shop.example")).collect();
    let text = |n: usize| {
        let value = "x".repeat(900);
        let headers = ["a", "b", "c", "d"].map(|header| format!(" set-header={header}:{value}"));
        let headers = headers.concat();
        format!("host={} path=/orders/{n}{headers}", hosts.join(","))
    };
    let routes: Vec<String> = (0..20).map(text).collect();
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let claimed = claimed_by(&service(None, &routes), &exposures());
    let bytes = routes[0].len() * hosts.len();
    let fitting = MAX_ROUTE_BYTES / bytes;
    assert!((1..routes.len()).contains(&fitting));
    // And the one by its name.
    assert_eq!(claimed.claims.len(), fitting * hosts.len() + 1);
    let refused = claimed
        .issues
        .iter()
        .filter(|issue| issue.reason.contains("256 KiB"));
    assert_eq!(refused.count(), routes.len() - fitting);
}

#[test]
fn nothing_declared_is_reachable_by_name_inside() {
    let claimed = claimed_by(&service(None, &[]), &exposures());
    assert_eq!(seen(&claimed), [r#"internal orders Prefix("/")"#]);
}

#[test]
fn only_what_the_operator_allows_can_be_claimed() {
    let edge = Some(Expose::On(vec!["edge".into()]));
    for (route, word) in [
        ("host=evil.example path=/Orders/", "host `evil.example`"),
        ("host=shop.example path=/Orders/", "host `shop.example`"),
        ("path=/", "path=/ may not"),
        ("grpc=bank.Accounts", "gRPC service `bank.Accounts`"),
    ] {
        let claimed = claimed_by(&service(edge.clone(), &[route]), &exposures());
        assert_eq!(claimed.claims.len(), 1, "{route}: only the name inside is left");
        assert!(
            claimed.issues[0].reason.contains(word),
            "{route} → {:?}",
            claimed.issues
        );
    }
    let good = claimed_by(
        &service(edge, &["path=/Orders/", "host=a.shop.example grpc=shop.Orders"]),
        &exposures(),
    );
    assert_eq!(good.issues, []);
    assert_eq!(good.claims.len(), 4, "{:?}", seen(&good));
}

#[test]
fn an_unknown_exposure_and_none() {
    let claimed = claimed_by(
        &service(Some(Expose::On(vec!["egde".into()])), &["path=/"]),
        &exposures(),
    );
    assert!(
        claimed.issues[0].reason.contains("there are: edge, internal"),
        "{:?}",
        claimed.issues
    );
    assert_eq!(
        claimed_by(&service(Some(Expose::Nothing), &["path=/"]), &exposures()),
        Claimed::default()
    );
}

/// Cluster and timeout of the route of `/` on a host inside.
fn keeps(host: &str, services: &[(&str, &[&str])]) -> (String, Option<u64>) {
    let all: Vec<Claim> = services
        .iter()
        .flat_map(|(name, routes)| {
            let mut service = service(None, routes);
            service.name = (*name).into();
            claimed_by(&service, &exposures()).claims
        })
        .filter(|claim| &*claim.exposure == "internal")
        .collect();
    let all: Vec<&Claim> = all.iter().collect();
    let decided = decide(&all, &Contest::FRESH).claims;
    let claim = decided.into_iter().find(|claim| claim.host == host).unwrap();
    let timeout = claim.action.timeout;
    (
        claim.cluster.to_string(),
        timeout.declared.then_some(timeout.value.as_secs()),
    )
}

#[test]
fn nobody_takes_over_the_host_of_another_service() {
    let orders: (&str, &[&str]) = ("orders", &[]);
    assert_eq!(keeps("orders", &[("ORDERS", &[]), orders]).0, "orders");
    let thief: (&str, &[&str]) = ("a", &["host=orders path=/"]);
    assert_eq!(keeps("orders", &[thief, orders]).0, "orders");
    assert_eq!(keeps("orders", &[thief, ("ORDERS", &[])]).0, "ORDERS");
    assert_eq!(keeps("orders", &[thief, ("b", &["host=orders"])]).0, "a");
}

#[test]
fn a_timeout_declared_for_the_own_host_counts() {
    assert_eq!(
        keeps("orders", &[("orders", &["host=orders timeout=2s"])]),
        ("orders".to_owned(), Some(2))
    );
}

/// Who gets `path` on a host inside, of services and their routes; and what is said about it.
fn served(owners: &[Owner], host: &str, services: &[(&str, &[&str])]) -> (Vec<String>, Vec<String>) {
    let mut exposures = exposures();
    exposures.get_mut("internal").unwrap().owners = owners.to_vec();
    let claimed: Vec<Claimed> = services
        .iter()
        .map(|(name, routes)| {
            let mut service = service(None, routes);
            service.name = (*name).into();
            claimed_by(&service, &exposures)
        })
        .collect();
    let all: Vec<&Claim> = claimed
        .iter()
        .flat_map(|c| &c.claims)
        .filter(|c| &*c.exposure == "internal")
        .collect();
    let decided = decide(&all, &Contest::FRESH);
    let here = decided.claims.into_iter().filter(|claim| claim.host == host);
    let one = |claim: &Claim| format!("{:?} {}", claim.matcher.paths(), claim.cluster);
    (
        here.map(one).collect(),
        decided
            .issues
            .into_iter()
            .map(|i| format!("{}: {}", i.entry, i.reason))
            .collect(),
    )
}

#[test]
fn only_the_owner_of_a_host_claims_paths_there() {
    let web: (&str, &[&str]) = ("web", &["host=web path=/own"]);
    let others: [(&str, &[&str]); 2] = [
        ("a", &["host=web path=/login", "host=web grpc=shop.Web"]),
        ("auth", &["host=web path=/auth/token", "host=web path=/auth*"]),
    ];
    let (routes, issues) = served(&[], "web", &[others[0], others[1], web]);
    assert_eq!(routes, ["Segments(\"/own\") web", "Segments(\"/\") web"]);
    assert_eq!(issues.len(), 4, "{issues:?}");
    assert!(
        issues[0].starts_with("a: route: host `web` is that of the service `web`"),
        "{issues:?}"
    );
    assert!(issues[0].contains("[exposures.internal.owners]"), "{issues:?}");
    // Who is not there has no host, and the operator may say otherwise.
    let (routes, issues) = served(&[], "web", &others);
    assert_eq!((routes.len(), issues.len()), (4, 0), "{routes:?} {issues:?}");
    let owner = Owner {
        host: "web".into(),
        paths: Paths::parse("/auth").unwrap(),
        services: vec!["auth".into()],
    };
    let (routes, issues) = served(&[owner], "web", &[others[0], others[1], web]);
    assert_eq!(
        routes,
        [
            "Segments(\"/auth/token\") auth",
            "Segments(\"/own\") web",
            "Segments(\"/\") web"
        ]
    );
    assert_eq!(issues.len(), 3, "characters do not get past segments: {issues:?}");
}

#[test]
fn two_names_that_differ_by_case_only_are_named() {
    let (routes, issues) = served(&[], "redis", &[("Redis", &[]), ("redis", &[])]);
    assert_eq!(routes, ["Segments(\"/\") redis"]);
    assert!(
        issues[0].starts_with("Redis: the names `Redis` and `redis` differ by case only"),
        "{issues:?}"
    );
    assert_eq!(issues.len(), 1);
}

#[test]
fn the_narrower_path_comes_first_and_equal_ones_are_equal_however_they_are_written() {
    let edge = |name: &'static str, routes: &'static [&'static str]| (name, routes);
    let (routes, issues) = served(
        &[],
        "*",
        &[
            edge("a", &["path=/orders*", "path=/", "grpc=shop.Orders"]),
            edge(
                "b",
                &["path=/orders/", "path=/orders/7 header=x:1", "path=/orders/7"],
            ),
            edge(
                "c",
                &[
                    "path=/orders",
                    "path=/*",
                    "path=/shop.Orders/*",
                    "path=/shop.Orders/Get",
                ],
            ),
        ],
    );
    assert_eq!(
        routes,
        [
            "Segments(\"/shop.Orders/Get\") c",
            "Characters(\"/shop.Orders/\") a",
            "Segments(\"/orders/7\") b",
            "Segments(\"/orders/7\") b",
            "Segments(\"/orders\") b",
            "Characters(\"/orders\") a",
            "Segments(\"/\") a",
        ]
    );
    assert_eq!(issues.len(), 3, "{issues:?}");
}

#[test]
fn what_may_be_claimed_is_judged_by_whole_segments() {
    let edge = || Some(Expose::On(vec!["edge".into()]));
    for route in [
        "path=/Orders",
        "path=/Orders/",
        "path=/Orders/7",
        "path=/Orders/*",
        "path=/Orders/7*",
    ] {
        assert_eq!(
            claimed_by(&service(edge(), &[route]), &exposures()).issues,
            [],
            "{route}"
        );
    }
    for route in [
        "path=/Orders-internal",
        "path=/Orders*",
        "path=/Orders-*",
        "path=/orders",
        "path=/Order",
    ] {
        assert_eq!(
            claimed_by(&service(edge(), &[route]), &exposures()).issues.len(),
            1,
            "{route}"
        );
    }
}

#[test]
fn what_a_name_or_a_protocol_cannot_do_is_said_once() {
    let mut odd = service(None, &["host=x"]);
    odd.name = "shop/orders".into();
    let claimed = claimed_by(&odd, &exposures());
    assert_eq!(
        (claimed.claims.len(), claimed.issues.len()),
        (1, 1),
        "{claimed:?}"
    );
    assert!(claimed.issues[0].reason.contains("no host name"), "{claimed:?}");
    odd.policy.expose = Some(Expose::Nothing);
    assert_eq!(
        claimed_by(&odd, &exposures()),
        Claimed::default(),
        "it wants no route"
    );
    for (protocol, wrong) in [
        (None, false),
        (Some(Protocol::Grpc), false),
        (Some(Protocol::Http2), false),
        (Some(Protocol::Http1), true),
        (Some(Protocol::Tcp), true),
    ] {
        let mut service = service(None, &["grpc=shop.Orders"]);
        service.policy.protocol = protocol;
        let issues = claimed_by(&service, &exposures()).issues;
        assert_eq!(issues.len(), usize::from(wrong), "{protocol:?} {issues:?}");
        assert!(issues.iter().all(|i| i.reason.contains("grpc=")), "{issues:?}");
    }
}

#[test]
fn a_route_says_more_than_its_service_about_time() {
    let mut service = service(
        None,
        &[
            "host=x path=/a timeout=0s",
            "host=x path=/b stream-idle-timeout=1s",
        ],
    );
    service.policy.timeout = Some(Duration::from_secs(9));
    let claimed = claimed_by(&service, &exposures()).claims;
    let times: Vec<_> = claimed
        .iter()
        .map(|c| {
            (
                c.action.timeout.value.as_secs(),
                c.action.stream_idle_timeout.value.map(|t| t.as_secs()),
            )
        })
        .collect();
    assert_eq!(times, [(9, None), (0, None), (9, Some(1))]);
}

#[test]
fn a_route_may_stand_on_other_exposures_than_its_service() {
    let on = Some(Expose::On(vec!["edge".into()]));
    let routes = ["path=/Orders/a", "path=/b expose=internal"];
    let claimed = claimed_by(&service(on, &routes), &exposures());
    assert_eq!(claimed.issues, []);
    assert_eq!(
        seen(&claimed),
        [
            r#"edge *.shop.example Prefix("/Orders/a")"#,
            r#"edge api.example.com Prefix("/Orders/a")"#,
            r#"internal * Prefix("/b")"#,
            r#"internal orders Prefix("/")"#,
        ]
    );
    let nowhere = claimed_by(&service(Some(Expose::Nothing), &routes), &exposures());
    assert_eq!(nowhere, Claimed::default(), "none is none");
}

#[test]
fn wide_hosts_and_other_services_take_a_policy_document() {
    let wide = "host=*.a.shop.example path=/Orders/x";
    let known = "host=*.shop.example path=/Orders/x";
    let split = "host=api.example.com path=/Orders/x split=Orders:1,admin:1";
    for (route, documented, wanted) in [
        (wide, false, 0),
        (wide, true, 1),
        (known, false, 1),
        (split, false, 0),
        (split, true, 1),
        ("host=api.example.com path=/Orders/x split=Orders:1", false, 1),
    ] {
        let service = Service {
            documented,
            ..service(Some(Expose::On(vec!["edge".into()])), &[route])
        };
        let claimed = claimed_by(&service, &exposures());
        let edge = claimed.claims.iter().filter(|claim| &*claim.exposure == "edge");
        assert_eq!(edge.count(), wanted, "{route} {documented} {:?}", claimed.issues);
        assert_eq!(claimed.issues.len(), 1 - wanted, "{route} {documented}");
    }
}
