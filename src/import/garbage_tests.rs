//! Whatever stands in tags and keys, reading it ends with routes that Envoy could have, or a sentence.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::{FabioImport, KeysOf, TraefikImport};

/// Pieces that mean something, and what should not be there.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("Host(`a.x`)"),
        Just("PathPrefix(`/p`)"),
        Just("HostRegexp(`"),
        Just("`)"),
        Just("&&"),
        Just("||"),
        Just("!"),
        Just("("),
        Just("$"),
        Just("${1}"),
        Just("^/x(.*)$"),
        Just("\\"),
        Just("%2"),
        Just("%zz"),
        Just("{a,b"),
        Just("[!"),
        Just("*."),
        Just("/"),
        Just(" strip="),
        Just(" redirect=301,https://"),
        Just("ä"),
        Just("\u{0}"),
        Just("\""),
        Just(","),
        Just("9"),
        Just("@"),
        Just("true"),
        Just("http://1.2.3.4:5"),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

const OPTIONS: [&str; 15] = [
    "routers.r.rule",
    "routers.r.priority",
    "routers.r.service",
    "routers.r.middlewares",
    "routers.r.tls.domains[0].main",
    "services.s.loadbalancer.server.url",
    "services.s.loadbalancer.healthcheck.path",
    "services.s.loadbalancer.sticky.cookie.name",
    "middlewares.m.stripprefix.prefixes",
    "middlewares.m.redirectregex.regex",
    "middlewares.m.redirectregex.replacement",
    "middlewares.m.replacepathregex.regex",
    "middlewares.m.replacepathregex.replacement",
    "middlewares.m.headers.customrequestheaders.X-A",
    "middlewares.m.chain.middlewares",
];

proptest! {
    #[test]
    fn no_tag_and_no_key_is_too_odd(
        values in proptest::collection::vec((0..OPTIONS.len(), text()), 0..6),
        of_fabio in proptest::collection::vec(text(), 0..3),
    ) {
        let mut tags = vec![
            "traefik.http.routers.r.rule=Host(`a.x`)".to_owned(),
            "traefik.http.routers.r.middlewares=m".to_owned(),
        ];
        tags.extend(values.iter().map(|(n, value)| format!("traefik.http.{}={value}", OPTIONS[*n])));
        tags.extend(of_fabio.iter().map(|tag| format!("urlprefix-{tag}")));
        let settings = Import {
            traefik: Some(TraefikImport::default()),
            fabio: Some(FabioImport::default()),
            keys: Vec::new(),
        };
        let checks = [Checked { status: crate::config::Check::Passing, maintenance: false, node: false }];
        let own = Own::default();
        let entry = Entry { label: "x", service: "web", datacenter: "dc1", tags: &tags, checks: &checks, own };
        let mut issues = Vec::new();
        let imported = import(&settings, &entry, &mut issues);
        for rule in imported.declared.policy.routes.values() {
            let again = crate::model::RouteRule::parse(&rule.to_string());
            prop_assert_eq!(again.as_ref(), Ok(rule));
        }
        let mut layout = Layout::new(KeysOf::Traefik(Arc::new(TraefikImport {
            kv: Some("traefik/".to_owned()),
            ..TraefikImport::default()
        })));
        for (n, value) in &values {
            layout.put(format!("traefik/http/{}", OPTIONS[*n].replace('.', "/")).as_bytes(), value.as_bytes());
        }
        layout.put(b"traefik/http/routers/r/service", b"s");
        layout.put(b"traefik/http/services/s/loadbalancer/servers/0/url", b"http://10.0.0.7:1");
        prop_assert!(layout.change(true).services.len() == 1);
    }
}

/// What the tags of one service become.
fn routes(tags: &[String]) -> Vec<String> {
    let settings = Import {
        traefik: Some(TraefikImport::default()),
        fabio: None,
        keys: Vec::new(),
    };
    let status = crate::config::Check::Passing;
    let checks = [Checked {
        status,
        maintenance: false,
        node: false,
    }];
    let entry = Entry {
        label: "x",
        service: "web",
        datacenter: "dc1",
        tags,
        checks: &checks,
        own: Own::default(),
    };
    let imported = import(&settings, &entry, &mut Vec::new());
    let rules = imported.declared.policy.routes.values();
    rules.map(ToString::to_string).collect()
}

