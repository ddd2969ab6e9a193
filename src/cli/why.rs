//! `why`: why a service, an instance or a request is served as it is.

use clap::Args;
use http::Method;

use super::Failure;
use super::output::{encode, print, request};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "\
Examples:
  xds-bridge why orders
  xds-bridge why orders/orders-7
  xds-bridge why --request 'GET https://api.example.com/orders/7 -H x-canary:1'
  xds-bridge why --request 'GRPC http://orders/shop.Orders/Get' --client edge-1";

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A service, or one of its instances as SERVICE/ID
    #[arg(required_unless_present_any = ["request", "service"], conflicts_with_all = ["request", "service"], value_name = "SERVICE[/ID]")]
    name: Option<String>,
    /// The same, for names with slashes
    #[arg(long, conflicts_with = "request")]
    service: Option<String>,
    /// With --service
    #[arg(long, requires = "service", value_name = "ID")]
    instance: Option<String>,
    /// A request, as for curl: what becomes of it, route by route
    #[arg(long, value_name = "'METHOD URL -H NAME:VALUE'")]
    request: Option<String>,
    /// With --request: as this client (its node.id) gets the listeners and routes; without, all of them
    #[arg(long, requires = "request", value_name = "NODE")]
    client: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn why(config: &Config, args: &WhyArgs) -> Result<(), Failure> {
    let (mut service, mut instance) = (args.service.as_deref(), args.instance.as_deref());
    if let Some(name) = &args.name {
        let (of, id) = name
            .split_once('/')
            .map_or((&**name, None), |(of, id)| (of, Some(id)));
        (service, instance) = (Some(of), id);
    }
    let values = [
        ("service", service),
        ("instance", instance),
        ("request", args.request.as_deref()),
        ("client", args.client.as_deref()),
        ("json", args.json.then_some("true")),
    ];
    let query = values
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(value?))));
    let query = query.collect::<Vec<_>>().join("&");
    let body = request(config, Method::GET, &format!("/why?{query}"))?;
    print(&String::from_utf8_lossy(&body))
}
