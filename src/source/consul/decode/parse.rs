//! Answers of Consul → records of the model. Pure: one bad entry rejects itself, never the batch; only a body that is no
//! list at all is an error.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::instance::{instance, label};
use super::wire::{Entry, Few, FewPairs, Node, Who};
use crate::config::ConsulSelection;
use crate::model::service::check_name;
use crate::model::{Instance, Issue, ServiceRecord};
use crate::source::newest::{Registered as Dated, newest};
use crate::text::clip;

/// Instances in one answer, also those that are not selected, and names in the catalog, at most. An answer with more is
/// not read at all, and what is known stays.
const MAX_READ: usize = 40_000;
const MAX_NAMES: usize = 100_000;
/// The longest malformed entry that is read a second time, more leniently.
const MAX_ODD: usize = 64 << 10;
/// Issues of one answer, at most; the last one says how many more there are.
const MAX_ISSUES: usize = 100;
/// The service that Consul itself registers: a catalog without it is not the whole catalog.
pub(crate) const CANARY: &str = "consul";

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
    /// `<node>/<service id>` of each entry, selected or not: none of them may get lost unconfirmed. An entry that is no
    /// longer selected is still there; only a missing one may be hidden or not loaded yet.
    pub ids: BTreeSet<String>,
    /// `None`: all entries are of kinds that are not selected, such as sidecars.
    pub record: Option<Arc<ServiceRecord>>,
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
    let FewPairs(all): FewPairs<Tags, MAX_NAMES> = read(body, "/v1/catalog/services")?;
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

/// Consul's HTTP server cleans paths up, encoded or not, and redirects to another name: a service with such a name
/// cannot be read.
fn check_path(name: &str) -> Result<(), String> {
    let parts = name.split('/').count();
    let tidied =
        |(at, part): (usize, &str)| matches!(part, "." | "..") || (part.is_empty() && at + 1 < parts);
    if name.split('/').enumerate().any(tidied) {
        return Err("Consul cannot be asked for a name with `//` or a part `.` or `..`".to_owned());
    }
    Ok(())
}

/// Reads `/v1/health/service/NAME`. Consul ignores the case of the name: entries with another spelling belong to another
/// service and are skipped.
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
        let id = format!("{}/{}", entry.node.name, entry.service.id);
        found.ids.insert(id.clone());
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
    found.record = (ours > 0 || others == 0).then(|| Arc::new(record));
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

/// Why a body of `/v1/health/service/NAME` is not from the requested peer or partition: a Consul that does not know
/// these ignores them. `None`: there is no sign of that.
pub(crate) fn elsewhere(body: &[u8], partition: Option<&str>, peer: Option<&str>) -> Option<String> {
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

/// The entries of the service of this name: all at once where they are well-formed, one by one where one is not.
fn entries(body: &[u8], name: Option<&str>) -> Result<Vec<Result<Entry, Bad>>, Unreadable> {
    // Each entry of an agent carries one.
    let is_other = |found: &str| !found.is_empty() && name.is_some_and(|name| name != found);
    if let Ok(Few(mut all)) = serde_json::from_slice::<Few<Entry, MAX_READ>>(body) {
        all.retain(|entry| !is_other(&entry.service.name));
        return Ok(all.into_iter().map(Ok).collect());
    }
    let Few(values): Few<&RawValue, MAX_READ> = read(body, "/v1/health/service")?;
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

/// One entry. Of a repeated field the last one counts.
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

#[cfg(test)]
#[path = "parse_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "parse_newer_tests.rs"]
mod newer_tests;