#[test]
fn chains_that_branch_end_soon_and_refuse() {
    let mut tags = vec![
        "traefik.http.routers.r.rule=Host(`a.x`)".to_owned(),
        "traefik.http.routers.r.middlewares=c0".to_owned(),
        "traefik.http.middlewares.c8.headers.customrequestheaders.x-a=b".to_owned(),
    ];
    for n in 0..8 {
        let next = vec![format!("c{}", n + 1); 30].join(",");
        tags.push(format!("traefik.http.middlewares.c{n}.chain.middlewares={next}"));
    }
    let routes = routes(&tags);
    assert!(
        routes.len() == 1 && routes[0].contains("respond=403"),
        "{routes:?}"
    );
}

#[test]
fn a_router_that_would_be_too_many_routes_is_refused_as_a_whole() {
    let prefixes: Vec<String> = (20..33).map(|n| format!("/admin/p{n}")).collect();
    let tags = [
        "traefik.http.routers.r.rule=Host(`a.x`) && PathPrefix(`/admin`)".to_owned(),
        "traefik.http.routers.r.middlewares=s,auth".to_owned(),
        format!(
            "traefik.http.middlewares.s.stripprefix.prefixes={}",
            prefixes.join(",")
        ),
        "traefik.http.middlewares.auth.basicauth.users=a:b".to_owned(),
    ];
    let routes = routes(&tags);
    assert!(
        routes.len() == 1 && routes[0].contains("path=/admin") && routes[0].contains("respond=404"),
        "{routes:?}"
    );
}

#[test]
fn responses_are_compressed_by_the_encodings_that_both_have() {
    for (option, word) in [
        ("compress=true", "compress=gzip,brotli,zstd"),
        ("compress.encodings=br,deflate", "compress=brotli"),
        ("compress.encodings=deflate", "compress=none"),
    ] {
        let routes = routes(&[
            "traefik.http.routers.r.rule=Host(`a.x`)".to_owned(),
            "traefik.http.routers.r.middlewares=m".to_owned(),
            format!("traefik.http.middlewares.m.{option}"),
        ]);
        assert!(routes[0].contains(word), "{option}: {routes:?}");
    }
}

fn router(name: &str, rule: &str, rest: &[&str]) -> Vec<String> {
    let mut tags = vec![format!("traefik.http.routers.{name}.rule={rule}")];
    tags.extend(
        rest.iter()
            .map(|end| format!("traefik.http.routers.{name}.{end}")),
    );
    tags
}

const AUTH: &str = "traefik.http.middlewares.auth.basicauth.users=a:b";

#[test]
fn a_router_that_protects_and_cannot_be_read_refuses_more() {
    for (rule, wanted) in [
        (
            "Host(`a.x`) && PathPrefix(`/admin`) && ClientIP(`10.0.0.0/8`)",
            "host=a.x path=/admin*",
        ),
        ("Host(`a.x`) && Nosuch(`x`)", "host=a.x path=/ "),
        (
            "Host(`a.x`) && !ClientIP(`10.0.0.0/8`) && Method(`PUT`)",
            "host=a.x path=/ method=PUT",
        ),
        ("PathRegexp(`a{1001}`) && Host(`a.x`)", "host=a.x path=/ "),
    ] {
        let mut tags = router("r", rule, &["middlewares=auth"]);
        tags.push(AUTH.to_owned());
        let routes = routes(&tags);
        assert!(
            routes.len() == 1 && routes[0].starts_with(wanted) && routes[0].contains("respond=401"),
            "{rule}: {routes:?}"
        );
    }
    assert!(routes(&router("r", "Host(`a.x`) && ClientIP(`10.0.0.0/8`)", &[])).is_empty());
    let mut all = router("r", "ClientIP(`10.0.0.0/8`)", &["middlewares=auth"]);
    all.push(AUTH.to_owned());
    assert!(
        routes(&all).is_empty(),
        "it would refuse the requests of everybody"
    );
}

