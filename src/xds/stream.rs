//! One discovery stream without I/O: requests and changed names go in, responses
//! come out. The caller gives the time (since the stream began) and the newest
//! generation.
//!
//! Rules are numbered as in docs/xds-rules.md. What this file never does: block,
//! read a clock, or keep a queue of old states for a slow client.

use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::client::Client;
use super::generation::{Changed, Generation};
use super::ids::{NameId, set};
use super::kind::{Kind, PerKind};
use super::names::Names;
use super::request::{DeltaRequest, Error, Node, SotwRequest};
use super::resource::Version;
use super::subscription::{Flight, Subscription};
use super::variant::Variant;

mod answer;
mod delta;
mod doubts;
mod sotw;
mod whole;

pub(super) use doubts::Doubts;

/// Bounds for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names per type.
    pub names: usize,
    /// Bytes of names, of all types.
    pub name_bytes: usize,
    /// A response is split before it grows beyond so many bytes (gRPC clients refuse 4 MiB).
    pub response_bytes: usize,
    /// What waits for another type goes out after this, come what may.
    pub gate: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names: 200_000,
            name_bytes: 32 << 20,
            response_bytes: 3_500_000,
            gate: Duration::from_secs(10),
        }
    }
}

/// The longest part of a node, bytes: it is kept as long as the stream lives, and stands in each of its
/// log lines. The same for a name that is not answered by the end of the stream.
pub const MAX_TEXT: usize = 4096;

/// What is served has names of 200 bytes at the most: nothing of a longer name is stored.
pub const MAX_NAME: usize = 512;

/// So many bytes of names that are too long for anything are answered by a removal.
const TOO_LONG: usize = 16 << 10;

/// Why a stream ends with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Rule 2.
    #[error("the first request of a stream must carry the node")]
    NoNode,
    /// Rule 3.
    #[error("a request on the aggregated service needs a type_url")]
    NoType,
    /// Rule 3.
    #[error("this service serves {wanted} only, not {got}")]
    WrongType {
        /// What the service is for.
        wanted: &'static str,
        /// What was asked for.
        got: String,
    },
    /// [`MAX_TEXT`]
    #[error("{what} is longer than {MAX_TEXT} bytes")]
    TooLong {
        /// A name, or a part of the node.
        what: &'static str,
    },
    /// A bound of [`Limits`].
    #[error("more than {limit} names of one type on one stream")]
    TooManyNames {
        /// The bound.
        limit: usize,
    },
    /// A bound of [`Limits`].
    #[error("more than {limit} bytes of names on one stream")]
    TooManyBytes {
        /// The bound.
        limit: usize,
    },
    /// Of all streams together.
    #[error("too many names that nobody serves, on all streams together")]
    Full,
}

/// What a request meant, for the index, logs and metrics.
#[derive(Debug, Default)]
pub struct Heard {
    /// The type, where it is one of ours.
    pub kind: Option<Kind>,
    /// Now subscribed by name.
    pub subscribed: RoaringBitmap,
    /// No longer subscribed by name. A number in both came to mean another name meanwhile.
    pub unsubscribed: RoaringBitmap,
    /// The wildcard was taken or given up.
    pub wildcard: Option<bool>,
    /// The client refused a response.
    pub nack: Option<Nack>,
    /// The client accepted a response.
    pub ack: bool,
    /// What was in it.
    pub accepted: Vec<(NameId, Version)>,
    /// A type that is not served here; the stream goes on (rule 4).
    pub unknown_type: Option<String>,
}

/// A refusal by the client.
#[derive(Debug)]
pub struct Nack {
    /// Its own words.
    pub message: String,
    /// How many resources the refused response carried.
    pub resources: usize,
    /// What is refused, where the response carried just one new resource.
    pub only: Option<(NameId, Version)>,
    /// The name of that, while its number still means it.
    pub name: Option<Arc<str>>,
}

/// The state of one stream; bounded by its subscriptions.
#[derive(Debug)]
pub struct Stream {
    variant: Variant,
    /// The only type of a per-type service.
    only: Option<Kind>,
    limits: Limits,
    node: Option<Arc<Node>>,
    /// By what the node says.
    client: Client,
    types: PerKind<Subscription>,
    nonce: u64,
    /// Clusters were asked for before endpoints: the client is not stuck in warming (rule 41).
    clusters_first: bool,
}

impl Stream {
    /// A stream of the aggregated service, or of the per-type service `only`.
    #[must_use]
    pub fn new(variant: Variant, only: Option<Kind>, limits: Limits) -> Self {
        Self {
            variant,
            only,
            limits,
            node: None,
            client: Client::default(),
            types: PerKind::default(),
            nonce: 0,
            clusters_first: false,
        }
    }

