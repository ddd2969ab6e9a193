//! `make bench`: what the release build costs, measured from outside with real processes
//! and printed as Markdown tables. No number is asserted: a busy machine must not fail.
//!
//! - `load program`: size of the binary, resident memory, time from start to ready;
//! - `load latency`: a write to the registry → Envoy's ACK;
//! - `load streams`: many discovery streams at once, here or at any other xDS server;
//! - `load agent`: changes behind a client agent of Consul, beside a plain watcher of the same agent;
//! - `load registries`: what the bridge costs a registry of thousands of services;
//! - `load hostile`: the memory that hostile clients and large dumps take, and what comes back; changes beside them;
//! - `load reports`: load reports of many Envoys, one a second of each;
//! - `load large`: one change in a service of ten thousands of instances.
//!
//! Without a word: all eight. `--quick`: a small part of each, in less than a minute.
#![allow(clippy::print_stdout, reason = "its tables go to a person, or into a file")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here ends the measurement, with a sentence"
)]

#[path = "support/mod.rs"]
mod support;

#[path = "load/agent.rs"]
mod agent;
#[path = "load/agents.rs"]
mod agents;
#[path = "load/awaited.rs"]
mod awaited;
#[path = "load/beside.rs"]
mod beside;
#[path = "load/board.rs"]
mod board;
#[path = "load/catalog.rs"]
mod catalog;
#[path = "load/changes.rs"]
mod changes;
#[path = "load/client.rs"]
mod client;
#[path = "load/decode.rs"]
mod decode;
#[path = "load/hostile.rs"]
mod hostile;
#[path = "load/keys.rs"]
mod keys;
#[path = "load/large.rs"]
mod large;
#[path = "load/latency.rs"]
mod latency;
#[path = "load/numbers.rs"]
mod numbers;
#[path = "load/options.rs"]
mod options;
#[path = "load/program.rs"]
mod program;
#[path = "load/registries.rs"]
mod registries;
#[path = "load/report.rs"]
mod report;
#[path = "load/reports.rs"]
mod reports;
#[path = "load/requests.rs"]
mod requests;
#[path = "load/server.rs"]
mod server;
#[path = "load/streams.rs"]
mod streams;

use clap::Parser as _;
use options::{Options, What};

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let quick = options.quick;
    match options.what {
        Some(What::Program) => program::measure(quick).await,
        Some(What::Latency { changes }) => Box::pin(latency::measure(if quick { 30 } else { changes })).await,
        Some(What::Streams(wish)) => streams::measure(&wish, quick).await,
        Some(What::Agent) => Box::pin(agent::measure(quick)).await,
        Some(What::Registries { only }) => Box::pin(registries::measure(only, quick)).await,
        Some(What::Large) => Box::pin(large::measure(quick)).await,
        Some(What::Reports) => reports::measure(quick).await,
        Some(What::Hostile(wish)) => Box::pin(hostile::measure(&wish)).await,
        None => {
            program::measure(quick).await;
            Box::pin(latency::measure(if quick { 30 } else { options::CHANGES })).await;
            streams::measure(&options::StreamArgs::default(), quick).await;
            Box::pin(agent::measure(quick)).await;
            Box::pin(registries::measure(None, quick)).await;
            Box::pin(large::measure(quick)).await;
            reports::measure(quick).await;
            if !quick {
                Box::pin(hostile::measure(&options::HostileArgs::default())).await;
            }
        }
    }
}
