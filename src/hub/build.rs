//! What touched services mean for the resources: clusters, endpoints and gRPC listeners
//! of just those, and the route configurations of the exposures whose claims changed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::grpc::GrpcClients;
use crate::model::{Catalog, Clusters, Conflict, Exposure, Issue, Listener, Policy};
use crate::translate::cluster::cluster;
use crate::translate::endpoints::endpoints;
use crate::translate::listener::{listener, reach};
use crate::translate::route::route;
use crate::translate::{Claim, Claimed, claims};
use crate::xds::{Kind, Reach, Update};

/// What the operator defined.
#[derive(Clone, Debug)]
pub struct Network {
    /// For each cluster.
    pub clusters: Clusters,
    /// By name.
    pub exposures: BTreeMap<Arc<str>, Exposure>,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Listener>,
}

/// Remembers what was derived from each service, to tell what changes.
#[derive(Debug)]
pub(super) struct Builder {
    network: Network,
    claimed: BTreeMap<Arc<str>, Claimed>,
    /// What the instances of a service declare together: a tie keeps it.
    elected: BTreeMap<Arc<str>, Policy>,
    /// Services whose versions disagree, with a sentence about each key.
    conflicts: BTreeMap<Arc<str>, Vec<Issue>>,
    /// Claims that lost against equal ones.
    contested: Vec<Issue>,
    /// Services with failing instances and no healthy one.
    all_unhealthy: BTreeSet<Arc<str>>,
    /// Those that became so, or are so no longer, since this was last asked.
    health: Vec<(Arc<str>, bool)>,
    /// What gRPC clients dial.
    grpc: GrpcClients,
    started: bool,
    /// What [`Self::issues`] says may have changed.
    news: bool,
}

impl Builder {
    pub(super) const fn new(network: Network) -> Self {
        Self {
            network,
            claimed: BTreeMap::new(),
            elected: BTreeMap::new(),
            conflicts: BTreeMap::new(),
            contested: Vec::new(),
            all_unhealthy: BTreeSet::new(),
            health: Vec::new(),
            grpc: GrpcClients::new(),
            started: false,
            news: false,
        }
    }

    /// How many services there are.
    pub(super) fn services(&self) -> usize {
        self.claimed.len()
    }

    /// How many of them are in conflict with themselves.
    pub(super) fn conflicts(&self) -> usize {
        self.conflicts.len()
    }

    /// Services with failing instances and no healthy one.
    pub(super) const fn all_unhealthy(&self) -> &BTreeSet<Arc<str>> {
        &self.all_unhealthy
    }

    /// Which of them are new (`true`), and which are no longer such.
    pub(super) fn take_health(&mut self) -> Vec<(Arc<str>, bool)> {
        std::mem::take(&mut self.health)
    }

