//! Instances by the names that people use: `orders/orders-7`, a node, a zone. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Catalog;
use crate::model::drain::is_on;
use crate::model::{Health, Instance, Issue, Severity};
use crate::text::list;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `SERVICE/ID`, or `SERVICE/NODE/ID` where a Consul id is not unique.
    Named(String),
    /// The same in two parts, for names with slashes.
    Instance {
        /// The registered name.
        service: String,
        /// Its id.
        id: String,
    },
    /// All instances of a node: as Consul calls it, or its IP address.
    Node(String),
    /// All instances of a zone.
    Zone(String),
}

/// An instance that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its service.
    pub service: Arc<str>,
    /// Its id within the service; of Consul `NODE/ID`.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its node; empty: unknown.
    pub node: Arc<str>,
    /// Its zone; empty: unknown.
    pub zone: Arc<str>,
    /// The registry's count of its registration; 0: unknown.
    pub created: u64,
    /// Its state as it is served.
    pub health: Health,
    /// It serves, and nobody else of its service would, were all that are meant to leave.
    pub last: bool,
    /// Somebody else of its service serves, who is not meant.
    pub others: bool,
}

impl Found {
    /// Whether both are one instance.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.service == other.service && self.id == other.id
    }
}

/// Why nobody is found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The service is unknown.
    #[error("no service is called `{0}`")]
    Service(String),
    /// The service has other instances.
    #[error("`{service}` has no instance `{id}`; it has {others}")]
    Instance {
        /// Its name.
        service: String,
        /// What was asked for.
        id: String,
        /// Some of those that it has.
        others: String,
    },
    /// What is registered under this name is left out.
    #[error("`{service}/{id}` is not served: its entry `{entry}` is refused: {reason}")]
    Refused {
        /// The service.
        service: String,
        /// What was asked for.
        id: String,
        /// The registry's name of it.
        entry: String,
        /// Why.
        reason: String,
    },
    /// Several fit.
    #[error("`{name}` may be {candidates}: name one of them in full")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// All that fit, the first of them.
        candidates: String,
    },
    /// Not of the form `SERVICE/ID`.
    #[error(
        "`{0}` names no instance: write SERVICE/ID, as in orders/orders-7 (or SERVICE/NODE/ID of Consul)"
    )]
    Form(String),
    /// Nobody runs there.
    #[error("no instance runs on the node `{0}`: write it as Consul does, or its IP address")]
    Node(String),
    /// Nobody is there.
    #[error("no instance is in the zone `{0}`")]
    Zone(String),
}

impl Catalog {
    /// The instances that are meant.
    ///
    /// # Errors
    /// [`NotFound`] says what there is instead.
    pub fn find(&self, target: &Target) -> Result<Vec<Found>, NotFound> {
        match target {
            Target::Instance { service, id } => self.find_one(service, id),
            Target::Named(name) => self.find_named(name),
            Target::Node(node) => {
                let found = self.find_all(|instance| is_on(node, instance));
                some(found).ok_or_else(|| NotFound::Node(node.clone()))
            }
            Target::Zone(zone) => {
                let found = self.find_all(|instance| *instance.zone == **zone && !zone.is_empty());
                some(found).ok_or_else(|| NotFound::Zone(zone.clone()))
            }
        }
    }

    fn find_named(&self, name: &str) -> Result<Vec<Found>, NotFound> {
        let mut failure = NotFound::Form(name.to_owned());
        let mut all = Vec::new();
        for (at, _) in name.match_indices('/') {
            let (service, id) = (&name[..at], &name[at + 1..]);
            if service.is_empty() || id.is_empty() {
                continue;
            }
            match self.find_one(service, id) {
                Ok(found) => all.push(found),
                Err(ambiguous @ NotFound::Ambiguous { .. }) => return Err(ambiguous),
                // A service that is there says more than one that is not, and the first split is the usual one.
                Err(error) if matches!(error, NotFound::Instance { .. } | NotFound::Refused { .. }) => {
                    failure = error;
                }
                Err(error) if matches!(failure, NotFound::Form(_)) => failure = error,
                Err(_) => {}
            }
        }
        match all.len() {
            0 => Err(failure),
            1 => Ok(all.remove(0)),
            _ => {
                let names = all.iter().flatten();
                let names: Vec<_> = names.map(|found| (&*found.service, &*found.id)).collect();
                Err(ambiguous(name, &names))
            }
        }
    }

