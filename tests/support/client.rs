//! One client of the model: what it wants, holds, refuses and answers. What it is
//! promised is in promises.rs.

#![allow(unreachable_pub, dead_code, reason = "compiled into each test on its own")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise ends the history"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    Changed, Claim, DeltaRequest, Kind, Limits, PerKind, Resource, Response, SotwRequest, Stream, Variant,
};

use super::model::{Held, Request, content, is_bad, node, stream, variant};

/// Whose manners a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Ignores the removal of endpoints and routes.
    EnvoyDelta,
    EnvoySotw,
    /// Drops what it is told to be missing.
    GrpcSotw,
    GrpcDelta,
}

/// What is wanted of a type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Want {
    pub requested: bool,
    pub wildcard: bool,
    pub names: BTreeSet<String>,
}

pub struct Client {
    pub id: u32,
    pub habit: Habit,
    pub stream: Stream,
    pub began: Duration,
    pub mail: Changed,
    pub inbox: VecDeque<Response>,
    pub refuse_next: bool,
    /// Time went by while something was outstanding: order may be broken by a gate.
    pub hurried: bool,
    /// Asked for on this stream.
    pub asked: PerKind<bool>,
    pub want: PerKind<Want>,
    /// As read: name → version.
    pub held: Held,
    /// As sent, read or not: name → content (`None`: empty).
    pub sent: PerKind<BTreeMap<String, (String, Option<u8>)>>,
    pub nonces: PerKind<Vec<String>>,
    /// The nonce of the last response that was read.
    pub answered: PerKind<String>,
    /// Refused alone; and refused in a batch, to come once more alone.
    pub refused: PerKind<BTreeMap<String, String>>,
    pub suspect: PerKind<BTreeMap<String, String>>,
    pub excused: PerKind<BTreeMap<String, String>>,
    /// Gone at the server since it was sent.
    pub deleted: PerKind<BTreeSet<String>>,
    /// State of the world: the last set that was refused.
    pub refused_set: PerKind<Option<String>>,
    /// State of the world: the last set that was accepted on this stream, name → version.
    pub good: PerKind<BTreeMap<String, String>>,
    /// State of the world: nonces of sets that are on their way, and what was unsubscribed since. The server cannot
    /// know that the client takes it, even if it is subscribed to again.
    pub crossed: BTreeSet<(String, String)>,
    /// State of the world: the last set was refused although it only lacked something. The same one does not come
    /// again (rule 12).
    pub kept: PerKind<bool>,
    /// State of the world: a set was refused since.
    pub doubting: PerKind<bool>,
    /// State of the world: refused ones whose content was another one since.
    pub moved: PerKind<BTreeSet<String>>,
    /// Clusters whose endpoints have to follow.
    pub follow: BTreeSet<String>,
    pub node_sent: bool,
}

impl Client {
    pub fn new(id: u32, habit: Habit, limits: Limits) -> Self {
        Self {
            id,
            habit,
            stream: stream(habit, limits),
            began: Duration::ZERO,
            mail: Changed::default(),
            inbox: VecDeque::new(),
            refuse_next: false,
            hurried: false,
            asked: PerKind::default(),
            want: PerKind::default(),
            held: Held::default(),
            sent: PerKind::default(),
            nonces: PerKind::default(),
            answered: PerKind::default(),
            refused: PerKind::default(),
            suspect: PerKind::default(),
            excused: PerKind::default(),
            deleted: PerKind::default(),
            refused_set: PerKind::default(),
            good: PerKind::default(),
            kept: PerKind::default(),
            crossed: BTreeSet::new(),
            doubting: PerKind::default(),
            moved: PerKind::default(),
            follow: BTreeSet::new(),
            node_sent: false,
        }
    }

    pub fn delta(&self) -> bool {
        variant(self.habit) == Variant::Delta
    }

    fn envoy(&self) -> bool {
        matches!(self.habit, Habit::EnvoyDelta | Habit::EnvoySotw)
    }

