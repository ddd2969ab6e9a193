//! Who has requests that several services claim.

use super::super::claims::claims;
use super::*;
use crate::model::declaration::{self, Spelling};
use crate::model::{Clusters, Effective, Exposure, Owner, Service};

/// The time that others may take the requests of `cart` over, in the tests where it has no instances.
const HANDOVER: Duration = Duration::from_secs(60);

/// A service, and how it stands: `*` its routes are those of a policy document, `!` it has no instances.
fn service(text: &str, route: &str) -> Service {
    let name = text.trim_matches(['*', '!']);
    let pairs = [("route", route)];
    let declared = declaration::parse("x", Spelling::Plain, pairs, &mut Vec::new());
    Service {
        name: name.into(),
        policy: declared.policy,
        documented: text.contains('*'),
        kept: text.contains('!').then_some(HANDOVER),
        ..Service::default()
    }
}

/// What is remembered from one moment to the next.
struct Scene {
    owners: Vec<Owner>,
    holders: Holders,
    oldest: Vec<&'static str>,
}

impl Scene {
    fn new() -> Self {
        Self {
            owners: Vec::new(),
            holders: Holders::new(),
            oldest: Vec::new(),
        }
    }

    /// Who has `route` when these services claim it, this number of seconds after the beginning; and what is reported.
    fn at(&mut self, second: u64, route: &str, names: &[&str]) -> (String, Vec<Issue>) {
        let mut exposure = Exposure::internal();
        exposure.owners.clone_from(&self.owners);
        let exposures = BTreeMap::from([("internal".into(), exposure)]);
        let all = names.iter().map(|name| service(name, route));
        let all: Vec<Claim> = all
            .flat_map(|service| {
                claims(&service, &Effective::of(&service, &Clusters::DEFAULT), &exposures).claims
            })
            .collect();
        let oldest = &self.oldest;
        let contest = Contest {
            holders: &self.holders,
            now: Duration::from_secs(second),
            seniority: &|name| Seniority {
                created: oldest.iter().position(|n| *n == name).map_or(99, |at| at as u64),
                ..Seniority::LAST
            },
        };
        let decided = decide(&all.iter().collect::<Vec<_>>(), &contest);
        let wanted = declaration::parse("x", Spelling::Plain, [("route", route)], &mut Vec::new());
        let wanted = &wanted.policy.routes[&1];
        let host = wanted.hosts.first().map_or("*", String::as_str);
        let has: Vec<&str> = decided
            .claims
            .iter()
            .filter(|c| c.host == host && c.matcher.paths() == wanted.matcher.paths())
            .map(|c| &*c.cluster)
            .collect();
        self.holders = decided.holders;
        (has.join(" "), decided.issues)
    }

    fn has(&mut self, second: u64, names: &[&str]) -> String {
        self.at(second, "host=api.example.com path=/", names).0
    }
}

#[test]
fn a_newcomer_never_takes_a_running_route() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["web"]), "web");
    let (has, issues) = scene.at(1, "host=api.example.com path=/", &["aaa-experiment", "web"]);
    assert_eq!(has, "web");
    let [issue] = &issues[..] else {
        panic!("{issues:?}")
    };
    assert_eq!(issue.entry, "aaa-experiment");
    for word in [
        "path=/ on host `api.example.com` is that of `web`, which has it",
        "a policy document of `aaa-experiment`",
        "`\"api.example.com/\" = \"aaa-experiment\"` in [exposures.internal.owners] of bridge.toml",
    ] {
        assert!(issue.reason.contains(word), "{}", issue.reason);
    }
    // The bridge restarts with what it decided, and without.
    assert_eq!(scene.has(2, &["aaa-experiment", "web"]), "web");
    scene.holders.clear();
    scene.oldest = vec!["web", "aaa-experiment"];
    assert_eq!(
        scene.has(3, &["aaa-experiment", "web"]),
        "web",
        "registered first"
    );
    scene.holders.clear();
    scene.oldest.clear();
    assert_eq!(
        scene.has(4, &["web", "aaa-experiment"]),
        "aaa-experiment",
        "the name that sorts first"
    );
    scene.oldest = vec!["web", "aaa-experiment"];
    assert_eq!(
        scene.has(5, &["web", "aaa-experiment"]),
        "aaa-experiment",
        "which has it now"
    );
    assert_eq!(scene.has(6, &["web"]), "web", "it no longer claims it");
}

