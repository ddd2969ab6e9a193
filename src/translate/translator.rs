//! From the steps of a plan to updates of resources. Pure: it remembers what it made of each host, so that a change
//! of one builds that one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::api_listener::{api_listener, stopped};
use super::cluster;
use super::endpoints::endpoints;
use super::listener::{Front, http3, listener, reach};
use super::near::near;
use super::route::Hosts;
use super::secret;
use super::tcp::Connections;
use super::{grpc, grpc::too_large};
use crate::model::{Code, Issue, Network, Place, Secret, Secrets, Traffic};
use crate::plan::{Key, Planned, Step};
use crate::xds::{Audience, Client, Draft, Kind, Reach, Update};

/// Makes Envoy's messages of what is planned.
#[derive(Debug)]
pub struct Translator {
    network: Arc<Network>,
    /// The hosts of each exposure.
    exposures: BTreeMap<Arc<str>, Hosts>,
    /// Who has which connections, by exposure.
    connections: BTreeMap<Arc<str>, Connections>,
    /// Who sees which service, where not everybody does.
    audiences: BTreeMap<Arc<str>, Arc<Audience>>,
    /// Services whose endpoints gRPC's clients cannot receive, with a sentence about it.
    oversized: BTreeMap<Arc<str>, Issue>,
    /// These have changed.
    news: bool,
    /// Listeners and route configurations that were made of the network.
    published: BTreeSet<(Kind, Arc<str>)>,
    /// The network is another one than at the last call, or there was none.
    renewed: bool,
    /// What is served for TLS.
    secrets: Secrets,
    /// What is to be served in its place.
    fresh_secrets: Option<Secrets>,
}

impl Translator {
    /// For this network.
    #[must_use]
    pub const fn new(network: Arc<Network>) -> Self {
        Self {
            network,
            exposures: BTreeMap::new(),
            connections: BTreeMap::new(),
            audiences: BTreeMap::new(),
            oversized: BTreeMap::new(),
            news: false,
            published: BTreeSet::new(),
            renewed: true,
            secrets: Secrets::new(),
            fresh_secrets: None,
        }
    }

    /// Translates for this network from now on. The next steps must be of a plan for it
    /// ([`crate::plan::Planner::set_network`]).
    pub fn set_network(&mut self, network: Arc<Network>) {
        self.network = network;
        self.renewed = true;
    }

    /// What files hold for TLS: served from the next call on.
    pub fn set_secrets(&mut self, secrets: Secrets) {
        self.fresh_secrets = Some(secrets);
    }

    /// What has changed of secrets; for another network all of them, as others may get them.
    /// True when keys of issuers of tokens are among it, which stand in listeners.
    fn secrets_changed(&mut self, renewed: bool, make: &mut impl FnMut(Update)) -> bool {
        let fresh = self.fresh_secrets.take();
        if fresh.is_none() && !renewed {
            return false;
        }
        let secrets = fresh.unwrap_or_else(|| self.secrets.clone());
        let before = std::mem::replace(&mut self.secrets, secrets);
        let names = |secrets: &Secrets| -> BTreeSet<Arc<str>> {
            let all = secrets.iter();
            all.flat_map(|(name, secret)| secret::names(name, secret))
                .collect()
        };
        for name in names(&before).difference(&names(&self.secrets)) {
            make(Update::Remove(Kind::Secret, name.clone()));
        }
        let changed = |(name, secret): &(&Arc<str>, &Secret)| renewed || before.get(*name) != Some(*secret);
        for (name, secret) in self.secrets.iter().filter(changed) {
            let drafts = secret::drafts(name, secret, &self.network);
            drafts.into_iter().map(Update::Put).for_each(&mut *make);
        }
        let keys = |secrets: &Secrets| -> Vec<_> {
            let all = secrets.iter();
            all.filter_map(|(name, secret)| Some((name.clone(), secret.jwks.clone()?)))
                .collect()
        };
        keys(&before) != keys(&self.secrets)
    }

