//! What the real Traefik and fabio answered (`tests/cases/import.jsonl`), asked of the real Envoy, with the same tags in
//! the real Consul and the bridge between them. Where ours differs on purpose, `tests/cases/differences.json` has the
//! answer and the reason.

mod canary;
mod commands;
mod servers;
mod tcp;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};

use self::servers::Servers;
use crate::support::bridge::{Bridge, Step};
use crate::support::consul::Consul;
use crate::support::envoy::Envoy;
use crate::support::etcd::Etcd;
use crate::support::{process, raw, wait};

/// One line of the file.
struct Case {
    id: String,
    all: Value,
    /// Answers of ours that are others on purpose, by the number of the request.
    ours: BTreeMap<usize, Value>,
}

impl Case {
    fn keys(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.all["kv"].as_object().into_iter().flatten()
    }

    fn has_keys(&self) -> bool {
        self.keys().next().is_some()
    }
}

fn cases(program: &str) -> Vec<Case> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file of cases");
    let differences: Value = serde_json::from_str(&read("differences.json")).expect("JSON");
    let all: Vec<Value> = read("import.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(all.len(), 95);
    let of_program = all
        .into_iter()
        .filter(|case| text(&case["program"]).starts_with(program));
    of_program
        .map(|all| {
            let id = text(&all["id"]).to_owned();
            let ours = differences[&id]["ours"].as_object().into_iter().flatten();
            let ours = ours.map(|(n, expect)| (n.parse().expect("the number of a request"), expect.clone()));
            Case {
                ours: ours.collect(),
                id,
                all,
            }
        })
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The settings of a program as those of a source. `in_etcd`: that is where its keys are, and else in Consul.
fn settings(case: &Case, in_etcd: bool) -> String {
    let mut section = String::new();
    let get = |name: &str| case.all["settings"][name].as_str();
    if text(&case.all["program"]).starts_with("traefik") {
        section += "import = [\"traefik\"]\n[sources.registry.traefik]\nentry_points = { web = \"edge\" }\n";
        if let Some(exposed) = get("consulCatalog.exposedByDefault") {
            let _ = writeln!(section, "exposed_by_default = {exposed}");
        }
        if let Some(constraints) = get("consulCatalog.constraints") {
            let _ = writeln!(section, "constraints = '{constraints}'");
        }
        if case.has_keys() && in_etcd {
            section += "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"@etcd@\"]\nmax_removal = \"100%\"\n\
                        guard_probe = false\n[sources.keys.traefik]\nkv = \"traefik\"\n\
                        entry_points = { web = \"edge\" }\n";
        } else if case.has_keys() {
            section += "kv = \"traefik\"\n";
        }
    } else {
        section += "import = [\"fabio\"]\n[sources.registry.fabio]\nexpose = [\"edge\"]\nchecks = \"one\"\n";
        if case.has_keys() {
            section += "kv = \"fabio/config\"\n";
        }
        if get("glob.matching.disabled").is_some() {
            section += "glob = false\n";
        }
        if let Some(matcher) = get("proxy.matcher") {
            let _ = writeln!(section, "matcher = \"{matcher}\"");
        }
        if let Some(status) = get("registry.consul.service.status") {
            let _ = writeln!(section, "status = [\"{}\"]", status.replace(',', "\", \""));
        }
    }
    section
}

/// A bridge with these settings, and an Envoy.
struct Scene {
    bridge: Bridge,
    _envoy: Envoy,
    edge: SocketAddr,
}

impl Scene {
    async fn start(consul: &Consul, settings: &str) -> Self {
        let [port] = process::ports();
        let edge = SocketAddr::from(([127, 0, 0, 1], port));
        let bridge = Bridge::start(&format!(
            "[clusters]\nkeep_routes = \"0s\"\n[exposures.edge]\nhosts = [\"*\"]\n[listeners.edge]\naddress = \"{edge}\"\n\
             exposure = \"edge\"\n{}max_removal = \"100%\"\nguard_probe = false\n{settings}",
            consul.section()
        ))
        .await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        Self {
            bridge,
            _envoy: envoy,
            edge,
        }
    }
}

/// Registers the services of a case, and one more after them, by whose route it is seen that Envoy has them.
async fn register(consul: &Consul, servers: &Servers, case: &Case, last: &str) {
    for service in list(&case.all["services"]) {
        let tags: Vec<String> = list(&service["tags"])
            .iter()
            .map(|tag| servers.placed(text(tag)))
            .collect();
        let passing = json!(["passing"]);
        let checks = list(service.get("checks").unwrap_or(&passing));
        let check = |(n, status): (usize, &Value)| json!({ "CheckID": format!("{}-{n}", text(&service["id"])), "TTL": "1h", "Status": status });
        let checks: Vec<Value> = checks.iter().enumerate().map(check).collect();
        let entry = json!({
            "Name": service["name"], "ID": service["id"], "Tags": tags, "Address": "127.0.0.1",
            "Port": servers.port(text(&service["port"])), "Checks": checks,
        });
        consul
            .put("/v1/agent/service/register?replace-existing-checks=true", &entry)
            .await;
        if service["maintenance"] == json!(true) {
            let path = format!(
                "/v1/agent/service/maintenance/{}?enable=true",
                text(&service["id"])
            );
            consul.put(&path, &json!({})).await;
        }
    }
    let entry = json!({
        "Name": last, "ID": last, "Address": "127.0.0.1", "Port": servers.port("p1"),
        "Tags": ["traefik.enable=false"],
        "Meta": { "xds-expose": "edge", "xds-route": format!("host={last}.ready") },
    });
    consul.put("/v1/agent/service/register", &entry).await;
}

async fn deregister(consul: &Consul, case: &Case, last: &str) {
    let ids = list(&case.all["services"])
        .iter()
        .map(|service| text(&service["id"]));
    for id in ids.chain([last]) {
        consul
            .put(&format!("/v1/agent/service/deregister/{id}"), &json!({}))
            .await;
    }
}

/// An answer of Envoy.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    /// What the server got, where one answered.
    seen: Value,
}

