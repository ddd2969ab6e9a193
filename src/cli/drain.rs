//! `drain` and `undrain`: no new requests to an instance, a node or a zone, on all bridges, until that is ended.

use std::time::Duration;

use clap::Args;
use http::Method;

use tokio::time::Instant;

use super::client::{self, ClientError};
use super::output::{encode, print, request, runtime};
use super::{Failure, wait};
use crate::clock;
use crate::config::{Admin, Config};
use crate::text::parse_duration;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge drain orders/orders-7 --wait && systemctl stop orders@7
  xds-bridge drain --node web-3 --wait --timeout 5m
  xds-bridge undrain orders/orders-7

A drain ends by itself when the instance leaves its registry or registers again. With --wait the exit code is 0 when it is
safe to stop the instance, 3 when clients have not acknowledged the drain in time (they are named), 4 when requests are
still under way, and 1 when something else is wrong.";

/// Who is meant.
#[derive(Debug, Args)]
pub(super) struct Whom {
    /// SERVICE/ID (of Consul SERVICE/NODE/ID where the id is not unique)
    #[arg(value_name = "SERVICE/ID", required_unless_present_any = ["service", "node", "zone"], conflicts_with_all = ["service", "node", "zone"])]
    name: Option<String>,
    /// For names with slashes
    #[arg(long, value_name = "NAME", requires = "instance", conflicts_with_all = ["node", "zone"])]
    service: Option<String>,
    /// The id within the service
    #[arg(long, value_name = "ID", requires = "service")]
    instance: Option<String>,
    /// All instances of a node: as Consul calls it, or its IP address
    #[arg(long, value_name = "NODE", conflicts_with = "zone")]
    node: Option<String>,
    /// All instances of a zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// What to drain.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    whom: Whom,
    /// Wait until nobody sends it requests any more, and none is under way
    #[arg(long)]
    wait: bool,
    /// How long at most
    #[arg(long, default_value = "60s", value_parser = |text: &str| parse_duration(text), requires = "wait")]
    timeout: Duration,
    /// Also the last one that serves
    #[arg(long)]
    force: bool,
    /// Print the answer of --wait as JSON
    #[arg(long, requires = "wait")]
    json: bool,
}

/// What to drain no longer.
#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    #[command(flatten)]
    whom: Whom,
}

impl Whom {
    fn query(&self) -> String {
        let pairs = [
            ("name", &self.name),
            ("service", &self.service),
            ("instance", &self.instance),
            ("node", &self.node),
            ("zone", &self.zone),
        ];
        let pairs = pairs
            .iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", encode(value.as_ref()?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

pub(super) fn drain(config: &Config, args: &DrainArgs) -> Result<(), Failure> {
    let by = std::env::var("USER").unwrap_or_default();
    let query = args.whom.query();
    let path = format!("/drain?{query}&force={}&by={}", args.force, encode(&by));
    if !args.wait {
        let answer = request(config, Method::POST, &path)?;
        return print(&String::from_utf8_lossy(&answer));
    }
    let deadline = clock::now() + args.timeout;
    runtime()?.block_on(insist(&config.admin, &path, deadline))?;
    let query = format!("{}&until=drained", args.whom.query());
    let left = deadline.saturating_duration_since(clock::now());
    wait::until(config, &query, None, left, args.json)
}

/// Drains, also across a restart of the bridge or of its registry.
async fn insist(admin: &Admin, path: &str, deadline: Instant) -> Result<(), ClientError> {
    let mut is_said = false;
    loop {
        match client::request(Method::POST, admin, path, String::new()).await {
            Ok(_) => return Ok(()),
            Err(error) if !error.may_pass() || clock::now() + wait::PAUSE >= deadline => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut is_said, true) {
                    eprintln!("{error}; trying again");
                }
                clock::until(Some(clock::now() + wait::PAUSE)).await;
            }
        }
    }
}

pub(super) fn undrain(config: &Config, args: &UndrainArgs) -> Result<(), Failure> {
    let path = format!("/undrain?{}", args.whom.query());
    print(&String::from_utf8_lossy(&request(config, Method::POST, &path)?))
}
