//! One discovery stream without I/O: requests and changed names go in, responses
//! come out. The caller passes the time (since the stream began) and the newest
//! generation.
//!
//! Rules are numbered as in docs/xds-rules.md. What this file never does: block,
//! read a clock, or keep a queue of old states for a slow client.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::client::Client;
use super::generation::{Changed, Generation};
use super::ids::NameId;
use super::kind::{Kind, PerKind};
use super::names::Names;
use super::prepared::{Prepared, Request};
use super::request::{Error, Node};
use super::resource::Version;
use super::subscription::Subscription;
use super::subscription::parts::Flight;
use super::variant::Variant;
use super::view::ViewRules;
use super::viewer::Viewer;

mod delta;
mod handled;
mod limits;
mod remove;
mod respond;
mod sotw;
mod state;
mod subscribe;
mod whole;

pub use super::ids::MAX_NAME;
pub use handled::{Handled, Nack};
pub use limits::{Limits, MAX_TEXT, Refusal};
pub use state::Given;

use limits::{short, shown};

/// The state of one discovery stream: what its client subscribes to, holds, and is still to be sent.
/// Its memory is bounded by the subscriptions.
///
/// A stream performs no I/O and reads no clock. Its driver owns the connection, the newest
/// [`Generation`] and the table of [`Names`], and calls four kinds of methods:
///
/// - [`handle_request`](Self::handle_request) for each message from the client, and
///   [`handle_changes`](Self::handle_changes) with the names that a new generation changed;
/// - [`poll_response`](Self::poll_response) after each of these, and when the client can take more,
///   until it returns `None`. One response per type is outstanding at a time (rule 52), so a client
///   that does not answer is sent nothing further, and what changes meanwhile merges;
/// - [`poll_timeout`](Self::poll_timeout) once `poll_response` returned `None`: at that time
///   `poll_response` has to be called again although nothing happened (rule 48);
/// - [`close`](Self::close) at the end, so that the table of names forgets what only this stream
///   asked for.
///
/// The order of a change matters: publish the generation first, then pass the changed names; a
/// stream compares each of them with the generation that it is given, which must never be older
/// than the changes. A driver of several streams finds those concerned by an [`Index`](super::Index),
/// which it keeps up to date by the [`Handled`] of each request. [`still_needs`](Self::still_needs) is
/// called for each stream while names are being forgotten, see [`Names::begin_sweep`].
///
/// ```
/// use std::time::Duration;
/// use xds_bridge::xds::{
///     DeltaRequest, Draft, Generation, Kind, Limits, Names, Node, Reach, Stream, Update, Variant,
/// };
///
/// fn cluster(body: &[u8]) -> Update {
///     Update::Put(Draft {
///         kind: Kind::Cluster,
///         name: "orders".into(),
///         body: body.to_vec(),
///         needs: Vec::new(),
///         reach: Reach::All,
///         local: None,
///     })
/// }
///
/// let (mut names, now) = (Names::default(), Duration::ZERO);
/// let (mut generation, _) = Generation::default().next(&mut names, &[cluster(b"1")]);
/// let mut stream = Stream::new(Variant::Delta, None, Limits::default());
///
/// // The client subscribes to all clusters.
/// let request = DeltaRequest {
///     node: Some(Node { id: "envoy-1".into(), ..Node::default() }),
///     type_url: Kind::Cluster.type_url().into(),
///     ..DeltaRequest::default()
/// };
/// let handled = stream.handle_request(request, &mut names, &generation)?;
/// assert_eq!(handled.wildcard, Some(true));
///
/// let first = stream.poll_response(&generation, &names, now).expect("the cluster");
/// assert_eq!(&*first.resources[0].name, "orders");
///
/// // It changes while the client has not acknowledged the first response: nothing is sent yet.
/// let (next, changed) = generation.next(&mut names, &[cluster(b"2")]);
/// generation = next;
/// stream.handle_changes(&changed);
/// assert!(stream.poll_response(&generation, &names, now).is_none());
///
/// // The ACK lets the newest content follow.
/// let ack = DeltaRequest {
///     type_url: Kind::Cluster.type_url().into(),
///     nonce: first.nonce,
///     ..DeltaRequest::default()
/// };
/// assert!(stream.handle_request(ack, &mut names, &generation)?.ack);
/// assert!(stream.poll_response(&generation, &names, now).is_some());
/// assert!(stream.poll_response(&generation, &names, now).is_none());
/// assert_eq!(stream.poll_timeout(), None); // nothing is held back
///
/// stream.close(&mut names);
/// # Ok::<(), xds_bridge::xds::Refusal>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    variant: Variant,
    /// The only type of a per-type service.
    only: Option<Kind>,
    limits: Limits,
    node: Option<Arc<Node>>,
    /// Once it has sent its node.
    viewer: Arc<Viewer>,
    /// By which its view was found.
    rules: Arc<ViewRules>,
    types: PerKind<Subscription>,
    nonce: u64,
    /// Clusters were requested before endpoints: the client is not stuck in warming (rule 41).
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
            viewer: Arc::default(),
            rules: Arc::default(),
            types: PerKind::default(),
            nonce: 0,
            clusters_first: false,
        }
    }

    /// Handles a message from the client; it has to be of the stream's variant.
    ///
    /// # Errors
    /// [`Refusal`]: the stream ends with it.
    pub fn handle_request(
        &mut self,
        request: impl Into<Prepared>,
        names: &mut Names,
        generation: &Generation,
    ) -> Result<Handled, Refusal> {
        self.handle_prepared(&mut request.into(), names, generation)
    }

    /// The same, and what the request took in memory is left to the caller, who may hold a lock.
    ///
    /// # Errors
    /// [`Refusal`]: the stream ends with it.
    pub fn handle_prepared(
        &mut self,
        request: &mut Prepared,
        names: &mut Names,
        generation: &Generation,
    ) -> Result<Handled, Refusal> {
        let Prepared {
            request,
            hints,
            list_hash,
        } = request;
        let handled = match request {
            Request::Delta(request) => delta::handle(self, request, hints, names, generation),
            Request::Sotw(request) => sotw::handle(self, request, hints, *list_hash, names, generation),
        };
        for kind in Kind::ALL {
            self.types.get_mut(kind).give_back(names);
        }
        debug_assert!(self.types.iter().all(|(_, sub)| sub.holds_invariants()));
        handled
    }

    /// Handles the names that a new generation changed; they are looked at by the next
    /// [`Self::poll_response`].
    pub fn handle_changes(&mut self, changed: &Changed) {
        for (kind, names) in changed.iter() {
            if !names.is_empty() && self.types.get(kind).requested {
                self.types.get_mut(kind).pending.dirty |= names;
            }
        }
    }

    /// Gives back all names that this stream asked for, at its end.
    pub fn close(&self, names: &mut Names) {
        for id in self.asked() {
            let _ = names.release(id);
        }
    }

    /// What [`Self::close`] gives back by [`Names::release`], for a driver that does so part by part.
    pub fn asked(&self) -> impl Iterator<Item = NameId> + '_ {
        self.types.iter().flat_map(|(_, sub)| {
            let asked = sub.wanted.names.iter().chain(&sub.pending.unknown);
            asked.chain(&sub.waiting.given_up)
        })
    }

    /// The client, once it has sent its node.
    #[must_use]
    pub const fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// All subscriptions by name.
    pub fn subscriptions(&self) -> impl Iterator<Item = (Kind, NameId)> + '_ {
        self.types
            .iter()
            .flat_map(|(kind, sub)| sub.wanted.names.iter().map(move |id| (kind, id)))
    }

    /// Responses without an ACK or NACK.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.types.iter().map(|(_, sub)| sub.waiting.flight.len()).sum()
    }

    /// Which of these numbers, whose resources are gone, this stream still needs; see [`Names::begin_sweep`].
    pub fn still_needs(&mut self, leaving: &RoaringBitmap) -> RoaringBitmap {
        let mut kept = RoaringBitmap::new();
        for kind in Kind::ALL {
            kept |= self.types.get_mut(kind).still_needs(leaving);
        }
        kept
    }

    /// For tests: numbers that this stream keeps although they may come to mean other names. Always none.
    #[must_use]
    pub fn stray(&self, names: &Names) -> RoaringBitmap {
        let types = self.types.iter();
        types.fold(RoaringBitmap::new(), |all, (_, sub)| all | sub.stray(names))
    }

    /// Whether a request only repeats the list of names that was last applied, as each
    /// state-of-the-world ACK does: its names need not be looked up.
    #[must_use]
    pub fn is_repeated(&self, request: &Prepared) -> bool {
        let kind = self.only.or_else(|| Kind::parse(request.request.type_url()));
        let last = kind.and_then(|kind| self.types.get(kind).sotw.last_list);
        request.list_hash.is_some() && request.list_hash == last
    }

    /// What this client decided about a version: `None` when it has not tried it, or not answered.
    #[must_use]
    pub fn verdict(&self, generation: &Generation, kind: Kind, id: NameId, version: Version) -> Option<bool> {
        let sub = self.types.get(kind);
        if sub.held.refused.get(&id) == Some(&version) {
            return Some(false);
        }
        let present = generation
            .get_as(&self.viewer, kind, id)
            .is_some_and(|r| r.version == version);
        (present && sub.held.ids.contains(id) && !sub.is_unsettled(id)).then_some(true)
    }

    /// Whether the client has acknowledged the present content of a name (its absence, where there is
    /// none), or may not have it at all. Counts only what [`Self::handle_changes`] was given.
    #[must_use]
    pub fn has_acked(&self, generation: &Generation, kind: Kind, id: NameId) -> bool {
        let sub = self.types.get(kind);
        if sub.is_unsettled(id) {
            return false;
        }
        match sub.visible(generation, kind, id, &self.viewer) {
            Some(given) => {
                let present = generation.get_as(&self.viewer, kind, id);
                let current = present.is_some_and(|present| present.version == given.version);
                // Of whatever version: it goes on with an older one.
                let refused = sub.held.refused.contains_key(&id);
                current && !refused && sub.held.ids.contains(id)
            }
            None => !sub.held.ids.contains(id) && sub.waiting.flight.iter().all(|f| !f.removed.contains(id)),
        }
    }

    /// Resources of a type that the client has, and those of them that it may have in an older content than the
    /// present one. Counts only what [`Self::handle_changes`] was given.
    #[must_use]
    pub fn held(&self, kind: Kind) -> (RoaringBitmap, RoaringBitmap) {
        let sub = self.types.get(kind);
        let mut behind = sub.unsettled();
        behind.extend(sub.held.refused.keys().copied());
        // It may have had them by an earlier stream.
        behind |= &sub.wanted.names - &sub.held.ids;
        (&sub.held.ids | &sub.wanted.names, behind)
    }

    /// Whether the client owes no answer about a type, and is to be sent nothing of it; a refusal is an answer. Counts
    /// only what [`Self::handle_changes`] was given.
    #[must_use]
    pub fn is_settled(&self, kind: Kind) -> bool {
        let sub = self.types.get(kind);
        !sub.is_changing() && sub.waiting.flight.is_empty()
    }

    /// Resources of a type that the client has not acknowledged, or is still to be sent. Counts only what
    /// [`Self::handle_changes`] was given.
    #[must_use]
    pub fn unsettled(&self, kind: Kind) -> RoaringBitmap {
        self.types.get(kind).unsettled()
    }

    /// The number of resources of a type whose present content the client has refused.
    #[must_use]
    pub fn refused(&self, kind: Kind) -> u64 {
        self.types.get(kind).held.refused.len() as u64
    }

    /// What the client gets depends on.
    #[must_use]
    pub const fn viewer(&self) -> &Arc<Viewer> {
        &self.viewer
    }

    /// Rules 2 to 4: the client and the type. `None`: a type that is not ours.
    fn admit(
        &mut self,
        node: Option<Node>,
        type_url: &str,
        names: &mut Names,
        generation: &Generation,
    ) -> Result<Option<Kind>, Refusal> {
        if self.node.is_none() {
            let node = node.ok_or(Refusal::NoNode)?;
            short("the node", [&node.id, &node.cluster, &node.user_agent])?;
            let locality = node.locality.as_ref();
            let (region, zone) = locality.map_or(("", ""), |at| (at.region.as_str(), at.zone.as_str()));
            short(
                "the node",
                locality.into_iter().flat_map(|at| [&at.region, &at.zone]),
            )?;
            self.viewer = Arc::new(Viewer {
                client: Client::of(&node.user_agent),
                fleet: node.cluster.as_str().into(),
                place: names.places.find(region, zone),
                view: None,
            });
            self.node = Some(Arc::new(node));
        }
        self.follow_rules(generation);
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

    /// Takes the view that the client's fleet has now; where it is another one, all is looked at again.
    fn follow_rules(&mut self, generation: &Generation) {
        if self.node.is_none() || Arc::ptr_eq(&self.rules, generation.rules()) {
            return;
        }
        self.rules = generation.rules().clone();
        let view = self.rules.of(&self.viewer.fleet);
        if view == self.viewer.view {
            return;
        }
        self.viewer = Arc::new(Viewer {
            view,
            ..(*self.viewer).clone()
        });
        for kind in Kind::ALL {
            let sub = self.types.get_mut(kind);
            if sub.requested {
                let mut all = &sub.wanted.names | &sub.held.ids;
                if sub.wanted.wildcard {
                    all |= generation.in_wildcard(kind, &self.viewer);
                }
                sub.pending.dirty |= all;
            }
        }
    }

    /// Rule 41, the first request of a type.
    fn first_request(&mut self, kind: Kind) {
        self.types.get_mut(kind).requested = true;
        if kind == Kind::Cluster && !self.types.get(Kind::Endpoints).requested {
            self.clusters_first = true;
        }
    }

    fn nack(error: &Error, flight: &Flight, names: &Names) -> Nack {
        Nack {
            message: error.message.clone(),
            resources: flight.names.len(),
            only: flight.only,
            name: flight.only.and_then(|(id, _)| names.name(id).cloned()),
        }
    }
}
