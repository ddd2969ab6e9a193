//! What becomes of the requests of a route of Envoy's, in our words. Pure.

use std::time::Duration;

use super::at::At;
use super::upstream::Upstreams;
use super::words::Words;
use crate::model::pattern::escape;
use crate::model::route::retry::Retry;
use crate::text::show_duration;

/// Envoy cuts a response after this time where a file says nothing.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy tries once more where a retry policy names no number.
const RETRIES: u64 = 1;

/// What a route inherits.
pub(super) struct Inherited<'a> {
    /// That of the virtual host.
    pub(super) retry: Option<At<'a>>,
    /// How long nothing may pass, as the listener says.
    pub(super) stream_idle: Duration,
    pub(super) upstreams: &'a Upstreams,
}

/// Who has the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This cluster of the file.
    Cluster(String),
    /// Envoy itself.
    Nobody,
}

/// Reads `route`.
pub(super) fn forward(at: &At<'_>, inherited: &Inherited<'_>, words: &mut Words) -> Owner {
    let mut fields = at.fields();
    let owner = target(at, &mut fields, inherited, words);
    rewrites(at, &mut fields, &owner, inherited, words);
    times(at, &mut fields, &owner, inherited, words);
    let retry = fields.take("retry_policy").or_else(|| inherited.retry.clone());
    match retry {
        Some(at) => retries(&at, words),
        None => words.change(
            at,
            "requests that surely never reached a server are tried again on another one (`retry=off` keeps it as it was)",
        ),
    }
    for at in fields.take("request_mirror_policies").iter().flat_map(At::items) {
        mirror(&at, inherited, words);
    }
    if let Some(at) = fields.take("hash_policy") {
        hash(&at, words);
    }
    if let Some(at) = fields.take("upgrade_configs") {
        upgrades(&at, words);
    }
    if let Some(at) = fields.take("cluster_not_found_response_code")
        && at.text() != Some("SERVICE_UNAVAILABLE")
    {
        words.stay(at.not_expressed());
    }
    if let Some(at) = fields.take("priority")
        && at.text() != Some("DEFAULT")
    {
        words.stay(at.not_expressed());
    }
    fields.ignore(&["include_vh_rate_limits"]);
    words.rests.extend(fields.rests());
    owner
}

fn target(
    at: &At<'_>,
    fields: &mut super::at::Fields<'_>,
    inherited: &Inherited<'_>,
    words: &mut Words,
) -> Owner {
    if let Some(at) = fields.take("cluster") {
        let cluster = at.text().unwrap_or_default();
        known(&at, cluster, inherited, words);
        return Owner::Cluster(cluster.to_owned());
    }
    let Some(weighted) = fields.take("weighted_clusters") else {
        return Owner::Nobody;
    };
    let mut of_all = weighted.fields();
    of_all.ignore(&["total_weight"]);
    let (mut parts, mut first) = (Vec::new(), None);
    for at in of_all.take("clusters").iter().flat_map(At::items) {
        let mut fields = at.fields();
        let cluster = fields.take("name");
        let cluster = cluster.as_ref().and_then(At::text).unwrap_or_default();
        known(&at, cluster, inherited, words);
        let weight = fields.take("weight").and_then(|at| at.number()).unwrap_or(0);
        parts.push(format!("{}:{weight}", inherited.upstreams.service(cluster)));
        first.get_or_insert_with(|| cluster.to_owned());
        words.rests.extend(fields.rests());
    }
    words.rests.extend(of_all.rests());
    words.add(at, "split", parts.join(","));
    first.map_or(Owner::Nobody, Owner::Cluster)
}

fn known(at: &At<'_>, cluster: &str, inherited: &Inherited<'_>, words: &mut Words) {
    if !inherited.upstreams.has(cluster) {
        words.stay(at.rest(format!("there is no cluster `{cluster}` in static_resources")));
    }
}

/// A substitution that stands for itself.
fn literal(text: &str) -> String {
    text.replace('\\', r"\\")
}

