//! `support-dump`: what a running bridge says of itself, in one folder that can be sent to somebody: states, lists, events, metrics,
//! and the configuration with its strings hidden but for those that hold no secrets.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use toml::Value;

use super::hide::{hidden, hidden_json, is_shown};
use super::output::{print, runtime};
use super::{Failure, client};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge support-dump --to /tmp/bridge-1
  tar -C /tmp -czf bridge-1.tar.gz bridge-1

The folder is made, readable by you alone. Not in it: certificates, keys, tokens and passwords (they are in files, which are not
read), values of headers in routes, contents of resources, addresses of webhooks. Names of services, instances and hosts are.";

/// Where to.
#[derive(Debug, Args)]
pub(super) struct SupportArgs {
    /// A folder that is not there yet
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

/// What is asked for, and the file that it is kept in.
const ASKED: &[(&str, &str)] = &[
    ("/readyz", "readyz.txt"),
    ("/metrics", "metrics.txt"),
    ("/sources", "sources.json"),
    ("/status", "status.json"),
    ("/streams", "streams.json"),
    ("/analyze", "analyze.json"),
    ("/services", "services.json"),
    ("/routes", "routes.json"),
    ("/events", "events.json"),
    ("/loads", "loads.json"),
    ("/errors", "errors.json"),
    ("/drains", "drains.json"),
    ("/rollouts", "rollouts.json"),
];

pub(super) fn dump(config: &Config, file: &Path, args: &SupportArgs) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o700).create(&args.to);
    made.map_err(|error| format!("making {}: {error}", args.to.display()))?;
    let mut about = format!(
        "xds-bridge {} ({} {})\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    let mut missing = 0;
    runtime()?.block_on(async {
        for (path, name) in ASKED {
            let answer = client::request(Method::GET, &config.admin, path, String::new()).await;
            match answer {
                Ok(body) => keep(&args.to, name, &hidden_json(&String::from_utf8_lossy(&body)))?,
                Err(error) => {
                    missing += 1;
                    // Writing into a String does not fail.
                    let _ = writeln!(about, "{path}: {}", hidden(&crate::text::chain(&error)));
                }
            }
        }
        Ok::<(), Failure>(())
    })?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    keep(&args.to, "bridge.toml", &configuration(&text))?;
    let _ = writeln!(about, "{missing} of {} answers are missing", ASKED.len());
    keep(&args.to, "about.txt", &about)?;
    print(&format!(
        "{}: {} files; look through them before you send them on\n",
        args.to.display(),
        ASKED.len() - missing + 2
    ))
}

fn keep(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    let mut open = OpenOptions::new();
    let file = open.write(true).create_new(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    Ok(written.map_err(|error| format!("writing {}: {error}", path.display()))?)
}

/// The configuration without what may be secret: numbers and switches stay, and strings of keys that never hold one.
fn configuration(text: &str) -> String {
    match text.parse::<toml::Table>() {
        Ok(mut table) => {
            table.iter_mut().for_each(|(key, value)| hide(key, value));
            toml::to_string(&table).unwrap_or_default()
        }
        Err(_) => "# it cannot be read\n".to_owned(),
    }
}

fn hide(key: &str, value: &mut Value) {
    match value {
        Value::String(text) if !is_shown(key) => "(hidden)".clone_into(text),
        Value::String(text) => *text = hidden(text),
        Value::Array(all) => all.iter_mut().for_each(|value| hide(key, value)),
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn strings_that_may_be_secret_are_hidden() {
        let text = "[xds]\nlisten = \"0.0.0.0:18000\"\nmax_names = 7\n[sources.a]\nkind = \"consul\"\n\
                    address = \"http://user:PLANTED@consul:8500\"\ntoken_file = \"/run/PLANTED\"\n\
                    [[rollouts.webhook]]\nurl = \"https://hooks.example/PLANTED\"\nsecret_file = \"x\"\n\
                    [services.\"a*\"]\nroute = \"host=a.x set-header=x-key:PLANTED\"\n\
                    [[overlay]]\njson = '{\"x\": \"PLANTED\"}'\n";
        let shown = configuration(text);
        assert!(!shown.contains("PLANTED"), "{shown}");
        expect![[r#"
            [[overlay]]
            json = "(hidden)"

            [[rollouts.webhook]]
            secret_file = "(hidden)"
            url = "(hidden)"

            [services."a*"]
            route = "host=a.x set-header=x-key:(hidden)"

            [sources.a]
            address = "http://(hidden)@consul:8500"
            kind = "consul"
            token_file = "(hidden)"

            [xds]
            listen = "0.0.0.0:18000"
            max_names = 7
        "#]]
        .assert_eq(&sorted(&shown));
        assert_eq!(configuration("x = "), "# it cannot be read\n");
    }

    /// Sections in the order of their names, whatever that of the file is.
    fn sorted(text: &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match parts.last_mut() {
                Some(part) if !line.starts_with('[') => {
                    part.push('\n');
                    part.push_str(line);
                }
                _ => parts.push(line.to_owned()),
            }
        }
        let mut parts: Vec<String> = parts
            .into_iter()
            .map(|part| {
                let mut lines: Vec<&str> = part.lines().collect();
                lines[1..].sort_unstable();
                lines.join("\n") + "\n"
            })
            .filter(|part| part.lines().count() > 1)
            .collect();
        parts.sort();
        parts.join("\n")
    }
}