    fn node(&mut self) -> Option<xds_bridge::xds::Node> {
        let first = !std::mem::replace(&mut self.node_sent, true);
        first.then(|| node(if self.envoy() { "envoy" } else { "gRPC Go" }))
    }

    // ---- what it says

    fn delta_request(&mut self, kind: Kind) -> DeltaRequest {
        DeltaRequest {
            node: self.node(),
            type_url: kind.type_url().into(),
            ..DeltaRequest::default()
        }
    }

    /// The whole list, with the last nonce.
    fn sotw_request(&mut self, kind: Kind, nonce: String) -> SotwRequest {
        let want = self.want.get(kind);
        let mut names: Vec<String> = want.names.iter().cloned().collect();
        if want.wildcard {
            names.push("*".into());
        }
        SotwRequest {
            node: self.node(),
            type_url: kind.type_url().into(),
            names,
            nonce,
            ..SotwRequest::default()
        }
    }

    fn current(&mut self, kind: Kind) -> Request {
        let nonce = self.answered.get(kind).clone();
        Request::Sotw(self.sotw_request(kind, nonce))
    }

    /// Wants this too; `false`: nothing to be said.
    fn more(&mut self, kind: Kind, list: &[String]) -> bool {
        let legacy = list.is_empty() && !self.want.get(kind).requested && kind.legacy_wildcard();
        if legacy && !self.delta() {
            return false; // the scripts say it; here each list is explicit
        }
        let want = self.want.get_mut(kind);
        want.requested = true;
        // No client asks state of the world for all endpoints or routes: nothing could say what is gone.
        let star = variant(self.habit) == Variant::Delta || kind.full_state();
        want.wildcard |= legacy || (star && list.iter().any(|n| n == "*"));
        want.names.extend(list.iter().filter(|n| *n != "*").cloned());
        true
    }

    pub fn subscribe(&mut self, kind: Kind, list: Vec<String>) -> Option<Request> {
        if !self.more(kind, &list) {
            return None;
        }
        if self.delta() {
            // Asked for again: sent again, also what was refused in a batch.
            for name in &list {
                self.suspect.get_mut(kind).remove(name);
            }
            let mut request = self.delta_request(kind);
            request.subscribe = list;
            return Some(Request::Delta(request));
        }
        Some(self.current(kind))
    }

    pub fn unsubscribe(&mut self, kind: Kind, list: &[String]) -> Option<Request> {
        if !self.want.get(kind).requested {
            return None;
        }
        let want = self.want.get_mut(kind);
        for name in list {
            if name == "*" {
                want.wildcard = false;
            }
            want.names.remove(name);
        }
        self.drop_unwanted(kind);
        if self.delta() {
            let mut request = self.delta_request(kind);
            request.unsubscribe = list.to_vec();
            return Some(Request::Delta(request));
        }
        Some(self.current(kind))
    }

    /// State of the world: with an empty nonce, as after a restart of the client's watch.
    pub fn anew(&mut self, kind: Kind, list: Vec<String>) -> Option<Request> {
        if self.delta() {
            return self.subscribe(kind, list);
        }
        if !self.more(kind, &list) {
            return None;
        }
        self.suspect.get_mut(kind).clear();
        Some(Request::Sotw(self.sotw_request(kind, String::new())))
    }

    /// Answers something that was answered long ago.
    pub fn stale(&mut self, kind: Kind) -> Option<Request> {
        let nonces = self.nonces.get(kind);
        let outstanding = |nonce: &&String| self.inbox.iter().all(|r| r.nonce != **nonce);
        let old = nonces.iter().rev().skip(1).find(outstanding)?.clone();
        if self.delta() {
            let mut request = self.delta_request(kind);
            request.nonce = old;
            return Some(Request::Delta(request));
        }
        Some(Request::Sotw(self.sotw_request(kind, old)))
    }