#[test]
fn a_policy_document_and_the_operator_come_first() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["web"]), "web");
    assert_eq!(scene.has(1, &["web", "shop*"]), "shop");
    assert_eq!(
        scene.has(2, &["web*", "shop*"]),
        "shop",
        "of two documents the one that has it"
    );
    assert_eq!(scene.has(3, &["web*", "shop"]), "web");
    scene.owners = vec![Owner {
        host: "*.example.com".into(),
        paths: Paths::Segments("/".into()),
        services: vec!["zoo".into()],
    }];
    assert_eq!(scene.has(4, &["web*", "shop", "zoo"]), "zoo");
    let (_, issues) = scene.at(5, "host=api.example.com path=/", &["web*", "zoo"]);
    assert!(
        issues[0].reason.contains("to which bridge.toml gives it")
            && !issues[0].reason.contains("policy document"),
        "{issues:?}"
    );
    assert_eq!(
        scene.has(6, &["web*", "zoo!"]),
        "zoo",
        "while its routes are kept, too"
    );
    assert_eq!(scene.has(600, &["web*", "zoo!"]), "zoo");
}

#[test]
fn the_last_instance_leaves_and_a_rename_stood_before() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["cart"]), "cart");
    assert_eq!(scene.has(1, &["cart", "basket"]), "cart");
    assert_eq!(scene.has(2, &["cart!", "basket"]), "basket", "at once");
    assert_eq!(scene.has(3, &["cart", "basket"]), "cart", "it was a restart");
    assert_eq!(scene.has(4, &["cart!", "basket"]), "basket");
    assert_eq!(scene.has(60, &["cart!", "basket"]), "basket");
    assert_eq!(scene.has(61, &["cart", "basket"]), "basket", "it was none");
}

#[test]
fn the_last_instance_leaves_and_a_newcomer_waits_for_a_minute() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["cart"]), "cart");
    assert_eq!(scene.has(1, &["cart!"]), "cart");
    let (has, issues) = scene.at(2, "host=api.example.com path=/", &["basket", "cart!"]);
    assert_eq!(has, "cart");
    assert!(
        issues.len() == 1 && issues[0].reason.contains("`xds-bridge forget cart`"),
        "{issues:?}"
    );
    assert_eq!(
        scene.has(3, &["basket", "cart!"]),
        "cart",
        "it did not stand before"
    );
    assert_eq!(scene.has(4, &["basket", "cart"]), "cart", "a restart");
    scene
        .holders
        .values_mut()
        .for_each(|holder| holder.others.clear());
    assert_eq!(scene.has(59, &["cart!"]), "cart");
    assert_eq!(scene.has(59, &["basket", "cart!"]), "cart");
    assert_eq!(scene.has(60, &["basket", "cart!"]), "basket");
    assert_eq!(scene.has(61, &["basket", "cart"]), "basket");
}

#[test]
fn a_policy_document_takes_kept_requests_at_once() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["cart"]), "cart");
    assert_eq!(scene.has(1, &["cart!", "basket*"]), "basket");
    assert_eq!(scene.has(2, &["cart", "basket*"]), "basket");
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["cart*"]), "cart");
    assert_eq!(
        scene.has(90, &["cart*!", "basket"]),
        "cart",
        "its document is still there"
    );
    assert_eq!(scene.has(91, &["cart*!", "basket*"]), "basket");
}

#[test]
fn who_never_had_the_requests_keeps_them_from_nobody() {
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["web"]), "web");
    assert_eq!(scene.has(1, &["web", "cart", "basket"]), "web");
    assert_eq!(scene.has(2, &["web", "cart!", "basket"]), "web");
    assert_eq!(
        scene.has(3, &["cart!", "basket"]),
        "basket",
        "web claims them no longer"
    );
}

#[test]
fn nobody_who_was_decided_before_decides_nothing() {
    // The bridge begins without its memory, and with a service whose routes are kept.
    let mut scene = Scene::new();
    assert_eq!(scene.has(0, &["basket", "cart!"]), "cart");
    assert_eq!(scene.has(60, &["basket", "cart!"]), "basket");
}

