//! `adopt`: from a static Envoy file to the bridge.

mod ask;
mod children;
mod echo;
mod verify;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::output::print;
use crate::adopt::{self, Adopted, Known, Listeners, Options, Registry};

pub(super) const EXAMPLES: &str = "\
Examples:
  xds-bridge adopt envoy.yaml --out adopted       writes what moves, and report.md: what stays, and why
  xds-bridge adopt envoy.yaml --out adopted --listeners keep --registry etcd
  xds-bridge adopt --verify envoy.yaml            two Envoys on loopback, the same requests, each difference";

/// What is adopted, and how.
#[derive(Debug, Args)]
pub(super) struct AdoptArgs {
    /// Envoy's file, YAML or JSON
    file: PathBuf,
    /// The folder that is written into; it is made if it is not there
    #[arg(long, value_name = "DIR", required_unless_present = "verify")]
    out: Option<PathBuf>,
    /// Start two Envoys on loopback, the file as it is and what comes of it, and compare their answers
    #[arg(long)]
    verify: bool,
    /// For --verify
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
    /// What becomes of listeners that the bridge can serve as they are
    #[arg(long, value_enum, default_value = "move")]
    listeners: Listeners,
    /// Where policy documents go
    #[arg(long, value_enum, default_value = "consul")]
    registry: Registry,
    /// A cluster whose servers no registry knows, may be repeated [default: by DNS with one name of several labels]
    #[arg(long, value_name = "CLUSTER")]
    external: Vec<String>,
    /// A cluster whose servers a registry knows, may be repeated [default: addresses, EDS, several names, *.consul]
    #[arg(long, value_name = "CLUSTER")]
    registered: Vec<String>,
}

pub(super) fn adopt(args: AdoptArgs) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|e| format!("{}: {e}", args.file.display()))?;
    let options = Options {
        listeners: args.listeners,
        registry: args.registry,
        known: Known {
            outside: args.external.into_iter().collect(),
            registered: args.registered.into_iter().collect(),
        },
    };
    let adopted = adopt::adopt(&text, &options)?;
    if let Some(out) = &args.out {
        write(&adopted, out, args.registry)?;
        print(&format!(
            "{}; what stays, and why: {}\n",
            adopted.report.counts(),
            out.join("report.md").display()
        ))?;
    }
    if args.verify {
        verify::verify(&adopted, &args.envoy)?;
    }
    Ok(())
}

fn write(adopted: &Adopted, out: &Path, registry: Registry) -> Result<(), Failure> {
    let policies = out.join("policies");
    std::fs::create_dir_all(&policies).map_err(|e| format!("{}: {e}", policies.display()))?;
    let write = |name: &str, text: &str| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    };
    write("bridge.toml", &adopted.bridge_toml(registry))?;
    for (name, text) in adopted.policies()? {
        write(&format!("policies/{name}"), &text)?;
    }
    for (n, bootstrap) in (1..).zip(adopted.bootstraps()?) {
        write(&format!("envoy-{n}.yaml"), &serde_yaml_ng::to_string(&bootstrap)?)?;
    }
    write("report.md", &adopted.report_md(registry))?;
    write(
        "report.json",
        &(serde_json::to_string_pretty(&adopted.report)? + "\n"),
    )?;
    Ok(())
}