#[test]
fn what_is_nearly_an_option_refuses_the_router() {
    for option in [
        "middleware=auth",
        "entrypoint=web",
        "priority=high",
        "tls=yes",
        "Middelwares=auth",
    ] {
        let routes = routes(&router("r", "Host(`a.x`)", &[option]));
        assert!(
            routes.len() == 1 && routes[0].contains("respond=503"),
            "{option}: {routes:?}"
        );
    }
    let routes = routes(&router("r", "Host(`a.x`)", &["nosuch=1"]));
    assert!(!routes[0].contains("respond="), "{routes:?}");
}

#[test]
fn a_router_to_another_server_of_the_instance_refuses() {
    let mut tags = router("a", "Host(`a.x`)", &["service=app"]);
    tags.extend(router(
        "b",
        "Host(`a.x`) && PathPrefix(`/admin`)",
        &["service=ops"],
    ));
    tags.extend(router(
        "c",
        "Host(`a.x`) && PathPrefix(`/file`)",
        &["service=x@file"],
    ));
    tags.extend(
        ["app", "ops"].map(|name| format!("traefik.http.services.{name}.loadbalancer.server.port=1")),
    );
    let routes = routes(&tags);
    let refused = |path: &str| {
        let is = |route: &&String| route.contains(path) && route.contains("respond=503");
        routes.iter().filter(is).count() == 1
    };
    assert!(
        routes.len() == 3 && refused("path=/admin*") && refused("path=/file*"),
        "{routes:?}"
    );
}

#[test]
fn routes_that_are_too_many_refuse() {
    let of = |count: usize, middlewares: &[&str]| -> Vec<String> {
        let mut tags = vec![AUTH.to_owned()];
        for n in 0..count {
            tags.extend(router(
                &format!("r{n}"),
                &format!("Host(`a.x`) && Path(`/{n}`)"),
                middlewares,
            ));
        }
        routes(&tags)
    };
    let refusing = |routes: &[String], status: &str| {
        let word = format!("respond={status}");
        routes.iter().filter(|route| route.contains(&word)).count()
    };
    let plain = of(70, &[]);
    assert_eq!((plain.len(), refusing(&plain, "503")), (70, 6));
    let refused = of(70, &["middlewares=auth"]);
    assert_eq!((refused.len(), refusing(&refused, "401")), (70, 70));
    let many = of(600, &["middlewares=auth"]);
    assert_eq!(
        (many.len(), refusing(&many, "401"), refusing(&many, "503")),
        (513, 512, 1)
    );
    assert!(
        many.iter().any(|route| route.starts_with("host=a.x path=/ ")),
        "{many:?}"
    );
}

/// What is made of the tags of an instance of `web` that declares this by our own keys.
fn imported(tags: &[&str], own: Own<'_>) -> (Imported, Vec<String>) {
    let settings = Import {
        traefik: Some(TraefikImport::default()),
        ..Import::default()
    };
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let entry = Entry {
        label: "x",
        service: "web",
        datacenter: "dc1",
        tags: &tags,
        checks: &[],
        own,
    };
    let mut issues = Vec::new();
    let imported = import(&settings, &entry, &mut issues);
    (imported, issues.into_iter().map(|issue| issue.reason).collect())
}

const CANARY: &str = "traefik.consulcatalog.canary=true";

