//! Requests made from every match of a file, and near misses of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

use super::loopback::{address, http_chain, speaks_http, takes_connections};
use super::matches::BEFORE_STRING_MATCH;

/// A request that is sent to both Envoys.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The address of the listener in the file.
    pub listener: String,
    /// e.g. `GET`
    pub method: String,
    /// Without a port.
    pub host: String,
    /// With the query.
    pub path: String,
    /// Beside the host.
    pub headers: Vec<(String, String)>,
}

/// All requests for a file.
#[must_use]
pub fn probes(file: &Value) -> Vec<Probe> {
    let mut all = BTreeSet::new();
    for listener in list(&file["static_resources"]["listeners"]) {
        let at = address(listener);
        if takes_connections(listener) {
            // Its servers speak HTTP here, whatever they speak elsewhere.
            for path in ["/", "/connection"] {
                all.insert(Probe {
                    listener: at.clone(),
                    method: "GET".to_owned(),
                    host: "connection.test".to_owned(),
                    path: path.to_owned(),
                    ..Probe::default()
                });
            }
        }
        if !speaks_http(listener) {
            continue;
        }
        let filters = http_chain(listener).map(|chain| list(&chain["filters"]));
        for filter in filters.unwrap_or_default() {
            let manager = &filter["typed_config"];
            for host in list(&manager["route_config"]["virtual_hosts"]) {
                of_host(host, &at, &mut all);
            }
        }
    }
    all.into_iter().collect()
}

/// Clusters that share the requests of a route: which of them answers is chance.
#[must_use]
pub fn shared(file: &Value) -> Vec<BTreeSet<String>> {
    let mut found = Vec::new();
    let mut left = vec![file];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(map) => {
                let parts = list(&value["weighted_clusters"]["clusters"]).iter();
                let names: BTreeSet<String> = parts
                    .filter_map(|part| Some(part["name"].as_str()?.to_owned()))
                    .collect();
                if !names.is_empty() && !found.contains(&names) {
                    found.push(names);
                }
                left.extend(map.values());
            }
            _ => {}
        }
    }
    found
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn of_host(host: &Value, listener: &str, all: &mut BTreeSet<Probe>) {
    let domains = list(&host["domains"]).iter().filter_map(Value::as_str);
    let hosts: BTreeSet<String> = domains
        .map(|domain| {
            let domain = domain.rsplit_once(':').map_or(domain, |(bare, _)| bare);
            match domain {
                "*" => "nobody-has-this.test".to_owned(),
                domain => domain.replace('*', "any"),
            }
        })
        .collect();
    for (n, name) in hosts.iter().enumerate() {
        for route in list(&host["routes"]) {
            let base = Probe {
                listener: listener.to_owned(),
                method: "GET".to_owned(),
                host: name.clone(),
                ..Probe::default()
            };
            let mut probes = of_route(route, host, &base);
            // Of further names of the same host its matches are enough.
            if n > 0 {
                probes.truncate(1);
            }
            all.extend(probes);
        }
        let other = |host: String| Probe {
            listener: listener.to_owned(),
            method: "GET".to_owned(),
            host,
            path: "/".to_owned(),
            headers: Vec::new(),
        };
        all.insert(other(format!("near.{name}")));
        all.insert(other(format!("{name}x")));
        all.insert(other(name.to_uppercase()));
    }
}

