//! Golden bodies for the parsers, as Consul 1.8.7 sends them and as nobody should.

use super::*;
use crate::model::{Protocol, Severity};

/// With the default selection.
pub(super) fn health(body: &[u8]) -> Result<Found, Unreadable> {
    super::health("orders", body, &ConsulSelection::default())
}

fn services(body: &[u8]) -> Result<Names, Unreadable> {
    super::services(body, &ConsulSelection::default())
}

/// One entry of 1.8.7, with `service` fields put over the usual ones.
pub(super) fn entry(service: &str, checks: &str) -> String {
    format!(
        r#"{{"Node":{{"ID":"","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1","TaggedAddresses":null,
            "Meta":null,"CreateIndex":15,"ModifyIndex":15}},
            "Service":{{"ID":"orders-1","Service":"orders","Tags":null,"Meta":null,"Address":"","Port":8080,
            "TaggedAddresses":null,"Weights":{{"Passing":10,"Warning":2}},"EnableTagOverride":false,
            "Proxy":{{"MeshGateway":{{}},"Expose":{{}}}},"Connect":{{}},"New":[1]{service}}},
            "Checks":{checks}}}"#
    )
}

fn with(service: &str, checks: &str) -> ServiceRecord {
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
    health(format!("[{text}]").as_bytes()).unwrap().record.unwrap()
}

fn one(service: &str, checks: &str) -> Instance {
    let record = with(service, checks);
    assert_eq!((record.instances.len(), &record.issues), (1, &Vec::new()));
    record.instances[0].clone()
}

