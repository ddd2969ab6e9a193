//! Filter chains of Envoy's file that take connections whole, as `port=` and `sni=` of a service. Pure.

use std::time::Duration;

use super::action::Owner;
use super::at::{At, Fields};
use super::report::{Change, Rest};
use super::upstream::Upstreams;
use super::words::{MAX_HOSTS, Words};
use crate::model::RouteRule;
use crate::text::show_duration;

/// A filter chain with a TCP proxy.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) at: String,
    /// As a person calls it: `:5432`, `db.example.com`.
    pub(super) name: String,
    /// Of the filter chain and the filter.
    pub(super) place: (usize, usize),
    /// The names of TLS that it is for; none: all connections to the port.
    pub(super) names: Vec<String>,
    pub(super) outcome: Result<(Vec<RouteRule>, Owner), Vec<Rest>>,
    pub(super) changes: Vec<Change>,
    /// Where its access log goes, as it is written in the file.
    pub(super) access_log: Option<String>,
}

/// Envoy's default, and ours.
const IDLE: Duration = Duration::from_secs(3600);

/// Reads a TCP proxy of this chain. `wanted`: what the chain is for.
pub(super) fn connection(
    at: &At<'_>,
    place: (usize, usize),
    (port, names): (Option<u16>, Vec<String>),
    access_log: impl Fn(&At<'_>, &mut Vec<Rest>) -> Option<String>,
    upstreams: &Upstreams,
) -> Connection {
    let mut words = Words::default();
    let mut fields = at.fields();
    fields.ignore(&["stat_prefix"]);
    let name = match (&names[..], port) {
        ([], Some(port)) => {
            words.add(at, "port", port.to_string());
            format!(":{port}")
        }
        ([], None) => {
            words.stay(at.rest("a listener of the bridge has an IP address and a port"));
            "connections".to_owned()
        }
        (names, _) => names.join(", "),
    };
    let owner = target(at, &mut fields, upstreams, &mut words);
    if let Some(at) = fields.take("idle_timeout") {
        match at.duration() {
            Some(IDLE) => {}
            Some(time) => words.add(&at, "stream-idle-timeout", show_duration(time)),
            None => words.stay(at.not_expressed()),
        }
    }
    if let Some(at) = fields.take("max_downstream_connection_duration") {
        match at.duration() {
            Some(time) => words.add(&at, "max-stream-duration", show_duration(time)),
            None => words.stay(at.not_expressed()),
        }
    }
    for at in fields.take("hash_policy").iter().flat_map(At::items) {
        let mut of = at.fields();
        match of.take("source_ip") {
            Some(_) => words.add(&at, "hash", "ip"),
            None => words.stay(at.not_expressed()),
        }
        words.rests.extend(of.rests());
    }
    let tries = fields.take("max_connect_attempts");
    let number = tries.as_ref().and_then(At::number).unwrap_or(1);
    words.change(
        tries.as_ref().unwrap_or(at),
        format!(
            "a server that refuses a connection is passed over for another one, `clusters.retries` times, and not {} in all",
            if number == 1 { "once".to_owned() } else { format!("{number} times") }
        ),
    );
    let log = fields.take("access_log");
    let mut rests = Vec::new();
    let access_log = log.and_then(|at| access_log(&at, &mut rests));
    words.rests.extend(rests);
    words.rests.extend(fields.rests());
    Connection {
        at: at.path.clone(),
        name,
        place,
        outcome: rules(at, &names, &words).map(|rules| (rules, owner)),
        names,
        changes: words.changes,
        access_log,
    }
}

/// One for all, or for as many names as a route may have.
fn rules(at: &At<'_>, names: &[String], words: &Words) -> Result<Vec<RouteRule>, Vec<Rest>> {
    if names.is_empty() {
        return Ok(vec![words.rule(at)?]);
    }
    let of_some = |names: &[String]| {
        let mut words = words.clone();
        words.add(at, "sni", names.join(","));
        words.rule(at)
    };
    names.chunks(MAX_HOSTS).map(of_some).collect()
}

fn target(at: &At<'_>, fields: &mut Fields<'_>, upstreams: &Upstreams, words: &mut Words) -> Owner {
    if let Some(at) = fields.take("cluster") {
        let cluster = at.text().unwrap_or_default();
        known(&at, cluster, upstreams, words);
        return Owner::Cluster(cluster.to_owned());
    }
    let (mut parts, mut first) = (Vec::new(), None);
    let weighted = fields.take("weighted_clusters");
    for at in weighted.iter().flat_map(|at| at.list("clusters")) {
        let mut of = at.fields();
        let cluster = of.take("name");
        let cluster = cluster.as_ref().and_then(At::text).unwrap_or_default();
        known(&at, cluster, upstreams, words);
        let weight = of.take("weight").and_then(|at| at.number()).unwrap_or(0);
        parts.push(format!("{}:{weight}", upstreams.service(cluster)));
        first.get_or_insert_with(|| cluster.to_owned());
        words.rests.extend(of.rests());
    }
    let Some(first) = first else {
        words.stay(at.rest("it leads to no cluster"));
        return Owner::Nobody;
    };
    words.add(weighted.as_ref().unwrap_or(at), "split", parts.join(","));
    Owner::Cluster(first)
}

fn known(at: &At<'_>, cluster: &str, upstreams: &Upstreams, words: &mut Words) {
    if !upstreams.has(cluster) {
        words.stay(at.rest(format!("there is no cluster `{cluster}` in static_resources")));
    }
}
