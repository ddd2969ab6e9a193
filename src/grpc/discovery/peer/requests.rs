//! The requests of one client: checked, handled by the engine, counted and logged.

use tonic::{Code, Status};

use super::{NAME, Peer, by_variant};
use crate::fanout::{Fanout, LastNack};
use crate::floods::Kind as Lines;
use crate::grpc::server::Caller;
use crate::grpc::server::identity;
use crate::metrics::{ByType, Limit, Reason};
use crate::text::head;
use crate::xds::stream::Nack;
use crate::xds::{Client, Handled, Kind, MAX_PLACES, Node, Refusal, RejectionKey, Release, Request};

/// Longest part of a client's error message that is logged.
const MESSAGE: usize = 2_000;

/// The oldest Envoy that the bridge is tried with (docs/compatibility.md).
const OLDEST: (u32, u32) = (1, 36);

/// Log lines that requests can cause, with their limits per minute.
const NACKED: Lines = Lines::new("responses refused by clients").up_to(30);
const CONNECTED: Lines = Lines::new("clients connected").up_to(100);
const OLD: Lines = Lines::new("Envoys older than tried").up_to(3);
const IDENTITY: Lines = Lines::new("client identity refused");
const UNREAD: Lines = Lines::new("requests that cannot be read");
const PLACES: Lines = Lines::new("clients of too many zones").up_to(1);
const REFUSED: Lines = Lines::new("discovery streams refused");

impl Peer {
    /// `is_large`: what takes long with the names is done aside.
    pub(in crate::grpc::discovery) async fn handle_request(
        &mut self,
        request: Request,
        is_large: bool,
    ) -> Result<(), Status> {
        self.check(request.node())?;
        if !Fanout::has_many_names(&request) {
            let handled = self.shared.fanout.handle_request(&self.registration, request);
            return self.handled(handled);
        }
        let (fanout, registration) = (self.shared.fanout.clone(), self.registration.clone());
        let mut ready = if is_large {
            let ready = tokio::task::spawn_blocking(move || fanout.make_ready(&registration, request)).await;
            ready.map_err(|e| Status::internal(e.to_string()))?
        } else {
            fanout.make_ready(&registration, request)
        };
        while let Some(handled) = self.shared.fanout.handle_part(&self.registration, &mut ready) {
            self.handled(handled)?;
            tokio::task::yield_now().await;
        }
        drop(tokio::task::spawn_blocking(move || drop(ready)));
        Ok(())
    }

    /// Rule 54: whether this certificate may be this node. Checked before the engine handles the request, and
    /// once: the node stays that of the first request (rule 2).
    fn check(&self, node: Option<&Node>) -> Result<(), Status> {
        let Some(node) = node.filter(|_| !self.named) else {
            return Ok(());
        };
        let sans = self.caller.as_ref().map_or(&[][..], Caller::sans);
        let options = self.shared.options.now();
        let Err(denied) = identity::check(&options.rules, sans, &node.id, &node.cluster) else {
            return Ok(());
        };
        self.shared.metrics.refused(Reason::Identity);
        if self.has_line(IDENTITY) {
            let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
            tracing::warn!(
                san = head(&sans.join(" "), NAME),
                node = head(&node.id, NAME),
                fleet = head(&node.cluster, NAME),
                address = self.caller.as_ref().map(|c| tracing::field::display(c.address())),
                reason = %denied,
                "the client's certificate does not allow this node id or fleet: stream ended"
            );
        }
        Err(Status::permission_denied(denied.to_string()))
    }

