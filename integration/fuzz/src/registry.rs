//! Keys of etcd, without its client.

#[path = "../../../src/registry/etcd/kv.rs"]
mod kv;

/// etcd
pub mod etcd {
    pub use super::kv::{Event, Kv, MAX_VALUE};
}
