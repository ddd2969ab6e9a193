//! Thin typed clients for the registries: transport, requests and answers, no policy.
//!
//! Nothing of ours is imported here but the reading of PEM files. Retrying, watching and believing is the sources' work.

pub mod budget;
pub mod consul;
pub mod etcd;
pub mod weight;
