//! The files of the last known state, without what writes them.

#[path = "../../../src/cache/format2.rs"]
mod format2;
#[path = "../../../src/cache/schema.rs"]
mod schema;
#[path = "../../../src/cache/text.rs"]
mod text;

pub use text::{CacheError, LastKnown, Snapshot, decode, encode, sealed, sealed_as};
