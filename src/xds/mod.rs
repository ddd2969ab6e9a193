//! The xDS engine: which resources exist, what a client subscribes to and holds, and what
//! to send next. Pure: no I/O, no clock; imports nothing of ours. [`Stream`] says how to drive it.
//!
//! No lock either, but for two `OnceLock`s: frames that are joined once for all streams (`table.rs`), and contents that
//! are made once for all clients of a place (`local.rs`).
//!
//! Invariants
//! - A resource is encoded once; streams share its finished wire frame.
//! - Versions are content hashes: equal in each process that serves the same content.
//! - One outstanding response per stream and type; whatever changes meanwhile merges
//!   into a set of names, never into a queue of messages.
//! - A route or listener never reaches a client before the clusters it names.
//! - A version that a client refused is not sent to it again until the content changes.

pub mod acks;
mod client;
pub mod generation;
pub mod hints;
pub mod ids;
pub mod index;
pub mod kind;
mod local;
pub mod names;
pub mod order;
mod place;
pub mod prepared;
mod removal;
pub mod request;
pub mod resource;
pub mod response;
mod retired;
pub mod stream;
mod subscription;
mod table;
pub mod update;
mod variant;
pub mod verdict;
mod version;
mod view;
mod viewer;
mod wire;

pub use acks::{Acks, WatchId};
pub use client::Client;
pub use generation::{Changed, Generation, Gone, Why};
pub use hints::Hints;
pub use index::{Index, StreamId};
pub use kind::{Kind, PerKind};
pub use local::{By, Local};
pub use names::{NameId, NameOf, Names};
pub use place::{MAX_PLACES, Place};
pub use prepared::{Prepared, Request};
pub use request::{
    Build, Claim, DOCTOR, DeltaRequest, Error, Locality, Node, Release, SotwRequest, has_more_entries,
};
pub use resource::{Draft, Reach, Resource, Version};
pub use response::{Missing, Response};
pub use stream::{Given, Handled, Limits, Refusal, Stream};
pub use update::{Encoded, Update};
pub use variant::Variant;
pub use verdict::{Candidate, ClientId, RejectionKey, Ruling, Verdicts};
pub use view::{Audience, View, ViewRules};
pub use viewer::Viewer;