    /// What is wrong with what services declare together.
    pub(super) fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.claimed
            .values()
            .flat_map(|c| &c.issues)
            .chain(self.conflicts.values().flatten())
            .chain(&self.contested)
    }

    /// Whether [`Self::issues`] may have changed since this was last asked.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The updates for these services. The first call adds listeners and all route configurations.
    pub(super) fn build(&mut self, catalog: &Catalog, touched: &BTreeSet<Arc<str>>) -> Vec<Update> {
        let (mut updates, mut grpc_updates) = (Vec::new(), Vec::new());
        let mut exposures: BTreeSet<Arc<str>> = BTreeSet::new();
        for name in touched {
            let service = catalog.service_after(name, self.elected.get(name));
            match &service {
                Some(service) => drop(self.elected.insert(name.clone(), service.elected.clone())),
                None => drop(self.elected.remove(name)),
            }
            let claimed = service.map(|service| {
                updates.push(Update::Put(cluster(&service, &self.network.clusters)));
                let endpoints = endpoints(&service, &self.network.clusters);
                let grpc = self
                    .grpc
                    .follow(&service, &endpoints, &self.network, &mut grpc_updates);
                updates.push(Update::Put(endpoints));
                updates.append(&mut grpc_updates);
                self.note_conflicts(name, &service.conflicts);
                self.note_health(name, service.all_unhealthy());
                let mut claimed = claims(&service, &self.network.exposures);
                claimed.issues.extend(grpc);
                claimed
            });
            if claimed.is_none() {
                updates.push(Update::Remove(Kind::Endpoints, name.clone()));
                updates.push(Update::Remove(Kind::Cluster, name.clone()));
                self.note_conflicts(name, &[]);
                self.note_health(name, false);
                self.grpc.forget(name, &mut updates);
            }
            let old = match &claimed {
                Some(claimed) if self.claimed.get(name) == Some(claimed) => continue,
                Some(claimed) => self.claimed.insert(name.clone(), claimed.clone()),
                None => self.claimed.remove(name),
            };
            self.news = true;
            let both = old.iter().chain(&claimed).flat_map(|c| &c.claims);
            exposures.extend(both.map(|c| c.exposure.clone()));
        }
        if !std::mem::replace(&mut self.started, true) {
            exposures.extend(self.network.exposures.keys().cloned());
            updates.extend(
                self.network
                    .listeners
                    .iter()
                    .map(|(name, l)| Update::Put(listener(name, l))),
            );
        }
        if !exposures.is_empty() {
            self.routes(&exposures, &mut updates);
        }
        updates
    }

    /// One route configuration per listener, and one per exposure by its own name, for
    /// listeners that stay in Envoy's file.
    fn routes(&mut self, exposures: &BTreeSet<Arc<str>>, updates: &mut Vec<Update>) {
        self.contested.clear();
        for exposure in self.network.exposures.keys() {
            let claims: Vec<&Claim> = self
                .claimed
                .values()
                .flat_map(|c| &c.claims)
                .filter(|c| c.exposure == *exposure)
                .collect();
            let named = self
                .network
                .listeners
                .iter()
                .filter(|(_, l)| l.exposure == *exposure);
            let mut configurations: BTreeMap<&Arc<str>, Reach> = named.map(|(n, l)| (n, reach(l))).collect();
            if !self.network.listeners.contains_key(exposure) {
                configurations.insert(exposure, Reach::All);
            }
            let mut contested = Vec::new();
            for (name, reach) in configurations {
                let (draft, lost) = route(name, &claims, &self.network.clusters, reach);
                contested = lost;
                if exposures.contains(exposure) {
                    updates.push(Update::Put(draft));
                }
            }
            self.contested.extend(contested);
        }
    }

    fn note_health(&mut self, name: &Arc<str>, all_unhealthy: bool) {
        let changed = if all_unhealthy {
            self.all_unhealthy.insert(name.clone())
        } else {
            self.all_unhealthy.remove(name)
        };
        if changed {
            self.health.push((name.clone(), all_unhealthy));
        }
    }

    fn note_conflicts(&mut self, name: &Arc<str>, conflicts: &[Conflict]) {
        let issues: Vec<Issue> = conflicts
            .iter()
            .map(|conflict| disagreement(name, conflict))
            .collect();
        if self.conflicts.get(name).map_or(&[][..], Vec::as_slice) == issues {
            return;
        }
        self.news = true;
        if issues.is_empty() {
            self.conflicts.remove(name);
        } else {
            self.conflicts.insert(name.clone(), issues);
        }
    }
}