    /// The client, once it has said who it is.
    #[must_use]
    pub const fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Names that other parts must forget when the stream ends: all subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Kind, NameId)> + '_ {
        self.types
            .iter()
            .flat_map(|(kind, sub)| sub.names.iter().map(move |id| (kind, id)))
    }

    /// Gives back all that this stream asked for, at its end.
    pub fn leave(&self, names: &mut Names) {
        for (_, sub) in self.types.iter() {
            for id in sub
                .names
                .iter()
                .chain(&sub.unknown)
                .chain(sub.given_up.iter().copied())
            {
                let _ = names.release(id);
            }
        }
    }

    /// Which of these numbers, whose resources are gone, this stream still needs; see [`Names::begin_sweep`].
    pub fn keeps(&mut self, leaving: &RoaringBitmap) -> RoaringBitmap {
        let mut kept = RoaringBitmap::new();
        for kind in Kind::ALL {
            kept |= self.types.get_mut(kind).keeps(leaving);
        }
        kept
    }

    /// Gives back the numbers of names whose removal was sent.
    fn give_back(&mut self, names: &mut Names) {
        for kind in Kind::ALL {
            for id in std::mem::take(&mut self.types.get_mut(kind).given_up) {
                let _ = names.release(id);
            }
        }
    }

    /// Refuses names of a type when the table of names is full and this stream has had its share of it.
    /// `besides`: the types whose present names stay beside them.
    fn within_share<'a>(
        &self,
        names: &Names,
        besides: impl Fn(Kind) -> bool,
        wanted: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Refusal> {
        let new = wanted.clone().filter(|name| names.find(name).is_none());
        let new = new.map(|name| Names::cost(name.len())).sum();
        let own = || {
            let known = wanted.filter_map(|name| names.find(name));
            let known: usize = known.map(|id| names.cost_of(id)).sum();
            Kind::ALL
                .into_iter()
                .filter(|kind| besides(*kind))
                .map(|kind| self.unserved(kind, names))
                .fold(new + known, usize::saturating_add)
        };
        if names.admits(new, own) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// What the names of a type that nobody serves take in the table of names.
    fn unserved(&self, kind: Kind, names: &Names) -> usize {
        let sub = self.types.get(kind);
        let all = sub.names.iter().chain(&sub.unknown);
        all.map(|id| names.cost_of(id)).sum()
    }

    /// Types whose wildcard is subscribed to.
    pub fn wildcards(&self) -> impl Iterator<Item = Kind> + '_ {
        self.types
            .iter()
            .filter(|(_, sub)| sub.wildcard)
            .map(|(kind, _)| kind)
    }

    /// These names changed; what concerns this stream is looked at by the next [`Self::next`].
    pub fn mark(&mut self, changed: &Changed) {
        for (kind, names) in changed.iter() {
            if !names.is_empty() && self.types.get(kind).requested {
                self.types.get_mut(kind).dirty |= names;
            }
        }
    }

    /// Responses the client has not answered yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.types.iter().map(|(_, sub)| sub.flight.len()).sum()
    }

    fn fleet(&self) -> &str {
        self.node.as_ref().map_or("", |node| node.cluster.as_str())
    }

    /// gRPC's own clients understand removals, and take an empty resource for a real one.
    fn is_envoy(&self) -> bool {
        self.client == Client::Envoy
    }

    /// Rules 2 to 4: who and which type. `None`: a type that is not ours.
    fn admit(&mut self, node: Option<Node>, type_url: &str) -> Result<Option<Kind>, Refusal> {
        if self.node.is_none() {
            let node = node.ok_or(Refusal::NoNode)?;
            short("the node", [&node.id, &node.cluster, &node.user_agent])?;
            self.client = Client::of(&node.user_agent);
            self.node = Some(Arc::new(node));
        }
        let kind = Kind::parse(type_url);
        match self.only {
            Some(only) if type_url.is_empty() || kind == Some(only) => Ok(Some(only)),
            Some(only) => Err(Refusal::WrongType {
                wanted: only.type_url(),
                got: shown(type_url),
            }),
            None if type_url.is_empty() => Err(Refusal::NoType),
            None => Ok(kind),
        }
    }

    /// Rule 41, the first request of a type.
    fn first_request(&mut self, kind: Kind) {
        self.types.get_mut(kind).requested = true;
        if kind == Kind::Cluster && !self.types.get(Kind::Endpoints).requested {
            self.clusters_first = true;
        }
    }

    fn within_limits(&self, names: usize) -> Result<(), Refusal> {
        if names > self.limits.names {
            return Err(Refusal::TooManyNames {
                limit: self.limits.names,
            });
        }
        Ok(())
    }

    /// Whether so many bytes of names of a type, beside those of the others, are within the bound.
    fn within_bytes(&self, kind: Kind, bytes: usize) -> Result<(), Refusal> {
        let others = self.types.iter().filter(|(other, _)| *other != kind);
        let others: usize = others.map(|(_, sub)| sub.name_bytes).sum();
        let limit = self.limits.name_bytes;
        if others.saturating_add(bytes) > limit {
            return Err(Refusal::TooManyBytes { limit });
        }
        Ok(())
    }

    /// Subscribes to names; returns all of them, and those that are new.
    fn subscribe<'a>(
        &mut self,
        kind: Kind,
        list: impl Iterator<Item = &'a str>,
        names: &mut Names,
        heard: &mut Heard,
    ) -> (RoaringBitmap, RoaringBitmap) {
        let mut ids: Vec<NameId> = list.map(|name| names.ask(name)).collect();
        ids.sort_unstable();
        let sub = self.types.get_mut(kind);
        let mut before = None;
        for id in &ids {
            if before.replace(*id) == Some(*id) || sub.names.contains(*id) {
                let _ = names.release(*id); // counted once per stream and type
            }
        }
        let all = set(ids);
        let new = &all - &sub.names;
        sub.name_bytes += new.iter().map(|id| names.len_of(id)).sum::<usize>();
        sub.names |= &new;
        sub.names.optimize();
        heard.subscribed |= &new;
        sub.known(&all);
        (all, new)
    }

    /// Drops a subscription by name.
    fn unsubscribe(&mut self, kind: Kind, id: NameId, names: &mut Names, heard: &mut Heard) -> Dropped {
        let sub = self.types.get_mut(kind);
        if !sub.names.remove(id) {
            return Dropped::WasNone;
        }
        heard.unsubscribed.insert(id);
        heard.subscribed.remove(id);
        sub.name_bytes = sub.name_bytes.saturating_sub(names.len_of(id));
        let forgotten = names.release(id);
        if forgotten || !sub.wildcard {
            sub.forget(id);
        }
        if !sub.wildcard {
            Dropped::Gone
        } else if forgotten {
            Dropped::Unknown
        } else {
            Dropped::UnderWildcard
        }
    }

    fn nack(error: &Error, flight: &Flight) -> Nack {
        Nack {
            message: error.message.clone(),
            resources: flight.names.len(),
            only: flight.only,
            name: None,
        }
    }

    /// What this client thinks of a version: `None` when it has not tried it, or not answered.
    #[must_use]
    pub fn opinion(&self, generation: &Generation, kind: Kind, id: NameId, version: Version) -> Option<bool> {
        let sub = self.types.get(kind);
        if sub.refused.get(&id) == Some(&version) {
            return Some(false);
        }
        let present = generation
            .get_as(self.client, kind, id)
            .is_some_and(|r| r.version == version);
        let doubted = sub.suspects.contains(id) || sub.doubts.waits(id);
        let settled = sub.held.contains(id) && !sub.dirty.contains(id) && !doubted;
        let answered = !sub.flight.iter().any(|f| f.names.iter().any(|(n, _)| *n == id));
        (present && settled && answered).then_some(true)
    }
}

