//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bootstrap::{BridgeAddress, For, StaticService, Step};

mod keys;

pub use keys::listing;

/// Serves the services of Consul, etcd or files to Envoy by xDS.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do; `run` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The configuration; for `dump`, `accept`, `forget` and `health`: that of the running bridge
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        default_value = "bridge.toml"
    )]
    pub config: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the sources and serve xDS, until SIGTERM or SIGINT (the default)
    Run,
    /// Print the keys that a service can declare, and the words of a route
    Keys,
    /// Check a configuration: all mistakes at once, each with its line
    Check,
    /// Print an Envoy bootstrap for one of the three adoption steps, or one for gRPC's own xDS clients
    #[command(after_help = BOOTSTRAP_EXAMPLES)]
    Bootstrap(Box<BootstrapArgs>),
    /// Print what a running bridge serves, as Envoy prints it in `/config_dump`
    Dump(DumpArgs),
    /// Let removals go that the mass-removal guard of a source withholds
    Accept(AcceptArgs),
    /// End the routes that are kept of a service whose last instance left
    Forget(ForgetArgs),
    /// Exit with 0 when a running bridge answers (for container health checks)
    Health,
}

const BOOTSTRAP_EXAMPLES: &str = "\
Examples:
  xds-bridge bootstrap --step listeners > envoy.yaml && envoy -c envoy.yaml
  xds-bridge bootstrap --step endpoints --service web --service 'orders:grpc:grpc=shop.Orders' > envoy.yaml
  xds-bridge bootstrap --for grpc --zone a > grpc.json && GRPC_XDS_BOOTSTRAP=grpc.json ./program-that-dials xds:///orders

gRPC clients dial a service of protocol grpc or http2 by its registered name, xds:///orders. --step, --service, --admin
and --sni mean nothing to them.

Several bridges: Envoy leaves one that is gone within 10 s, whether each is named (an IP address or a DNS name) or one
name has all addresses. A running gRPC client is helped by one name with several addresses only.
  xds-bridge bootstrap --bridge 10.0.0.7:18000 --bridge 10.0.0.8:18000 > envoy.yaml
  xds-bridge bootstrap --for grpc --bridge bridge.internal:18000 > grpc.json

With [xds.tls] in bridge.toml (docs/tls.md makes these files):
  xds-bridge bootstrap --ca tls/ca.pem --cert tls/envoy.pem --key tls/envoy-key.pem > envoy.yaml && envoy -c envoy.yaml";

/// What the bootstrap is for.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// Whose bootstrap: Envoy's YAML, or the JSON of gRPC's own xDS clients
    #[arg(long = "for", value_enum, default_value = "envoy", value_name = "CLIENT")]
    pub whose: For,
    /// How much comes from the bridge
    #[arg(long, value_enum, default_value = "listeners")]
    pub step: Step,
    /// node.id, unique for each client [default: envoy-1, or grpc-1]
    #[arg(long, value_name = "ID")]
    pub node_id: Option<String>,
    /// node.cluster: the fleet, which decides the listeners
    #[arg(long, value_name = "FLEET", default_value = "edge")]
    pub node_cluster: String,
    /// node.locality.region
    #[arg(long, default_value = "")]
    pub region: String,
    /// node.locality.zone
    #[arg(long, default_value = "")]
    pub zone: String,
    /// Envoy's own admin port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,
    /// Where the client reaches the bridge, may be repeated [default: xds.listen of the configuration]
    #[arg(long = "bridge", value_name = "HOST:PORT")]
    pub bridges: Vec<BridgeAddress>,
    /// A service that stays in Envoy's file (step `endpoints`), may be repeated
    #[arg(long = "service", value_name = "NAME[:PROTOCOL[:ROUTE]]")]
    pub services: Vec<StaticService>,
    /// With [xds.tls]: the CA of the bridge's certificate, a file on the client's machine
    #[arg(long, value_name = "FILE")]
    pub ca: Option<String>,
    /// With `client_ca` in [xds.tls]: the certificate the client shows
    #[arg(long, value_name = "FILE")]
    pub cert: Option<String>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE")]
    pub key: Option<String>,
    /// For Envoy: the DNS name in the bridge's certificate [default: it carries the host of --bridge]
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
}

/// What to dump.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// One type only
    #[arg(long, value_parser = ["cds", "eds", "lds", "rds"])]
    pub r#type: Option<String>,
    /// One resource only
    #[arg(long)]
    pub name: Option<String>,
}

/// Which source.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The source's name in the configuration
    pub source: String,
}

/// Which service.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Its registered name
    pub service: String,
}
