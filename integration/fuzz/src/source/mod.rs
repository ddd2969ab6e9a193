//! The parsers of the sources, without what fetches for them.

pub mod consul;
#[path = "../../../../src/source/entry.rs"]
mod entry;
pub mod etcd;
pub mod file;
#[path = "../../../../src/source/newest.rs"]
mod newest;
#[path = "../../../../src/source/place.rs"]
mod place;
