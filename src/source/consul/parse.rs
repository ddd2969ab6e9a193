//! Answers of Consul → records of the model. Pure: one bad entry rejects itself,
//! never the batch; only a body that is no list at all is an error.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{Check, Entry, Few, FewPairs, Node, Service, Who};
use crate::config::ConsulSelection;
use crate::model::declaration::{self, Declared, Spelling};
use crate::model::route::clip;
use crate::model::service::{Registered, UNIX_SOCKET, address, assemble, check_name};
use crate::model::{Health, Instance, Issue, MAX_WEIGHT, Policy, Protocol, ServiceRecord};
use crate::source::newest::{Registered as Dated, newest};
use crate::source::place as url;

/// Instances in one answer, also those that are not selected, and names in the catalog. With more it is not read at
/// all, and what is known stays.
const MOST: usize = 40_000;
const MOST_NAMES: usize = 100_000;
/// The longest entry that is taken apart piece by piece where it is not as it should be.
const MAX_ODD: usize = 64 << 10;
/// Issues of one answer; the last one says how many more there are.
const MAX_ISSUES: usize = 100;
/// The service that Consul itself registers: a catalog without it is not the whole catalog.
pub(super) const CANARY: &str = "consul";

/// A body that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not the JSON it should be.
    #[error("the answer is not the JSON of {wanted}: {reason}")]
    Json {
        /// What it should be.
        wanted: &'static str,
        /// Where it is wrong.
        reason: String,
    },
}

/// All that one answer says of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `<node>/<service id>` of each entry, selected or not: what must not get lost unconfirmed. An entry
    /// that is selected no longer is still there, and says so itself; only what is missing may be a lie.
    pub ids: BTreeSet<String>,
    /// `None`: nothing but entries that are not selected, such as sidecars: no service of ours.
    pub record: Option<ServiceRecord>,
}

/// The names in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Those selected, without Consul's own.
    pub names: BTreeSet<Arc<str>>,
    /// Whether Consul's own service is there: without it the catalog is not whole, or not all readable.
    pub canary: bool,
    /// Whether a service that is gone leaves the names; those of a peer are configured.
    pub listing: bool,
    /// Names that cannot be served.
    pub stray: Vec<Issue>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            canary: false,
            listing: true,
            stray: Vec::new(),
        }
    }
}