#[test]
fn a_canary_is_a_version_of_its_own_that_its_routes_lead_to() {
    let rule = "traefik.http.routers.r.rule=Host(`a.x`)";
    let of = |tags: &[&str], own| {
        let (imported, _) = imported(tags, own);
        let routes: Vec<String> = imported
            .declared
            .policy
            .routes
            .values()
            .map(ToString::to_string)
            .collect();
        (imported.version, imported.declared.instance.share, routes)
    };
    let (version, share, routes) = of(&[rule, CANARY], Own::default());
    let version = version.unwrap();
    assert!(version.starts_with("canary-"), "{version}");
    assert_eq!(share, Some(crate::model::Share::Routes));
    assert!(
        routes.len() == 1 && routes[0].contains(&format!(" version={version} ")),
        "{routes:?}"
    );
    // Whoever has the same tags, in whatever order, is the same one.
    assert_eq!(of(&[CANARY, rule], Own::default()).0.as_deref(), Some(&*version));
    assert_ne!(
        of(&[CANARY, rule, "blue"], Own::default()).0.as_deref(),
        Some(&*version)
    );
    let own = Own {
        version: Some("9f"),
        ..Own::default()
    };
    assert_eq!(of(&[rule, CANARY], own).0, Some(format!("9f-{version}").into()));
    // One that names the service of the others leads to them; nobody else gets the instance's requests.
    let others = "traefik.http.routers.r.service=web";
    let (_, share, routes) = of(&[rule, others, CANARY], Own::default());
    assert!(share.is_some() && !routes[0].contains("version="), "{routes:?}");
    // Our own keys are stronger.
    for own in [
        Own {
            share: true,
            ..Own::default()
        },
        Own {
            routes: true,
            ..Own::default()
        },
    ] {
        let (version, share, routes) = of(&[rule, CANARY], own);
        assert_eq!((version, share), (None, None), "{own:?}");
        assert!(!routes[0].contains("version="), "{routes:?}");
    }
    // Whoever wrote it wrong did not mean an instance as the others.
    let meant = of(&[rule, "traefik.consulcatalog.canary=yes"], Own::default());
    assert_eq!(meant.1, Some(crate::model::Share::Routes));
    assert_eq!(
        of(&[rule, "traefik.consulcatalog.canary=false"], Own::default()).1,
        None
    );
    // A version that leaves no room for more.
    let long = "v".repeat(120);
    let own = Own {
        version: Some(&long),
        ..Own::default()
    };
    assert_eq!(of(&[rule, CANARY], own).0.as_deref(), Some(&*version));
    // Without a router that can be had it gets nothing either.
    let bad = "traefik.http.routers.r.rule=Nosuch(`x`)";
    let (version, share, routes) = of(&[bad, CANARY], Own::default());
    assert!(
        version.is_some() && share.is_some() && routes.is_empty(),
        "{routes:?}"
    );
}

#[test]
fn which_path_was_replaced_is_said_where_it_was() {
    let of = |middleware: &str| {
        let (imported, issues) = imported(
            &[
                "traefik.http.routers.r.rule=Host(`a.x`)",
                "traefik.http.routers.r.middlewares=m",
                &format!("traefik.http.middlewares.m.{middleware}"),
                "traefik.http.middlewares.m.replacepathregex.replacement=/n/$1",
            ][..if middleware.contains("regex") { 4 } else { 3 }],
            Own::default(),
        );
        let routes = imported.declared.policy.routes.values();
        (routes.map(ToString::to_string).collect::<Vec<_>>(), issues)
    };
    let says = |route: &String| route.contains("set-header=x-replaced-path:%PATH(NQ:PATH)%");
    let (routes, _) = of("replacepath.path=/new");
    assert!(routes.len() == 1 && says(&routes[0]), "{routes:?}");
    let (mut routes, _) = of("replacepathregex.regex=^/o/(.*)");
    routes.sort_by_key(|route| says(route));
    assert_eq!(routes.len(), 2, "{routes:?}");
    assert!(!says(&routes[0]) && !routes[0].contains("rewrite"), "{routes:?}");
    assert!(says(&routes[1]) && routes[1].contains("url-regex="), "{routes:?}");
}

#[test]
fn a_server_gets_its_own_address_whatever_a_middleware_says() {
    let (imported, issues) = imported(
        &[
            "traefik.http.routers.r.rule=Host(`a.x`)",
            "traefik.http.routers.r.middlewares=m",
            "traefik.http.middlewares.m.headers.customrequestheaders.Host=b.x",
            "traefik.http.services.web.loadbalancer.passhostheader=false",
        ],
        Own::default(),
    );
    let routes: Vec<String> = imported
        .declared
        .policy
        .routes
        .values()
        .map(ToString::to_string)
        .collect();
    assert!(
        routes.len() == 1 && routes[0].contains("host-rewrite=* "),
        "{routes:?}"
    );
    assert!(issues.is_empty(), "{issues:?}");
}
