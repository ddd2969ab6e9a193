//! One client's stream: its engine state, its place at the fan-out, its log lines.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::admission::jittered;
use super::shared::Shared;
use crate::clock;
use crate::fanout::{LastNack, Place, Poll};
use crate::floods::Kind as Lines;
use crate::grpc::server::Caller;
use crate::grpc::server::identity;
use crate::metrics::{ByType, ByVariant, Limit, Reason};
use crate::xds::stream::Nack;
use crate::xds::{
    Client, DeltaRequest, Heard, Kind, Matter, Node, Refusal, Response, SotwRequest, Stream, StreamId,
    Variant, Version, Voter,
};

/// How much of a client's name, and of its words, stands in the log.
const NAME: usize = 200;
const WORDS: usize = 2_000;

/// What clients can cause, and how many lines of it a minute may have.
const CONNECTED: Lines = Lines::new("clients connected").up_to(100);
const NACKED: Lines = Lines::new("responses refused by clients").up_to(30);
const IDENTITY: Lines = Lines::new("client identity refused");
const UNREAD: Lines = Lines::new("requests that cannot be read");
const REFUSED: Lines = Lines::new("discovery streams refused");
const CROWDED: Lines = Lines::new("xds.max_streams_per_connection is reached");

/// Leaves the fan-out when it is dropped, however the stream ended.
#[derive(Debug)]
pub(super) struct Peer {
    place: Place,
    /// Once it has said who it is.
    client: Option<Arc<Node>>,
    caller: Option<Caller>,
    shared: Arc<Shared>,
    variant: Variant,
    began: Instant,
    /// `xds.max_stream_age`
    ends: Option<Instant>,
    /// When the oldest change that was not sent yet reached the hub.
    since: Option<Instant>,
    named: bool,
    pub(super) stop: CancellationToken,
}

impl Peer {
    pub(super) fn new(
        variant: Variant,
        place: Place,
        caller: Option<Caller>,
        shared: Arc<Shared>,
        stop: CancellationToken,
    ) -> Self {
        let (began, age) = (clock::now(), shared.options.max_stream_age);
        shared.metrics.streams.get_or_create(&by_variant(variant)).inc();
        let peer = Self {
            place,
            client: None,
            caller,
            variant,
            began,
            ends: (!age.is_zero()).then(|| began + jittered(age)),
            since: None,
            named: false,
            stop,
            shared,
        };
        peer.count();
        peer
    }

    /// HTTP/2 lets a connection have no stream above the limit, and says so to nobody: we do.
    fn count(&self) {
        let max = self.shared.options.max_streams_per_connection as usize;
        let Some(caller) = &self.caller else { return };
        if caller.enter() == max {
            self.shared.metrics.reached(Limit::StreamsPerConnection);
            if self.has_line(CROWDED) {
                tracing::warn!(
                    address = %caller.address(),
                    max,
                    "xds.max_streams_per_connection is reached: further streams of this connection wait"
                );
            }
        }
    }

    /// Whether a line of this kind is logged now.
    fn has_line(&self, kind: Lines) -> bool {
        let from = self.caller.as_ref().map(|caller| caller.address().ip());
        self.shared.floods.has_line(kind, from)
    }

    pub(super) const fn variant(&self) -> Variant {
        self.variant
    }

    /// The client has said who it is, and may be that.
    pub(super) const fn is_named(&self) -> bool {
        self.named
    }