/// Refuses what is beyond [`MAX_TEXT`].
fn short<'a>(what: &'static str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
    if texts.into_iter().any(|text| text.len() > MAX_TEXT) {
        return Err(Refusal::TooLong { what });
    }
    Ok(())
}

/// A client's text for an answer and a log line: bounded, on one line.
fn shown(text: &str) -> String {
    let clean = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().take(200).map(clean).collect()
}

/// What became of a name that was unsubscribed.
enum Dropped {
    /// It was not subscribed to.
    WasNone,
    /// The client no longer wants it.
    Gone,
    /// The wildcard may still hold it.
    UnderWildcard,
    /// The wildcard is still there, and no such resource ever was.
    Unknown,
}

/// Everything of a type that `*` holds and this fleet may see.
fn everything(generation: &Generation, kind: Kind, fleet: &str) -> RoaringBitmap {
    generation
        .all(kind)
        .filter(|(_, r)| r.reach.in_wildcard() && r.reach.admits(fleet))
        .map(|(id, _)| id)
        .collect()
}

/// The two request types have different names for the same fields; these are read from both.
impl Stream {
    /// Hears a delta request.
    ///
    /// # Errors
    /// [`Refusal`]: the stream ends with it.
    pub fn on_delta(
        &mut self,
        request: DeltaRequest,
        names: &mut Names,
        generation: &Generation,
    ) -> Result<Heard, Refusal> {
        self.give_back(names);
        delta::hear(self, request, names, generation)
    }

    /// Hears a state-of-the-world request.
    ///
    /// # Errors
    /// [`Refusal`]: the stream ends with it.
    pub fn on_sotw(
        &mut self,
        request: SotwRequest,
        names: &mut Names,
        generation: &Generation,
    ) -> Result<Heard, Refusal> {
        self.give_back(names);
        sotw::hear(self, request, names, generation)
    }
}
