//! What an operator sees of the open streams.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Fanout, lock};
use crate::xds::{Kind, PerKind};

/// A stream as an operator sees it.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// `node.user_agent_name`
    pub agent: String,
    /// `delta` or `sotw`
    pub variant: &'static str,
    /// When it was opened.
    pub since: Option<Instant>,
    /// Each type it requested.
    pub types: PerKind<TypeStatus>,
    /// The last response it refused.
    pub last_nack: Option<LastNack>,
}

/// One type of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// A request was received.
    pub requested: bool,
    /// Subscribed to everything.
    pub wildcard: bool,
    /// Names subscribed to.
    pub names: u64,
    /// Responses accepted.
    pub acks: u64,
    /// Responses refused.
    pub nacks: u64,
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct LastNack {
    /// Of which type.
    pub kind: Kind,
    /// Which resource, where that is known.
    pub name: Option<Arc<str>>,
    /// The client's error message.
    pub message: String,
}

impl Fanout {
    /// Each open stream.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamStatus> {
        let subscribers: Vec<_> = self.shared.lock().subscribers.iter().flatten().cloned().collect();
        subscribers
            .iter()
            .map(|subscriber| lock(&subscriber.status).clone())
            .collect()
    }
}