/// The request that a route is for comes first.
fn of_route(route: &Value, host: &Value, base: &Probe) -> Vec<Probe> {
    let wanted = &route["match"];
    let mut probe = base.clone();
    let paths = paths(wanted);
    let mut query = Vec::new();
    for parameter in list(&wanted["query_parameters"]) {
        let name = parameter["name"].as_str().unwrap_or_default();
        query.push(format!("{name}={}", sample_of(&parameter["string_match"])));
    }
    let mut cookies = Vec::new();
    for cookie in list(&wanted["cookies"]) {
        let name = cookie["name"].as_str().unwrap_or_default();
        cookies.push(format!("{name}={}", sample_of(&cookie["string_match"])));
    }
    if !cookies.is_empty() {
        probe.headers.push(("cookie".to_owned(), cookies.join("; ")));
    }
    for header in list(&wanted["headers"]) {
        of_header(header, &mut probe);
    }
    if wanted["grpc"].is_object() {
        "POST".clone_into(&mut probe.method);
        probe
            .headers
            .push(("content-type".to_owned(), "application/grpc".to_owned()));
    }
    let with = |path: &str, query: &[String]| match query {
        [] => path.to_owned(),
        query => format!("{path}?{}", query.join("&")),
    };
    probe.path = with(&paths[0], &query);
    let mut all = vec![probe.clone()];
    for path in &paths[1..] {
        all.push(Probe {
            path: with(path, &query),
            ..probe.clone()
        });
    }
    if query.is_empty() {
        all.push(Probe {
            path: format!("{}?a=1&b=%2F", paths[0]),
            ..probe.clone()
        });
    } else {
        all.push(Probe {
            path: paths[0].clone(),
            ..probe.clone()
        });
        all.push(Probe {
            path: format!("{}?{}x", paths[0], query.join("&")),
            ..probe.clone()
        });
    }
    for method in ["POST", "DELETE", "HEAD", "GET"] {
        all.push(Probe {
            method: method.to_owned(),
            ..probe.clone()
        });
    }
    for n in 0..probe.headers.len() {
        let mut without = probe.clone();
        without.headers.remove(n);
        all.push(without);
        let mut other = probe.clone();
        other.headers[n].1.push_str("-x");
        all.push(other);
    }
    // A header that must not be there.
    for header in list(&wanted["headers"]) {
        let name = header["name"].as_str().unwrap_or_default();
        if !name.starts_with(':') && probe.headers.iter().all(|(other, _)| other != name) {
            let mut with = probe.clone();
            with.headers.push((name.to_owned(), "1".to_owned()));
            all.push(with);
        }
    }
    all.extend(of_pages(route, host, &probe));
    if !list(&route["route"]["upgrade_configs"]).is_empty() {
        let mut upgrade = probe;
        upgrade
            .headers
            .push(("connection".to_owned(), "Upgrade".to_owned()));
        upgrade
            .headers
            .push(("upgrade".to_owned(), "websocket".to_owned()));
        all.push(upgrade);
    }
    all
}

/// What browsers send.
fn of_pages(route: &Value, host: &Value, probe: &Probe) -> Vec<Probe> {
    let text = format!("{}{}", host["typed_per_filter_config"], host["cors"]);
    let own = format!("{}{}", route["typed_per_filter_config"], route["route"]["cors"]);
    if !text.contains("allow_origin") && !own.contains("allow_origin") {
        return Vec::new();
    }
    let mut origins: BTreeSet<String> = BTreeSet::new();
    for policy in [
        &host["typed_per_filter_config"],
        &host["cors"],
        &route["typed_per_filter_config"],
        &route["route"]["cors"],
    ] {
        collect_origins(policy, &mut origins);
    }
    origins.insert("https://evil.test".to_owned());
    origins.insert("https://shop.example.com.evil.test".to_owned());
    let page = |origin: &String| {
        let origin = ("origin".to_owned(), origin.clone());
        let mut simple = probe.clone();
        simple.headers.push(origin.clone());
        let mut preflight = probe.clone();
        "OPTIONS".clone_into(&mut preflight.method);
        preflight.headers.push(origin);
        preflight
            .headers
            .push(("access-control-request-method".to_owned(), "PUT".to_owned()));
        [simple, preflight]
    };
    origins.iter().flat_map(page).collect()
}

fn collect_origins(value: &Value, origins: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "allow_origin_string_match" {
                    origins.extend(list(value).iter().map(sample_of));
                } else {
                    collect_origins(value, origins);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_origins(item, origins)),
        _ => {}
    }
}

/// Paths that a match takes, and near misses; the first one fits.
fn paths(wanted: &Value) -> Vec<String> {
    let near = |path: &str| {
        let mut off = path.to_owned();
        off.pop();
        [
            format!("{path}x"),
            format!("{path}/x1"),
            format!("{off}~"),
            if off.is_empty() { "/".to_owned() } else { off },
            path.to_uppercase(),
            format!("/x{path}"),
        ]
    };
    let (first, more) = if let Some(path) = wanted["path"].as_str() {
        (path.to_owned(), near(path).to_vec())
    } else if let Some(path) = wanted["prefix"].as_str() {
        let path = if path.is_empty() { "/" } else { path };
        let bare = path.trim_end_matches('/');
        let below = format!("{bare}/x1/y");
        let mut more = vec![below];
        more.extend(near(bare));
        (path.to_owned(), more)
    } else if let Some(path) = wanted["path_separated_prefix"].as_str() {
        let mut more = vec![format!("{path}/"), format!("{path}/x1/y")];
        more.extend(near(path));
        (path.to_owned(), more)
    } else {
        let regex = wanted["safe_regex"]["regex"].as_str().unwrap_or_default();
        let path = sample(regex);
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        (path.clone(), near(&path).to_vec())
    };
    let clean = |path: &String| path.starts_with('/') && !path.contains("//") && !path.contains("/.");
    std::iter::once(first)
        .chain(more.into_iter().filter(clean))
        .collect()
}