    /// An id counts as a whole first, then as what follows Consul's node.
    fn find_one(&self, service: &str, id: &str) -> Result<Vec<Found>, NotFound> {
        let name: Arc<str> = service.into();
        let merged = self.service(&name);
        let instances = merged.map(|service| service.instances).unwrap_or_default();
        if instances.is_empty() {
            return Err(self
                .refused(service, id)
                .unwrap_or_else(|| NotFound::Service(service.to_owned())));
        }
        let whole = |instance: &&Instance| *instance.id == *id;
        let below = |instance: &&Instance| {
            let rest = instance.id.strip_prefix(&*instance.node);
            !instance.node.is_empty() && rest.and_then(|rest| rest.strip_prefix('/')) == Some(id)
        };
        let mut meant: Vec<&Instance> = instances.iter().filter(whole).collect();
        if meant.is_empty() {
            meant = instances.iter().filter(below).collect();
        }
        let ids: BTreeSet<&str> = meant.iter().map(|instance| &*instance.id).collect();
        match ids.len() {
            0 => Err(self.refused(service, id).unwrap_or_else(|| NotFound::Instance {
                service: service.to_owned(),
                id: id.to_owned(),
                others: list(instances.iter().map(|instance| &*instance.id), 5, instances.len()),
            })),
            1 => Ok(found(&name, &instances, |instance| ids.contains(&*instance.id))),
            _ => {
                let names: Vec<_> = ids.iter().map(|id| (service, *id)).collect();
                Err(ambiguous(&format!("{service}/{id}"), &names))
            }
        }
    }

    /// Why an entry of this name is left out.
    fn refused(&self, service: &str, id: &str) -> Option<NotFound> {
        let is_it = |issue: &&Issue| {
            let name = issue.entry.strip_suffix(id);
            issue.severity == Severity::Rejected
                && name.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        let mut records = self.sources().flat_map(|(_, state)| state.records());
        let issue = records.find_map(|(name, record)| {
            let mut issues = record.issues.iter();
            (**name == *service).then(|| issues.find(is_it))?
        })?;
        Some(NotFound::Refused {
            service: service.to_owned(),
            id: id.to_owned(),
            entry: issue.entry.clone(),
            reason: issue.reason.clone(),
        })
    }

    fn find_all(&self, meant: impl Fn(&Instance) -> bool) -> Vec<Found> {
        let all = self.sources().flat_map(|(_, state)| state.records());
        let have = all.filter(|(_, record)| record.instances.iter().any(&meant));
        let names: BTreeSet<&Arc<str>> = have.map(|(name, _)| name).collect();
        let merged = names.into_iter().filter_map(|name| self.service(name));
        merged
            .flat_map(|service| found(&service.name, &service.instances, &meant))
            .collect()
    }
}

/// Those of a service that are meant.
fn found(service: &Arc<str>, instances: &[Instance], meant: impl Fn(&Instance) -> bool) -> Vec<Found> {
    let others = instances
        .iter()
        .any(|other| other.health.serves() && !meant(other));
    let of_it = instances.iter().filter(|instance| meant(instance));
    of_it
        .map(|instance| Found {
            service: service.clone(),
            id: instance.id.clone(),
            address: instance.address,
            node: instance.node.clone(),
            zone: instance.zone.clone(),
            created: instance.created,
            health: instance.health,
            last: instance.health.serves() && !others,
            others,
        })
        .collect()
}

fn some(found: Vec<Found>) -> Option<Vec<Found>> {
    (!found.is_empty()).then_some(found)
}

fn ambiguous(name: &str, candidates: &[(&str, &str)]) -> NotFound {
    let names = candidates.iter().map(|(service, id)| format!("{service}/{id}"));
    NotFound::Ambiguous {
        name: name.to_owned(),
        candidates: list(names, 5, candidates.len()),
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
