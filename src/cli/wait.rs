//! `wait`: until an instance serves in each client, or is drained.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::output::{encode, print};
use super::{Failure, Unfinished, client};
use crate::clock;
use crate::config::{Admin, Config};
use crate::text::parse_duration;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge wait --serving orders/orders-8               each Envoy and gRPC client has the new instance
  xds-bridge wait --drained orders/orders-7               it drains by its registry's word; nobody calls it any more

The exit code is 0 when it is so, 3 when clients have not acknowledged it in time (they are named), 4 when requests are
still under way, and 1 when something else is wrong.";

/// How long one request to the bridge may wait; longer waits are several.
const ONE: Duration = Duration::from_secs(200);
/// Between two tries while the bridge does not answer.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// Who is waited for.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// SERVICE/ID (of Consul SERVICE/NODE/ID where the id is not unique)
    #[arg(
        long,
        value_name = "SERVICE/ID",
        conflicts_with = "drained",
        required_unless_present = "drained"
    )]
    serving: Option<String>,
    /// The same; it drains by its registry, or has left
    #[arg(long, value_name = "SERVICE/ID")]
    drained: Option<String>,
    /// Where it listened, if it was deregistered, so that a bridge that has forgotten it can still tell
    #[arg(long, value_name = "IP:PORT", requires = "drained")]
    address: Option<SocketAddr>,
    /// The least number of clients that must have it
    #[arg(long, value_name = "N", default_value = "0", requires = "serving")]
    clients: usize,
    /// How long at most
    #[arg(long, default_value = "60s", value_parser = |text: &str| parse_duration(text))]
    timeout: Duration,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn wait(config: &Config, args: &WaitArgs) -> Result<(), Failure> {
    let query = match (&args.serving, &args.drained) {
        (Some(name), _) => format!("serving={}&clients={}", encode(name), args.clients),
        (None, Some(name)) => format!("drained={}", encode(name)),
        (None, None) => return Err("say --serving or --drained".into()),
    };
    let address = args.address.map(|address| address.to_string());
    until(config, &query, address, args.timeout, args.json)
}

/// Asks until it is so, also across a restart of the bridge. `address`: where an instance listened that is to be drained.
pub(super) fn until(
    config: &Config,
    query: &str,
    address: Option<String>,
    timeout: Duration,
    json: bool,
) -> Result<(), Failure> {
    let end = super::output::runtime()?.block_on(ask(&config.admin, query, address, timeout))?;
    finish(&end, json)
}

/// Whether it is about one instance that goes.
fn is_one_that_goes(query: &str) -> bool {
    let has = |key: &str| query.split('&').any(|pair| pair.starts_with(key));
    has("drained=") || (has("until=drained") && (has("name=") || has("instance=")))
}

async fn ask(
    admin: &Admin,
    query: &str,
    mut address: Option<String>,
    timeout: Duration,
) -> Result<Value, client::ClientError> {
    let deadline = clock::now() + timeout;
    let mut shown = String::new();
    let mut show = |text: String| {
        if text != shown {
            eprintln!("{text}");
            shown = text;
        }
    };
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        let mut path = format!("/wait?{query}&timeout={}ms", left.min(ONE).as_millis());
        if let Some(address) = &address {
            path.push_str("&address=");
            path.push_str(&encode(address));
        }
        let followed = client::follow(admin, &path, left.min(ONE), |name, data| {
            let view: Value = serde_json::from_str(data).ok()?;
            if name == "end" {
                return Some(view);
            }
            // A bridge that starts in the meantime does not know an instance that has left.
            if address.is_none() && is_one_that_goes(query) {
                address = view["address"].as_str().map(str::to_owned);
            }
            show(format!("{}: {}", word(&view, "instance"), word(&view, "text")));
            None
        });
        let followed = followed.await;
        let over = clock::now() >= deadline;
        match followed {
            Ok(end) if end["result"] == "done" || over => return Ok(end),
            Ok(_) => {}
            Err(error) if over || !error.may_pass() => return Err(error),
            Err(error) => {
                show(format!("{error}; trying again"));
                clock::until(Some(clock::now() + PAUSE)).await;
            }
        }
    }
}

fn finish(end: &Value, json: bool) -> Result<(), Failure> {
    let instances = end["instances"].as_array().cloned().unwrap_or_default();
    let lines = instances
        .iter()
        .map(|view| format!("{}: {}\n", word(view, "instance"), word(view, "text")));
    let lines: String = lines.collect();
    if json {
        print(&format!("{end:#}\n"))?;
    }
    match word(end, "result") {
        "done" if json => Ok(()),
        "done" => print(&lines),
        "in flight" => Err(Unfinished::new(4, "requests are still under way", &lines).into()),
        _ => Err(Unfinished::new(3, "not every client has it", &lines).into()),
    }
}

fn word<'a>(view: &'a Value, key: &str) -> &'a str {
    view[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_instance_that_goes_is_asked_for_by_its_address() {
        for query in [
            "drained=a%2Fb",
            "name=a%2Fb&until=drained",
            "service=a&instance=b&until=drained",
        ] {
            assert!(is_one_that_goes(query), "{query}");
        }
        for query in [
            "serving=a&clients=0",
            "node=a&until=drained",
            "zone=a&until=drained",
            "name=a&until=serving",
        ] {
            assert!(!is_one_that_goes(query), "{query}");
        }
    }
}
