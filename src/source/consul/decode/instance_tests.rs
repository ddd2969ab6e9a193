//! What an entry of a health answer becomes: address, health, weight, zone and declarations.

use super::super::parse::tests::{entry, health, one, reason, with};
use crate::config::ConsulSelection;
use crate::model::{Health, Instance, Protocol, Severity};
use crate::source::consul::decode::parse;

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
    let issues = health(alone).unwrap().record.unwrap().issues.clone();
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
        let found = parse::health("orders", format!("[{entry}]").as_bytes(), &selection).unwrap();
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
    assert_eq!(address(wan, "vpn"), "10.0.0.1:8080", "neither has one");
    assert_eq!(address(r#""TaggedAddresses":null"#, "wan"), "1.5.5.5:8080");
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
    let node = entry("", "[]").replacen(r#""Meta":null"#, r#""Meta":{"region":"eu"}"#, 1);
    let record = health(format!("[{node}]").as_bytes()).unwrap().record.unwrap();
    let instance = &record.instances[0];
    assert_eq!((&*instance.region, &*instance.zone), ("eu", "dc1"));
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
        let record = parse::health("orders", format!("[{text}]").as_bytes(), &selection)
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
