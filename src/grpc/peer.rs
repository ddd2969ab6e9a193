//! One client's stream: its engine state, its place at the fan-out, its log lines.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::clock;
use crate::fanout::{Fanout, LastNack, Place, Poll};
use crate::metrics::{ByType, ByVariant, Metrics, count};
use crate::xds::stream::Nack;
use crate::xds::{DeltaRequest, Heard, Kind, Matter, Refusal, Response, SotwRequest, Stream, Variant};

/// Leaves the fan-out when it is dropped, however the stream ended.
#[derive(Debug)]
pub(super) struct Peer {
    core: Stream,
    place: Place,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    variant: Variant,
    began: Instant,
    /// The stream ends then.
    until: Instant,
    /// When the oldest change that was not sent yet reached the hub.
    since: Option<Instant>,
    named: bool,
    stop: CancellationToken,
}

impl Peer {
    pub(super) fn new(
        variant: Variant,
        core: Stream,
        place: Place,
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        age: Duration,
    ) -> Self {
        metrics.streams.get_or_create(&by_variant(variant)).inc();
        let began = clock::now();
        let until = began + lifetime(age, RandomState::new().hash_one(place.id));
        Self {
            core,
            place,
            fanout,
            metrics,
            variant,
            began,
            until,
            since: None,
            named: false,
            stop,
        }
    }

    /// Waits until the stream has to end from our side: at shutdown, or of old age (rule 53).
    pub(super) async fn over(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep_until(self.until) => {}
        }
    }

    pub(super) const fn variant(&self) -> Variant {
        self.variant
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// The next response, as of the newest generation.
    pub(super) fn next(&mut self) -> Option<Response> {
        if let Some(letters) = self.place.mailbox.take() {
            self.core.mark(&letters.changed);
            self.since = self.since.or(letters.since);
            self.answer(letters.polls);
        }
        // Loaded after the mailbox was emptied: at least as new as what was in it.
        let generation = self.fanout.current()?;
        let now = self.now();
        let fanout = &self.fanout;
        let Some(response) = self.core.next(&generation, &|id| fanout.name(id), now) else {
            self.since = self.since.filter(|_| self.core.outstanding() > 0);
            return None;
        };
        let by_type = ByType {
            r#type: response.kind.short(),
        };
        self.metrics.responses.get_or_create(&by_type).inc();
        self.metrics
            .resources_sent
            .get_or_create(&by_type)
            .inc_by(response.resources.len() as u64);
        if let Some(since) = self.since.take() {
            self.metrics
                .change
                .observe(clock::now().duration_since(since).as_secs_f64());
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

    /// Sleeps until the engine wants to be asked again, or something changed.
    pub(super) async fn changed(&self) {
        let mailbox = &self.place.mailbox;
        match self.core.deadline() {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(self.began + deadline, mailbox.wake.notified()).await;
            }
            None => mailbox.wake.notified().await,
        }
    }

    pub(super) fn on_delta(&mut self, request: DeltaRequest) -> Result<(), Status> {
        let core = &mut self.core;
        let heard = self.fanout.hear(self.place.id, |names, generation| {
            core.on_delta(request, names, generation)
        });
        self.heard(heard)
    }

    pub(super) fn on_sotw(&mut self, request: SotwRequest) -> Result<(), Status> {
        let core = &mut self.core;
        let heard = self.fanout.hear(self.place.id, |names, generation| {
            core.on_sotw(request, names, generation)
        });
        self.heard(heard)
    }

    fn heard(&mut self, heard: Result<Heard, Refusal>) -> Result<(), Status> {
        let heard = match heard {
            Ok(heard) => heard,
            Err(refusal) => {
                self.metrics.streams_refused.inc();
                tracing::warn!(node = self.node(), %refusal, "discovery stream refused");
                return Err(status(&refusal));
            }
        };
        if !self.named {
            self.named = true;
            if let Some(node) = self.core.node() {
                self.place.mailbox.note(|status| {
                    status.node.clone_from(&node.id);
                    status.fleet.clone_from(&node.cluster);
                    status.agent.clone_from(&node.user_agent);
                    status.variant = by_variant(self.variant).variant;
                    status.since = Some(self.began);
                });
                tracing::info!(
                    node = node.id,
                    fleet = node.cluster,
                    agent = node.user_agent,
                    variant = by_variant(self.variant).variant,
                    "client connected"
                );
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
            self.metrics.acks.get_or_create(&by_type).inc();
            tracing::debug!(node = self.node(), r#type = kind.short(), "accepted");
            if self
                .fanout
                .accepted(self.place.id, self.fleet(), kind, &heard.accepted)
            {
                self.count_rejected();
            }
        }
        if let Some(nack) = heard.nack {
            self.metrics.nacks.get_or_create(&by_type).inc();
            self.refused(kind, &nack);
        }
        Ok(())
    }

    fn refused(&self, kind: Kind, nack: &Nack) {
        let message = clip(&nack.message);
        let name = nack.only.and_then(|(id, _)| self.fanout.name(id));
        tracing::warn!(
            node = self.node(),
            r#type = kind.short(),
            resources = nack.resources,
            name = name.as_deref().unwrap_or(""),
            message,
            "client refused a response"
        );
        let last = LastNack {
            kind,
            name: name.clone(),
            message: message.to_owned(),
        };
        self.place.mailbox.note(|status| status.last_nack = Some(last));
        let Some((id, version)) = nack.only else { return };
        let matter = Matter {
            fleet: self.fleet().into(),
            kind,
            id,
        };
        if self.fanout.refused(self.place.id, &matter, version, message) {
            self.count_rejected();
        }
    }

    /// What the fan-out asked: whether this client has accepted a version that another refused.
    fn answer(&self, polls: Vec<Poll>) {
        if polls.is_empty() {
            return;
        }
        let Some(generation) = self.fanout.current() else {
            return;
        };
        let mut changed = false;
        for poll in polls {
            let Poll { matter, version } = &poll;
            let ours = *matter.fleet == *self.fleet();
            let accepted =
                ours && self.core.opinion(&generation, matter.kind, matter.id, *version) == Some(true);
            changed |= self.fanout.answer(self.place.id, &poll, accepted);
        }
        if changed {
            self.count_rejected();
        }
    }

    fn count_rejected(&self) {
        let rejected = self.fanout.rejected();
        for kind in Kind::ALL {
            let by_type = ByType { r#type: kind.short() };
            let n = rejected.iter().filter(|r| r.kind == kind).count();
            self.metrics.rejected.get_or_create(&by_type).set(count(n));
        }
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

    fn fleet(&self) -> &str {
        self.core.node().map_or("", |node| node.cluster.as_str())
    }

    fn node(&self) -> &str {
        self.core.node().map_or("", |node| node.id.as_str())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.fanout.leave(self.place.id, &self.core);
        self.metrics
            .streams
            .get_or_create(&by_variant(self.variant))
            .dec();
        tracing::debug!(node = self.node(), "client gone");
    }
}

/// The age, give or take a fifth: streams that began together do not come back together.
fn lifetime(age: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 401).unwrap_or(0);
    age * (800 + part) / 1000
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
        Refusal::TooManyNames { .. } => Status::resource_exhausted(refusal.to_string()),
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

/// A client may send any text: a log line gets so much of it.
fn clip(message: &str) -> &str {
    let end = (0..=message.len().min(2_000))
        .rev()
        .find(|at| message.is_char_boundary(*at));
    &message[..end.unwrap_or(0)]
}