    /// What is shared with the other streams.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// It has lived for as long as a stream may.
    pub(super) fn is_old(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= clock::now())
    }

    /// Sleeps until it is.
    pub(super) async fn old(&self) {
        clock::until(self.ends).await;
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// The next response, as of the newest generation.
    pub(super) fn next(&mut self) -> Option<Response> {
        // Held until its letters are looked through: a name that is only in these is not forgotten meanwhile.
        let mut core = self.place.mailbox.stream();
        if let Some(letters) = self.place.mailbox.take() {
            core.mark(&letters.changed);
            self.since = self.since.or(letters.since);
            self.answer(&core, letters.polls);
        }
        // Loaded after the mailbox was emptied: at least as new as what was in it.
        let generation = self.shared.fanout.current()?;
        let now = self.now();
        let fanout = &self.shared.fanout;
        let response = core.next(&generation, &|id| fanout.name(id), now);
        let outstanding = core.outstanding() > 0;
        drop(core);
        let Some(response) = response else {
            self.since = self.since.filter(|_| outstanding);
            return None;
        };
        let by_type = ByType {
            r#type: response.kind.short(),
        };
        self.shared.metrics.responses.get_or_create(&by_type).inc();
        self.shared
            .metrics
            .resources_sent
            .get_or_create(&by_type)
            .inc_by(response.resources.len() as u64);
        if let Some(since) = self.since.take() {
            self.shared
                .metrics
                .change
                .observe(clock::now().duration_since(since).as_secs_f64());
        }
        if response.kind == Kind::Listener {
            self.name_removed(&response.removed);
        }
        tracing::debug!(
            node = self.node(),
            r#type = response.kind.short(),
            nonce = response.nonce,
            resources = response.resources.len(),
            removed = response.removed.len(),
            "sent"
        );
        Some(response)
    }

    /// An Envoy loses listeners that it holds: all that comes in by them ends. Once for each fleet and listener.
    fn name_removed(&self, listeners: &[Arc<str>]) {
        let Some(node) = &self.client else { return };
        if Client::of(&node.user_agent) != Client::Envoy {
            return;
        }
        let fleet = clip(&node.cluster, NAME);
        for listener in listeners {
            let listener = clip(listener, NAME);
            if self.shared.removed.first(fleet, listener) {
                tracing::warn!(
                    node = self.node(),
                    fleet,
                    listener,
                    "a listener is removed from connected Envoys: [listeners] has none of this name for this fleet"
                );
            }
        }
    }

    /// Sleeps until the engine wants to be asked again, or something changed.
    pub(super) async fn changed(&self) {
        let mailbox = &self.place.mailbox;
        let deadline = mailbox.stream().deadline();
        match deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(self.began + deadline, mailbox.wake.notified()).await;
            }
            None => mailbox.wake.notified().await,
        }
    }

    pub(super) fn on_delta(&mut self, request: DeltaRequest) -> Result<(), Status> {
        self.check(request.node.as_ref())?;
        let heard = self.shared.fanout.hear(&self.place, |core, names, generation| {
            core.on_delta(request, names, generation)
        });
        self.heard(heard)
    }

    pub(super) fn on_sotw(&mut self, request: SotwRequest) -> Result<(), Status> {
        self.check(request.node.as_ref())?;
        let heard = self.shared.fanout.hear(&self.place, |core, names, generation| {
            core.on_sotw(request, names, generation)
        });
        self.heard(heard)
    }

    /// Rule 54: may this certificate be this node? Asked before the engine hears of it; who a
    /// stream is stays as its first request says (rule 2), so it is asked once.
    fn check(&self, node: Option<&Node>) -> Result<(), Status> {
        let Some(node) = node.filter(|_| !self.named) else {
            return Ok(());
        };
        let sans = self.caller.as_ref().map_or(&[][..], Caller::sans);
        let Err(denied) = identity::check(&self.shared.options.rules, sans, &node.id, &node.cluster) else {
            return Ok(());
        };
        self.shared.metrics.refused(Reason::Identity);
        if self.has_line(IDENTITY) {
            let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
            tracing::warn!(
                san = clip(&sans.join(" "), NAME),
                node = clip(&node.id, NAME),
                fleet = clip(&node.cluster, NAME),
                address = self.caller.as_ref().map(|c| tracing::field::display(c.address())),
                reason = %denied,
                "the client's certificate does not allow this node id or fleet: stream ended"
            );
        }
        Err(Status::permission_denied(denied.to_string()))
    }

    /// What could not even be read. The transport's word for a message that is too long is another.
    pub(super) fn unread(&self, status: Status) -> Status {
        self.shared.metrics.refused(match status.code() {
            Code::OutOfRange => Reason::MessageSize,
            Code::ResourceExhausted => Reason::Requests,
            Code::DeadlineExceeded => Reason::Late,
            _ => return status,
        });
        if self.has_line(UNREAD) {
            tracing::warn!(
                node = self.node(),
                message = status.message(),
                "discovery stream refused"
            );
        }
        match status.code() {
            Code::OutOfRange => Status::resource_exhausted(status.message()),
            _ => status,
        }
    }

    /// It sends more requests than it may: it is read later.
    pub(super) fn too_fast(&self) {
        self.shared.metrics.reached(Limit::Requests);
        tracing::debug!(
            node = self.node(),
            "xds.max_requests_per_second is reached: read later"
        );
    }

    fn heard(&mut self, heard: Result<Heard, Refusal>) -> Result<(), Status> {
        if self.client.is_none() {
            self.client = self.place.mailbox.stream().node().cloned();
        }
        let heard = match heard {
            Ok(heard) => heard,
            Err(refusal) => {
                self.shared.metrics.refused(match refusal {
                    Refusal::TooManyNames { .. } | Refusal::TooManyBytes { .. } | Refusal::Full => {
                        Reason::Names
                    }
                    _ => Reason::Protocol,
                });
                if self.has_line(REFUSED) {
                    tracing::warn!(node = self.node(), %refusal, "discovery stream refused");
                }
                return Err(status(&refusal));
            }
        };
        if !self.named {
            self.named = true;
            if let Some(node) = &self.client {
                self.shared.fanout.belongs(self.place.id, &node.cluster);
                if Client::of(&node.user_agent) == Client::Envoy {
                    self.shared.fanout.envoy_of(&node.cluster);
                }
                self.place.mailbox.note(|status| {
                    status.node.clone_from(&node.id);
                    status.fleet.clone_from(&node.cluster);
                    status.agent.clone_from(&node.user_agent);
                    status.variant = by_variant(self.variant).variant;
                    status.since = Some(self.began);
                });
                if self.has_line(CONNECTED) {
                    tracing::info!(
                        node = clip(&node.id, NAME),
                        fleet = clip(&node.cluster, NAME),
                        agent = clip(&node.user_agent, NAME),
                        variant = by_variant(self.variant).variant,
                        "client connected"
                    );
                }
            }
        }
        if let Some(url) = &heard.unknown_type {
            tracing::debug!(
                node = self.node(),
                type_url = url,
                "a type that is not served here"
            );
        }
        let Some(kind) = heard.kind else { return Ok(()) };
        let by_type = ByType { r#type: kind.short() };
        self.note(kind, &heard);
        if heard.ack {
            self.shared.metrics.acks.get_or_create(&by_type).inc();
            tracing::debug!(node = self.node(), r#type = kind.short(), "accepted");
            if self
                .shared
                .fanout
                .accepted(self.who(), self.fleet(), kind, &heard.accepted)
            {
                self.count_rejected();
            }
        }
        if let Some(nack) = heard.nack {
            self.shared.metrics.nacks.get_or_create(&by_type).inc();
            self.refused(kind, &nack);
        }
        Ok(())
    }

    fn refused(&self, kind: Kind, nack: &Nack) {
        let message = clip(&nack.message, WORDS);
        let name = nack.name.as_ref();
        if self.has_line(NACKED) {
            tracing::warn!(
                node = self.node(),
                r#type = kind.short(),
                resources = nack.resources,
                name = name.map_or("", |name| &**name),
                // Not `message`: a field of that name is printed raw, line ends and all.
                reason = message,
                "client refused a response"
            );
        }
        let last = LastNack {
            kind,
            name: name.cloned(),
            message: message.to_owned(),
        };
        self.place.mailbox.note(|status| status.last_nack = Some(last));
        let Some((id, version)) = nack.only else { return };
        let matter = Matter {
            fleet: self.fleet().into(),
            kind,
            id,
        };
        if self.shared.fanout.refused(self.who(), &matter, version, message) {
            self.count_rejected();
        }
    }

    /// What the fan-out asked: whether this client has accepted a version that another refused.
    fn answer(&self, core: &Stream, polls: Vec<Poll>) {
        if polls.is_empty() {
            return;
        }
        let Some(generation) = self.shared.fanout.current() else {
            return;
        };
        let mut changed = false;
        for poll in polls {
            let Poll { matter, version } = &poll;
            let ours = *matter.fleet == *self.fleet();
            let accepted = ours && core.opinion(&generation, matter.kind, matter.id, *version) == Some(true);
            changed |= self.shared.fanout.answer(self.who(), &poll, accepted);
        }
        if changed {
            self.count_rejected();
        }
    }

    fn count_rejected(&self) {
        self.shared
            .metrics
            .count_rejected(&self.shared.fanout.rejected_by_type());
    }

    fn note(&self, kind: Kind, heard: &Heard) {
        self.place.mailbox.note(|status| {
            let of_type = status.types.get_mut(kind);
            of_type.requested = true;
            of_type.wildcard = heard.wildcard.unwrap_or(of_type.wildcard);
            of_type.names += heard.subscribed.len();
            of_type.names = of_type.names.saturating_sub(heard.unsubscribed.len());
            of_type.acks += u64::from(heard.ack);
            of_type.nacks += u64::from(heard.nack.is_some());
        });
    }

    /// One client is one voice, however many streams it has.
    fn who(&self) -> (Voter, StreamId) {
        (Version::of(self.node().as_bytes()).0, self.place.id)
    }

    pub(super) const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The share of first responses of the connection, where that is known.
    pub(super) fn first_share(&self) -> Option<Arc<Semaphore>> {
        self.caller.as_ref().map(Caller::first)
    }

    fn fleet(&self) -> &str {
        self.client.as_ref().map_or("", |node| node.cluster.as_str())
    }

    fn node(&self) -> &str {
        self.client.as_ref().map_or("", |node| clip(&node.id, NAME))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.shared.fanout.leave(&self.place) {
            self.count_rejected();
        }
        if let Some(caller) = &self.caller {
            caller.leave();
        }
        self.shared
            .metrics
            .streams
            .get_or_create(&by_variant(self.variant))
            .dec();
        tracing::debug!(node = self.node(), "client gone");
    }
}

const fn by_variant(variant: Variant) -> ByVariant {
    ByVariant {
        variant: match variant {
            Variant::Delta => "delta",
            Variant::Sotw => "sotw",
        },
    }
}

fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::TooManyNames { .. } | Refusal::TooManyBytes { .. } | Refusal::Full => {
            Status::resource_exhausted(refusal.to_string())
        }
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// A client may send any text: a log line gets so much of it.
fn clip(message: &str, most: usize) -> &str {
    let end = (0..=message.len().min(most))
        .rev()
        .find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or(0)]
}