fn rewrites(
    at: &At<'_>,
    fields: &mut super::at::Fields<'_>,
    owner: &Owner,
    inherited: &Inherited<'_>,
    words: &mut Words,
) {
    if let Some(at) = fields.take("prefix_rewrite") {
        let by = at.text().unwrap_or_default().to_owned();
        rewrite(&at, &by, words);
    }
    if let Some(at) = fields.take("regex_rewrite") {
        let (pattern, substitution) = substitution(&at);
        words.add(&at, "regex-rewrite", format!("{pattern}=>{substitution}"));
    }
    if let Some(at) = fields.either(&["host_rewrite_literal", "host_rewrite"]) {
        words.add(&at, "host-rewrite", at.text().unwrap_or_default());
    }
    if let Some(auto) = fields.take("auto_host_rewrite").filter(|at| at.is(true)) {
        let host = match owner {
            Owner::Cluster(cluster) if !words.has("split") => inherited.upstreams.host(cluster),
            _ => None,
        };
        match host {
            Some(host) => words.add(&auto, "host-rewrite", host),
            None => words.stay(auto.rest("only where all endpoints of the cluster have one name")),
        }
    }
    let _ = at;
}

/// What takes the place of the matched part of a path, as Envoy does it: characters, not segments.
fn rewrite(at: &At<'_>, by: &str, words: &mut Words) {
    if words.has("regex") {
        // Envoy replaces all that the expression matched.
        return words.add(at, "regex-rewrite", format!("^.*$=>{}", literal(by)));
    }
    let path = words.value("path").unwrap_or_default().to_owned();
    match path.as_str() {
        "/" if by.ends_with('/') => words.add(at, "rewrite", by),
        "/" => words.add(at, "regex-rewrite", format!("^/=>{}", literal(by))),
        // By whole segments.
        path if !path.is_empty() && !path.ends_with('*') && by.ends_with('/') => {
            words.add(at, "regex-rewrite", format!("^{}=>{}", escape(path), literal(by)));
        }
        _ => words.add(at, "rewrite", by),
    }
}

/// The expression and what takes its place.
fn substitution(at: &At<'_>) -> (String, String) {
    let pattern = at.get("pattern");
    let pattern = pattern.as_ref().and_then(|at| at.text_of("regex"));
    let by = at.text_of("substitution");
    (
        pattern.unwrap_or_default().to_owned(),
        by.unwrap_or_default().to_owned(),
    )
}

/// A duration as a word, or why it stays.
fn time(at: &At<'_>, word: &str, words: &mut Words) {
    match at.duration() {
        Some(time) => words.add(at, word, show_duration(time)),
        None => words.stay(at.rest("it is no duration of Envoy's, `1.5s`")),
    }
}

fn times(
    at: &At<'_>,
    fields: &mut super::at::Fields<'_>,
    owner: &Owner,
    inherited: &Inherited<'_>,
    words: &mut Words,
) {
    match fields.take("timeout") {
        Some(at) => time(&at, "timeout", words),
        None => words.add(at, "timeout", show_duration(TIMEOUT)),
    }
    match fields.take("idle_timeout") {
        Some(at) => time(&at, "stream-idle-timeout", words),
        None => words.add(at, "stream-idle-timeout", show_duration(inherited.stream_idle)),
    }
    let mut deadline = fields.either(&["max_grpc_timeout"]);
    if let Some(at) = fields.take("max_stream_duration") {
        let mut fields = at.fields();
        if let Some(at) = fields.take("max_stream_duration") {
            time(&at, "max-stream-duration", words);
        }
        deadline = fields.take("grpc_timeout_header_max").or(deadline);
        words.rests.extend(fields.rests());
    }
    let grpc = matches!(owner, Owner::Cluster(cluster) if inherited.upstreams.is_grpc(cluster));
    match deadline {
        Some(deadline) if deadline.duration() != Some(Duration::ZERO) || !grpc => {
            words.stay(deadline.rest("the deadline of a gRPC client counts as a whole, for services of protocol grpc"));
        }
        None if grpc => words.change(
            at,
            "the deadline that a gRPC client sends counts for Envoy, too, as for the other routes of this service",
        ),
        _ => {}
    }
}

