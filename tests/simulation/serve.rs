//! A discovery stream at a bridge, as `grpc/discovery` drives it: registered, its requests handled and counted as
//! votes, its responses polled only when the client has room for them.

use std::sync::Arc;
use std::time::Duration;

use xds_bridge::fanout::{Fanout, RegisterError, Registration};
use xds_bridge::xds::{
    Client, ClientId, Kind, Limits, Node, RejectionKey, Request, Response, Stream, Variant, Version,
};

use crate::rules::Broken;

/// Of a refused batch so many are tried alone at once.
const SINGLES: usize = 16;

/// Responses on their way to a client that reads.
pub(crate) const WINDOW: usize = 4;

pub(crate) struct Served {
    registration: Registration,
    pub(crate) client: u8,
    began: Duration,
    node: Option<Arc<Node>>,
    /// Responses that the client has not read yet.
    pub(crate) under_way: usize,
    /// When its timer fires, if it still means that then.
    pub(crate) armed: Option<Duration>,
    /// The client does not read: what it is owed is a set of names.
    pub(crate) is_stuck: bool,
}

impl Served {
    pub(crate) fn open(
        fanout: &Fanout,
        (variant, gate): (Variant, Duration),
        client: u8,
        now: Duration,
    ) -> Result<Self, RegisterError> {
        let limits = Limits {
            gate,
            ..Limits::default()
        };
        let registration = fanout.register(Stream::new(variant, None, limits))?;
        Ok(Self {
            registration,
            client,
            began: now,
            node: None,
            under_way: 0,
            armed: None,
            is_stuck: false,
        })
    }

    /// The client has sent a request. `Err`: the stream ends with it.
    pub(crate) fn handle(&mut self, fanout: &Fanout, request: Request) -> Result<(), Broken> {
        let refused = |refusal| Broken::new("a request by the rules is not refused", format!("{refusal}"));
        let handled = fanout
            .handle_request(&self.registration, request)
            .map_err(refused)?;
        if self.node.is_none() {
            self.node = self.registration.subscriber.stream().node().cloned();
            if let Some(node) = &self.node {
                fanout.join_fleet(self.registration.id, &node.cluster);
                if Client::of(&node.user_agent) == Client::Envoy {
                    fanout.envoy_of(&node.cluster);
                }
                self.registration.subscriber.update_status(|status| {
                    status.node.clone_from(&node.id);
                    status.fleet.clone_from(&node.cluster);
                });
            }
        }
        let (Some(kind), Some(node)) = (handled.kind, self.node.clone()) else {
            return Ok(());
        };
        if handled.ack {
            fanout.accepted(self.who(&node), &node.cluster, kind, &handled.accepted);
        }
        if let Some((id, version)) = handled.nack.and_then(|nack| nack.only) {
            let key = RejectionKey {
                fleet: node.cluster.as_str().into(),
                kind,
                id,
            };
            fanout.refused(self.who(&node), &key, version, "refused");
        }
        Ok(())
    }

    fn who(&self, node: &Node) -> (ClientId, u32) {
        (Version::of(node.id.as_bytes()).0, self.registration.id)
    }

    /// The next response, if the client has room for it.
    pub(crate) fn next(&mut self, fanout: &Fanout, now: Duration) -> Option<Response> {
        if self.is_stuck || self.under_way >= WINDOW {
            return None;
        }
        let node = self.node.as_ref()?;
        let client = (node.id.as_str(), node.cluster.as_str());
        let next = fanout.next(&self.registration, client, now.saturating_sub(self.began));
        if next.response.is_none() {
            fanout.acknowledged();
            fanout.settled();
        } else {
            self.under_way += 1;
        }
        next.response
    }

    /// When it is to be polled again.
    pub(crate) fn due(&self) -> Option<Duration> {
        if self.is_stuck || self.under_way >= WINDOW {
            return None; // polled once the client has room
        }
        let timeout = self.registration.subscriber.stream().poll_timeout()?;
        Some(self.began + timeout)
    }

    /// Responses without an answer.
    pub(crate) fn outstanding(&self) -> usize {
        self.registration.subscriber.stream().outstanding()
    }

    /// What a stream may owe and be owed at most.
    pub(crate) fn check(&self) -> Result<(), Broken> {
        let outstanding = self.outstanding();
        if outstanding > Kind::ALL.len() + SINGLES {
            let text = format!(
                "client {} has {outstanding} responses without an answer",
                self.client
            );
            return Err(Broken::new(
                "one response of a type waits for an answer at most",
                text,
            ));
        }
        Ok(())
    }

    pub(crate) fn close(self, fanout: &Fanout) {
        fanout.unregister(&self.registration);
    }
}