#[test]
fn the_own_host_of_a_service_that_left_is_not_for_others_below_it() {
    let mut scene = Scene::new();
    let root = "host=cart path=/";
    assert_eq!(scene.at(0, root, &["cart", "basket"]).0, "cart");
    assert_eq!(
        scene.at(1, root, &["cart!", "basket"]).0,
        "cart",
        "it was never allowed before"
    );
    assert_eq!(scene.at(60, root, &["cart!", "basket"]).0, "basket");
    assert_eq!(scene.at(61, root, &["cart", "basket"]).0, "cart", "its own host");
    let exposures = BTreeMap::from([("internal".into(), Exposure::internal())]);
    let (cart, basket) = (
        service("cart!", "path=/x"),
        service("basket", "host=cart path=/login"),
    );
    let all: Vec<Claim> = [cart, basket]
        .iter()
        .flat_map(|s| claims(s, &Effective::of(s, &Clusters::DEFAULT), &exposures).claims)
        .collect();
    let decided = decide(&all.iter().collect::<Vec<_>>(), &Contest::FRESH);
    assert!(
        decided
            .claims
            .iter()
            .all(|c| c.matcher.paths().text() != "/login")
    );
    assert_eq!(decided.issues[0].entry, "basket", "{:?}", decided.issues);
}

#[test]
fn who_claims_the_same_is_equal_in_each_spelling() {
    let routes = [
        (Spelling::Plain, "route", "host=API.example.com path=/cart"),
        (Spelling::Meta, "xds-route", "path=/cart/ host=api.example.com"),
        (
            Spelling::Tag,
            "xds.route",
            "host=api.example.com path=/cart timeout=2s",
        ),
    ];
    let exposures = BTreeMap::from([("internal".into(), Exposure::internal())]);
    let all: Vec<Claim> = ["c", "b", "a"]
        .iter()
        .zip(routes)
        .flat_map(|(name, (spelling, key, value))| {
            let key = spelling.strip(key).unwrap();
            let declared = declaration::parse("x", spelling, [(key, value)], &mut Vec::new());
            let service = Service {
                name: (*name).into(),
                policy: declared.policy,
                ..Service::default()
            };
            claims(&service, &Effective::of(&service, &Clusters::DEFAULT), &exposures).claims
        })
        .collect();
    let decided = decide(&all.iter().collect::<Vec<_>>(), &Contest::FRESH);
    assert_eq!(decided.issues.len(), 2, "{:?}", decided.issues);
    let [(requests, holder)] = &decided.holders.iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", decided.holders)
    };
    assert_eq!((&*requests.host, &*holder.service), ("api.example.com", "a"));
    assert_eq!(holder.others, ["b".into(), "c".into()]);
}

#[test]
fn what_nobody_contests_on_the_own_host_is_not_remembered() {
    let mut scene = Scene::new();
    scene.at(0, "path=/x", &["a", "b"]);
    assert_eq!(scene.holders.len(), 1);
    scene.at(0, "host=a", &["a"]);
    assert_eq!(scene.holders.len(), 0);
}

#[test]
fn what_may_be_no_narrower_comes_behind() {
    let rule = |text: &str| crate::model::RouteRule::parse(text).unwrap();
    for (first, second, trusted) in [
        ("path=/orders", "regex=/orders.*", false),
        ("path=/", "regex=/.*", true),
        ("regex=/orders/[0-9]+", "path=/orders", false),
        ("path=/orders", "path=/orders header=!x", false),
        ("path=/orders header=!x", "path=/orders", true),
        ("path=/orders header=x:1", "path=/orders", false),
        ("path=/orders method=GET", "path=/orders", false),
        ("path=/orders", "path=/orders method=DELETE,GET,POST", false),
        ("exact=/orders", "path=/orders", false),
    ] {
        let (a, b) = (rule(first), rule(second));
        let (one, other) = (a.matcher.paths(), b.matcher.paths());
        let before = order((&one, one.certain()), &a.criteria, trusted)
            < order((&other, other.certain()), &b.criteria, trusted);
        assert!(before, "{first} before {second}, trusted: {trusted}");
    }
}