    /// What is wrong with what was made, by service.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.oversized.values()
    }

    /// Makes the updates for these steps, one by one, and lets go of each step. The first call, and the first for
    /// another network, adds listeners and all route configurations, and removes those that the network no longer has.
    pub fn translate(&mut self, steps: Vec<Step>, mut make: impl FnMut(Update)) {
        let mut exposures: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut reconnected: BTreeSet<Arc<str>> = BTreeSet::new();
        let network = self.network.clone();
        let renewed = std::mem::take(&mut self.renewed);
        if renewed {
            // Before the steps: a service may own what has the name of a listener that is gone.
            let wanted = of_network(&network);
            let gone = self.published.difference(&wanted);
            gone.for_each(|(kind, name)| make(Update::Remove(*kind, name.clone())));
            self.published = wanted;
            self.exposures
                .retain(|name, _| network.exposures.contains_key(name));
            self.connections
                .retain(|name, _| network.exposures.contains_key(name));
        }
        let keys_changed = self.secrets_changed(renewed, &mut make);
        for step in steps {
            match step {
                Step::Seen { service, audience } => match audience {
                    Some(audience) => drop(self.audiences.insert(service, audience)),
                    None => drop(self.audiences.remove(&service)),
                },
                Step::Put(planned) => {
                    let update = self.put(&planned);
                    make(self.within_views(&planned.key().name, update));
                }
                Step::Remove(Key { kind, client, name }) => {
                    if (kind, client) == (Kind::Endpoints, Client::Envoy) {
                        self.note_size(&name, None);
                    }
                    make(match client {
                        Client::Envoy => Update::Remove(kind, name),
                        client => Update::RemoveFor(client, kind, name),
                    });
                }
                Step::Host {
                    exposure,
                    host,
                    claims,
                } if network.exposures.contains_key(&exposure) => {
                    if let Some(place) = Place::of_host(&host) {
                        let connections = self.connections.entry(exposure.clone()).or_default();
                        if connections.set(place, &claims) {
                            reconnected.insert(exposure);
                        }
                        continue;
                    }
                    let hosts = self.exposures.entry(exposure.clone()).or_default();
                    let has_views = !network.fleets.is_empty();
                    hosts.set(&host, &claims, has_views.then_some(&self.audiences));
                    exposures.insert(exposure);
                }
                Step::Host { .. } => {} // of an exposure that is gone, with its route configurations
            }
        }
        if renewed {
            exposures.extend(network.exposures.keys().cloned());
            reconnected.extend(network.exposures.keys().cloned());
        }
        let again = renewed || keys_changed;
        let listeners = network.listeners.iter();
        for (name, l) in listeners.filter(|(_, l)| again || reconnected.contains(&l.exposure)) {
            let connections = self.connections.entry(l.exposure.clone()).or_default();
            let exposure = network.exposures.get(&l.exposure);
            let front = Front::of(exposure, &self.secrets);
            if again && let Some(draft) = http3(name, l, &front) {
                make(Update::Put(draft));
            }
            match listener(name, l, exposure, &front, connections) {
                Some(draft) => make(Update::Put(draft)),
                None => make(Update::Remove(Kind::Listener, name.clone())),
            }
        }
        for exposure in &exposures {
            let hosts = self.exposures.entry(exposure.clone()).or_default();
            let trusted = network
                .exposures
                .get(exposure)
                .is_some_and(|exposure| exposure.filters.file_filters);
            for (name, reach) in configurations(&network, exposure) {
                let listener = network.listeners.get(name);
                let closed = !trusted && listener.is_none();
                let http3 = listener.and_then(|l| l.http3);
                let mut draft = hosts.draft(name, reach, http3, closed);
                draft.local = (!network.fleets.is_empty()).then(|| hosts.cut(&draft, http3, closed));
                make(Update::Put(draft));
            }
            hosts.cut_is_made();
        }
    }

    /// gRPC's clients cannot receive the endpoints of a service because of this; `None`: they can.
    fn note_size(&mut self, service: &Arc<str>, reason: Option<String>) {
        let issue = reason.map(|reason| Issue::warning(&**service, reason).of_kind(Code::TooLarge));
        if self.oversized.get(service) == issue.as_ref() {
            return;
        }
        self.news = true;
        match issue {
            Some(issue) => drop(self.oversized.insert(service.clone(), issue)),
            None => drop(self.oversized.remove(service)),
        }
    }

    /// Whether [`Self::issues`] has changed since this was last asked.
    pub const fn take_news(&mut self) -> bool {
        std::mem::replace(&mut self.news, false)
    }

    /// The same, for those only who see the service.
    fn within_views(&self, service: &Arc<str>, update: Update) -> Update {
        // Of a version: whoever sees the service.
        let of_version = || self.audiences.get(service.rsplit_once('@')?.0);
        let Some(audience) = self.audiences.get(service).or_else(of_version) else {
            return update;
        };
        let within = |draft: Draft| Draft {
            reach: match draft.reach {
                Reach::All => Reach::Views(audience.clone()),
                Reach::ByName => Reach::NamedInViews(audience.clone()),
                other => other,
            },
            ..draft
        };
        match update {
            Update::Put(draft) => Update::Put(within(draft)),
            Update::PutFor(client, draft) => Update::PutFor(client, within(draft)),
            other => other,
        }
    }

    fn put(&mut self, planned: &Planned) -> Update {
        let for_one = |client: &Client, draft: Draft| Update::PutFor(*client, draft);
        match planned {
            Planned::Cluster(name, settings) => Update::Put(cluster::cluster(name, settings)),
            Planned::ClusterFor(client, name, settings) => {
                for_one(client, cluster::proxyless::cluster(name, settings))
            }
            Planned::External(name, settings, external) => {
                Update::Put(super::external::cluster(name, settings, external))
            }
            Planned::Endpoints {
                service,
                on_all_unhealthy,
                api_listener,
                locality,
            } => {
                let draft = Draft {
                    local: near(service, *on_all_unhealthy, *locality, false),
                    ..endpoints(service, *on_all_unhealthy)
                };
                self.note_size(&service.name, too_large(&draft).filter(|_| *api_listener));
                Update::Put(draft)
            }
            Planned::EndpointsFor(client, service, callees, locality) => {
                for_one(client, grpc::endpoints(service, callees, *locality))
            }
            Planned::ApiListener(name, split) => Update::Put(api_listener(name, split.as_deref())),
            Planned::Stopped(client, name, split, why) => {
                for_one(client, stopped(name, split.as_deref(), why))
            }
        }
    }
}

/// One route configuration per listener, and one per exposure by its own name, for
/// listeners that stay in Envoy's file.
fn configurations<'a>(network: &'a Network, exposure: &'a Arc<str>) -> BTreeMap<&'a Arc<str>, Reach> {
    let listeners = &network.listeners;
    let named = listeners
        .iter()
        .filter(|(_, l)| l.exposure == *exposure && l.traffic == Traffic::Http);
    let mut configurations: BTreeMap<&Arc<str>, Reach> = named.map(|(n, l)| (n, reach(l))).collect();
    if !listeners.contains_key(exposure) {
        configurations.insert(exposure, Reach::All);
    }
    configurations
}

/// The resources that are there because the operator defines them.
fn of_network(network: &Network) -> BTreeSet<(Kind, Arc<str>)> {
    let routes = network.exposures.keys().flat_map(|e| configurations(network, e));
    let routes = routes.map(|(name, _)| (Kind::Route, name.clone()));
    let listeners = network
        .listeners
        .iter()
        .flat_map(|(name, l)| [Some(name.clone()), l.http3_name(name)])
        .flatten()
        .map(|name| (Kind::Listener, name));
    routes.chain(listeners).collect()
}
