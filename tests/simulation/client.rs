//! A client by the protocol: Envoy by delta or state of the world, and gRPC's own by state of the world. As strict as the
//! documents say: it warms clusters and keeps their ACK back meanwhile, asks for routes by the listeners that it has,
//! refuses culprits and keeps what it had of them, ignores the removal of endpoints and routes, and connects again with
//! what it holds. What it is sent is checked here, against what it was sent before.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    Claim, DeltaRequest, Kind, Node, PerKind, Request, Response, SotwRequest, Variant, Version,
};

use crate::checks::Drop;
use crate::contents::{Content, Library};
use crate::history::Manner;
use crate::rules::{Broken, RESPONSE};

/// How long a client waits for endpoints of a cluster that it warms.
pub(crate) const WARMING: Duration = Duration::from_secs(15);

type Name = Arc<str>;

/// One resource that a client has.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) version: Version,
    pub(crate) content: Rc<Content>,
    /// It was sent on this stream.
    pub(crate) fresh: bool,
}

/// What is known of one type on one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Type {
    pub(crate) asked: bool,
    nonce: String,
    /// State of the world: what was accepted last.
    version: String,
    names: BTreeSet<Name>,
    /// The answer that waits until everything is warm: a nonce, a version, an error.
    waiting: Option<(String, String, bool)>,
}

pub(crate) struct Client {
    pub(crate) manner: Manner,
    pub(crate) node: String,
    node_sent: bool,
    pub(crate) held: PerKind<BTreeMap<Name, Held>>,
    pub(crate) types: PerKind<Type>,
    /// Clusters that wait for endpoints, by the name of their assignment, and since when.
    pub(crate) warming: BTreeMap<Name, Duration>,
    /// What it refuses, until it is told otherwise.
    pub(crate) refused: PerKind<BTreeMap<Name, Version>>,
    pub(crate) refuses_next: bool,
    /// What a gRPC client dials.
    pub(crate) targets: BTreeSet<Name>,
    pub(crate) nonces: PerKind<BTreeSet<String>>,
    /// When it asked for routes last.
    pub(crate) asked_routes: Duration,
}

impl Client {
    pub(crate) fn new(number: u8, manner: Manner) -> Self {
        Self {
            manner,
            node: format!("client-{number}"),
            node_sent: false,
            held: PerKind::default(),
            types: PerKind::default(),
            warming: BTreeMap::new(),
            refused: PerKind::default(),
            refuses_next: false,
            targets: BTreeSet::new(),
            nonces: PerKind::default(),
            asked_routes: Duration::ZERO,
        }
    }

    pub(crate) const fn variant(&self) -> Variant {
        match self.manner {
            Manner::EnvoyDelta => Variant::Delta,
            Manner::EnvoySotw | Manner::GrpcSotw => Variant::Sotw,
        }
    }

    pub(crate) const fn is_envoy(&self) -> bool {
        !matches!(self.manner, Manner::GrpcSotw)
    }

    pub(crate) fn is_delta(&self) -> bool {
        self.variant() == Variant::Delta
    }

    /// It asks for this type by names.
    fn by_name(&self, kind: Kind) -> bool {
        !(self.is_envoy() && kind.legacy_wildcard())
    }

    pub(crate) fn refuses_something(&self) -> bool {
        Kind::ALL
            .into_iter()
            .any(|kind| !self.refused.get(kind).is_empty())
    }

    /// Takes from now on whatever it is sent.
    pub(crate) fn take_all(&mut self) {
        self.refused = PerKind::default();
        self.refuses_next = false;
    }

