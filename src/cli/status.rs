//! `status`: how far each client of a running bridge is with what is published.

use std::fmt::Write as _;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::output::{encode, print, request};
use super::{Failure, Unfinished};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge status                 all clients, those that are behind first
  xds-bridge status envoy-1 && echo it has all of it

The exit code is 0 when all of them have acknowledged everything, 3 when some are behind, refuse something or subscribe to
nothing, and 1 when something else is wrong.";

/// Which clients.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Its node.id; without it all
    client: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn status(config: &Config, args: &StatusArgs) -> Result<(), Failure> {
    let query = args
        .client
        .as_ref()
        .map(|client| format!("?client={}", encode(client)));
    let path = format!("/status{}", query.unwrap_or_default());
    let answer = request(config, Method::GET, &path)?;
    let view: Value = serde_json::from_slice(&answer)?;
    if args.json {
        print(&format!("{view:#}\n"))?;
    } else {
        print(&table(&view))?;
    }
    let total = view["total"].as_u64().unwrap_or_default();
    let in_sync = view["counts"]["in sync"].as_u64().unwrap_or_default();
    if in_sync == total {
        return Ok(());
    }
    let lines = format!(
        "{in_sync} of {total} have all of generation {}",
        view["generation"]
    );
    Err(Unfinished::new(3, "not every client is in sync", &lines).into())
}

/// A line for each client.
fn table(view: &Value) -> String {
    let mut text = format!(
        "generation {}: {} connected",
        view["generation"],
        clients(&view["total"])
    );
    for (state, n) in view["counts"].as_object().into_iter().flatten() {
        if n.as_u64() > Some(0) {
            // Writing into a String does not fail.
            let _ = write!(text, ", {n} {state}");
        }
    }
    text.push('\n');
    let mut rows: Vec<[String; 5]> = Vec::new();
    for client in view["clients"].as_array().into_iter().flatten() {
        let word = |key: &str| client[key].as_str().unwrap_or_default().to_owned();
        let name = match word("fleet") {
            fleet if fleet.is_empty() => word("node"),
            fleet => format!("{} ({fleet})", word("node")),
        };
        let agent = format!("{} {}", word("agent"), word("version")).trim().to_owned();
        rows.push([word("state"), name, word("address"), agent, word("text")]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    for [state, name, address, agent, words] in &rows {
        let [a, b, c, d] = widths;
        let line = format!("{state:a$}  {name:b$}  {address:c$}  {agent:d$}  {words}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn clients(total: &Value) -> String {
    let noun = if total.as_u64() == Some(1) {
        "client"
    } else {
        "clients"
    };
    format!("{total} {noun}")
}
