//! `check`: is the configuration right, and can the files that it names be used?

use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::output::{print, runtime};
use super::{Failure, client};
use crate::app;
use crate::config::{Config, SharedState};
use crate::source::{self, Budget};

/// How long a bridge may take to answer that may not run at all.
const SOON: Duration = Duration::from_secs(2);

/// What the bridge that runs with this configuration says of its shared state, such as a right that is missing; `None`:
/// nothing is wrong, or none runs.
async fn of_the_running(config: &Config) -> Option<String> {
    if matches!(config.state, SharedState::Off { .. }) {
        return None;
    }
    let request = client::request(Method::GET, &config.admin, "/drains", String::new());
    let answer = tokio::time::timeout(SOON, request).await.ok()?.ok()?;
    let view: Value = serde_json::from_slice(&answer).ok()?;
    view["trouble"].as_str().map(str::to_owned)
}

pub(super) fn check(config: &Config, file: &Path) -> Result<(), Failure> {
    app::port(&config.xds, None)?; // its TLS files can be used
    for (name, section) in &config.sources {
        // They are not there at all times and on all machines, so none of this is an error.
        let source = source::build(section, &Budget::default());
        if let Err(reason) = runtime()?.block_on(source.check_files()) {
            eprintln!("xds-bridge: sources.{name}: {reason}; `run` waits until that is fixed");
        }
    }
    for (name, reason) in app::unusable_secrets(config) {
        eprintln!("xds-bridge: {name}: {reason}; `run` waits until that is fixed");
    }
    if let Some(reason) = app::unusable_token(config) {
        eprintln!("xds-bridge: admin.token_file: {reason}; no order is taken until that is fixed");
    }
    if let SharedState::Off { why } = &config.state {
        eprintln!("xds-bridge: shared state is off, so nothing can be drained by command: {why}");
    }
    if let Some(words) = runtime()?.block_on(of_the_running(config)) {
        eprintln!("xds-bridge: shared state, as the bridge says that runs by it: {words}");
    }
    let counts = [
        (config.sources.len(), "source"),
        (config.exposures.len(), "exposure"),
        (config.listeners.len(), "listener"),
    ];
    let words = counts.map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }));
    print(&format!("{} is right: {}\n", file.display(), words.join(", ")))
}
