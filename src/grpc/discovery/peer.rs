//! One client's stream: its engine state, its registration at the fan-out, its metrics and log lines.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::clock;
use crate::fanout::{Fanout, Next, Registration};
use crate::floods::Kind as Lines;
use crate::grpc::pace::jittered;
use crate::grpc::server::Caller;
use crate::metrics::{ByType, ByVariant, Limit};
use crate::text::head;
use crate::xds::{Client, ClientId, Kind, Node, Response, StreamId, Variant};

mod requests;

/// Longest part of a client's name that is logged.
const NAME: usize = 200;

const CROWDED: Lines = Lines::new("xds.max_streams_per_connection is reached");

/// Unregisters from the fan-out when it is dropped, however the stream ended.
#[derive(Debug)]
pub(super) struct Peer {
    registration: Registration,
    /// Once it has sent its node.
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
        registration: Registration,
        caller: Option<Caller>,
        shared: Arc<Shared>,
        stop: CancellationToken,
    ) -> Self {
        let (began, age) = (clock::now(), shared.options.now().max_stream_age);
        shared.metrics.streams.get_or_create(&by_variant(variant)).inc();
        let peer = Self {
            registration,
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

    /// HTTP/2 makes streams above the limit of a connection wait, and reports that nowhere: we do.
    fn count(&self) {
        let max = self.shared.options.now().max_streams_per_connection as usize;
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

    /// The client has sent its node, and may be that.
    pub(super) const fn is_named(&self) -> bool {
        self.named
    }

    /// What is shared with the other streams.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// It has reached the maximum age of a stream.
    pub(super) fn is_old(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= clock::now())
    }

    /// Sleeps until it has.
    pub(super) async fn old(&self) {
        clock::until(self.ends).await;
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// The next response, as of the newest generation.
    pub(super) fn next(&mut self) -> Option<Response> {
        let client = (self.node(), self.fleet());
        let Next {
            response,
            since,
            is_outstanding,
            is_ruled,
        } = self.shared.fanout.next(&self.registration, client, self.now());
        self.since = self.since.or(since);
        if is_ruled {
            self.count_rejected();
        }
        let Some(response) = response else {
            self.shared.observe_acknowledged();
            self.since = self.since.filter(|_| is_outstanding);
            self.shared.fanout.settled();
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

    /// An Envoy loses listeners that it holds, and with them all their traffic. Logged once for each fleet and listener.
    fn name_removed(&self, listeners: &[Arc<str>]) {
        let Some(node) = &self.client else { return };
        if Client::of(&node.user_agent) != Client::Envoy {
            return;
        }
        let fleet = head(&node.cluster, NAME);
        for listener in listeners {
            let listener = head(listener, NAME);
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

    /// Sleeps until the engine has to be polled again, or something changed.
    pub(super) async fn changed(&self) {
        let subscriber = &self.registration.subscriber;
        let timeout = subscriber.stream().poll_timeout();
        match timeout {
            Some(timeout) => {
                let _ = tokio::time::timeout_at(self.began + timeout, subscriber.wake.notified()).await;
            }
            None => subscriber.wake.notified().await,
        }
    }

    /// Aside, where the stream leaves very many names behind.
    fn unregister(&self) {
        let (shared, registration) = (self.shared.clone(), self.registration.clone());
        let unregister = move || {
            if shared.fanout.unregister(&registration) {
                shared.metrics.count_rejected(&shared.fanout.rejected_by_type());
            }
            shared.observe_acknowledged();
        };
        match Handle::try_current() {
            Ok(runtime) if Fanout::leaves_much(&self.registration) => {
                drop(runtime.spawn_blocking(unregister));
            }
            _ => unregister(),
        }
    }

    fn count_rejected(&self) {
        self.shared
            .metrics
            .count_rejected(&self.shared.fanout.rejected_by_type());
    }

    fn who(&self) -> (ClientId, StreamId) {
        self.registration.voter(self.node())
    }

    pub(super) const fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// The share of first responses of the connection, where that is known.
    pub(super) fn first_share(&self) -> Option<Arc<Semaphore>> {
        self.caller.as_ref().map(Caller::first)
    }

    /// It tries the way of a client, and is none.
    fn is_doctor(&self) -> bool {
        self.client.as_ref().is_some_and(|node| node.is_doctor())
    }

    fn fleet(&self) -> &str {
        self.client.as_ref().map_or("", |node| node.cluster.as_str())
    }

    fn node(&self) -> &str {
        self.client.as_ref().map_or("", |node| head(&node.id, NAME))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.unregister();
        if let Some(caller) = &self.caller {
            caller.leave();
        }
        self.shared
            .metrics
            .streams
            .get_or_create(&by_variant(self.variant))
            .dec();
        tracing::debug!(node = self.node(), "client disconnected");
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