async fn ask(edge: SocketAddr, request: &Value, cookie: Option<&str>) -> Result<Answer, String> {
    let (method, path, host) = (
        text(&request["method"]),
        text(&request["path"]),
        text(&request["host"]),
    );
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n");
    for header in list(&request["headers"]) {
        let _ = write!(head, "{}: {}\r\n", text(&header[0]), text(&header[1]));
    }
    if let Some(cookie) = cookie {
        let _ = write!(head, "Cookie: {cookie}\r\n");
    }
    let (status, whole) = raw::whole(edge, &(head + "\r\n")).await?;
    let (head, body) = whole.split_once("\r\n\r\n").unwrap_or((&whole, ""));
    let mut headers = BTreeMap::new();
    for line in head.lines().skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let json = body.lines().find(|line| line.starts_with('{')).unwrap_or("null");
    Ok(Answer {
        status,
        headers,
        seen: serde_json::from_str(json).unwrap_or(Value::Null),
    })
}

/// What is wrong with the answers to a case.
async fn wrong(scene: &Scene, servers: &Servers, case: &Case) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    // The cookie that the first answer set, and who gave it.
    let mut first: Option<(String, Value)> = None;
    for (n, request) in list(&case.all["requests"]).iter().enumerate() {
        let expect = case.ours.get(&n).unwrap_or(&request["expect"]);
        let expect: Value = serde_json::from_str(&servers.placed(&expect.to_string())).expect("JSON");
        let times = request["repeat"].as_u64().unwrap_or(1);
        let all = if times > 1 {
            shares(scene, case, request, &expect, times.min(200)).await?
        } else {
            {
                let cookie = first.as_ref().filter(|_| request["cookie"].is_string());
                let answer = ask(scene.edge, request, cookie.map(|(cookie, _)| cookie.as_str())).await?;
                let mut all = single(case, &answer, &expect);
                if cookie.is_some_and(|(_, label)| *label != answer.seen["label"]) {
                    all.push("another server than the first".to_owned());
                }
                let set = answer
                    .headers
                    .get("set-cookie")
                    .and_then(|cookie| cookie.split(';').next());
                if let (None, Some(set)) = (&first, set) {
                    first = Some((set.to_owned(), answer.seen["label"].clone()));
                }
                all
            }
        };
        let what = format!(
            "{} {n}: {} {} of {}",
            case.id,
            text(&request["method"]),
            text(&request["path"]),
            text(&request["host"])
        );
        wrong.extend(all.into_iter().map(|why| format!("{what}: {why}")));
    }
    Ok(wrong)
}

fn instance(case: &Case, label: &str) -> String {
    let mut services = list(&case.all["services"]).iter();
    let found = services.find(|service| text(&service["port"]) == label);
    found.map_or("?", |service| text(&service["id"])).to_owned()
}

fn single(case: &Case, answer: &Answer, expect: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, wanted: &Value, got: Option<&str>| {
        let tidy = |text: &str| text.split(',').map(str::trim).collect::<Vec<_>>().join(", ");
        if wanted.as_str().map(tidy) != got.map(tidy) {
            wrong.push(format!("{what} {got:?}, not {wanted}"));
        }
    };
    let status = answer.status.to_string();
    if let Some(wanted) = expect["status"].as_u64() {
        compare("status", &json!(wanted.to_string()), Some(&status));
    }
    let label = answer.seen["label"].as_str();
    if let Some(wanted) = expect["instance"]
        .as_str()
        .filter(|wanted| !["any", "same as first"].contains(wanted))
    {
        let got = label.map(|label| instance(case, label));
        compare("instance", &json!(wanted), got.as_deref());
    }
    let path = answer.seen["path"].as_str();
    let host = answer.seen["headers"]["host"].as_str();
    let location = answer.headers.get("location").map(String::as_str);
    for (key, got) in [("path_seen", path), ("host_seen", host), ("location", location)] {
        if let Some(wanted) = expect.get(key) {
            compare(key, wanted, got);
        }
    }
    if let Some(name) = expect["set_cookie"]["name"].as_str() {
        let cookie = answer
            .headers
            .get("set-cookie")
            .and_then(|cookie| cookie.split('=').next());
        compare("cookie", &json!(name), cookie);
        let sorted = |text: &str| {
            let mut all: Vec<&str> = text.split(';').map(str::trim).collect();
            all.sort_unstable();
            all.join("; ")
        };
        let set = answer
            .headers
            .get("set-cookie")
            .and_then(|cookie| cookie.split_once(';'));
        let wanted = expect["set_cookie"]["attributes"].as_str().map(sorted);
        let attributes = set.map(|(_, attributes)| sorted(attributes));
        compare("cookie's attributes", &json!(wanted), attributes.as_deref());
    }
    for (name, wanted) in expect["headers_seen"].as_object().into_iter().flatten() {
        compare(
            &format!("server's {name}"),
            wanted,
            answer.seen["headers"][name].as_str(),
        );
    }
    for (name, wanted) in expect["response_headers"].as_object().into_iter().flatten() {
        compare(
            &format!("client's {name}"),
            wanted,
            answer.headers.get(name).map(String::as_str),
        );
    }
    wrong
}

