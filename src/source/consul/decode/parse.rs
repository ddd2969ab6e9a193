//! Answers of Consul → records of the model. Pure: one bad entry rejects itself, never the batch; only a body that is no
//! list at all is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::body::{Unreadable, read};
use super::entries::{Bad, each};
use super::instance::{instance, label};
use super::wire::{Bytes, Entry, FewPairs};
use crate::config::ConsulSelection;
use crate::import::{Placed, shares};
use crate::model::service::check_name;
use crate::model::{Health, Instance, Issue, ServiceRecord};
use crate::source::newest::{Registered as Dated, newest};
use crate::text::clip;

/// Names in the catalog, at most. An answer with more is not read at all, and what is known stays.
const MAX_NAMES: usize = 100_000;
/// Issues of one answer, at most; the last one says how many more there are.
const MAX_ISSUES: usize = 100;
/// The service that Consul itself registers: a catalog without it is not the whole catalog.
pub(crate) const CANARY: &str = "consul";

/// All that one answer says of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// `<node>/<service id>` of each entry, selected or not: none of them may get lost unconfirmed. An entry that is no
    /// longer selected is still there; only a missing one may be hidden or not loaded yet.
    pub ids: BTreeSet<String>,
    /// `None`: all entries are of kinds that are not selected, such as sidecars.
    pub record: Option<Arc<ServiceRecord>>,
    /// Where fabio has instances, by their ids, where its commands are read: they decide on shares, too.
    pub placed: BTreeMap<Arc<str>, Arc<Placed>>,
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

impl Bytes for Tags {
    fn bytes(&self) -> usize {
        0
    }
}

/// Reads `/v1/catalog/services`.
///
/// # Errors
/// [`Unreadable`] when the body is not an object.
pub fn services(body: &[u8], selection: &ConsulSelection) -> Result<Names, Unreadable> {
    #[allow(clippy::zero_sized_map_values, reason = "a map is what the JSON holds")]
    let FewPairs(all): FewPairs<Tags, MAX_NAMES, { usize::MAX }> = read(body, "/v1/catalog/services")?;
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
    let mut all = each(body, Some(name), |all: &mut Entries, entry| {
        all.add(entry, selection);
    })?;
    all.instances.sort_by(|a, b| a.instance.id.cmp(&b.instance.id));
    let (instances, doubled) = newest(all.instances, |instance: &Instance| {
        let (node, id) = instance.id.split_once('/').unwrap_or_default();
        format!("{}@{}", clip(id), clip(node))
    });
    let dated = |(mut instance, created): (Instance, u64)| {
        instance.created = created;
        instance
    };
    let mut record = all.record;
    record.instances = instances.into_iter().map(dated).collect();
    share_out(&mut record.instances, &all.shares);
    record.issues.extend(doubled);
    bound(&mut record.issues);
    Ok(Found {
        ids: all.ids,
        record: (all.ours > 0 || all.others == 0).then(|| Arc::new(record)),
        placed: all.placed,
    })
}

/// Gives instances the weights that fabio would: none where no instance declares a share.
fn share_out(instances: &mut [Instance], declared: &BTreeMap<Arc<str>, f64>) {
    if declared.values().all(|share| *share <= 0.0) {
        return;
    }
    // Those that fail have no share there.
    let takes_part =
        |instance: &&mut Instance| instance.health == Health::Healthy && declared.contains_key(&instance.id);
    let all: Vec<f64> = instances
        .iter_mut()
        .filter(takes_part)
        .map(|i| declared[&i.id])
        .collect();
    for (instance, weight) in instances.iter_mut().filter(takes_part).zip(shares(&all)) {
        instance.set_registered_weight(weight);
    }
}

/// The entries of one service, read so far.
#[derive(Default)]
struct Entries {
    ids: BTreeSet<String>,
    record: ServiceRecord,
    instances: Vec<Dated<Instance>>,
    /// Of the requests, by the ids of instances that fabio gives one.
    shares: BTreeMap<Arc<str>, f64>,
    placed: BTreeMap<Arc<str>, Arc<Placed>>,
    /// Selected, or unreadable.
    ours: usize,
    others: usize,
}

impl Entries {
    fn add(&mut self, entry: Result<Entry, Bad>, selection: &ConsulSelection) {
        let number = self.ours + self.others;
        let entry = match entry {
            Ok(entry) => entry,
            Err((id, reason)) => {
                self.ours += 1;
                let id = id.unwrap_or_else(|| format!("#{number}"));
                self.record
                    .issues
                    .push(Issue::rejected(clip(&id), format!("cannot be read: {reason}")));
                self.ids.insert(id);
                return;
            }
        };
        let id = format!("{}/{}", entry.node.name, entry.service.id);
        self.ids.insert(id.clone());
        if !selection.holds(&entry.service) {
            self.others += 1;
            return;
        }
        self.ours += 1;
        match instance(&entry, selection, &mut self.record.issues) {
            Ok((mut instance, share, placed)) => {
                if let Some(placed) = placed {
                    let last = self.instances.last();
                    let last = last.and_then(|last| self.placed.get(&last.instance.id));
                    let placed = match last {
                        Some(last) if **last == placed => last.clone(),
                        _ => Arc::new(placed),
                    };
                    self.placed.insert(instance.id.clone(), placed);
                }
                self.shares
                    .extend(share.map(|share| (instance.id.clone(), share)));
                // Most declare the same as the one before: one allocation for all of them.
                if let Some(last) = self.instances.last() {
                    instance.share(&last.instance);
                }
                self.instances.push(Dated {
                    instance,
                    created: entry.service.create_index,
                });
            }
            Err(reason) => {
                self.record.issues.push(Issue::rejected(label(&entry), reason));
                if self.record.rejected.len() < MAX_ISSUES {
                    self.record.rejected.push(id.into());
                }
            }
        }
    }
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
    let differs = |wanted: Option<&str>, seen: &str| wanted.is_some_and(|w| !seen.eq_ignore_ascii_case(w));
    // Whether some entry is of another peer, and of another partition.
    let (other_peer, other_partition) = each(body, None, |other: &mut (bool, bool), entry| {
        if let Ok(Entry { node, .. }) = entry {
            other.0 |= differs(peer, &node.peer_name);
            other.1 |= differs(partition, &node.partition);
        }
    })
    .ok()?;
    let peer = peer.filter(|_| other_peer);
    let partition = partition.filter(|_| other_partition);
    let (what, name, since) = match (peer, partition) {
        (Some(name), _) => ("peer", name, "1.13"),
        (None, Some(name)) => ("partition", name, "Enterprise 1.11"),
        (None, None) => return None,
    };
    Some(format!(
        "the answer is not of {what} `{name}`: this Consul does not know {what}s (that takes Consul {since} or newer)"
    ))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
pub(super) mod tests;

#[cfg(test)]
#[path = "parse_newer_tests.rs"]
mod newer_tests;
