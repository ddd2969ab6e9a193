//! Commands, and what becomes of the instances of a service that has tags for fabio.

use super::*;
use crate::config::FabioImport;
use crate::import::entry::PlacedRoute;
use crate::model::{Instance, Policy, RouteRule};

/// `weights | routes | notes` of a service `web` with the instances 1, 2 and 3 on `a.x/` and `a.x/b`, tagged `v1`, `v2`
/// and `v2`; the first has a share of a half on `a.x/`.
fn obeyed(text: &str) -> String {
    let settings = FabioImport::default();
    let (_, _, commands) = super::super::keys(&settings, "f", [("", text)].into_iter());
    let rule = |path: &str| RouteRule::parse(&format!("host=a.x path={path}")).unwrap();
    let policy = Policy {
        routes: [(7, rule("/")), (8, rule("/b"))].into(),
        ..Policy::default()
    };
    let mut record = ServiceRecord::default();
    let mut placed = BTreeMap::new();
    for (n, tag) in [(1, "v1"), (2, "v2"), (3, "v2")] {
        let mut instance = Instance::new(n.to_string(), ([10, 0, 0, 7], n).into());
        instance.policy = Arc::new(policy.clone());
        let route = |source: &str, number, share: f64| PlacedRoute {
            source: source.to_owned(),
            numbers: vec![number],
            share: share.to_bits(),
        };
        let share = if n == 1 { 0.5 } else { 0.0 };
        let of = Placed {
            tags: vec![tag.to_owned(), "all".to_owned()],
            routes: vec![route("a.x/", 7, share), route("a.x/b", 8, share)],
        };
        placed.insert(instance.id.clone(), Arc::new(of));
        record.instances.push(instance);
    }
    let matched = commands.obey("web", &mut record, &placed);
    let weights: Vec<String> = record.instances.iter().map(|i| i.weight.to_string()).collect();
    let first = record.instances.first().unwrap();
    let routes: Vec<String> = first.policy.routes.keys().map(ToString::to_string).collect();
    let idle = commands.idle(&matched).len();
    format!(
        "{} | {} | {} {idle}",
        weights.join(" "),
        routes.join(" "),
        record.issues.len()
    )
}

#[test]
fn a_share_is_that_of_all_that_fit() {
    for (text, wanted) in [
        ("", "5000 2500 2500 | 7 8 | 0 0"),
        (
            "route weight web a.x/ weight 0.2 tags \"v2\"",
            "7143 1429 1429 | 7 8 | 1 0",
        ),
        (
            "route weight a.x/ weight 0.4 tags \"v2,all\"",
            "5556 2222 2222 | 7 8 | 1 0",
        ),
        (
            "route weight web a.x/ weight 1 tags \"v1\"",
            "10000 0 0 | 7 8 | 1 0",
        ),
        (
            "route weight web a.x/ weight 0 tags \"v1\"",
            "3333 3333 3333 | 7 8 | 1 0",
        ),
        ("route weight web a.x/ weight 0.9", "3333 3333 3333 | 7 8 | 1 0"),
        (
            "route weight web A.x/ weight 0.2 tags \"v2\"",
            "5000 2500 2500 | 7 8 | 0 1",
        ),
        (
            "route weight web a.x/ weight 0.2 tags \"v3\"",
            "5000 2500 2500 | 7 8 | 0 1",
        ),
        ("route weight other a.x/ weight 0.2", "5000 2500 2500 | 7 8 | 0 1"),
    ] {
        assert_eq!(obeyed(text), wanted, "{text}");
    }
}

#[test]
fn what_is_deleted_is_gone_where_nobody_else_has_it() {
    for (text, wanted) in [
        ("route del web a.x/b", "5000 2500 2500 | 7 | 0 0"),
        ("route del web", "1 1 1 |  | 0 0"),
        ("route del tags \"v2\"", "10000 0 0 | 7 8 | 0 0"),
        ("route del web tags \"v1\"", "0 1 1 | 7 8 | 0 0"),
        (
            "route del web a.x/b http://10.0.0.7:1/",
            "5000 2500 2500 | 7 8 | 2 0",
        ),
        ("route del other", "5000 2500 2500 | 7 8 | 0 0"),
        (
            "route del web tags \"v2\"\nroute weight web a.x/ weight 0.2 tags \"v2\"",
            "10000 0 0 | 7 8 | 0 1",
        ),
    ] {
        assert_eq!(obeyed(text), wanted, "{text}");
    }
}
