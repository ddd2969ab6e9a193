//! `accept`, `forget` and `health`: short requests to a running bridge.

use clap::Args;
use http::Method;

use super::Failure;
use super::output::{encode, print, request};
use crate::config::Config;

/// Which source.
#[derive(Debug, Args)]
pub(super) struct AcceptArgs {
    /// The source's name in the configuration
    source: String,
}

/// Which service.
#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Its registered name
    service: String,
}

pub(super) fn accept(config: &Config, args: &AcceptArgs) -> Result<(), Failure> {
    post(config, &format!("/accept?source={}", encode(&args.source)))
}

pub(super) fn forget(config: &Config, args: &ForgetArgs) -> Result<(), Failure> {
    post(config, &format!("/forget?service={}", encode(&args.service)))
}

pub(super) fn health(config: &Config) -> Result<(), Failure> {
    request(config, Method::GET, "/healthz").map(drop)
}

fn post(config: &Config, path: &str) -> Result<(), Failure> {
    let body = request(config, Method::POST, path)?;
    print(&String::from_utf8_lossy(&body))
}
