//! The xDS engine: what exists, what a client subscribes to and holds, and what
//! to say next. Pure: no I/O, no clock, no locks; imports nothing of ours.
//!
//! Invariants
//! - A resource is encoded once; streams share its finished wire frame.
//! - Versions are content hashes: equal in each process that serves the same content.
//! - One outstanding response per stream and type; whatever changes meanwhile merges
//!   into a set of names, never into a queue of messages.
//! - A route or listener never reaches a client before the clusters it names.
//! - A version that a client refused is not sent to it again until the content changes.

mod client;
pub mod generation;
pub mod ids;
pub mod index;
pub mod kind;
pub mod names;
pub mod order;
pub mod request;
pub mod resource;
pub mod response;
mod retired;
pub mod stream;
mod subscription;
mod table;
mod variant;
pub mod verdict;
mod wire;

pub use client::Client;
pub use generation::{Changed, Generation, Gone, Update};
pub use index::{Index, StreamId};
pub use kind::{Kind, PerKind};
pub use names::{NameId, Names};
pub use request::{Claim, DeltaRequest, Node, SotwRequest};
pub use resource::{Draft, Reach, Resource, Version};
pub use response::Response;
pub use stream::{Heard, Limits, Refusal, Stream};
pub use variant::Variant;
pub use verdict::{Doubt, Matter, Ruling, Verdicts, Voter};
