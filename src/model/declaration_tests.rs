//! Tests of the keys that a server declares.

use std::time::Duration;

use super::*;
use crate::model::policy::{Expose, OnAllUnhealthy, State};
use crate::model::route::RouteRule;

fn read(pairs: &[(&str, &str)]) -> (Declared, Vec<String>) {
    let mut issues = Vec::new();
    let declared = parse("orders-7", Spelling::Meta, pairs.iter().copied(), &mut issues);
    (declared, issues.into_iter().map(|i| i.reason).collect())
}

#[test]
fn good_keys_are_read_without_a_word() {
    let (declared, issues) = read(&[
        ("version", "9f31c2a"),
        ("weight", "10"),
        ("zone", "a"),
        ("state", "drain"),
        ("protocol", "grpc"),
        ("expose", "edge, internal"),
        ("all-unhealthy", "drop"),
        ("timeout", "2s"),
        ("stream-idle-timeout", "1h"),
        ("idle-timeout", "0s"),
        ("route-2", "path=/x"),
        ("route", "grpc=shop.Orders"),
    ]);
    assert!(issues.is_empty(), "{issues:?}");
    assert_eq!(declared.instance.weight, Some(10));
    assert_eq!(declared.instance.state, Some(State::Drain));
    assert_eq!(declared.policy.all_unhealthy, Some(OnAllUnhealthy::Drop));
    assert_eq!(
        (
            declared.policy.timeout,
            declared.policy.stream_idle_timeout,
            declared.policy.idle_timeout
        ),
        (
            Some(Duration::from_secs(2)),
            Some(Duration::from_secs(3600)),
            Some(Duration::ZERO)
        )
    );
    assert_eq!(
        declared.policy.expose,
        Some(Expose::On(vec!["edge".into(), "internal".into()]))
    );
    assert!(matches!(
        declared.policy.routes[&1].matcher,
        crate::model::Matcher::Grpc(_)
    ));
    assert_eq!(declared.policy.routes.len(), 2);
}

#[test]
fn a_bad_value_costs_its_own_key_only() {
    let (declared, issues) = read(&[
        ("weight", "-1"),
        ("version", "v1"),
        ("state", "down"),
        ("protocol", "spdy"),
        ("colour", "red"),
        ("route-1", "path=/x"),
        ("route", "path=x"),
        ("expose", ""),
        ("all-unhealthy", "panic"),
        ("idle-timeout", "0.4ms"),
    ]);
    assert_eq!(declared.instance.version.as_deref(), Some("v1"));
    assert_eq!(
        (
            declared.instance.weight,
            declared.instance.state,
            declared.policy.protocol
        ),
        (None, None, None)
    );
    assert_eq!(declared.policy.all_unhealthy, None);
    let slips: Vec<String> = declared
        .instance
        .slips
        .iter()
        .chain(&declared.policy.slips)
        .map(Key::to_string)
        .collect();
    assert_eq!(
        slips,
        [
            "weight",
            "state",
            "protocol",
            "expose",
            "route",
            "idle-timeout",
            "all-unhealthy"
        ]
    );
    assert_eq!(issues.len(), 9, "{issues:?}");
    assert!(issues.iter().all(|i| i.starts_with("xds-")), "{issues:?}");
}

#[test]
fn a_misspelt_key_is_a_slip_of_the_one_that_was_meant() {
    let (declared, issues) = read(&[
        ("Route", "path=/x"),
        ("wieght", "9"),
        ("expose", "edge"),
        ("Expose", "x"),
    ]);
    assert_eq!(declared.policy.slips, [Key::Route(1)].into());
    assert_eq!(declared.instance.slips, [Key::Weight].into());
    assert!(issues[0].contains("did you mean `xds-route`?"), "{issues:?}");
}

#[test]
fn a_word_of_later_versions_leaves_the_rest_of_a_route() {
    let (declared, issues) = read(&[("route", "path=/a tracing=off"), ("route-2", "path=/a when=noon")]);
    assert_eq!(declared.policy.routes[&1], RouteRule::parse("path=/a").unwrap());
    assert_eq!(
        declared.policy.slips,
        [Key::Route(2)].into(),
        "it might match more than it should"
    );
    assert!(issues[0].contains("`tracing=` is not acted on"), "{issues:?}");
}

#[test]
fn a_slip_is_overruled_by_a_stronger_place_only() {
    let (bad, _) = read(&[("weight", "x"), ("expose", "")]);
    let (good, _) = read(&[("weight", "9"), ("expose", "edge")]);
    let stronger = good.clone().over(&bad);
    assert!(stronger.instance.slips.is_empty() && stronger.policy.slips.is_empty());
    let weaker = bad.over(&good);
    assert_eq!(
        (weaker.instance.weight, weaker.instance.slips),
        (Some(9), [Key::Weight].into())
    );
    assert_eq!(weaker.policy.slips, [Key::Expose].into());
}

#[test]
fn the_stronger_place_wins_key_by_key() {
    let (meta, _) = read(&[("weight", "5")]);
    let (tag, _) = read(&[("weight", "9"), ("zone", "b"), ("route", "path=/t")]);
    let both = meta.over(&tag);
    assert_eq!(
        (
            both.instance.weight,
            both.instance.zone.as_deref(),
            both.policy.routes.len()
        ),
        (Some(5), Some("b"), 1)
    );
}

#[test]
fn an_empty_label_is_not_declared_and_named() {
    for name in ["zone", "version"] {
        let (declared, issues) = read(&[(name, " ")]);
        assert_eq!((declared, issues.len()), (Declared::default(), 1), "{name}");
        assert!(issues[0].contains("the same as not declared"), "{issues:?}");
    }
}

#[test]
fn what_a_new_instance_gets_in_the_place_of_a_wrong_value_is_named() {
    let (_, issues) = read(&[("timeout", "5")]);
    assert!(
        issues[0].contains("a new instance has routes without a timeout"),
        "{issues:?}"
    );
}
