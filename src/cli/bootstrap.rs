//! `bootstrap`: a bootstrap for Envoy, or for gRPC's own xDS clients.

use std::net::SocketAddr;

use clap::Args;

use super::Failure;
use super::output::print as print_text;
use crate::bootstrap::{self, BridgeAddress, For, Provider, StaticService, Step, TlsWish, Wish};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "\
Examples:
  xds-bridge bootstrap --step listeners > envoy.yaml && envoy -c envoy.yaml
  xds-bridge bootstrap --step endpoints --service web --service 'orders:grpc:grpc=shop.Orders' > envoy.yaml
  xds-bridge bootstrap --for grpc --zone a > grpc.json && GRPC_XDS_BOOTSTRAP=grpc.json ./program-that-dials xds:///orders

gRPC clients dial a service of protocol grpc or http2 by its registered name, xds:///orders. --step, --service, --admin
and --sni mean nothing to them.

Services whose servers speak TLS: --tls names, for a [tls.NAME] that they name, the CA's file on the client's machine, and
the certificate and key that it shows. Java wants all three files.
  xds-bridge bootstrap --for grpc --tls shop=tls/shop-ca.pem,tls/web.pem,tls/web-key.pem > grpc.json

Several bridges: Envoy leaves one that is gone within 10 s, whether each is named (an IP address or a DNS name) or one
name has all addresses. A running gRPC client is helped by one name with several addresses only.
  xds-bridge bootstrap --bridge 10.0.0.7:18000 --bridge 10.0.0.8:18000 > envoy.yaml
  xds-bridge bootstrap --for grpc --bridge bridge.internal:18000 > grpc.json

With [xds.tls] in bridge.toml (docs/tls.md makes these files):
  xds-bridge bootstrap --ca tls/ca.pem --cert tls/envoy.pem --key tls/envoy-key.pem > envoy.yaml && envoy -c envoy.yaml";

/// What the bootstrap is for.
#[derive(Debug, Args)]
pub(super) struct BootstrapArgs {
    /// Whose bootstrap: Envoy's YAML, or the JSON of gRPC's own xDS clients
    #[arg(long = "for", value_enum, default_value = "envoy", value_name = "CLIENT")]
    whose: For,
    /// How much comes from the bridge
    #[arg(long, value_enum, default_value = "listeners")]
    step: Step,
    /// node.id, unique for each client [default: envoy-1, or grpc-1]
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// node.cluster: the fleet, which decides the listeners
    #[arg(long, value_name = "FLEET", default_value = "edge")]
    node_cluster: String,
    /// node.locality.region
    #[arg(long, default_value = "")]
    region: String,
    /// node.locality.zone
    #[arg(long, default_value = "")]
    zone: String,
    /// Envoy's own admin port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Where the client reaches the bridge, may be repeated [default: xds.listen of the configuration]
    #[arg(long = "bridge", value_name = "HOST:PORT")]
    bridges: Vec<BridgeAddress>,
    /// A service that stays in Envoy's file (step `endpoints`), may be repeated
    #[arg(long = "service", value_name = "NAME[:PROTOCOL[:ROUTE]]")]
    services: Vec<StaticService>,
    /// With [xds.tls]: the CA of the bridge's certificate, a file on the client's machine
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,
    /// With `client_ca` in [xds.tls]: the certificate the client shows
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// For Envoy: the DNS name in the bridge's certificate [default: it carries the host of --bridge]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// For gRPC clients: their files for services that name this [tls.NAME], may be repeated
    #[arg(long = "tls", value_name = "NAME=CA[,CERT,KEY]")]
    providers: Vec<Provider>,
}

pub(super) fn print(config: &Config, args: BootstrapArgs) -> Result<(), Failure> {
    let id = match args.whose {
        For::Envoy => "envoy-1",
        For::Grpc => "grpc-1",
    };
    let wish = Wish {
        step: args.step,
        node_id: args.node_id.unwrap_or_else(|| id.to_owned()),
        fleet: args.node_cluster,
        region: args.region,
        zone: args.zone,
        admin: args.admin,
        bridges: if args.bridges.is_empty() {
            vec![BridgeAddress::Ip(config.xds.listen)]
        } else {
            args.bridges
        },
        services: args.services,
        tls: TlsWish {
            ca: args.ca,
            certificate: args.cert,
            key: args.key,
            sni: args.sni,
        },
        providers: args.providers,
    };
    match args.whose {
        For::Envoy => print_text(&bootstrap::yaml(config, &wish)?),
        For::Grpc if !wish.services.is_empty() || wish.step != Step::Listeners => Err(
            "--for grpc knows neither --step nor --service: gRPC clients get everything from the bridge"
                .into(),
        ),
        For::Grpc => {
            let made = bootstrap::grpc::bootstrap(config, &wish)?;
            for note in made.notes {
                eprintln!("xds-bridge: note: {note}");
            }
            print_text(&made.json)
        }
    }
}