fn reason(service: &str) -> String {
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
fn the_address_follows_its_precedence() {
    let lan =
        r#""TaggedAddresses":{"lan":{"Address":"10.9.9.9","Port":99},"wan":{"Address":"1.2.3.4","Port":1}}"#;
    assert_eq!(one(lan, "[]").address.to_string(), "10.9.9.9:99");
    assert_eq!(
        one(r#""Address":"fd00::7""#, "[]").address.to_string(),
        "[fd00::7]:8080"
    );
    let node = entry("", "[]").replacen(
        r#""TaggedAddresses":null"#,
        r#""TaggedAddresses":{"lan":"10.5.5.5"}"#,
        1,
    );
    let record = health(format!("[{node}]").as_bytes()).unwrap().record.unwrap();
    assert_eq!(record.instances[0].address.to_string(), "10.5.5.5:8080");
    assert!(reason(r#""Address":"db.local""#).contains("no host names"));
    assert!(reason(r#""Port":0"#).contains("1 to 65535"));
    assert!(reason(r#""Port":-1"#).contains("1 to 65535"));
}

#[test]
fn a_unix_socket_is_named_and_a_port_beside_it_is_served() {
    // As Consul 1.14 answers: without a `Port`.
    let alone = br#"[{"Node":{"Node":"n1","Address":"10.0.0.1"},
        "Service":{"ID":"orders-1","Address":"","SocketPath":"/run/orders.sock"}}]"#;
    let issues = health(alone).unwrap().record.unwrap().issues;
    assert!(
        issues[0].reason.contains("`SocketPath` is a unix socket"),
        "{issues:?}"
    );
    let both = String::from_utf8_lossy(alone).replace(r#""Address":"","#, r#""Port":8080,"#);
    let both = health(both.as_bytes()).unwrap().record.unwrap();
    assert_eq!(both.instances[0].address.to_string(), "10.0.0.1:8080");
    let address = reason(r#""Address":"unix:/run/orders.sock""#);
    assert!(address.contains("unix socket"), "{address}");
}

#[test]
fn the_preferred_address_is_looked_for_in_the_service_then_in_its_node() {
    let node = r#""TaggedAddresses":{"lan":"10.5.5.5","wan":"1.5.5.5","lan_ipv6":"fd00::5"}"#;
    let address = |service: &str, preferred: &str| {
        let entry = entry("", "[]")
            .replacen(r#""TaggedAddresses":null"#, node, 1)
            .replacen(r#""Address":"","Port":8080,"#, r#""Port":8080,"#, 1)
            .replacen(r#""TaggedAddresses":null"#, service, 1);
        let selection = ConsulSelection {
            preferred_address: preferred.to_owned(),
            ..ConsulSelection::default()
        };
        let found = super::health("orders", format!("[{entry}]").as_bytes(), &selection).unwrap();
        found.record.unwrap().instances[0].address.to_string()
    };
    let wan = r#""TaggedAddresses":{"wan":{"Address":"1.2.3.4","Port":81},"wan_ipv4":{"Address":"1.2.3.5"}}"#;
    let own = &format!(r#"{wan},"Address":"10.7.7.7""#);
    assert_eq!(address(own, "wan"), "1.2.3.4:81");
    assert_eq!(
        address(own, "wan_ipv4"),
        "1.2.3.5:8080",
        "without a port of its own"
    );
    assert_eq!(address(own, "lan"), "10.7.7.7:8080", "its own, before its node's");
    assert_eq!(address(wan, "lan"), "10.5.5.5:8080");
    assert_eq!(address(wan, "lan_ipv6"), "[fd00::5]:8080");
    assert_eq!(address(wan, "vpn"), "10.0.0.1:8080", "nobody has it");
    assert_eq!(address(r#""TaggedAddresses":null"#, "wan"), "1.5.5.5:8080");
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
        (record.instances.len(), record.issues, found.ids.len()),
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
fn the_worst_check_counts() {
    let check = |id: &str, status: &str| format!(r#"{{"CheckID":"{id}","Status":"{status}","Output":"x"}}"#);
    let (passing, warning, critical) = (
        check("a", "passing"),
        check("b", "warning"),
        check("c", "critical"),
    );
    let health = |checks: &[&str]| {
        let instance = one("", &format!("[{}]", checks.join(",")));
        (instance.health, instance.weight)
    };
    assert_eq!(health(&[&passing, &warning]), (Health::Healthy, 2));
    assert_eq!(health(&[&critical, &warning]), (Health::Unhealthy, 10));
    for id in ["_service_maintenance:orders-1", "_node_maintenance"] {
        assert_eq!(
            health(&[&critical, &check(id, "critical")]),
            (Health::Draining, 10)
        );
    }
}

#[test]
fn weight_zero_is_off_without_a_word() {
    let warning = r#"[{"CheckID":"b","Status":"warning"}]"#;
    let zero = with(r#""Weights":{"Passing":1,"Warning":0}"#, warning);
    assert_eq!((zero.instances[0].health, zero.issues.len()), (Health::Off, 0));
    assert_eq!(one(r#""Weights":{"Passing":1,"Warning":0}"#, "[]").weight, 1);
}

#[test]
fn meta_is_stronger_than_tags_and_tags_than_fields() {
    let both = r#""Tags":["xds.weight=7","xds.version=9f31c2a","blue"];;"Meta":{"xds-weight":"5","xds-protocol":"grpc"}"#;
    let instance = one(both, "[]");
    assert_eq!((instance.weight, &*instance.version), (5, "9f31c2a"));
    assert_eq!(instance.policy.protocol, Some(Protocol::Grpc));
    let wrong = with(
        r#""Tags":["xds.weight=many","xds.drain"];;"Meta":{"xds-colour":"red"}"#,
        "[]",
    );
    assert_eq!(
        (wrong.instances.len(), wrong.issues.len()),
        (1, 3),
        "{:?}",
        wrong.issues
    );
    assert!(
        wrong
            .issues
            .iter()
            .all(|i| i.severity == Severity::Warning && i.entry == "orders-1@n1")
    );
}

#[test]
fn the_nodes_zone_is_stronger_than_the_datacenter() {
    let node = entry("", "[]").replacen(r#""Meta":null"#, r#""Meta":{"zone":"eu-1a"}"#, 1);
    let record = health(format!("[{node}]").as_bytes()).unwrap().record.unwrap();
    assert_eq!(&*record.instances[0].zone, "eu-1a");
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
    assert_eq!(health(b"[]").unwrap().record, Some(ServiceRecord::default()));
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
fn an_answer_from_elsewhere_is_told() {
    let body = |more: &str| {
        format!(
            r#"[{{"Node":{{"Node":"n","Address":"10.0.0.1"{more}}},"Service":{{"ID":"1","Port":80}},"Checks":[]}}]"#
        )
    };
    let (plain, west) = (body(""), body(r#","PeerName":"west","Partition":"p1""#));
    let told = |body: &str, partition, peer| elsewhere(body.as_bytes(), partition, peer);
    assert_eq!(told(&plain, None, None), None);
    assert_eq!(
        told("[]", Some("p1"), Some("west")),
        None,
        "nothing speaks against it"
    );
    assert_eq!(told(&west, Some("P1"), Some("west")), None);
    for (wanted, word) in [
        ((None, Some("west")), "peer `west`"),
        ((Some("p1"), None), "partition `p1`"),
    ] {
        let reason = told(&plain, wanted.0, wanted.1).unwrap();
        assert!(reason.contains(word), "{reason}");
    }
    assert!(told(&west, None, Some("east")).is_some());
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

/// As kratos registers (`contrib/registry/consul`): a URL for each scheme, with its port once more.
#[test]
fn a_url_in_the_tagged_addresses_is_an_address_and_a_protocol() {
    let kratos = r#""TaggedAddresses":{
        "grpc":{"Address":"grpc://10.0.0.4:9000?isSecure=false","Port":9000},
        "http":{"Address":"http://[fd00::4]:8000?isSecure=false","Port":8000},
        "bare":{"Address":"grpc://10.0.0.4","Port":9001},
        "grpcs":{"Address":"grpc://10.0.0.4:9000?isSecure=true","Port":9000},
        "ws":{"Address":"ws://10.0.0.4:9000","Port":9000},
        "odd":{"Address":"grpc://db.local:9000","Port":9000}}"#;
    let text = entry("", "[]").replacen(
        r#""Port":8080,
            "TaggedAddresses":null"#,
        &format!(r#""Port":8080,{kratos}"#),
        1,
    );
    let read = |preferred: &str, meta: &str| {
        let selection = ConsulSelection {
            preferred_address: preferred.to_owned(),
            ..ConsulSelection::default()
        };
        let text = text.replacen(
            r#""Meta":null,"Address""#,
            &format!(r#""Meta":{meta},"Address""#),
            1,
        );
        let record = super::health("orders", format!("[{text}]").as_bytes(), &selection)
            .unwrap()
            .record
            .unwrap();
        let one = |i: &Instance| format!("{} {:?}", i.address, i.policy.protocol);
        record
            .instances
            .first()
            .map_or_else(|| record.issues[0].reason.clone(), one)
    };
    assert_eq!(read("grpc", "null"), "10.0.0.4:9000 Some(Grpc)");
    assert_eq!(read("http", "null"), "[fd00::4]:8000 Some(Http1)");
    assert_eq!(read("bare", "null"), "10.0.0.4:9001 Some(Grpc)");
    assert_eq!(read("lan", "null"), "10.0.0.1:8080 None");
    assert_eq!(
        read("grpc", r#"{"xds-protocol":"http2"}"#),
        "10.0.0.4:9000 Some(Http2)",
        "declared"
    );
    assert!(read("grpcs", "null").contains("TLS"), "{}", read("grpcs", "null"));
    assert!(read("ws", "null").contains("`ws`"));
    assert!(read("odd", "null").contains("no host names"));
}
