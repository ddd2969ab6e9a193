//! The parsers of the sources, without what fetches for them.

pub mod consul;
#[path = "../../../../src/source/entry.rs"]
mod entry;
pub mod etcd;
pub mod file;
