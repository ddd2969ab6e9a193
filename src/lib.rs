//! xds-bridge: the services of Consul, etcd or files, served to Envoy by xDS.
//!
//! The way of a change, six hops:
//! 1. a [`source`] parses one answer of its registry into a `Change`; a bad entry rejects itself only;
//! 2. the [`hub`], one task, applies it to the [`catalog`]; what changes nothing stops here;
//! 3. after a short settling it has the touched services, and only those, translated ([`translate`]);
//! 4. a new generation of resources is made from the last and published ([`fanout`]);
//! 5. each stream (the pure engine, [`xds`]) compares what its client holds, and decides what to send;
//! 6. the gRPC shell ([`grpc`]) passes on bytes that were encoded once for all streams.
//!
//! What clients report of their requests comes back by the same port: read in [`loads`] and [`errors`], kept in
//! [`intake`].
//!
//! Invariants
//! - No queue of messages to slow clients: the newest generation wins, and what a stream
//!   has not looked at yet is a set of names.
//! - A registry that is away, or has not answered yet, changes nothing; streams are refused
//!   until each source has delivered once.
//! - A client is bounded before it is believed: who it may be and how much it may ask for is
//!   judged in [`grpc`], and the engine handles only what was let through.
//! - `model`, `catalog`, `plan`, `translate`, `xds`, `loads`, `errors` and `rollout` do no I/O, read no clock and hold no
//!   lock.
//! - Imports go one way; `tests/architecture.rs` has the table and enforces it.

pub mod admin;
pub mod adopt;
pub mod app;
pub mod barrier;
pub mod bootstrap;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod errors;
pub mod fanout;
pub mod fields;
pub mod files;
pub mod floods;
pub mod grpc;
pub mod hub;
pub mod import;
pub mod intake;
pub mod journal;
pub mod loads;
pub mod metrics;
pub mod model;
pub mod overlay;
pub mod pilot;
pub mod places;
pub mod plan;
pub mod prober;
pub mod registry;
pub mod render;
pub mod replay;
pub mod rollout;
pub mod source;
pub mod state;
pub mod text;
pub mod translate;
pub mod webhook;
pub mod xds;
