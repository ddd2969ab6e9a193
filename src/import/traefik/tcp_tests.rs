//! Routers of TCP, and what is left out of them.

use crate::config::{Import, TraefikImport};
use crate::import::{Entry, Own, import};

/// The routes of these tags below `traefik.`, the port, and what is said.
fn read(tags: &[&str]) -> (Vec<String>, Option<u16>, String) {
    let traefik = TraefikImport {
        entry_points: [("db".to_owned(), vec!["edge".to_owned()])].into(),
        ..TraefikImport::default()
    };
    let settings = Import {
        traefik: Some(traefik),
        ..Import::default()
    };
    let tags: Vec<String> = tags.iter().map(|tag| format!("traefik.{tag}")).collect();
    let entry = Entry {
        label: "x",
        service: "web",
        datacenter: "dc1",
        tags: &tags,
        checks: &[],
        own: Own::default(),
    };
    let mut issues = Vec::new();
    let imported = import(&settings, &entry, &mut issues);
    let routes = imported.declared.policy.routes.values();
    let issues: Vec<String> = issues.into_iter().map(|issue| issue.reason).collect();
    (
        routes.map(ToString::to_string).collect(),
        imported.port,
        issues.concat(),
    )
}

#[test]
fn names_of_tls_lead_to_the_server_of_the_instance() {
    let rule = "tcp.routers.r.rule=HostSNI(`A.x`) || HostSNI(`*.b.x`)";
    let passed_on = "tcp.routers.r.tls.passthrough=true";
    let port = "tcp.services.s.loadbalancer.server.port=5432";
    let names = "sni=*.b.x,a.x expose=edge".to_owned();
    assert_eq!(
        read(&[rule, passed_on, port]),
        (vec![names.clone()], Some(5432), String::new())
    );
    for ended in ["tcp.routers.r.tls=true", "tcp.routers.r.tls.certresolver=c"] {
        let (routes, port, issues) = read(&[rule, ended]);
        assert_eq!(
            (&routes[..], port),
            (&[names.replace("a.x ", "a.x terminate=true ")][..], None),
            "{issues}"
        );
    }
    // Beside requests, where it is the same server.
    let web = "http.routers.w.rule=Host(`w.x`)";
    let (routes, _, issues) = read(&[rule, passed_on, web]);
    assert_eq!((routes.len(), issues.as_str()), (2, ""), "{routes:?}");
}

#[test]
fn what_is_no_name_of_tls_is_left_out_and_named() {
    let (rule, passed_on) = (
        "tcp.routers.r.rule=HostSNI(`a.x`)",
        "tcp.routers.r.tls.passthrough=true",
    );
    for (tags, why) in [
        (&[rule][..], "without tls"),
        (
            &["tcp.routers.r.rule=HostSNI(`*`)", passed_on],
            "xds-route=port=NUMBER",
        ),
        (
            &[
                "tcp.routers.r.rule=HostSNI(`a.x`) && ClientIP(`10.0.0.0/8`)",
                passed_on,
            ],
            "only HostSNI",
        ),
        (&["tcp.routers.r.rule=!HostSNI(`a.x`)", passed_on], "only HostSNI"),
        (
            &[rule, passed_on, "tcp.routers.r.middlewares=m"],
            "may protect it",
        ),
        (
            &[rule, passed_on, "tcp.routers.r.entrypoints=other"],
            "entry_points",
        ),
        (
            &[rule, passed_on, "tcp.routers.r.service=other"],
            "not declared beside it",
        ),
        (
            &[rule, passed_on, "tcp.services.s.loadbalancer.server.tls=true"],
            "xds-tls",
        ),
        (&[rule, passed_on, "consulcatalog.canary=true"], "canary"),
    ] {
        let (routes, _, issues) = read(tags);
        assert!(routes.is_empty(), "{routes:?}");
        assert!(
            issues.contains(why) && issues.contains("TCP is left out"),
            "{issues}"
        );
    }
    let web = "http.routers.w.rule=Host(`w.x`)";
    let other = "tcp.services.s.loadbalancer.server.port=5432";
    let (routes, port, issues) = read(&[rule, passed_on, web, other]);
    assert_eq!((routes.len(), port), (1, None));
    assert!(issues.contains("another server of it"), "{issues}");
}
