//! What the commands share: a runtime, requests to a running bridge, and standard output.

use std::io::Write as _;

use super::{Failure, client};
use crate::config::Config;

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// The response of the running bridge of this configuration.
pub(super) fn request(config: &Config, method: http::Method, path: &str) -> Result<bytes::Bytes, Failure> {
    send(config, method, path, String::new())
}

/// The same with a body.
pub(super) fn send(
    config: &Config,
    method: http::Method,
    path: &str,
    body: String,
) -> Result<bytes::Bytes, Failure> {
    Ok(runtime()?.block_on(client::request(method, &config.admin, path, body))?)
}

/// Prints to standard output; a reader that has seen enough (`| head`) is no error.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Encodes a value for a query.
pub(super) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
