//! Bodies for the parsers, as Consul 1.8.7 sends them and as it never should.

use super::*;
use crate::model::{Health, Severity};

/// With the default selection.
pub(crate) fn health(body: &[u8]) -> Result<Found, Unreadable> {
    super::health("orders", body, &ConsulSelection::default())
}

fn services(body: &[u8]) -> Result<Names, Unreadable> {
    super::services(body, &ConsulSelection::default())
}

/// One entry of 1.8.7, with `service` fields put over the usual ones.
pub(crate) fn entry(service: &str, checks: &str) -> String {
    format!(
        r#"{{"Node":{{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,
            "Meta":null,"CreateIndex":15,"ModifyIndex":15}},
            "Service":{{"ID":"orders-1","Service":"orders","Tags":null,"Meta":null,"Address":"","Port":8080,
            "TaggedAddresses":null,"Weights":{{"Passing":10,"Warning":2}},"EnableTagOverride":false,
            "Proxy":{{"MeshGateway":{{}},"Expose":{{}}}},"Connect":{{}},"New":[1]{service}}},
            "Checks":{checks}}}"#
    )
}

pub(crate) fn with(service: &str, checks: &str) -> ServiceRecord {
    // serde refuses a key twice, so what is put over takes the place of the usual field.
    let mut text = entry("", checks);
    for part in service.split(";;").filter(|p| !p.is_empty()) {
        let key = part.split_once(':').unwrap().0;
        let (head, tail) = text.split_once(r#""Service":{"#).unwrap();
        let at = tail.find(key).unwrap();
        let mut depth = 0;
        let end = tail[at..]
            .find(|c: char| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            })
            .unwrap();
        text = format!(r#"{head}"Service":{{{}{part}{}"#, &tail[..at], &tail[at + end..]);
    }
    let found = health(format!("[{text}]").as_bytes()).unwrap();
    Arc::unwrap_or_clone(found.record.unwrap())
}

pub(crate) fn one(service: &str, checks: &str) -> Instance {
    let record = with(service, checks);
    assert_eq!((record.instances.len(), &record.issues), (1, &Vec::new()));
    record.instances[0].clone()
}

pub(crate) fn reason(service: &str) -> String {
    let record = with(service, "[]");
    assert_eq!(
        (record.instances.len(), record.issues.len()),
        (0, 1),
        "{record:?}"
    );
    assert_eq!(record.issues[0].severity, Severity::Rejected);
    assert_eq!(record.issues[0].entry, "orders-1@n1");
    record.issues[0].reason.clone()
}

#[test]
fn null_and_missing_fields_are_normal() {
    for checks in [
        "null",
        "[]",
        r#"[{"Node":"n1","CheckID":"serfHealth","Status":"passing"}]"#,
    ] {
        let instance = one("", checks);
        assert_eq!(&*instance.id, "n1/orders-1");
        assert_eq!(instance.address.to_string(), "10.0.0.1:8080");
        assert_eq!(
            (instance.health, instance.weight, &*instance.zone),
            (Health::Healthy, 10, "dc1")
        );
    }
    let bare = br#"[{"Node":{"Address":"10.0.0.1"},"Service":{"ID":"a","Port":1}}]"#;
    assert_eq!(health(bare).unwrap().record.unwrap().instances[0].weight, 1);
}

#[test]
fn what_is_not_selected_is_left_out_without_a_word() {
    let selection = ConsulSelection {
        tags: vec!["prod".into(), "eu".into()],
        meta: vec![("env".into(), "a=b".into())],
        ..ConsulSelection::default()
    };
    let all = |entries: &[&str]| {
        let entry = |n: usize, service: &str| {
            entry(service, "[]")
                .replacen(r#""Tags":null,"Meta":null,"#, "", 1)
                .replace("orders-1", &format!("i{n}"))
        };
        let entries: Vec<_> = entries.iter().enumerate().map(|(n, s)| entry(n, s)).collect();
        super::health(
            "orders",
            format!("[{}]", entries.join(",")).as_bytes(),
            &selection,
        )
        .unwrap()
    };
    let right = r#","Tags":["eu","x","prod"],"Meta":{"env":"a=b"}"#;
    let others = [
        r#","Tags":["prod"],"Meta":{"env":"a=b"}"#,
        r#","Tags":["eu","prod"],"Meta":{"env":"a"}"#,
        r#","Tags":null,"Meta":null"#,
        // Nor is what is wrong with it anybody's business.
        r#","Tags":["xds.weight=many"],"Address":"db.local""#,
    ];
    let found = all(&[right, others[0], others[1], others[2], others[3]]);
    let record = found.record.unwrap();
    assert_eq!(
        (record.instances.len(), record.issues.clone(), found.ids.len()),
        (1, vec![], 5)
    );
    assert_eq!(&*record.instances[0].id, "n1/i0");
    let found = all(&others);
    assert_eq!(
        (found.record, found.ids.len()),
        (None, 4),
        "no service of ours, and not lost"
    );
    assert!(all(&[]).record.is_some(), "empty is another thing");
}

#[test]
fn the_kinds_that_are_asked_for_are_served() {
    let body = format!(
        "[{},{}]",
        entry(r#","Kind":"mesh-gateway""#, "[]"),
        entry(r#","Kind":"""#, "[]")
            .replace("orders-1", "orders-2")
            .replace("8080", "8081")
    );
    let served = |kinds: &[&'static str]| {
        let selection = ConsulSelection {
            kinds: kinds.to_vec(),
            ..ConsulSelection::default()
        };
        let found = super::health("orders", body.as_bytes(), &selection).unwrap();
        found.record.map_or(0, |r| r.instances.len())
    };
    assert_eq!(
        [
            &[""][..],
            &["mesh-gateway"],
            &["", "mesh-gateway"],
            &["api-gateway"]
        ]
        .map(served),
        [1, 1, 2, 0]
    );
}

#[test]
fn names_that_are_not_selected_are_neither_watched_nor_reported() {
    let selection = ConsulSelection {
        services: vec!["shop-*".into()],
        ..ConsulSelection::default()
    };
    let body = r#"{"consul":[],"shop-a":[],"orders":[],"..":[],"shop-/../b":[]}"#;
    let found = super::services(body.as_bytes(), &selection).unwrap();
    assert!(found.canary, "whatever is selected");
    assert_eq!(found.names.iter().map(|n| &**n).collect::<Vec<_>>(), ["shop-a"]);
    assert_eq!(found.stray.len(), 1);
}

#[test]
fn one_bad_entry_rejects_itself_only() {
    let good = entry("", "[]");
    let bad = r#"{"Node":{"Node":"n2"},"Service":{"ID":"orders-2","Port":"eighty"}}"#;
    let found = health(format!("[{good},{bad},7]").as_bytes()).unwrap();
    let record = found.record.unwrap();
    assert_eq!(
        (record.instances.len(), record.issues.len(), found.ids.len()),
        (1, 2, 3)
    );
    assert_eq!(record.issues[0].entry, "orders-2@n2");
}

#[test]
fn sidecars_and_gateways_are_no_instances() {
    let proxy = entry(r#","Kind":"connect-proxy""#, "[]");
    let found = health(format!("[{proxy}]").as_bytes()).unwrap();
    assert_eq!((found.record, found.ids.len()), (None, 1));
    let mixed = health(format!("[{proxy},{}]", entry(r#","Kind":"""#, "[]")).as_bytes()).unwrap();
    assert_eq!(mixed.record.unwrap().instances.len(), 1);
    assert_eq!(health(b"[]").unwrap().record, Some(Arc::default()));
}

#[test]
fn malformed_bodies_are_errors() {
    for body in ["", "<html>", "{}", "null", "[", "[{]"] {
        assert!(health(body.as_bytes()).is_err(), "{body}");
    }
    for body in ["", "<html>", "[]", "null"] {
        assert!(services(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn names_are_checked_and_the_canary_is_seen() {
    let found = services(r#"{"consul":[],"bestellung ü/1":["a"],"web":null,"*":[]}"#.as_bytes()).unwrap();
    assert!(found.canary);
    assert_eq!(
        found.names.iter().map(|n| &**n).collect::<Vec<_>>(),
        ["bestellung ü/1", "web"]
    );
    assert_eq!(found.stray.len(), 1);
    assert!(!services(b"{}").unwrap().canary);
}

#[test]
fn a_name_that_consul_cannot_be_asked_for_is_left_alone() {
    // Each is answered with a redirect, and any answer but a good one closes the whole source.
    for name in [".", "..", "/a", "a//b", "a/./b", "good/../good", "a/.."] {
        let found = services(format!(r#"{{"consul":[],"web":[],"{name}":[]}}"#).as_bytes()).unwrap();
        assert_eq!((found.names.len(), found.stray.len()), (1, 1), "{name}");
        assert_eq!(found.stray[0].entry, name);
    }
    for name in ["a/", "a/b", ".a", "...", "a..b"] {
        let found = services(format!(r#"{{"consul":[],"{name}":[]}}"#).as_bytes()).unwrap();
        assert_eq!((found.names.len(), found.stray.len()), (1, 0), "{name}");
    }
}

#[test]
fn twenty_thousand_instances_are_all_served_and_of_wrong_ones_some_are_named() {
    let all = |address: &str| {
        let one = |n: usize| {
            format!(
                r#"{{"Node":{{"Address":"{address}"}},"Service":{{"ID":"{n}","Port":{}}}}}"#,
                n + 1
            )
        };
        let all: Vec<String> = (0..20_000).map(one).collect();
        let found = health(format!("[{}]", all.join(",")).as_bytes()).unwrap();
        found.record.unwrap()
    };
    let record = all("10.0.0.1");
    assert_eq!((record.instances.len(), record.issues.len()), (20_000, 0));
    let record = all("x");
    assert_eq!((record.instances.len(), record.issues.len()), (0, MAX_ISSUES));
}

#[test]
fn an_answer_from_elsewhere_is_recognised() {
    let body = |more: &str| {
        format!(
            r#"[{{"Node":{{"Node":"n","Address":"10.0.0.1"{more}}},"Service":{{"ID":"1","Port":80}},"Checks":[]}}]"#
        )
    };
    let (plain, west) = (body(""), body(r#","PeerName":"west","Partition":"p1""#));
    let foreign = |body: &str, partition, peer| elsewhere(body.as_bytes(), partition, peer);
    assert_eq!(foreign(&plain, None, None), None);
    assert_eq!(
        foreign("[]", Some("p1"), Some("west")),
        None,
        "nothing speaks against it"
    );
    assert_eq!(foreign(&west, Some("P1"), Some("west")), None);
    for (wanted, word) in [
        ((None, Some("west")), "peer `west`"),
        ((Some("p1"), None), "partition `p1`"),
    ] {
        let reason = foreign(&plain, wanted.0, wanted.1).unwrap();
        assert!(reason.contains(word), "{reason}");
    }
    assert!(foreign(&west, None, Some("east")).is_some());
}

#[test]
fn an_entry_counts_only_for_the_name_that_it_carries() {
    let other = entry("", "[]")
        .replace(r#""Service":"orders""#, r#""Service":"Orders""#)
        .replace("orders-1", "orders-2")
        .replace("8080", "8081");
    let body = format!("[{},{other}]", entry("", "[]"));
    let ids = |body: &str| {
        health(body.as_bytes())
            .unwrap()
            .ids
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&body), ["n1/orders-1"]);
    assert_eq!(
        ids(&format!("[{other}]")),
        [""; 0],
        "gone, whatever else is there"
    );
    let broken = other.replace("8081", "\"eighty\"");
    assert_eq!(ids(&format!("[{},{broken}]", entry("", "[]"))), ["n1/orders-1"]);
}

#[test]
fn of_two_registrations_of_an_address_the_newest_counts() {
    let old =
        entry(r#","CreateIndex":7"#, r#"[{"CheckID":"c","Status":"critical"}]"#).replace("orders-1", "0-old");
    let new = entry(r#","CreateIndex":9"#, "[]");
    for body in [format!("[{old},{new}]"), format!("[{new},{old}]")] {
        let found = health(body.as_bytes()).unwrap();
        assert_eq!(found.ids.len(), 2, "both are there, and each may be missed");
        let record = found.record.unwrap();
        let seen: Vec<_> = record.instances.iter().map(|i| (&*i.id, i.health)).collect();
        assert_eq!(seen, [("n1/orders-1", Health::Healthy)]);
        let [issue] = &record.issues[..] else {
            panic!("{record:?}")
        };
        assert!(
            issue.entry == "0-old@n1" && issue.reason.contains("`orders-1@n1`"),
            "{issue:?}"
        );
    }
}

#[test]
fn a_table_that_is_too_long_rejects_its_entry_only() {
    let meta: Vec<String> = (0..200)
        .map(|n| format!(r#""k{n}":"{}""#, "v".repeat(7_000)))
        .collect();
    let long = entry("", "[]").replacen("orders-1", "long", 1).replacen(
        r#""Meta":null,"Address""#,
        &format!(r#""Meta":{{{}}},"Address""#, meta.join(",")),
        1,
    );
    let found = health(format!("[{},{long}]", entry("", "[]")).as_bytes()).unwrap();
    let record = found.record.unwrap();
    assert_eq!((record.instances.len(), record.issues.len()), (1, 1));
    assert_eq!(found.ids.len(), 2, "it is there");
    assert_eq!(record.issues[0].entry, "long@n1");
    assert!(record.issues[0].reason.contains("more than 1048576 bytes"));
}
