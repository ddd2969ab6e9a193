//! Keys of Traefik, and the services that are made of them.

use super::*;

/// The services, each with its routes and instances, and what is reported.
fn read(pairs: &[(&str, &str)]) -> (String, String) {
    let settings = TraefikImport {
        entry_points: BTreeMap::from([("web".to_owned(), vec!["edge".to_owned()])]),
        ..TraefikImport::default()
    };
    let (services, mut issues) = super::read(&settings, "traefik/", pairs.iter().copied());
    let mut shown = Vec::new();
    for (name, record) in services {
        let routes = record.policy.iter().flat_map(|policy| policy.routes.values());
        let routes: Vec<String> = routes.map(ToString::to_string).collect();
        let instances = record.instances.iter();
        let instances: Vec<String> = instances.map(|i| format!("{}*{}", i.address, i.weight)).collect();
        shown.push(format!("{name}[{}] {}", instances.join(" "), routes.join(" ; ")));
        issues.extend(record.issues);
    }
    let said: Vec<String> = issues
        .iter()
        .map(|i| format!("{}: {}", i.entry, i.reason))
        .collect();
    (shown.join("\n"), said.join("\n"))
}

const SERVER: (&str, &str) = (
    "http/services/s1/loadBalancer/servers/0/url",
    "http://127.0.0.1:8001",
);

#[test]
fn routers_stand_with_their_services() {
    let (services, said) = read(&[
        ("http/routers/r/rule", "Host(`a.x`) && PathPrefix(`/p`)"),
        ("http/routers/r/service", "s1@etcd"),
        ("http/routers/r/entryPoints/0", "web"),
        ("http/routers/r/middlewares", "m"),
        ("http/middlewares/m/addPrefix/prefix", "/v"),
        SERVER,
        (
            "http/services/s1/loadbalancer/servers/1/url",
            "http://127.0.0.1:8002/ignored",
        ),
        ("http/services/s1/loadbalancer/servers/1/weight", "3"),
        ("http/", ""),
    ]);
    assert_eq!(said, "");
    assert!(
        services.starts_with("s1[127.0.0.1:8001*1 127.0.0.1:8002*3] "),
        "{services}"
    );
    for word in [
        "host=a.x",
        "path=/p*",
        "expose=edge",
        "imported=traefik",
        "regex-rewrite=^/=>/v/",
    ] {
        assert!(services.contains(word), "{word}: {services}");
    }
}

#[test]
fn a_weighted_service_is_a_split_of_the_first_of_its_members() {
    let (services, said) = read(&[
        ("http/routers/r/rule", "Host(`a.x`)"),
        ("http/routers/r/service", "w"),
        ("http/services/w/weighted/services/0/name", "s1"),
        ("http/services/w/weighted/services/0/weight", "3"),
        ("http/services/w/weighted/services/1/name", "s2"),
        SERVER,
        (
            "http/services/s2/loadbalancer/servers/0/url",
            "http://127.0.0.1:8002",
        ),
    ]);
    assert_eq!(said, "");
    let first = services.lines().next().unwrap();
    assert!(
        first.starts_with("s1[") && first.contains("split=s1:3,s2:1"),
        "{services}"
    );
}

#[test]
fn what_is_wrong_costs_its_router_or_server_and_is_named() {
    let good = [
        ("http/routers/good/rule", "Host(`g.x`)"),
        ("http/routers/good/service", "s1"),
        SERVER,
    ];
    for (pairs, word) in [
        (&[("http/routers/r/rule", "Host(`a.x`)")][..], "needs a service"),
        (&[("http/routers/r/service", "s1")], "it has no rule"),
        (
            &[("http/routers/r/rule", "Host("), ("http/routers/r/service", "s1")],
            "cannot be read",
        ),
        (
            &[
                ("http/routers/r/rule", "Host(`a.x`)"),
                ("http/routers/r/service", "no"),
            ],
            "there is no service `no`",
        ),
        (
            &[
                ("http/routers/r/rule", "Host(`a.x`)"),
                ("http/routers/r/service", "s1@file"),
            ],
            "declared elsewhere",
        ),
        // What is not known may protect it.
        (
            &[
                ("http/routers/r/rule", "Host(`a.x`)"),
                ("http/routers/r/service", "s1"),
                ("http/routers/r/midlewares/0", "auth"),
            ],
            "`midlewares` cannot be read; requests that it would get are refused",
        ),
        (
            &[
                ("http/routers/r/rule", "Host(`a.x`)"),
                ("http/routers/r/service", "m"),
                ("http/services/m/mirroring/service", "s1"),
            ],
            "of the kind `mirroring`",
        ),
        (
            &[("http/services/s1/loadbalancer/servers/1/url", "http://host.x:80")],
            "not an IP address",
        ),
        (
            &[("http/services/s1/loadbalancer/servers/1/weight", "2")],
            "it has no url",
        ),
        (
            &[("http/services/s1/loadbalancer/servers/x/url", "http://1.2.3.4:1")],
            "a list has numbers",
        ),
        (
            &[("tcp/routers/r/rule", "HostSNI(`*`)")],
            "TCP and UDP are not imported",
        ),
        (&[("nosuch", "1")], "not known"),
    ] {
        let (services, said) = read(&[&good[..], pairs].concat());
        assert!(said.contains(word), "{pairs:?}: {said}");
        // What takes no requests of a host is left out, and what would take some refuses them.
        let served = services.matches("host=").count() - services.matches("respond=503").count();
        assert_eq!(served, 1, "{pairs:?}: {services}");
        assert!(
            services.contains("s1[127.0.0.1:8001*1] "),
            "{pairs:?}: {services}"
        );
    }
}

#[test]
fn what_protects_refuses_the_requests() {
    let (services, said) = read(&[
        ("http/routers/r/rule", "Host(`a.x`)"),
        ("http/routers/r/service", "s1"),
        ("http/routers/r/middlewares/0", "m"),
        ("http/middlewares/m/basicauth/users/0", "u:$apr1$x"),
        SERVER,
    ]);
    assert!(services.contains("respond=401"), "{services}");
    assert!(
        said.contains("key `traefik/http/middlewares/m`: basicauth protects"),
        "{said}"
    );
    assert!(!said.contains("apr1"), "no value is quoted");
}