/// The tags of a name: not read here, each instance has its own.
#[derive(serde::Deserialize)]
struct Tags(#[allow(dead_code, reason = "only its place in the JSON matters")] IgnoredAny);

/// Reads `/v1/catalog/services`.
///
/// # Errors
/// [`Unreadable`] when the body is not an object.
pub fn services(body: &[u8], selection: &ConsulSelection) -> Result<Names, Unreadable> {
    #[allow(clippy::zero_sized_map_values, reason = "a map is what the JSON holds")]
    let FewPairs(all): FewPairs<Tags, MOST_NAMES> = read(body, "/v1/catalog/services")?;
    let mut result = Names::default();
    for name in all.into_keys() {
        if name == CANARY {
            result.canary = true;
            continue;
        }
        if !selection.names(&name) {
            continue;
        }
        match check_name(&name).and_then(|()| check_path(&name)) {
            Ok(()) => drop(result.names.insert(name.into())),
            Err(reason) => result.stray.push(Issue::rejected(clip(&name), reason)),
        }
    }
    bound(&mut result.stray);
    Ok(result)
}

/// Consul's HTTP server tidies paths up, encoded or not, and answers with a redirect to another name:
/// what is registered under such a name cannot be asked for.
fn check_path(name: &str) -> Result<(), String> {
    let parts = name.split('/').count();
    let tidied =
        |(at, part): (usize, &str)| matches!(part, "." | "..") || (part.is_empty() && at + 1 < parts);
    if name.split('/').enumerate().any(tidied) {
        return Err("Consul cannot be asked for a name with `//` or a part `.` or `..`".to_owned());
    }
    Ok(())
}

/// Reads `/v1/health/service/NAME`. Consul looks a name up without regard to case: entries of another
/// spelling are those of another service, and as if they were not there.
///
/// # Errors
/// [`Unreadable`] when the body is not a list.
pub fn health(name: &str, body: &[u8], selection: &ConsulSelection) -> Result<Found, Unreadable> {
    let mut found = Found::default();
    let mut record = ServiceRecord::default();
    let mut instances = Vec::new();
    let (mut ours, mut others) = (0_usize, 0_usize);
    for (number, entry) in entries(body, Some(name))?.into_iter().enumerate() {
        let entry = match entry {
            Ok(entry) => entry,
            Err((id, reason)) => {
                ours += 1;
                let id = id.unwrap_or_else(|| format!("#{number}"));
                record
                    .issues
                    .push(Issue::rejected(clip(&id), format!("cannot be read: {reason}")));
                found.ids.insert(id);
                continue;
            }
        };
        found
            .ids
            .insert(format!("{}/{}", entry.node.name, entry.service.id));
        if !selection.holds(&entry.service) {
            others += 1;
            continue;
        }
        ours += 1;
        match instance(&entry, &selection.preferred_address, &mut record.issues) {
            Ok(instance) => instances.push(Dated {
                instance,
                created: entry.service.create_index,
            }),
            Err(reason) => {
                record.issues.push(Issue::rejected(label(&entry), reason));
                if record.rejected.len() < MAX_ISSUES {
                    let id = format!("{}/{}", entry.node.name, entry.service.id);
                    record.rejected.push(id.into());
                }
            }
        }
    }
    instances.sort_by(|a, b| a.instance.id.cmp(&b.instance.id));
    let (instances, doubled) = newest(instances, |instance: &Instance| {
        let (node, id) = instance.id.split_once('/').unwrap_or_default();
        format!("{}@{}", clip(id), clip(node))
    });
    let dated = |(mut instance, created): (Instance, u64)| {
        instance.created = created;
        instance
    };
    record.instances = instances.into_iter().map(dated).collect();
    record.issues.extend(doubled);
    bound(&mut record.issues);
    found.record = (ours > 0 || others == 0).then_some(record);
    Ok(found)
}

fn bound(issues: &mut Vec<Issue>) {
    if issues.len() > MAX_ISSUES {
        let more = issues.len() - (MAX_ISSUES - 1);
        issues.truncate(MAX_ISSUES - 1);
        let reason = format!("{more} more entries have something wrong");
        issues.push(Issue::warning("(all)", reason));
    }
}

/// Why a body of `/v1/health/service/NAME` is not from where it was asked for: a Consul that does not know
/// peers or partitions answers with what it has itself. `None`: nothing speaks against it.
pub(super) fn elsewhere(body: &[u8], partition: Option<&str>, peer: Option<&str>) -> Option<String> {
    if partition.is_none() && peer.is_none() {
        return None;
    }
    let entries = entries(body, None).ok()?.into_iter();
    let entries: Vec<Entry> = entries.filter_map(Result::ok).collect();
    let other = |wanted: &&str, seen: fn(&Node) -> &str| {
        entries
            .iter()
            .any(|entry| !seen(&entry.node).eq_ignore_ascii_case(wanted))
    };
    let peer = peer.filter(|wanted| other(wanted, |node| &node.peer_name));
    let partition = partition.filter(|wanted| other(wanted, |node| &node.partition));
    let (what, name, since) = match (peer, partition) {
        (Some(name), _) => ("peer", name, "1.13"),
        (None, Some(name)) => ("partition", name, "Enterprise 1.11"),
        (None, None) => return None,
    };
    Some(format!(
        "the answer is not of {what} `{name}`: this Consul does not know {what}s (that takes Consul {since} or newer)"
    ))
}

type Bad = (Option<String>, String);

/// All at once where they are well-formed; one by one where one is not. Those of the service of this name.
fn entries(body: &[u8], name: Option<&str>) -> Result<Vec<Result<Entry, Bad>>, Unreadable> {
    // Each entry of an agent carries one.
    let is_other = |found: &str| !found.is_empty() && name.is_some_and(|name| name != found);
    if let Ok(Few(mut all)) = serde_json::from_slice::<Few<Entry, MOST>>(body) {
        all.retain(|entry| !is_other(&entry.service.name));
        return Ok(all.into_iter().map(Ok).collect());
    }
    let Few(values): Few<&RawValue, MOST> = read(body, "/v1/health/service")?;
    let judged = |value: &RawValue| {
        match entry(value.get()) {
            Ok(entry) => (!is_other(&entry.service.name)).then_some(Ok(entry)),
            Err(error) => {
                let who: Who = serde_json::from_str(value.get()).unwrap_or_default();
                let id = Some(who.service.id.0).filter(|id| !id.is_empty());
                let id = id.map(|id| format!("{id}@{}", who.node.name.0));
                // The reader quotes the value that it did not expect.
                (!is_other(&who.service.name.0)).then(|| Err((id, clip(&error.to_string()))))
            }
        }
    };
    Ok(values.into_iter().filter_map(judged).collect())
}

/// One entry. A field that stands twice in it counts as the last one says.
fn entry(text: &str) -> serde_json::Result<Entry> {
    let read = serde_json::from_str(text);
    if text.len() > MAX_ODD {
        return read;
    }
    read.or_else(|error| match serde_json::from_str::<Value>(text) {
        Ok(value) => serde_json::from_value(value),
        Err(_) => Err(error),
    })
}

fn read<'b, T: serde::Deserialize<'b>>(body: &'b [u8], wanted: &'static str) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|e| Unreadable::Json {
        wanted,
        reason: clip(&e.to_string()),
    })
}