/// Compares the shares of instances, or of statuses, to a tenth of all.
async fn shares(
    scene: &Scene,
    case: &Case,
    request: &Value,
    expect: &Value,
    times: u64,
) -> Result<Vec<String>, String> {
    let mut got: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..times {
        let answer = ask(scene.edge, request, None).await?;
        let who = match answer.seen["label"].as_str() {
            Some(label) => instance(case, label),
            None => answer.status.to_string(),
        };
        *got.entry(who).or_default() += 1;
    }
    if let Some(any) = expect["one_of"].as_array() {
        let alone = any.iter().any(|who| got.keys().eq([text(who)]));
        let wrong = (!alone).then(|| format!("{got:?}, not all to one of {any:?}"));
        return Ok(wrong.into_iter().collect());
    }
    let wanted: BTreeMap<&str, u64> = expect["split"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(who, count)| (who.as_str(), count.as_u64().unwrap_or(0)))
        .collect();
    let all: u64 = wanted.values().sum();
    let near = |who: &str| {
        let wanted = wanted.get(who).copied().unwrap_or(0) * times / all.max(1);
        let got = got.get(who).copied().unwrap_or(0);
        // What gets nothing gets nothing.
        wanted.abs_diff(got) <= if wanted == 0 { 0 } else { (times / 10).max(1) }
    };
    let names = got.keys().map(String::as_str).chain(wanted.keys().copied());
    if names.into_iter().all(near) {
        Ok(Vec::new())
    } else {
        Ok(vec![format!("{got:?}, not {wanted:?}")])
    }
}

async fn replay(program: &str) {
    let (consul, etcd, servers) = (Consul::start().await, Etcd::start().await, Servers::start().await);
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases(program) {
        groups.entry(settings(&case, false)).or_default().push(case);
    }
    // fabio's commands are about tags, which are in Consul.
    let has_keys = |case: &Case| case.has_keys() && program == "traefik";
    for case in cases(program).into_iter().filter(has_keys) {
        groups.entry(settings(&case, true)).or_default().push(case);
    }
    let mut count = 0;
    for (settings, cases) in groups {
        let scene = Scene::start(&consul, &settings.replace("@etcd@", &etcd.url())).await;
        for case in cases {
            count += 1;
            let last = format!("last-{count}");
            let unhealthy = case.all["unhealthy"].as_object().into_iter().flatten();
            let unhealthy = unhealthy
                .filter_map(|(label, status)| Some((label.clone(), status.as_u64()?.try_into().ok()?)));
            *servers.health.lock().expect("a lock") = unhealthy.collect();
            for (key, value) in case.keys() {
                let value = servers.placed(text(value));
                consul.kv(key, &value).await;
                etcd.put(key, value).await;
            }
            register(&consul, &servers, &case, &last).await;
            wait::until(
                wait::PATIENCE,
                &format!("the routes of {} are there", case.id),
                async || {
                    let (status, _) = raw::get(scene.edge, &format!("{last}.ready"), "/").await?;
                    wait::holds(status == 200, || status.to_string())
                },
            )
            .await;
            // What is left of the case before leaves in its own time.
            wait::until(
                wait::PATIENCE,
                &format!("{} is answered as it should be", case.id),
                async || {
                    let seen = wrong(&scene, &servers, &case).await?;
                    wait::holds(seen.is_empty(), || seen.join("\n"))
                },
            )
            .await;
            for (key, _) in case.keys() {
                consul
                    .ask("DELETE", &format!("/v1/kv/{key}"), String::new())
                    .await;
                etcd.delete(key).await;
            }
            deregister(&consul, &case, &last).await;
        }
        scene.bridge.assert_no_nacks().await;
    }
    assert!(count > 20, "only {count} cases");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_of_traefik_are_answered_as_traefik_does() {
    replay("traefik").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_of_fabio_are_answered_as_fabio_does() {
    replay("fabio").await;
}
