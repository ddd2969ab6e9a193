//! `dump`: what a running bridge serves.

use clap::Args;

use super::Failure;
use super::output::{encode, print, request};
use crate::config::Config;

/// What to dump.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// One type only
    #[arg(long, value_parser = ["cds", "eds", "lds", "rds"])]
    r#type: Option<String>,
    /// One resource only
    #[arg(long)]
    name: Option<String>,
}

pub(super) fn dump(config: &Config, args: &DumpArgs) -> Result<(), Failure> {
    let mut query = Vec::new();
    query.extend(args.r#type.as_ref().map(|kind| format!("type={kind}")));
    query.extend(args.name.as_ref().map(|name| format!("name={}", encode(name))));
    let body = request(
        config,
        http::Method::GET,
        &format!("/config_dump?{}", query.join("&")),
    )?;
    if let Some(name) = &args.name
        && !String::from_utf8_lossy(&body).contains("\"version_info\"")
    {
        return Err(
            format!("nothing that is served is called `{name}`; `dump` without --name shows all").into(),
        );
    }
    print(&String::from_utf8_lossy(&body))
}