fn label(entry: &Entry) -> String {
    format!("{}@{}", clip(&entry.service.id), clip(&entry.node.name))
}

fn instance(entry: &Entry, preferred: &str, issues: &mut Vec<Issue>) -> Result<Instance, String> {
    let (node, service) = (&entry.node, &entry.service);
    if service.id.is_empty() || service.id.len() > 1024 || node.name.len() > 1024 {
        return Err("a service id has 1 to 1024 bytes, as has a node's name".to_owned());
    }
    let place = place(node, service, preferred)?;
    if place.port == 0 {
        return Err(no_port(service));
    }
    let (health, weight) = judge(&entry.checks, service);
    let zones = [
        node.meta.get("zone"),
        Some(&service.locality.zone),
        Some(&node.locality.zone),
    ];
    let zone = zones.into_iter().flatten().find(|zone| !zone.is_empty());
    let zone = zone.unwrap_or(&node.datacenter);
    let registered = Registered {
        id: &format!("{}/{}", node.name, service.id),
        address: address(place.host, place.port)?,
        health,
        weight,
        zone,
    };
    let scheme = Declared::of_service(Policy {
        protocol: place.protocol,
        ..Policy::default()
    });
    Ok(assemble(&registered, declared(entry, issues).over(&scheme)))
}

/// Consul takes a service without a port, and answers with none or with 0.
fn no_port(service: &Service) -> String {
    if !service.socket_path.is_empty() {
        format!("`SocketPath` is {UNIX_SOCKET}")
    } else if service.ports.is_empty() {
        "it has no port (port 0): register one from 1 to 65535 (several `Ports` take agents of Consul 1.22 or newer)"
            .to_owned()
    } else {
        "none of its `Ports` from 1 to 65535 is the default: mark one with \"Default\": true".to_owned()
    }
}

