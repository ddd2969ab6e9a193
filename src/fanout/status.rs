//! What an operator sees of the open streams.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Fanout, Subscriber, lock};
use crate::xds::{Kind, PerKind, Release};

/// A stream as an operator sees it.
#[derive(Clone, Debug, Default)]
pub struct StreamStatus {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// `node.user_agent_name`
    pub agent: String,
    /// Which release of Envoy it is, where it says so.
    pub release: Option<Release>,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
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

/// How far the client of a stream is with what is published.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Who, and what it subscribes to.
    pub status: StreamStatus,
    /// Resources of each type that it has not acknowledged in their present content.
    pub behind: PerKind<u64>,
    /// Since when it is; `None`: it has all.
    pub behind_since: Option<Instant>,
    /// Resources whose present content it refuses.
    pub refused: u64,
}

impl Subscriber {
    fn standing(&self) -> Standing {
        let stream = self.stream();
        let pending = lock(&self.pending);
        let mut standing = Standing::default();
        let mut is_behind = false;
        for kind in Kind::ALL {
            let names = stream.unsettled(kind) | pending.changed.get(kind);
            is_behind |= !names.is_empty() || !stream.is_settled(kind);
            *standing.behind.get_mut(kind) = names.len();
            standing.refused += stream.refused(kind);
        }
        let behind = pending.behind;
        drop(pending);
        drop(stream);
        standing.status = lock(&self.status).clone();
        // A stream that has just opened is owed all of it since then.
        standing.behind_since = behind.max(standing.status.since).filter(|_| is_behind);
        standing
    }
}

impl Fanout {
    /// How far the client of each open stream is. Each stream is looked at by itself.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let subscribers = self.shared.lock().clients();
        subscribers
            .iter()
            .map(|subscriber| subscriber.standing())
            .collect()
    }

    /// Each open stream.
    #[must_use]
    pub fn streams(&self) -> Vec<StreamStatus> {
        let subscribers = self.shared.lock().clients();
        subscribers
            .iter()
            .map(|subscriber| lock(&subscriber.status).clone())
            .collect()
    }
}