    /// A new stream that asks for all it wanted. `how`: bit 0 wrong claims, bit 1 endpoints first.
    pub fn reconnect(&mut self, how: u8, limits: Limits, now: Duration) -> Vec<Request> {
        let old = std::mem::replace(self, Self::new(self.id, self.habit, limits));
        self.began = now;
        self.want = old.want.clone();
        self.held = old.held;
        let mut kinds = Kind::ALL.to_vec();
        if how & 2 != 0 {
            kinds.rotate_left(1);
        }
        let mut requests = Vec::new();
        for kind in kinds {
            let want = self.want.get(kind).clone();
            if !want.requested {
                continue;
            }
            if !want.wildcard && want.names.is_empty() {
                // Nothing is wanted any more: an empty first request would mean everything.
                self.want.get_mut(kind).requested = false;
                continue;
            }
            if !self.delta() {
                if want.wildcard && !kind.full_state() {
                    // No message can tell it what went meanwhile; no client of that kind is known.
                    self.held.get_mut(kind).clear();
                }
                requests.push(Request::Sotw(self.sotw_request(kind, String::new())));
                continue;
            }
            let mut request = self.delta_request(kind);
            request.subscribe = want.names.iter().cloned().collect();
            if want.wildcard {
                request.subscribe.push("*".into());
            }
            if how & 1 != 0 {
                if want.wildcard && kind.legacy_wildcard() {
                    self.held.get_mut(kind).insert("ghost".into(), "0".into());
                }
                for version in self.held.get_mut(kind).values_mut() {
                    "old".clone_into(version);
                }
            }
            let claim = |(name, version): (&String, &String)| Claim {
                name: name.clone(),
                version: version.clone(),
            };
            request.initial_versions = self.held.get(kind).iter().map(claim).collect();
            if how & 4 != 0 {
                request.initial_versions.clear();
                self.held.get_mut(kind).clear();
            }
            let claimed: Vec<String> = self.held.get(kind).keys().cloned().collect();
            for name in claimed {
                self.sent.get_mut(kind).insert(name, (String::new(), None));
            }
            requests.push(Request::Delta(request));
        }
        requests
    }

    fn drop_unwanted(&mut self, kind: Kind) {
        let want = self.want.get(kind).clone();
        if want.wildcard {
            return;
        }
        if self.sent.get(kind).keys().any(|name| !want.names.contains(name)) {
            *self.refused_set.get_mut(kind) = None;
        }
        self.held.get_mut(kind).retain(|n, _| want.names.contains(n));
        self.sent.get_mut(kind).retain(|n, _| want.names.contains(n));
        self.good.get_mut(kind).retain(|n, _| want.names.contains(n));
        for response in self.inbox.iter().filter(|response| response.kind == kind) {
            let names = response.resources.iter().map(|r| r.name.to_string());
            let dropped = names.filter(|name| !want.names.contains(name));
            self.crossed
                .extend(dropped.map(|name| (response.nonce.clone(), name)));
        }
        self.refused.get_mut(kind).retain(|n, _| want.names.contains(n));
        self.suspect.get_mut(kind).retain(|n, _| want.names.contains(n));
        if kind == Kind::Endpoints {
            self.follow.retain(|n| want.names.contains(n));
        }
    }

    // ---- what it does with a response