/// Meta over tags, key by key.
fn declared(entry: &Entry, issues: &mut Vec<Issue>) -> Declared {
    let label = label(entry);
    let meta = entry
        .service
        .meta
        .iter()
        .filter_map(|(k, v)| Some((Spelling::Meta.strip(k)?, v.as_str())));
    let mut meta = declaration::parse(&label, Spelling::Meta, meta, issues);
    let others = entry.service.meta.keys().map(String::as_str);
    let others = others.filter(|key| Spelling::Meta.strip(key).is_none());
    declaration::near_misses(&label, Spelling::Meta, others, &mut meta, issues);
    let (mut pairs, mut unread) = (Vec::new(), Vec::new());
    for tag in entry
        .service
        .tags
        .iter()
        .filter_map(|tag| Spelling::Tag.strip(tag))
    {
        match tag.split_once('=') {
            Some(pair) => pairs.push(pair),
            None => {
                unread.push(tag);
                issues.push(Issue::warning(
                    &label,
                    format!("tag `xds.{}` must be xds.KEY=value; not used", clip(tag)),
                ));
            }
        }
    }
    let mut tags = declaration::parse(&label, Spelling::Tag, pairs, issues);
    for key in unread {
        tags.slip_named(key);
    }
    // Of a tag only what stands before its value.
    let others = entry.service.tags.iter().map(String::as_str);
    let others = others.filter(|tag| Spelling::Tag.strip(tag).is_none());
    let others = others.filter_map(|tag| tag.split_once('=')).map(|(name, _)| name);
    declaration::near_misses(&label, Spelling::Tag, others, &mut tags, issues);
    meta.over(&tags)
}

/// Where a server listens.
struct Place<'a> {
    host: &'a str,
    port: u64,
    /// Of a URL.
    protocol: Option<Protocol>,
}

/// The preferred address of the service, its own, the preferred one of its node, the node's. Any of them may be
/// a URL, as kratos registers them.
fn place<'a>(node: &'a Node, service: &'a Service, preferred: &str) -> Result<Place<'a>, String> {
    let (host, port) = registered(node, service, preferred);
    let port = u64::try_from(port).unwrap_or(0);
    if !host.contains("://") {
        let protocol = None;
        return Ok(Place { host, port, protocol });
    }
    let url = url::parse(host);
    if url.secure {
        return Err(url::SECURE.to_owned());
    }
    let scheme = url.scheme.unwrap_or_default();
    let protocol = Protocol::parse(&scheme.to_ascii_lowercase()).ok_or_else(|| {
        format!(
            "the scheme `{}` is none of http, http2, grpc, tcp; clusters here are plaintext",
            clip(scheme)
        )
    })?;
    let port = match url.port {
        Some(port) => port.map_err(|()| "the port of the URL must be a whole number from 1 to 65535")?,
        None => port,
    };
    Ok(Place {
        host: url.host,
        port,
        protocol: Some(protocol),
    })
}

/// `Port`, or the one of `Ports` that is the default.
fn own_port(service: &Service) -> i64 {
    let default = service.ports.iter().find(|port| port.default);
    default.map_or(service.port, |port| port.port)
}

fn registered<'a>(node: &'a Node, service: &'a Service, preferred: &str) -> (&'a str, i64) {
    let tagged = service
        .tagged_addresses
        .get(preferred)
        .filter(|tagged| !tagged.address.is_empty());
    if let Some(tagged) = tagged {
        let port = if tagged.port == 0 {
            own_port(service)
        } else {
            tagged.port
        };
        return (&tagged.address, port);
    }
    if !service.address.is_empty() {
        return (&service.address, own_port(service));
    }
    let of_node = node
        .tagged_addresses
        .get(preferred)
        .filter(|host| !host.is_empty());
    (of_node.unwrap_or(&node.address), own_port(service))
}

/// All checks count, those of the node too, and the worst decides; maintenance is no failure.
fn judge(checks: &[Check], service: &Service) -> (Health, u32) {
    let failing = |c: &Check| c.status != "passing" && c.status != "warning";
    let maintained = |c: &Check| c.id == "_node_maintenance" || c.id.starts_with("_service_maintenance");
    let weight = |w: i64| u32::try_from(w.max(0)).unwrap_or(MAX_WEIGHT).min(MAX_WEIGHT);
    let passing = weight(service.weights.passing);
    if checks.iter().any(|c| failing(c) && maintained(c)) {
        (Health::Draining, passing)
    } else if checks.iter().any(failing) {
        (Health::Unhealthy, passing)
    } else if checks.iter().any(|c| c.status == "warning") {
        (Health::Healthy, weight(service.weights.warning))
    } else {
        (Health::Healthy, passing)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "parse_newer_tests.rs"]
mod newer_tests;
