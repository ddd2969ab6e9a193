//! The files of the last known state, without what writes them.

#[path = "../../../src/cache/text.rs"]
mod text;

pub use text::{CacheError, LastKnown, Snapshot, decode, encode, sealed};
