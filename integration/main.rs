//! The proofs against the real etcd, Consul and Envoy. `make tools` fetches them;
//! `make test` runs this. Each proof starts what it needs on loopback and stops it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, with a sentence"
)]

mod support;

mod adopt;
mod adoption_between;
mod adoption_steps;
mod analyze;
mod bridge_restart;
mod chaos;
mod clusters;
mod configuration;
mod connections;
mod consul_acl;
mod consul_data;
mod consul_datacenters;
mod consul_limits;
mod consul_peering;
mod consul_restart;
mod consul_tls;
mod consul_watch;
mod deploys;
mod doctor;
mod drains;
mod edge;
mod envoy_protocol;
mod errors;
mod etcd_formats;
mod etcd_watch;
mod events;
mod filters;
mod fleets;
mod grpc_clients;
mod grpc_nobody;
mod import;
mod last_known;
mod listeners;
mod load_reports;
mod localities;
mod malformed;
mod mass_removal;
mod mixed_fleet;
mod odd;
mod overlay;
mod owners;
mod packaging;
mod page;
mod plan;
mod ports;
mod questions;
mod readme;
mod registrations;
mod registry_restart;
mod reload;
mod removals;
mod rollouts;
mod routes;
mod scale;
mod slips;
mod state;
mod store;
mod story;
mod support_dump;
mod telemetry;
mod tls;
mod unhealthy;
mod union;
mod upstream;
mod versions;
mod views;
mod why;
