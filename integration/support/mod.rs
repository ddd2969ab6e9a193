//! What the proofs are made of: the real programs as children, servers that answer with
//! their name, registration as a server does it, and clients that go through Envoy.
//!
//! Never a fixed sleep: everything waits for a level, with a deadline (`wait`). Never a
//! fixed port: the kernel gives them (`process`).
#![allow(dead_code, reason = "the tests and the demo each use their own part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence"
)]

pub(crate) mod agent;
pub(crate) mod bridge;
pub(crate) mod client;
pub(crate) mod consul;
pub(crate) mod consul_cluster;
pub(crate) mod consul_snapshot;
pub(crate) mod consul_version;
pub(crate) mod crowd;
pub(crate) mod envoy;
pub(crate) mod etcd;
pub(crate) mod folder;
pub(crate) mod gate;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod many;
pub(crate) mod mirror;
pub(crate) mod pki;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod raw;
pub(crate) mod registry;
pub(crate) mod served;
pub(crate) mod servers;
pub(crate) mod steady;
pub(crate) mod tap;
pub(crate) mod tls;
pub(crate) mod versions;
pub(crate) mod wait;
