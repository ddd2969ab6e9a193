//! The one service model that all sources are normalised into.
//!
//! Pure: no I/O, no clock, no locks, and nothing of ours is imported. A source
//! parses what its registry said into [`Change`]s; the [`Catalog`] merges them.

pub mod catalog;
pub mod change;
pub mod declaration;
pub mod guard;
mod history;
pub mod instance;
pub mod network;
pub mod route;
pub mod service;
pub mod source_state;

pub use catalog::Catalog;
pub use change::{Change, Condition, Event, Issue, Measured, Severity, Status};
pub use declaration::{Declared, Policy, Spelling};
pub use guard::GuardRule;
pub use instance::{Health, Instance, MAX_WEIGHT, Protocol};
pub use network::{Bind, Clusters, Exposure, Listener, OnAllUnhealthy};
pub use route::{GrpcMethod, Matcher, RouteRule};
pub use service::{Conflict, Service, ServiceRecord};
pub use source_state::SourceState;