fn retries(at: &At<'_>, words: &mut Words) {
    let mut fields = at.fields();
    let on = fields.take("retry_on");
    let times = fields
        .take("num_retries")
        .and_then(|at| at.number())
        .unwrap_or(RETRIES);
    let statuses = fields.take("retriable_status_codes");
    let statuses = statuses.iter().flat_map(At::items).filter_map(|at| at.number());
    let statuses: Vec<String> = statuses.map(|code| code.to_string()).collect();
    if let Some(at) = fields.take("per_try_timeout") {
        time(&at, "per-try-timeout", words);
    }
    let previous = fields.take("retry_host_predicate");
    let previous = previous.iter().flat_map(At::items);
    for at in previous.filter(|at| at.text_of("name") != Some("envoy.retry_host_predicates.previous_hosts")) {
        words.stay(at.not_expressed());
    }
    fields.ignore(&["host_selection_retry_max_attempts"]);
    if let Some(at) = fields.take("retry_back_off") {
        words.change(&at, "the pause between tries is Envoy's own, 25 ms and growing");
    }
    words.rests.extend(fields.rests());
    let text = on.as_ref().and_then(At::text).unwrap_or_default();
    let mut kinds: Vec<String> = Vec::new();
    for kind in text.split(',').map(str::trim).filter(|kind| !kind.is_empty()) {
        match kind {
            "retriable-status-codes" => kinds.extend(statuses.clone()),
            // Envoy logs a warning and ignores what it does not know.
            number if number.parse::<u16>().is_ok() => {}
            kind => kinds.push(kind.to_owned()),
        }
    }
    let value = match (times, kinds.is_empty()) {
        (0, _) | (_, true) => "off".to_owned(),
        (times, _) => format!("{}:{times}", kinds.join(",")),
    };
    if value != "off" {
        let known = |kind: &&String| Retry::parse(kind).is_ok();
        if let Some(unknown) = kinds.iter().find(|kind| !known(kind)) {
            return words.stay(
                on.as_ref()
                    .unwrap_or(at)
                    .rest(format!("`retry=` does not know `{unknown}`")),
            );
        }
        if let Err(why) = Retry::parse(&value) {
            return words.stay(at.rest(format!("`retry=`: {why}")));
        }
        words.change(
            at,
            "tries also what surely never reached a server (connect-failure, refused-stream, reset-before-request), and \
             on another server",
        );
    }
    words.add(at, "retry", value);
}

fn mirror(at: &At<'_>, inherited: &Inherited<'_>, words: &mut Words) {
    let mut fields = at.fields();
    let cluster = fields.take("cluster");
    let cluster = cluster.as_ref().and_then(At::text).unwrap_or_default();
    known(at, cluster, inherited, words);
    let mut share = String::new();
    if let Some(at) = fields.take("runtime_fraction") {
        let value = at.get("default_value");
        let numerator = value
            .as_ref()
            .and_then(|at| at.get("numerator")?.number())
            .unwrap_or(0);
        let denominator = value.as_ref().and_then(|at| at.text_of("denominator"));
        #[allow(clippy::cast_precision_loss, reason = "at most a million")]
        let percent = numerator as f64
            / match denominator {
                Some("TEN_THOUSAND") => 100.0,
                Some("MILLION") => 10_000.0,
                _ => 1.0,
            };
        share = format!(":{percent}%");
        if at.get("runtime_key").is_some() {
            words.change(&at, "the share is fixed: no runtime key changes it");
        }
    }
    words.rests.extend(fields.rests());
    words.add(
        at,
        "mirror",
        format!("{}{share}", inherited.upstreams.service(cluster)),
    );
}

fn hash(at: &At<'_>, words: &mut Words) {
    let mut keys = Vec::new();
    let policies = at.items();
    for (n, at) in policies.iter().enumerate() {
        let mut fields = at.fields();
        let terminal = fields.take("terminal").is_some_and(|at| at.is(true));
        if !terminal && n + 1 < policies.len() {
            words.change(
                at,
                "the first of these that a request has decides alone, as with `terminal`",
            );
        }
        let name = |of: &mut super::at::Fields<'_>, key: &str| {
            let name = of.take(key);
            name.as_ref().and_then(At::text).unwrap_or_default().to_owned()
        };
        if let Some(at) = fields.take("header") {
            let mut of = at.fields();
            keys.push(format!("header:{}", name(&mut of, "header_name")));
            words.rests.extend(of.rests());
        } else if let Some(at) = fields.take("cookie") {
            let mut of = at.fields();
            let cookie = name(&mut of, "name");
            let ttl = of.take("ttl").and_then(|at| at.duration());
            let ttl = ttl.map_or_else(String::new, |ttl| format!(":{}", show_duration(ttl)));
            of.ignore(if ttl.is_empty() { &[] } else { &["path"] });
            keys.push(format!("cookie:{cookie}{ttl}"));
            words.rests.extend(of.rests());
        } else if let Some(at) = fields.take("query_parameter") {
            let mut of = at.fields();
            keys.push(format!("query:{}", name(&mut of, "name")));
            words.rests.extend(of.rests());
        } else if let Some(at) = fields.take("connection_properties") {
            let mut of = at.fields();
            of.ignore(&["source_ip"]);
            keys.push("ip".to_owned());
            words.rests.extend(of.rests());
        }
        words.rests.extend(fields.rests());
    }
    words.add(at, "hash", keys.join(","));
}

