//! Chaos with a real etcd: members die, freeze, are cut off, lose or change what they know, while requests
//! go through Envoy. Not one of them fails, and Envoy loses no endpoint.
//!
//! In each scene the bridge itself is killed, too, and comes back while etcd is sick.

mod certificates;
mod cluster;
mod floor;
mod history;
mod members;
pub(crate) mod network;
mod outage;
mod owners;
mod partition;
mod scene;
mod upgrade;
