//! What the real Traefik and fabio answered (`tests/cases/import.jsonl`), compared with the routes that are planned of
//! the same tags, as far as a route decides it: health, headers and rewrites are for `integration/import.rs`, with the
//! real Envoy. And the table of differences in docs/import.md (`UPDATE_DOCUMENTS=1` writes it).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::{Value, json};
use xds_bridge::catalog::Catalog;
use xds_bridge::config::{Check, ConsulSelection, FabioImport, FabioMatcher, Import, TraefikImport};
use xds_bridge::model::change::What;
use xds_bridge::model::filters::Range;
use xds_bridge::model::route::Test;
use xds_bridge::model::{Change, Criterion, Event, Exposure, Network, Paths, Target};
use xds_bridge::plan::{Claim, Planner, Step};
use xds_bridge::source::consul::health;
use xds_bridge::text::expression::Expression;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn cases() -> Vec<Value> {
    let text = fs::read_to_string(folder().join("import.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn differences() -> BTreeMap<String, Value> {
    serde_json::from_str(&fs::read_to_string(folder().join("differences.json")).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The settings of a case.
fn settings(case: &Value) -> Import {
    let get = |name: &str| case["settings"][name].as_str();
    let mut import = Import::default();
    if text(&case["program"]).starts_with("traefik") {
        import.traefik = Some(TraefikImport {
            exposed_by_default: get("consulCatalog.exposedByDefault") != Some("false"),
            constraints: get("consulCatalog.constraints").map(|text| Expression::parse(text).unwrap()),
            entry_points: [("web".to_owned(), vec!["edge".to_owned()])].into(),
            ..TraefikImport::default()
        });
    } else {
        import.fabio = Some(FabioImport {
            glob: get("glob.matching.disabled").is_none(),
            matcher: match get("proxy.matcher") {
                Some("iprefix") => FabioMatcher::IgnoringCase,
                Some("glob") => FabioMatcher::Glob,
                _ => FabioMatcher::Prefix,
            },
            status: match get("registry.consul.service.status") {
                Some(_) => vec![Check::Passing, Check::Warning],
                None => vec![Check::Passing],
            },
            one: true,
            expose: vec!["edge".to_owned()],
            ..FabioImport::default()
        });
    }
    import
}

/// The port of a label.
fn port(label: &str) -> u16 {
    9_000 + label.trim_start_matches('p').parse::<u16>().unwrap()
}

fn placed(text: &str) -> String {
    (1..=6).fold(text.to_owned(), |text, n| {
        text.replace(&format!("@p{n}@"), &(9_000 + n).to_string())
    })
}

/// What Consul answers about a service of a case.
fn body(case: &Value, name: &str) -> String {
    let entry = |service: &Value| {
        let id = text(&service["id"]);
        let passing = json!(["passing"]);
        let checks = list(service.get("checks").unwrap_or(&passing));
        let check = |status: &Value| json!({ "CheckID": id, "Status": status, "ServiceID": id });
        let mut checks: Vec<Value> = checks.iter().map(check).collect();
        checks.push(json!({ "CheckID": "serfHealth", "Status": "passing", "ServiceID": "" }));
        if service["maintenance"] == json!(true) {
            let id = format!("_service_maintenance:{id}");
            checks.push(json!({ "CheckID": id, "Status": "critical", "ServiceID": id }));
        }
        let tags: Vec<String> = list(&service["tags"])
            .iter()
            .map(|tag| placed(text(tag)))
            .collect();
        json!({
            "Node": { "Node": "one", "Address": "127.0.0.1", "Datacenter": "dc1" },
            "Service": {
                "ID": id, "Service": name, "Port": port(text(&service["port"])), "Tags": tags,
                "Address": "127.0.0.1", "Weights": { "Passing": 1, "Warning": 1 },
            },
            "Checks": checks,
        })
    };
    let services = list(&case["services"])
        .iter()
        .filter(|service| service["name"] == json!(name));
    json!(services.map(entry).collect::<Vec<_>>()).to_string()
}

/// The claims that count on the exposure `edge`, by host, and what was reported.
fn planned(case: &Value) -> (BTreeMap<String, Vec<Claim>>, Vec<String>) {
    let selection = ConsulSelection {
        import: settings(case),
        ..ConsulSelection::default()
    };
    let mut names: Vec<&str> = list(&case["services"])
        .iter()
        .map(|service| text(&service["name"]))
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut catalog = Catalog::new([("consul".into(), None)]);
    let (mut touched, mut issues) = (std::collections::BTreeSet::new(), Vec::new());
    for name in names {
        let record = health(name, body(case, name).as_bytes(), &selection)
            .unwrap()
            .record
            .unwrap();
        issues.extend(
            record
                .issues
                .iter()
                .map(|issue| format!("{}: {}", issue.entry, issue.reason)),
        );
        let event = Event {
            source: "consul".into(),
            what: What::Change(Change::new(
                vec![(Arc::from(name), Some((*record).clone()))],
                false,
            )),
        };
        touched.extend(catalog.apply(event, Duration::ZERO).services);
    }
    let mut network = Network::default();
    let edge = Exposure {
        service_hosts: Vec::new(),
        ..Exposure::internal()
    };
    network.exposures.insert("edge".into(), edge);
    let mut planner = Planner::new(Arc::new(network));
    let mut hosts = BTreeMap::new();
    for step in planner.plan(&catalog, &touched, Duration::ZERO) {
        if let Step::Host {
            exposure,
            host,
            claims,
        } = step
            && &*exposure == "edge"
        {
            hosts.insert(host.to_string(), claims);
        }
    }
    issues.extend(
        planner
            .issues()
            .map(|issue| format!("{}: {}", issue.entry, issue.reason)),
    );
    (hosts, issues)
}

fn whole(regex: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(text)
}

fn holds(criterion: &Criterion, request: &Value) -> bool {
    let host = text(&request["host"]);
    match criterion {
        Criterion::Method { names, not } => names.contains(&text(&request["method"]).to_owned()) != *not,
        Criterion::Authority { regex, not } => {
            whole(&format!("(?i){regex}"), host.trim_end_matches('.')) != *not
        }
        Criterion::Url { regex, not } => whole(regex, text(&request["path"])) != *not,
        Criterion::Header { name, test, not } => {
            let lines = list(&request["headers"])
                .iter()
                .filter(|line| text(&line[0]).eq_ignore_ascii_case(name));
            let mut lines: Vec<String> = lines.map(|line| text(&line[1]).to_owned()).collect();
            if name == "x-forwarded-for" {
                // Envoy adds who connects.
                lines.push("127.0.0.1".to_owned());
                lines = vec![lines.join(",")];
            }
            let fits = |line: &String| match test {
                Test::Present => true,
                Test::Exact(value) => line == value,
                Test::Prefix(value) => line.starts_with(value.as_str()),
                Test::Regex(regex) => whole(regex, line),
            };
            lines.iter().any(fits) != *not
        }
        Criterion::Query { .. } | Criterion::Cookie { .. } => panic!("an import makes none of these"),
    }
}

/// The claim that Envoy would choose: the host first, then in their order.
fn chosen<'a>(hosts: &'a BTreeMap<String, Vec<Claim>>, request: &Value) -> Option<&'a Claim> {
    let host = text(&request["host"]).to_ascii_lowercase();
    let host = host.split(':').next().unwrap().trim_end_matches('.');
    let below = |pattern: &&String| {
        pattern
            .strip_prefix('*')
            .is_some_and(|end| host.ends_with(end) && !end.is_empty())
    };
    let widest = || hosts.keys().filter(below).max_by_key(|pattern| pattern.len());
    let claims = hosts
        .get(host)
        .or_else(|| hosts.get(widest()?))
        .or_else(|| hosts.get("*"))?;
    let path = text(&request["path"]).split('?').next().unwrap();
    let of_path = |claim: &&Claim| match claim.matcher.paths() {
        Paths::Exactly(exact) => path == exact,
        Paths::Segments(prefix) if prefix == "/" => true,
        Paths::Segments(prefix) => path
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        Paths::Characters(prefix) => path.starts_with(prefix.as_str()),
        Paths::Pattern(regex) => whole(&regex, path),
    };
    let mut found = claims.iter().filter(of_path);
    found.find(|claim| claim.criteria.iter().all(|criterion| holds(criterion, request)))
}

fn is_in(range: Range, address: [u8; 4]) -> bool {
    let IpAddr::V4(first) = range.address else {
        return false;
    };
    let bits = |address: [u8; 4]| u64::from(u32::from_be_bytes(address)) >> (32 - range.bits);
    bits(first.octets()) == bits(address)
}

/// `404`, `302`, or the name of a service.
fn outcome(claim: Option<&Claim>) -> String {
    let Some(claim) = claim else {
        return "404".to_owned();
    };
    let clients = claim
        .action
        .extras
        .as_ref()
        .and_then(|extras| extras.clients.as_ref());
    let has = |ranges: &[Range]| ranges.iter().any(|range| is_in(*range, [127, 0, 0, 1]));
    if clients.is_some_and(|c| has(&c.deny) || !(c.allow.is_empty() || has(&c.allow))) {
        return "403".to_owned();
    }
    match claim.action.extras.as_ref().map(|extras| &extras.target) {
        None | Some(Target::Itself | Target::Version(_)) => claim.cluster.to_string(),
        Some(Target::Split(parts)) => parts[0].service.clone(),
        Some(Target::Redirect(redirect)) => redirect.code.unwrap_or(301).to_string(),
        Some(Target::Respond(respond)) => respond.status.to_string(),
    }
}

/// Redirects and answers of Envoy itself are statuses, and so is a service without a healthy instance.
#[test]
fn each_tag_is_routed_as_its_own_program_routes_it() {
    let differences = differences();
    let (mut wrong, mut compared) = (String::new(), 0);
    for case in cases() {
        let id = text(&case["id"]);
        // Keys stand in another registry than tags; they are for the real one.
        if id.starts_with("t-kv-") {
            continue;
        }
        let (hosts, issues) = planned(&case);
        for (n, request) in list(&case["requests"]).iter().enumerate() {
            let of_ours = differences
                .get(id)
                .and_then(|difference| difference["ours"].get(n.to_string()));
            let expect = of_ours.unwrap_or(&request["expect"]);
            // What a server decides, and not a route.
            let status = expect["status"].as_u64();
            let is_of_server = status.is_none()
                || matches!(status, Some(500 | 503))
                || list(&request["headers"]).iter().any(|h| text(&h[0]) == "Origin");
            // Envoy cleans paths up before it compares.
            if is_of_server
                || text(&request["path"]).contains(['%', '\\'])
                || text(&request["path"]).contains("//")
            {
                continue;
            }
            let by_instance = list(&case["services"])
                .iter()
                .find(|service| service["id"] == expect["instance"]);
            let shared = by_instance.map(|service| &service["port"]);
            // A tag may move a service to the server of another one.
            let names: Vec<&str> = list(&case["services"])
                .iter()
                .filter(|service| {
                    list(&service["tags"]).iter().any(|tag| {
                        let tag = text(tag);
                        shared.is_some_and(|port| tag.contains(&format!("@{}@", text(port))))
                            && tag.contains("server.")
                    })
                })
                .map(|service| text(&service["name"]))
                .collect();
            let got = outcome(chosen(&hosts, request));
            let wanted = match status {
                Some(200) => text(&expect["service"]).to_owned(),
                status => status.unwrap_or_default().to_string(),
            };
            compared += 1;
            if got != wanted && !names.contains(&got.as_str()) {
                writeln!(
                    wrong,
                    "{id} {n}: {request}: {got}, not {wanted}\n  {}",
                    issues.join("\n  ")
                )
                .unwrap();
            }
        }
    }
    assert!(compared > 180, "only {compared} requests are compared");
    assert!(wrong.is_empty(), "{wrong}");
}

/// Whatever it is, a tag costs itself only.
#[test]
fn tags_of_each_kind_are_read_or_reported() {
    let reported = |tags: &[&str]| {
        let services = json!([{ "name": "web", "id": "web1", "port": "p1", "tags": tags }]);
        let (hosts, issues) = planned(&json!({ "program": "traefik", "services": services, "settings": {} }));
        (hosts.into_keys().collect::<Vec<_>>().join(" "), issues.join("\n"))
    };
    let rule = "traefik.http.routers.r.rule=Host(`a.x`)";
    for (tag, word) in [
        ("traefik.http.routers.r.nosuch=1", "not known"),
        ("traefik.http.routers.q.rule=Nosuch(`a`)", "not known"),
        (
            "traefik.http.routers.q.rule=Host(`b.x`) && ClientIP(`10.0.0.0/8`)",
            "ClientIP",
        ),
        (
            "traefik.http.services.web.loadbalancer.sticky.cookie.secure=true",
            "ignored",
        ),
        ("traefik.http.services.web.loadbalancer.server.port=x", "port"),
        ("traefik.tcp.routers.t.rule=HostSNI(`*`)", "TCP"),
        ("traefik.http.routers.r.priority=high", "whole number"),
    ] {
        let (hosts, issues) = reported(&[rule, tag]);
        assert!(
            hosts == "a.x" && issues.contains(word),
            "{tag}: {hosts}: {issues}"
        );
    }
    // Without what protects it nobody gets it, and no wider route either.
    for (kind, status) in [
        ("basicauth.users=a:b", "401"),
        ("forwardauth.address=http://x", "401"),
        ("ipallowlist.sourcerange=nosuch", "403"),
        ("ipallowlist.sourcerangee=10.0.0.0/8", "403"),
        ("ratelimit.average=1", "429"),
        ("plugin.x.y=1", "403"),
    ] {
        let middleware = format!("traefik.http.middlewares.m.{kind}");
        let tags = [
            "traefik.http.routers.all.rule=Host(`a.x`)",
            "traefik.http.routers.r.rule=Host(`a.x`) && PathPrefix(`/admin`)",
            "traefik.http.routers.r.middlewares=m",
            &middleware,
        ];
        let services = json!([{ "name": "web", "id": "web1", "port": "p1", "tags": tags }]);
        let (hosts, issues) = planned(&json!({ "program": "traefik", "services": services, "settings": {} }));
        let request = |path: &str| json!({ "host": "a.x", "path": path, "method": "GET", "headers": [] });
        assert_eq!(
            outcome(chosen(&hosts, &request("/admin/x"))),
            status,
            "{kind}: {issues:?}"
        );
        assert_eq!(outcome(chosen(&hosts, &request("/"))), "web");
        assert!(issues.iter().any(|issue| issue.contains("protect")), "{issues:?}");
    }
}

#[test]
fn the_page_has_each_difference() {
    let known: Vec<String> = cases().iter().map(|case| text(&case["id"]).to_owned()).collect();
    let mut table = String::from("| case | difference |\n|---|---|\n");
    for (id, difference) in differences() {
        assert!(known.contains(&id), "{id} is no case");
        writeln!(table, "| `{id}` | {} |", text(&difference["why"])).unwrap();
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/import.md");
    let mut document = fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- differences -->\n", "<!-- /differences -->\n");
    let from = document.find(begin).unwrap() + begin.len();
    let to = document.find(end).unwrap();
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        document.replace_range(from..to, &table);
        fs::write(page, document).unwrap();
    } else {
        assert!(
            document[from..to] == table,
            "docs/import.md is old: UPDATE_DOCUMENTS=1 cargo test --test import"
        );
    }
}
