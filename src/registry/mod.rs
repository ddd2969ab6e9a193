//! Thin typed clients for the registries: transport, requests and answers, no policy.
//!
//! Nothing of ours is imported here but files and the clock. Retrying, watching and believing is the sources' work; only
//! `store` follows what the bridges share by itself: that is a few keys of our own, which nobody else declares anything by.

pub mod budget;
pub mod consul;
pub mod etcd;
pub mod store;
pub mod weight;