fn of_header(header: &Value, probe: &mut Probe) {
    let name = header["name"].as_str().unwrap_or_default();
    let inverted = header["invert_match"] == true;
    let old = BEFORE_STRING_MATCH.iter().find_map(|(old, new)| {
        let value = header.get(*old)?;
        Some(serde_json::json!({ *new: value }))
    });
    let matcher = old.as_ref().unwrap_or(&header["string_match"]);
    let present = header["present_match"] != false;
    let value = match (matcher.is_null(), inverted) {
        (true, inverted) if present == inverted => return,
        (true, _) => "1".to_owned(),
        (false, true) => "other".to_owned(),
        (false, false) => sample_of(matcher),
    };
    match name {
        ":method" => probe.method = value,
        name if name.starts_with(':') => {}
        name => probe.headers.push((name.to_ascii_lowercase(), value)),
    }
}

/// A text that a matcher takes.
fn sample_of(matcher: &Value) -> String {
    let text = |kind: &str| matcher[kind].as_str().map(str::to_owned);
    text("exact")
        .or_else(|| text("prefix").map(|text| text + "1"))
        .or_else(|| text("suffix").map(|text| format!("a{text}")))
        .or_else(|| text("contains").map(|text| format!("a{text}b")))
        .or_else(|| matcher["safe_regex"]["regex"].as_str().map(sample))
        .unwrap_or_else(|| "1".to_owned())
}

/// A text that an expression takes.
fn sample(regex: &str) -> String {
    let mut text = String::new();
    if let Ok(hir) = regex_syntax::Parser::new().parse(regex) {
        write(&hir, &mut text);
    }
    text
}

fn write(hir: &Hir, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            let fits = |c: &char| {
                class
                    .ranges()
                    .iter()
                    .any(|range| range.start() <= *c && *c <= range.end())
            };
            let known = ['a', '1', 'Z', '-', '_', '.', '/'].into_iter().find(|c| fits(c));
            text.extend(known.or_else(|| {
                class
                    .ranges()
                    .first()
                    .map(regex_syntax::hir::ClassUnicodeRange::start)
            }));
        }
        HirKind::Class(Class::Bytes(class)) => {
            text.extend(class.ranges().first().map(|range| char::from(range.start())));
        }
        HirKind::Repetition(repetition) => {
            let times = repetition.min.max(u32::from(repetition.max != Some(0))).min(64);
            for _ in 0..times {
                write(&repetition.sub, text);
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write(part, text)),
        HirKind::Alternation(parts) => parts.iter().take(1).for_each(|part| write(part, text)),
    }
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The cluster whose server answered; none: Envoy itself.
    pub cluster: Option<String>,
    /// What the server saw: the path, the host, its headers.
    pub seen: BTreeMap<String, String>,
    /// Headers of the response, by name; several of a name joined.
    pub headers: BTreeMap<String, String>,
    /// The body, where Envoy itself answers.
    pub body: String,
}

/// What differs between two answers, each part in a line of its own.
#[must_use]
pub fn difference(before: &Answer, after: &Answer, shared: &[BTreeSet<String>]) -> Vec<String> {
    let mut lines = Vec::new();
    if before.status != after.status {
        lines.push(format!("status {} becomes {}", before.status, after.status));
    }
    let same = match (&before.cluster, &after.cluster) {
        (Some(a), Some(b)) => a == b || shared.iter().any(|names| names.contains(a) && names.contains(b)),
        (a, b) => a == b,
    };
    if !same {
        let shown = |cluster: &Option<String>| cluster.clone().unwrap_or_else(|| "Envoy itself".to_owned());
        lines.push(format!(
            "{} becomes {}",
            shown(&before.cluster),
            shown(&after.cluster)
        ));
    }
    for (what, before, after) in [
        ("the server's", &before.seen, &after.seen),
        ("the response's", &before.headers, &after.headers),
    ] {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let (old, new) = (before.get(name), after.get(name));
            if old.map(|value| normal(name, value)) != new.map(|value| normal(name, value)) {
                let shown =
                    |value: Option<&String>| value.map_or("nothing".to_owned(), |value| format!("`{value}`"));
                lines.push(format!("{what} {name}: {} becomes {}", shown(old), shown(new)));
            }
        }
    }
    if before.body != after.body {
        lines.push(format!("the body `{}` becomes `{}`", before.body, after.body));
    }
    lines
}

/// Lists of names whose order says nothing.
fn normal(name: &str, value: &str) -> String {
    if !name.starts_with("access-control-") {
        return value.to_owned();
    }
    let mut names: Vec<&str> = value.split(',').map(str::trim).collect();
    names.sort_unstable();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_an_expression_fits_it() {
        for (regex, wanted) in [
            ("/p/[0-9]+(/.*)?", "/p/1/a"),
            (r".*\.(png|jpg)", "a.png"),
            ("GET|HEAD", "GET"),
            ("(?i)/v1", "/V1"),
        ] {
            assert_eq!(sample(regex).to_lowercase(), wanted.to_lowercase(), "{regex}");
        }
    }
}
