//! Where facts come from. A source watches one registry, parses each answer
//! purely into a [`Change`](crate::model::Change), and hands it to the hub in one place: its [`Sink`].
//!
//! A source never empties the catalog because it cannot reach its registry:
//! it reports [`Status::Away`](crate::model::Status::Away) and keeps trying.

pub mod consul;
mod entry;
pub mod etcd;
mod factory;
pub mod file;
mod newest;
mod place;
mod sink;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub use crate::registry::budget::{Budget, Known};
pub use factory::{build, store};
pub use sink::{HubGone, Sink};

use crate::model::GuardRule;

/// One watched registry: all that the rest of the program needs to know of its kind.
pub trait Source: Send + Sync + 'static {
    /// The word in `kind = …`.
    fn kind(&self) -> &'static str;

    /// The guard against mass removal. Only a source that answers verification requests ([`Sink::asked`]) has one.
    fn guard(&self) -> Option<GuardRule>;

    /// Identifies the registry, so that a cached state of another one is not used; `None`: not worth caching.
    fn registry(&self) -> Option<String>;

    /// How many file descriptors it may need at once.
    fn descriptors(&self) -> usize;

    /// Checks that the files its configuration names can be used; connects to nothing. The error says which
    /// cannot, and why.
    fn check_files(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Watches until `stop`, delivering into `sink`. Never returns before `stop`
    /// (or a closed sink): errors are retried inside, with backoff.
    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()>;
}

/// What a source may need that has few connections: an etcd member and the next one, watched folders, or HTTP/2.
const FEW_DESCRIPTORS: usize = 32;