fn upgrades(at: &At<'_>, words: &mut Words) {
    let (mut on, mut off) = (Vec::new(), false);
    for at in at.items() {
        let mut fields = at.fields();
        let name = fields.take("upgrade_type");
        let name = name
            .as_ref()
            .and_then(At::text)
            .unwrap_or_default()
            .to_ascii_lowercase();
        if fields.take("enabled").is_none_or(|at| !at.is(false)) {
            on.push(name);
        } else {
            off = true;
        }
        words.rests.extend(fields.rests());
    }
    match (on.is_empty(), off) {
        (false, _) => words.add(at, "upgrade", on.join(",")),
        (true, true) => words.add(at, "upgrade", "none"),
        (true, false) => {}
    }
}

/// Reads `redirect`.
pub(super) fn redirect(at: &At<'_>, words: &mut Words) -> Owner {
    let mut fields = at.fields();
    let mut to = String::new();
    if fields.take("https_redirect").is_some_and(|at| at.is(true)) {
        to.push_str("https:");
    }
    if let Some(at) = fields.take("scheme_redirect") {
        to = format!("{}:", at.text().unwrap_or_default());
    }
    let port = fields.take("port_redirect");
    match (fields.take("host_redirect"), &port) {
        (Some(at), _) => {
            to.extend(["//", at.text().unwrap_or_default()]);
            if let Some(port) = port.and_then(|at| at.number()) {
                to.extend([":", &port.to_string()]);
            }
        }
        (None, Some(port)) => words.stay(port.rest("`redirect=` names a port with a host only")),
        (None, None) => {}
    }
    if let Some(at) = fields.take("path_redirect") {
        let path = at.text().unwrap_or_default();
        if path.contains('?') {
            words.stay(at.rest("`redirect=` takes a path without a query"));
        }
        to.push_str(path);
    } else if let Some(at) = fields.take("prefix_rewrite") {
        let by = at.text().unwrap_or_default();
        let path = words.value("path").unwrap_or_default().to_owned();
        let whole = words.has("exact") || path.ends_with('*') || !by.ends_with('/');
        if path == "/" && !by.ends_with('/') || words.has("regex") || !(whole || path == "/") {
            words.stay(at.rest("`redirect=/new*` keeps whole segments"));
        }
        to.extend([by, "*"]);
    } else if let Some(at) = fields.take("regex_rewrite") {
        words.stay(at.not_expressed());
    }
    let code = match fields.take("response_code") {
        None => None,
        Some(at) => match at.text() {
            Some("MOVED_PERMANENTLY") => None,
            Some("FOUND") => Some("302"),
            Some("SEE_OTHER") => Some("303"),
            Some("TEMPORARY_REDIRECT") => Some("307"),
            Some("PERMANENT_REDIRECT") => Some("308"),
            _ => {
                words.stay(at.not_expressed());
                None
            }
        },
    };
    words.add(at, "redirect", to);
    if let Some(code) = code {
        words.add(at, "redirect-code", code);
    }
    if let Some(at) = fields.take("strip_query").filter(|at| at.is(true)) {
        words.add(&at, "redirect-query", "drop");
    }
    words.rests.extend(fields.rests());
    Owner::Nobody
}

/// Reads `direct_response`.
pub(super) fn respond(at: &At<'_>, words: &mut Words) -> Owner {
    let mut fields = at.fields();
    let status = fields.take("status").and_then(|at| at.number()).unwrap_or(0);
    let mut value = status.to_string();
    if let Some(body) = fields.take("body") {
        let mut of = body.fields();
        if let Some(text) = of.take("inline_string") {
            value.extend([":", text.text().unwrap_or_default()]);
        }
        words.rests.extend(of.rests());
    }
    words.rests.extend(fields.rests());
    words.add(at, "respond", value);
    Owner::Nobody
}
