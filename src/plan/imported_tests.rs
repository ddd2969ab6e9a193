//! The places of imported claims among others.

use std::sync::Arc;

use super::super::claims::Relation;
use super::*;
use crate::model::route::RouteRule;
use crate::model::{Action, Clusters, Effective, Service};

/// `cluster` with this route; `imported=traefik` in it makes it one, `~` before the name one of a wider host.
pub(in crate::plan) fn claim(cluster: &str, route: &str) -> Claim {
    let rule = RouteRule::parse(route).unwrap();
    let action: Action = Effective::of(&Service::default(), &Clusters::DEFAULT).by_name;
    Claim {
        exposure: "edge".into(),
        host: rule.hosts.first().cloned().unwrap_or_else(|| "*".to_owned()),
        matcher: rule.matcher.clone(),
        criteria: rule.criteria.clone(),
        priority: rule.priority,
        cluster: cluster.trim_start_matches('~').into(),
        action,
        version: rule.extras.version().map(Arc::from),
        split: None,
        relation: Relation::Other,
        documented: false,
        imported: rule.imported,
        wider: cluster.starts_with('~'),
        kept: None,
    }
}

fn placed(claims: &[(&str, &str)]) -> Vec<i32> {
    let claims: Vec<Claim> = claims
        .iter()
        .map(|(cluster, route)| claim(cluster, route))
        .collect();
    priorities(&claims.iter().collect::<Vec<_>>(), |claim| claim.documented)
}

fn stays(claims: &[(&str, &str)]) -> Vec<bool> {
    let claims: Vec<Claim> = claims
        .iter()
        .map(|(cluster, route)| claim(cluster, route))
        .collect();
    foremost(&claims.iter().collect::<Vec<_>>())
}

#[test]
fn among_imported_claims_the_priority_counts_alone() {
    let all = [
        ("a", "host=a.x path=/deep/* priority=10 imported=traefik"),
        ("b", "host=a.x path=/ priority=90 imported=traefik"),
        ("~c", "path=/ priority=50 imported=traefik"),
    ];
    assert_eq!(placed(&all), [10, 90, 50]);
}

#[test]
fn a_route_of_our_own_is_behind_no_imported_one_that_says_less() {
    let all = [
        ("a", "host=a.x path=/deep/er/ priority=70 imported=traefik"),
        ("own", "host=a.x path=/deep/"),
        ("b", "host=a.x path=/ priority=1000 imported=traefik"),
        ("own", "host=a.x path=/"),
    ];
    let places = placed(&all);
    assert!(places[1] > places[2], "{places:?}");
    assert!(places[2] > places[3], "{places:?}: what says more may come first");
    // Not even one of a wider host, whatever its priority.
    let all = [
        ("~a", "path=/deep/er/ priority=1000 imported=traefik"),
        ("own", "host=a.x path=/"),
    ];
    assert!(placed(&all)[1] > 1000);
}

#[test]
fn of_equal_priorities_what_asks_for_more_comes_first_and_a_draw_is_reported() {
    let ordered = |all: &[(&str, &str)]| {
        let claims: Vec<Claim> = all.iter().map(|(cluster, route)| claim(cluster, route)).collect();
        let claims: Vec<&Claim> = claims.iter().collect();
        let mut placed: Vec<(Place, &Claim)> = places(&claims, |_| false).into_iter().zip(claims).collect();
        placed.sort_by_key(|(place, _)| *place);
        let claims: Vec<&Claim> = placed.iter().map(|(_, claim)| *claim).collect();
        let names: Vec<&str> = claims.iter().map(|claim| &*claim.cluster).collect();
        let drawn = ties("a.x", &claims);
        (
            names.join(" "),
            drawn
                .iter()
                .map(|issue| issue.entry.clone())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let both = |a, b| ordered(&[("a", a), ("b", b)]);
    let plain = "host=a.x path=/* priority=9 imported=traefik";
    let more = "host=a.x path=/* method=GET priority=9 imported=traefik";
    assert_eq!(both(plain, more), ("b a".into(), "a".into()));
    let fabio = more.replace("traefik", "fabio");
    assert_eq!(ordered(&[("a", plain), ("b", &fabio)]).1, "");
    let less = more.replace('9', "8");
    assert_eq!(both(plain, &less).1, "");
    let [one, other] = ["/x", "/y"].map(|path| plain.replace("/*", &format!("{path}*")));
    assert_eq!(both(&one, &other).1, "", "no request fits both");
    assert_eq!(
        ordered(&[("a", plain), ("a", more)]),
        ("a a".into(), String::new())
    );
}

#[test]
fn of_the_same_requests_the_highest_priority_and_the_nearest_host_are_left() {
    let one = |name, priority| {
        (
            name,
            format!("host=a.x path=/ priority={priority} imported=traefik"),
        )
    };
    let check = |all: &[(&str, String)], wanted: &[bool]| {
        let all: Vec<(&str, &str)> = all.iter().map(|(name, route)| (*name, route.as_str())).collect();
        assert_eq!(stays(&all), wanted, "{all:?}");
    };
    check(&[one("a", 5), one("b", 9)], &[false, true]);
    check(&[one("a", 5), one("b", 5)], &[true, true]);
    check(&[one("~a", 5), one("b", 5)], &[false, true]);
    check(&[one("~a", 6), one("b", 5)], &[true, false]);
    let own = |name| (name, "host=a.x path=/".to_owned());
    check(&[one("a", 5)], &[true]);
    // Between services it is decided as between routes of our own; a priority takes nothing from one.
    check(&[one("a", 1_000_000), own("b")], &[true, true]);
    check(&[one("~a", 1_000_000), own("b")], &[false, true]);
    check(&[one("b", 1_000_000), own("b")], &[false, true]);
}
