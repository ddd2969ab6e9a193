//! Which protocol is in force, and which names and addresses are rejected.

use super::*;

#[test]
fn a_grpc_route_makes_the_protocol_unless_one_is_declared() {
    let service = |protocol, routes: &[&str]| Service {
        policy: Policy {
            protocol,
            routes: (1..)
                .zip(routes.iter().map(|r| crate::model::RouteRule::parse(r).unwrap()))
                .collect(),
            ..Policy::default()
        },
        ..Service::default()
    };
    let both = &["path=/x", "grpc=shop.Orders"][..];
    assert_eq!(service(None, both).protocol(), Protocol::Grpc);
    assert_eq!(service(None, &both[..1]).protocol(), Protocol::Http1);
    assert_eq!(service(Some(Protocol::Http2), both).protocol(), Protocol::Http2);
    assert_eq!(service(Some(Protocol::Http1), both).protocol(), Protocol::Http1);
}

#[test]
fn names_are_checked() {
    let long = "x".repeat(201);
    for name in [
        "",
        "*",
        "a\nb",
        BRIDGE_CLUSTER,
        "xdstp:",
        "xdstp://a/b?c=1",
        "XDSTP:a",
        &long,
    ] {
        assert!(check_name(name).is_err(), "{name}");
    }
    for name in [
        "orders",
        "a b/ü",
        "xds-bridge-2",
        "xdstp",
        "axdstp:",
        "xds:///a",
        &"x".repeat(200),
    ] {
        assert_eq!(check_name(name), Ok(()));
    }
}

#[test]
fn addresses_are_checked() {
    assert_eq!(address("10.0.0.7", 80).unwrap().to_string(), "10.0.0.7:80");
    assert_eq!(address("fd00::7", 80).unwrap(), address("[fd00::7]", 80).unwrap());
    assert_eq!(not_a_socket("unixes:80"), Ok(()));
    for mapped in [
        "::ffff:10.0.0.7",
        "[::FFFF:10.0.0.7]",
        "::ffff:a00:7",
        "0:0:0:0:0:ffff:10.0.0.7",
    ] {
        assert_eq!(address(mapped, 80), address("10.0.0.7", 80), "{mapped}");
    }
    for (host, port, word) in [
        ("db.local", 80, "no host names"),
        ("", 80, "not an IP"),
        ("10.0.0.7", 0, "1 to 65535"),
        ("10.0.0.7", 65_536, "1 to 65535"),
        ("0.0.0.0", 80, "cannot be connected"),
        ("/run/orders.sock", 0, "unix socket"),
        ("unix:/run/orders.sock", 80, "unix socket"),
        ("::ffff:0.0.0.0", 80, "cannot be connected"),
        ("::ffff:224.0.0.1", 80, "cannot be connected"),
    ] {
        let message = address(host, port).unwrap_err();
        assert!(message.contains(word), "{host}:{port} → {message}");
    }
}