    /// The status for a request that could not be read. The transport has another code for a message that is too long.
    pub(in crate::grpc::discovery) fn unread(&self, status: Status) -> Status {
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

    /// It exceeds its rate of requests: the next one is read later.
    pub(in crate::grpc::discovery) fn too_fast(&self) {
        self.shared.metrics.reached(Limit::Requests);
        tracing::debug!(
            node = self.node(),
            "xds.max_requests_per_second is reached: read later"
        );
    }

    fn handled(&mut self, handled: Result<Handled, Refusal>) -> Result<(), Status> {
        if self.client.is_none() {
            self.client = self.registration.subscriber.stream().node().cloned();
        }
        let handled = match handled {
            Ok(handled) => handled,
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
                if !node.is_doctor() {
                    self.shared.fanout.join_fleet(self.registration.id, &node.cluster);
                    if Client::of(&node.user_agent) == Client::Envoy {
                        self.shared.fanout.envoy_of(&node.cluster);
                    }
                }
                self.registration.subscriber.update_status(|status| {
                    status.node.clone_from(&node.id);
                    status.fleet.clone_from(&node.cluster);
                    status.agent.clone_from(&node.user_agent);
                    status.release = node.release();
                    status.address = self.caller.as_ref().map(Caller::address);
                    status.variant = by_variant(self.variant).variant;
                    status.since = Some(self.began);
                });
                self.note_place(node);
                self.note_age(node);
                if self.has_line(CONNECTED) {
                    tracing::info!(
                        node = head(&node.id, NAME),
                        fleet = head(&node.cluster, NAME),
                        agent = head(&node.user_agent, NAME),
                        variant = by_variant(self.variant).variant,
                        "client connected"
                    );
                }
            }
        }
        if let Some(url) = &handled.unknown_type {
            tracing::debug!(
                node = self.node(),
                type_url = url,
                "a type that is not served here"
            );
        }
        let Some(kind) = handled.kind else { return Ok(()) };
        let by_type = ByType { r#type: kind.short() };
        self.update_status(kind, &handled);
        if handled.ack {
            self.shared.metrics.acks.get_or_create(&by_type).inc();
            tracing::debug!(node = self.node(), r#type = kind.short(), "accepted");
            if !self.is_doctor()
                && self
                    .shared
                    .fanout
                    .accepted(self.who(), self.fleet(), kind, &handled.accepted)
            {
                self.count_rejected();
            }
        }
        if let Some(nack) = handled.nack {
            self.shared.metrics.nacks.get_or_create(&by_type).inc();
            self.refused(kind, &nack);
        }
        Ok(())
    }

    /// An Envoy of a release that nobody has tried: it may refuse what newer ones take.
    fn note_age(&self, node: &Node) {
        let old = |release: &Release| (release.major, release.minor) < OLDEST;
        let Some(Release { major, minor, patch }) = node.release().filter(old) else {
            return;
        };
        if Client::of(&node.user_agent) == Client::Envoy && self.has_line(OLD) {
            tracing::warn!(
                node = self.node(),
                release = format!("{major}.{minor}.{patch}"),
                oldest = format!("{}.{}", OLDEST.0, OLDEST.1),
                "an Envoy older than the oldest that the bridge is tried with: it may refuse what it does not know, and \
                 keeps what it had then"
            );
        }
    }

    /// A client that says where it is, and gets what others get all the same.
    fn note_place(&self, node: &Node) {
        let says = node
            .locality
            .as_ref()
            .is_some_and(|at| !at.region.is_empty() || !at.zone.is_empty());
        if !says || self.registration.subscriber.stream().viewer().place.is_some() {
            return;
        }
        self.shared.metrics.reached(Limit::Places);
        let matters = self
            .shared
            .fanout
            .current()
            .is_some_and(|current| current.has_locals());
        if matters && self.has_line(PLACES) {
            tracing::warn!(
                node = self.node(),
                max = MAX_PLACES,
                "clients have named more zones than are distinguished: this one calls instances wherever they are"
            );
        }
    }

    fn refused(&self, kind: Kind, nack: &Nack) {
        let message = head(&nack.message, MESSAGE);
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
        self.registration
            .subscriber
            .update_status(|status| status.last_nack = Some(last));
        let Some((id, version)) = nack.only.filter(|_| !self.is_doctor()) else {
            return;
        };
        let key = RejectionKey {
            fleet: self.fleet().into(),
            kind,
            id,
        };
        if self.shared.fanout.refused(self.who(), &key, version, message) {
            self.count_rejected();
        }
    }

    fn update_status(&self, kind: Kind, handled: &Handled) {
        self.registration.subscriber.update_status(|status| {
            let of_type = status.types.get_mut(kind);
            of_type.requested = true;
            of_type.wildcard = handled.wildcard.unwrap_or(of_type.wildcard);
            of_type.names += handled.subscribed.len();
            of_type.names = of_type.names.saturating_sub(handled.unsubscribed.len());
            of_type.acks += u64::from(handled.ack);
            of_type.nacks += u64::from(handled.nack.is_some());
        });
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
