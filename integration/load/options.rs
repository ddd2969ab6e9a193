//! The command line of the load program, and the scales that it measures when told nothing.

use std::net::SocketAddr;

/// So many single changes are measured.
pub(crate) const CHANGES: usize = 200;

/// Measures xds-bridge (or, with `streams --target`, another xDS server).
#[derive(Debug, clap::Parser)]
#[command(name = "load")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    /// A small part only
    #[arg(long, global = true)]
    pub(crate) quick: bool,
}

/// One measurement.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// Size of the binary, resident memory, time from start to ready
    Program,
    /// A write to the registry → Envoy's ACK
    Latency {
        /// Single endpoint changes per registry
        #[arg(long, default_value_t = CHANGES)]
        changes: usize,
    },
    /// Many discovery streams at once
    Streams(StreamArgs),
    /// Changes behind a client agent of Consul in default settings → served, beside a plain watcher
    Agent,
    /// Thousands of services in Consul and etcd: changes, requests, CPU, and a registry that is away
    Registries {
        /// Only this one: consul, etcd
        only: Option<Registry>,
    },
    /// The memory that hostile clients and large dumps take, and what comes back; changes beside them
    Hostile(HostileArgs),
    /// One change in a service of ten thousands of instances
    Large,
    /// Load reports of many Envoys, one a second of each
    Reports,
}

/// Without any: both tables.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct HostileArgs {
    /// Only what changes take beside them
    #[arg(long)]
    pub(crate) beside: bool,
    /// Only what has this in its title
    pub(crate) only: Option<String>,
}

/// One registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Registry {
    Consul,
    Etcd,
}

/// Without `--streams` and `--services`: the scales of docs/performance.md.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StreamArgs {
    /// Discovery streams
    #[arg(long)]
    pub(crate) streams: Option<usize>,
    /// Services, named svc-00000 and so on
    #[arg(long)]
    pub(crate) services: Option<usize>,
    /// Each stream subscribes to the endpoints of so many random services, and to nothing else
    #[arg(long)]
    pub(crate) names: Option<usize>,
    /// State of the world instead of delta
    #[arg(long)]
    pub(crate) sotw: bool,
    /// Single endpoint changes
    #[arg(long)]
    pub(crate) changes: Option<usize>,
    /// Another server, which serves services of these names; it is not started here
    #[arg(long, requires = "pid")]
    pub(crate) target: Option<SocketAddr>,
    /// That server's process
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// The etcd that server watches; without it only the first sync and a reconnect are measured
    #[arg(long, requires = "target")]
    pub(crate) etcd: Option<String>,
}

/// One scale of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) streams: usize,
    pub(crate) services: usize,
    /// Subscribes to the endpoints of so many services by name; else to all, as Envoy does.
    pub(crate) names: Option<usize>,
    pub(crate) sotw: bool,
    /// Single changes to measure.
    pub(crate) changes: usize,
}

impl Scale {
    const fn new(streams: usize, services: usize) -> Self {
        Self {
            streams,
            services,
            names: None,
            sotw: false,
            changes: CHANGES,
        }
    }

    /// How it is called in a table.
    pub(crate) fn title(&self) -> String {
        let names = self
            .names
            .map_or_else(String::new, |n| format!(", {n} names each"));
        let variant = if self.sotw { ", state of the world" } else { "" };
        format!("{} × {}{names}{variant}", self.streams, self.services)
    }
}

impl StreamArgs {
    /// What is to be measured.
    pub(crate) fn scales(&self, quick: bool) -> Vec<Scale> {
        if self.streams.is_some() || self.services.is_some() || self.names.is_some() || self.sotw {
            return vec![Scale {
                names: self.names,
                sotw: self.sotw,
                changes: self.changes.unwrap_or(CHANGES),
                ..Scale::new(self.streams.unwrap_or(100), self.services.unwrap_or(5_000))
            }];
        }
        if quick {
            return vec![Scale {
                changes: 50,
                ..Scale::new(100, 500)
            }];
        }
        vec![
            Scale::new(100, 500),
            Scale::new(100, 5_000),
            Scale::new(1_000, 500),
            Scale::new(1_000, 5_000),
            Scale {
                names: Some(20),
                ..Scale::new(1_000, 5_000)
            },
            Scale {
                sotw: true,
                ..Scale::new(100, 5_000)
            },
        ]
    }
}
