//! `plan`: what a declaration or a configuration would change, from the running bridge's catalog.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde_json::Value;

use super::Failure;
use super::output::{encode, print, send};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge plan --declare orders.json                    a policy document of `orders`
  xds-bridge plan --declare new.json --service orders      with \"address\" and \"port\": an instance
  xds-bridge plan --config new.toml                        another bridge.toml, whose [admin] is that of the running bridge
  xds-bridge plan --with new.toml                          exposures, listeners and [clusters] of another bridge.toml

Lines with ! say who would lose requests, and what would be refused; then the exit code is 1.";

/// What is not in force yet.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// A policy document, or (with `address` and `port`) an instance, as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "with")]
    declare: Option<PathBuf>,
    /// The service that is declared [default: the name of the file]
    #[arg(long, value_name = "NAME", requires = "declare")]
    service: Option<String>,
    /// Another configuration of the bridge; without this and --declare it is that of --config
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn plan(config: &Config, own: &Path, args: PlanArgs) -> Result<(), Failure> {
    let (file, path) = match (args.declare, args.with) {
        (Some(file), _) => {
            let stem = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            let service = args.service.or(stem).ok_or("which service? say --service NAME")?;
            let path = format!("/plan?service={}", encode(&service));
            (file, path)
        }
        (None, file) => (file.unwrap_or_else(|| own.to_owned()), "/plan".to_owned()),
    };
    let body =
        std::fs::read_to_string(&file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    let answer = send(config, Method::POST, &path, body)?;
    let found: Value = serde_json::from_slice(&answer)?;
    if args.json {
        print(&String::from_utf8_lossy(&answer))?;
    } else {
        print(found["text"].as_str().unwrap_or_default())?;
    }
    if found["hurts"] == true {
        return Err(
            "somebody would lose requests, or something would be refused: see the lines with !".into(),
        );
    }
    Ok(())
}
