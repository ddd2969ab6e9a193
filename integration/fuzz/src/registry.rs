//! Keys of etcd, without its client.

#[path = "../../../src/registry/etcd/kv.rs"]
mod kv;

#[path = "../../../src/registry/weight.rs"]
pub mod weight;

/// etcd
pub mod etcd {
    pub use super::kv::{Event, Kv, MAX_VALUE};
}