    pub fn read(&mut self, response: &Response) -> Request {
        let kind = response.kind;
        let newest = self.nonces.get(kind).last() == Some(&response.nonce);
        let empties = response.resources.iter().any(|r| content(r).is_none());
        let any = !response.resources.is_empty() && !empties && (newest || self.delta());
        let whim = any && std::mem::take(&mut self.refuse_next);
        let bad: Vec<&str> = response
            .resources
            .iter()
            .filter(|r| is_bad(content(r)))
            .map(|r| &*r.name)
            .collect();
        let nack = whim || !bad.is_empty();
        let full = !self.delta() && kind.full_state();
        let want = self.want.get(kind).clone();
        let wanted = |name: &str| want.wildcard || want.names.contains(name);
        let held = self.held.get_mut(kind);
        if full && !nack {
            held.clear();
            if newest {
                *self.doubting.get_mut(kind) = false;
                let all = response.resources.iter();
                let mut good: BTreeMap<_, _> =
                    all.map(|r| (r.name.to_string(), r.version.to_string())).collect();
                good.retain(|name, _| !self.crossed.contains(&(response.nonce.clone(), name.clone())));
                *self.good.get_mut(kind) = good;
            }
        }
        for resource in &response.resources {
            if wanted(&resource.name) && !whim && !bad.contains(&&*resource.name) {
                held.insert(resource.name.to_string(), resource.version.to_string());
                if content(resource).is_none() {
                    held.remove(&*resource.name); // nothing in it
                }
                let version = resource.version.to_string();
                let refused = self.refused.get(kind).get(&*resource.name);
                if !nack && (!full || refused == Some(&version)) {
                    // Sent twice, refused once and then accepted: the last word counts.
                    self.refused.get_mut(kind).remove(&*resource.name);
                }
            }
        }
        let keeps = matches!(self.habit, Habit::EnvoyDelta) && matches!(kind, Kind::Endpoints | Kind::Route);
        for name in response.removed.iter().filter(|_| !keeps) {
            held.remove(&**name);
        }
        for name in &response.missing {
            held.remove(&*name.name);
        }
        if nack {
            self.refuse(response, full, newest);
        }
        let error = nack.then(|| Error {
            code: 13,
            message: "bad".into(),
        });
        let nonce = response.nonce.clone();
        self.answered.get_mut(kind).clone_from(&nonce);
        if self.delta() {
            let request = self.delta_request(kind);
            return Request::Delta(DeltaRequest {
                nonce,
                error,
                ..request
            });
        }
        let request = self.sotw_request(kind, nonce);
        Request::Sotw(SotwRequest { error, ..request })
    }

    fn refuse(&mut self, response: &Response, full: bool, newest: bool) {
        let kind = response.kind;
        if full {
            if newest {
                let want = self.want.get(kind);
                let wanted = |r: &Arc<Resource>| want.wildcard || want.names.contains(&*r.name);
                let is_whole = response.resources.iter().all(wanted);
                *self.refused_set.get_mut(kind) = is_whole.then(|| response.version.clone());
                *self.doubting.get_mut(kind) = true;
                let good = self.good.get(kind);
                let new = |r: &&Arc<Resource>| good.get(&*r.name).is_none_or(|v| *v != r.version.to_string());
                let news: Vec<_> = response.resources.iter().filter(new).collect();
                *self.kept.get_mut(kind) = news.is_empty();
                if let [one] = news[..]
                    && wanted(one)
                {
                    let (name, version) = (one.name.to_string(), one.version.to_string());
                    self.moved.get_mut(kind).remove(&name);
                    self.refused.get_mut(kind).insert(name, version);
                }
            }
            return;
        }
        if !self.delta() && !newest {
            // A refusal that is stale when it arrives: the server may repeat it, or not.
            let stale = response
                .resources
                .iter()
                .map(|r| (r.name.to_string(), r.version.to_string()));
            self.excused.get_mut(kind).extend(stale);
            return;
        }
        let want = self.want.get(kind).clone();
        for resource in &response.resources {
            let (name, version) = (resource.name.to_string(), resource.version.to_string());
            let sent = self.sent.get(kind).get(&name).map(|(v, _)| v);
            if !(want.wildcard || want.names.contains(&name)) || sent.is_some_and(|sent| *sent != version) {
                continue; // no longer wanted, or something newer is on its way
            }
            if response.resources.len() > 1 {
                if !self.deleted.get(kind).contains(&name) {
                    self.suspect.get_mut(kind).insert(name, version);
                }
            } else {
                self.refused.get_mut(kind).insert(name, version);
            }
        }
    }
}