    fn node(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.node_sent, true);
        first.then(|| Node {
            id: self.node.clone(),
            cluster: "fleet".to_owned(),
            user_agent: if self.is_envoy() { "envoy" } else { "gRPC Go" }.to_owned(),
            ..Node::default()
        })
    }

    // ---- what it asks

    /// The requests of a new stream.
    pub(crate) fn open(&mut self, now: Duration) -> Vec<Request> {
        self.node_sent = false;
        self.nonces = PerKind::default();
        let warming = !self.warming.is_empty();
        self.warming.values_mut().for_each(|since| *since = now);
        for kind in Kind::ALL {
            self.held
                .get_mut(kind)
                .values_mut()
                .for_each(|held| held.fresh = false);
        }
        let types = std::mem::take(&mut self.types);
        for kind in Kind::ALL {
            self.types.get_mut(kind).names.clone_from(&types.get(kind).names);
        }
        let mut kinds = vec![Kind::Cluster];
        if self.is_envoy() {
            // An Envoy that was warming asks for endpoints first (docs/xds-rules.md, 41).
            let at = usize::from(!warming);
            kinds.insert(at.min(kinds.len()), Kind::Endpoints);
            if types.get(Kind::Listener).asked {
                kinds.extend([Kind::Listener, Kind::Route]);
            }
        } else {
            kinds = vec![Kind::Listener, Kind::Cluster, Kind::Endpoints];
            let names = &mut self.types.get_mut(Kind::Listener).names;
            names.clone_from(&self.targets);
        }
        kinds.retain(|kind| !(self.by_name(*kind) && self.types.get(*kind).names.is_empty()));
        kinds.into_iter().map(|kind| self.first(kind)).collect()
    }

    fn first(&mut self, kind: Kind) -> Request {
        self.types.get_mut(kind).asked = true;
        if !self.is_delta() {
            return self.sotw(kind, None);
        }
        let names = self
            .types
            .get(kind)
            .names
            .iter()
            .map(ToString::to_string)
            .collect();
        let claim = |(name, held): (&Name, &Held)| Claim {
            name: name.to_string(),
            version: held.version.to_string(),
        };
        let initial_versions = self.held.get(kind).iter().map(claim).collect();
        Request::Delta(DeltaRequest {
            node: self.node(),
            type_url: kind.type_url().to_owned(),
            subscribe: names,
            initial_versions,
            ..DeltaRequest::default()
        })
    }

    /// State of the world: all names, with the last answer or another one.
    fn sotw(&mut self, kind: Kind, error: Option<Error>) -> Request {
        let of = self.types.get(kind);
        let request = SotwRequest {
            version: of.version.clone(),
            names: of.names.iter().map(ToString::to_string).collect(),
            type_url: kind.type_url().to_owned(),
            nonce: of.nonce.clone(),
            error,
            node: None,
        };
        Request::Sotw(SotwRequest {
            node: self.node(),
            ..request
        })
    }

    /// Other names are wanted of a type.
    fn want(&mut self, kind: Kind, names: BTreeSet<Name>) -> Option<Request> {
        let of = self.types.get_mut(kind);
        if of.names == names || (names.is_empty() && !of.asked) {
            return None;
        }
        let before = std::mem::replace(&mut of.names, names);
        let of = self.types.get(kind);
        self.held.get_mut(kind).retain(|name, _| of.names.contains(name));
        self.refused
            .get_mut(kind)
            .retain(|name, _| of.names.contains(name));
        if !of.asked {
            return Some(self.first(kind));
        }
        if !self.is_delta() {
            return Some(self.sotw(kind, None));
        }
        let list = |one: &BTreeSet<Name>, other: &BTreeSet<Name>| -> Vec<String> {
            one.difference(other).map(ToString::to_string).collect()
        };
        Some(Request::Delta(DeltaRequest {
            type_url: kind.type_url().to_owned(),
            subscribe: list(&of.names, &before),
            unsubscribe: list(&before, &of.names),
            ..DeltaRequest::default()
        }))
    }

    /// A gRPC client dials something, or no longer: then it wants nothing of what only that led to.
    pub(crate) fn dial(&mut self, service: &str, on: bool) -> Vec<Request> {
        if self.is_envoy() || (!on && self.targets.len() < 2) {
            return Vec::new();
        }
        if on {
            self.targets.insert(service.into());
        } else {
            self.targets.remove(service);
        }
        if !self.types.get(Kind::Listener).asked {
            return Vec::new();
        }
        let targets = self.targets.clone();
        let mut requests: Vec<Request> = self.want(Kind::Listener, targets).into_iter().collect();
        requests.extend(self.after_listeners());
        requests
    }

    // ---- what it is sent

    /// Reads a response: what it answers, and which endpoints it has no longer by it.
    pub(crate) fn read(
        &mut self,
        response: &Response,
        library: &mut Library,
        now: Duration,
    ) -> Result<(Vec<Request>, Vec<Drop>), Broken> {
        self.check(response)?;
        let kind = response.kind;
        let bad = self.culprits(response);
        let before = self.held.get(kind).clone();
        let mut fresh: Vec<Name> = Vec::new();
        for resource in &response.resources {
            let content = library.read(kind, resource);
            if content.is_broken {
                return Err(Broken::new(
                    RESPONSE,
                    format!("{} cannot be decoded", resource.name),
                ));
            }
            if self.is_envoy() {
                self.has_clusters(kind, &resource.name, &content)?;
            }
            let is_wanted = || self.types.get(kind).names.contains(&resource.name);
            if bad.contains(&resource.name) || (self.by_name(kind) && !is_wanted()) {
                continue; // refused, or no longer asked for
            }
            let held = Held {
                version: resource.version,
                content,
                fresh: true,
            };
            let old = self.held.get_mut(kind).insert(resource.name.clone(), held);
            if old.is_none_or(|old| old.version != resource.version) {
                fresh.push(resource.name.clone());
            }
        }
        for name in self.gone(response) {
            self.held.get_mut(kind).remove(&name);
            if kind == Kind::Cluster {
                self.is_not_needed(&name)?;
            }
        }
        let drops = if kind == Kind::Endpoints {
            self.drops(&before)
        } else {
            Vec::new()
        };
        Ok((self.follow(response, &fresh, !bad.is_empty(), now), drops))
    }

    /// Which of a response it refuses.
    fn culprits(&mut self, response: &Response) -> BTreeSet<Name> {
        let kind = response.kind;
        let refusable = matches!(kind, Kind::Cluster | Kind::Listener | Kind::Route);
        if refusable && self.is_envoy() && self.refuses_next {
            let known = self.held.get(kind);
            let new = |name: &Name, version| known.get(name).is_none_or(|held| held.version != version);
            let culprit = response.resources.iter().find(|r| new(&r.name, r.version));
            if let Some(culprit) = culprit {
                self.refuses_next = false;
                self.refused
                    .get_mut(kind)
                    .insert(culprit.name.clone(), culprit.version);
            }
        }
        let (refused, held) = (self.refused.get_mut(kind), self.held.get(kind));
        let mut bad = BTreeSet::new();
        for resource in &response.resources {
            let is_held = || {
                held.get(&resource.name)
                    .is_some_and(|held| held.version == resource.version)
            };
            match refused.get(&resource.name) {
                Some(version) if *version == resource.version => drop(bad.insert(resource.name.clone())),
                // What it has already says nothing about what it refused.
                Some(_) if !is_held() => drop(refused.remove(&resource.name)),
                _ => {}
            }
        }
        bad
    }

    /// What a response says is gone, as far as this client takes it.
    fn gone(&self, response: &Response) -> Vec<Name> {
        let kind = response.kind;
        let ignored = matches!(kind, Kind::Endpoints | Kind::Route);
        if self.is_delta() {
            let removed = response.removed.iter().filter(|_| !ignored);
            return removed.cloned().collect();
        }
        if kind.full_state() {
            let named: BTreeSet<&Name> = response.resources.iter().map(|r| &r.name).collect();
            let held = self.held.get(kind).keys();
            return held.filter(|name| !named.contains(name)).cloned().collect();
        }
        let missing = response.missing.iter().filter(|_| !self.is_envoy());
        missing.map(|missing| missing.name.clone()).collect()
    }

    /// What it says to a response: what it wants now, and its answer.
    fn follow(&mut self, response: &Response, fresh: &[Name], nack: bool, now: Duration) -> Vec<Request> {
        let kind = response.kind;
        let mut requests = Vec::new();
        if kind == Kind::Cluster {
            let clusters = self.held.get(Kind::Cluster);
            let follows = |name: &Name| Some(clusters.get(name)?.content.follows.as_deref()?.into());
            let waiting: Vec<Name> = fresh.iter().filter_map(follows).collect();
            let wanted: BTreeSet<Name> = clusters.keys().filter_map(follows).collect();
            self.warming.retain(|name, _| wanted.contains(name));
            for name in waiting.iter().cloned() {
                self.warming.insert(name, now);
            }
            let asked = self.want(Kind::Endpoints, wanted);
            let again = asked.is_none() && !waiting.is_empty() && !self.is_delta() && self.is_envoy();
            requests.extend(asked);
            if again {
                // Envoy asks again for the endpoints of clusters that it warms (docs/xds-rules.md, 27).
                requests.push(self.sotw(Kind::Endpoints, None));
            }
        }
        if kind == Kind::Endpoints {
            for resource in &response.resources {
                self.warming.remove(&resource.name);
            }
            for missing in &response.missing {
                self.warming.remove(&missing.name);
            }
        }
        let version = response.version.clone();
        self.types.get_mut(kind).waiting = Some((response.nonce.clone(), version, nack));
        if kind != Kind::Cluster {
            requests.extend(self.answer(kind));
        }
        if kind == Kind::Listener {
            let more = self.after_listeners();
            if !more.is_empty() {
                self.asked_routes = now;
            }
            requests.extend(more);
        }
        requests.extend(self.warm());
        requests
    }

    /// Once nothing is warming: the answer that waited, and what an Envoy asks for next.
    pub(crate) fn warm(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        // gRPC's own clients answer at once.
        if self.warming.is_empty() || !self.is_envoy() {
            requests.extend(self.answer(Kind::Cluster));
            if self.is_envoy() && self.types.get(Kind::Cluster).asked && !self.types.get(Kind::Listener).asked
            {
                requests.push(self.first(Kind::Listener));
            }
        }
        requests
    }

    fn after_listeners(&mut self) -> Vec<Request> {
        let listeners = self.held.get(Kind::Listener);
        if self.is_envoy() {
            let routes = listeners.values().flat_map(|held| &held.content.routes);
            let wanted = routes.map(|name| name.as_str().into()).collect();
            return self.want(Kind::Route, wanted).into_iter().collect();
        }
        let clusters = listeners.values().flat_map(|held| &held.content.clusters);
        let wanted: BTreeSet<Name> = clusters.map(|name| name.as_str().into()).collect();
        let mut requests: Vec<Request> = self.want(Kind::Cluster, wanted.clone()).into_iter().collect();
        let assignments = wanted
            .into_iter()
            .filter(|name| self.held.get(Kind::Cluster).contains_key(name));
        let assignments = assignments.collect();
        requests.extend(self.want(Kind::Endpoints, assignments));
        requests
    }

    fn answer(&mut self, kind: Kind) -> Option<Request> {
        let of = self.types.get_mut(kind);
        let (nonce, version, nack) = of.waiting.take()?;
        let error = nack.then(|| Error {
            code: 13,
            message: "it does not take that".to_owned(),
        });
        if self.is_delta() {
            return Some(Request::Delta(DeltaRequest {
                type_url: kind.type_url().to_owned(),
                nonce,
                error,
                ..DeltaRequest::default()
            }));
        }
        let of = self.types.get_mut(kind);
        of.nonce = nonce;
        if error.is_none() {
            of.version = version;
        }
        Some(self.sotw(kind, error))
    }

    /// What it does not take at present.
    pub(crate) fn is_refused(&self, kind: Kind, name: &str) -> bool {
        self.refused.get(kind).contains_key(name)
    }

    /// A listener of it has no routes yet.
    pub(crate) fn without_routes(&self) -> Option<&String> {
        let listeners = self.held.get(Kind::Listener).values();
        let mut routes = listeners.flat_map(|held| &held.content.routes);
        routes.find(|name| !self.held.get(Kind::Route).contains_key(name.as_str()))
    }
}