/// The sentence about a key that instances declare differently.
fn disagreement(service: &str, conflict: &Conflict) -> Issue {
    let version = |version: &Arc<str>| match &**version {
        "" => "(none)".to_owned(),
        version => version.to_owned(),
    };
    let Conflict { key, winner, losers } = conflict;
    let reason = if *losers == [winner.clone()] {
        format!(
            "{key}: instances of version {} declare different values: the most common one is in force",
            version(winner)
        )
    } else {
        let losers: Vec<String> = losers.iter().map(version).collect();
        format!(
            "{key}: versions declare different values: that of {} is in force, not that of {}",
            version(winner),
            losers.join(", ")
        )
    };
    Issue::warning(service, reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::change::What;
    use crate::model::{Bind, Change, Event, Health, Instance, Policy, Protocol, ServiceRecord};

    fn event(name: &str, port: Option<u16>) -> Event {
        event_of(name, port, None)
    }

    fn event_of(name: &str, port: Option<u16>, protocol: Option<Protocol>) -> Event {
        let policy = Policy {
            protocol,
            ..Policy::default()
        };
        let record = port.map(|port| ServiceRecord {
            instances: vec![Instance {
                id: "1".into(),
                address: ([127, 0, 0, 1], port).into(),
                health: Health::Healthy,
                weight: 1,
                zone: "".into(),
                version: "".into(),
                policy: Arc::new(policy),
                own: None,
            }],
            ..ServiceRecord::default()
        });
        let change = Change {
            services: vec![(name.into(), record)],
            complete: false,
            stray: None,
        };
        Event {
            source: "s".into(),
            what: What::Change(change),
        }
    }

    fn kinds(updates: &[Update]) -> Vec<String> {
        let one = |u: &Update| match u {
            Update::Put(d) => format!("+{} {}", d.kind.short(), d.name),
            Update::Remove(kind, name) => format!("-{} {name}", kind.short()),
            Update::PutFor(client, d) => format!("+{} {} for {client:?}", d.kind.short(), d.name),
            Update::RemoveFor(client, kind, name) => format!("-{} {name} for {client:?}", kind.short()),
        };
        updates.iter().map(one).collect()
    }

    fn network() -> Network {
        Network {
            clusters: Clusters::DEFAULT,
            exposures: BTreeMap::from([("internal".into(), Exposure::internal())]),
            listeners: BTreeMap::new(),
        }
    }

    #[test]
    fn only_what_is_touched_is_built() {
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network());
        let mut step = |event: Event| {
            let touched = catalog.apply(event, Duration::ZERO);
            kinds(&builder.build(&catalog, &touched.services))
        };
        assert_eq!(step(event("a", Some(1))), ["+cds a", "+eds a", "+rds internal"]);
        assert_eq!(step(event("b", Some(1))), ["+cds b", "+eds b", "+rds internal"]);
        assert_eq!(
            step(event("a", Some(2))),
            ["+cds a", "+eds a"],
            "an address is no route"
        );
        assert_eq!(step(event("a", Some(2))), [""; 0]);
        assert_eq!(step(event("b", None)), ["-eds b", "-cds b", "+rds internal"]);
    }

    #[test]
    fn a_listener_for_grpc_clients_comes_and_goes_with_the_protocol() {
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network());
        let mut step = |port, protocol| {
            let touched = catalog.apply(event_of("a", port, protocol), Duration::ZERO);
            kinds(&builder.build(&catalog, &touched.services))
        };
        let (http1, grpc) = (None, Some(Protocol::Grpc));
        assert_eq!(
            step(Some(1), grpc),
            ["+cds a", "+eds a", "+lds a", "+rds internal"]
        );
        assert_eq!(step(Some(2), grpc), ["+cds a", "+eds a"], "it is sent once");
        assert_eq!(
            step(Some(2), http1),
            [
                "+cds a",
                "+eds a",
                "-lds a",
                "+eds a for GrpcDrops",
                "+rds internal"
            ],
            "their endpoints stop those that drop calls"
        );
        assert_eq!(step(Some(3), http1), ["+cds a", "+eds a"], "once");
        assert_eq!(
            step(Some(3), Some(Protocol::Http2)),
            [
                "+cds a",
                "+eds a",
                "-eds a for GrpcDrops",
                "-eds a for Tonic",
                "-eds a for Grpc",
                "-lds a for Tonic",
                "-lds a for Grpc",
                "+lds a",
                "+rds internal"
            ]
        );
        assert_eq!(step(None, None), ["-eds a", "-cds a", "-lds a", "+rds internal"]);
    }

    #[test]
    fn what_differs_for_grpc_clients_comes_and_goes_with_the_reason() {
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network());
        let mut step = |health, port, protocol| {
            let mut event = event_of("a", port, protocol);
            if let What::Change(change) = &mut event.what {
                for (_, record) in &mut change.services {
                    for instance in record.iter_mut().flat_map(|r| &mut r.instances) {
                        instance.health = health;
                    }
                }
            }
            let touched = catalog.apply(event, Duration::ZERO);
            let kinds = kinds(&builder.build(&catalog, &touched.services));
            let own = kinds.into_iter().filter(|k| k.contains(" for "));
            own.collect::<Vec<String>>()
        };
        let (one, grpc) = (Some(1), Some(Protocol::Grpc));
        assert_eq!(step(Health::Healthy, one, grpc), [""; 0]);
        assert_eq!(
            step(Health::Draining, one, grpc),
            ["+eds a for GrpcDrops", "+eds a for Tonic", "+eds a for Grpc",]
        );
        assert_eq!(
            step(Health::Off, one, grpc),
            [
                "+eds a for GrpcDrops",
                "-eds a for Tonic",
                "-eds a for Grpc",
                "+lds a for Tonic",
                "+lds a for Grpc"
            ]
        );
        let none = [
            "-eds a for GrpcDrops",
            "-eds a for Tonic",
            "-eds a for Grpc",
            "-lds a for Tonic",
            "-lds a for Grpc",
        ];
        assert_eq!(step(Health::Healthy, one, grpc), none);
        assert_eq!(step(Health::Healthy, Some(2), grpc), [""; 0], "once");
        assert_eq!(step(Health::Off, one, grpc).len(), 3);
        assert_eq!(step(Health::Off, one, None).len(), 7, "no longer for them");
        assert_eq!(
            step(Health::Off, None, None).len(),
            6,
            "with the service goes what stopped them"
        );
    }

    #[test]
    fn endpoints_that_grpc_clients_cannot_receive_are_a_warning_until_they_fit() {
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network());
        let mut step = |instances: u32| {
            let mut event = event_of("a", Some(1), Some(Protocol::Grpc));
            if let What::Change(change) = &mut event.what
                && let Some(record) = &mut change.services[0].1
            {
                let one = record.instances[0].clone();
                record.instances = (0..instances)
                    .map(|n| Instance {
                        id: n.to_string().into(),
                        address: (std::net::Ipv4Addr::from(0x0a00_0000 + n), 8080).into(),
                        ..one.clone()
                    })
                    .collect();
            }
            let touched = catalog.apply(event, Duration::ZERO);
            drop(builder.build(&catalog, &touched.services));
            let issues = builder.issues().map(|i| format!("{}: {}", i.entry, i.reason));
            issues.collect::<Vec<String>>()
        };
        assert_eq!(step(1_000), [""; 0]);
        let [said] = &step(150_000)[..] else {
            panic!("one warning")
        };
        assert!(
            said.starts_with("a: its endpoints take") && said.contains("4 MiB"),
            "{said}"
        );
        assert_eq!(step(1_000), [""; 0]);
    }

    #[test]
    fn a_configured_listener_keeps_its_name() {
        let mut network = network();
        let listener = Listener::new(Bind::Internal, "internal".into());
        network.listeners.insert("a".into(), listener);
        let mut catalog = Catalog::new([("s".into(), None)]);
        let mut builder = Builder::new(network);
        let mut step = |port, protocol| {
            let touched = catalog.apply(event_of("a", port, protocol), Duration::ZERO);
            let updates = kinds(&builder.build(&catalog, &touched.services));
            let issues: Vec<String> = builder.issues().map(|i| i.reason.clone()).collect();
            (updates, issues)
        };
        let (updates, issues) = step(Some(1), Some(Protocol::Grpc));
        assert_eq!(
            updates,
            ["+cds a", "+eds a", "+lds a", "+rds a", "+rds internal"],
            "the operator's, once"
        );
        let [issue] = &issues[..] else {
            panic!("{issues:?}")
        };
        assert!(
            issue.contains("`xds:///a`") && issue.contains("[listeners.a]"),
            "{issue}"
        );
        let (updates, issues) = step(None, None);
        assert_eq!(updates, ["-eds a", "-cds a", "+rds a", "+rds internal"]);
        assert_eq!(issues, [""; 0]);
    }
}
