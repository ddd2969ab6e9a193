//! What the table shows: lines of errors of the same kind. Pure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::status::{Flags, Status};

/// Upper bounds of how long attempts took, milliseconds; the last of [`Line::took`] is of longer ones.
pub const TOOK: [u32; 11] = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000];

/// How many attempts took how long.
pub(super) type Took = [u32; TOOK.len() + 1];

/// The errors of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterErrors {
    /// `orders`, or `orders@9f31c2a` where each version has a cluster.
    pub cluster: Arc<str>,
    /// All of them.
    pub total: u64,
    /// Those that found no room among the lines.
    pub other: u64,
    /// When the first came, on the clock of whoever asks the table.
    pub first: Duration,
    /// When the last did.
    pub last: Duration,
    /// By kind, the most frequent first.
    pub lines: Vec<Line>,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// `shop.Orders/Get`, `GET /orders/*`
    pub method: Box<str>,
    /// What came back.
    pub status: Status,
    /// What Envoy noticed.
    pub flags: Flags,
    /// The endpoint.
    pub upstream: Option<SocketAddr>,
    /// An example of what was said; one line, perhaps none.
    pub message: Box<str>,
    /// Their number.
    pub count: u64,
    /// When the first came.
    pub first: Duration,
    /// When the last did.
    pub last: Duration,
    /// How many took how long: up to each of [`TOOK`], and longer.
    pub took: Took,
}

impl ClusterErrors {
    /// The version, where the cluster is one of a version; empty: of instances without one.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.cluster.split_once('@').map(|(_, version)| version)
    }
}
