//! `doctor`: from the machine of an Envoy, with its bootstrap: does the way to the bridge work, step by step, and what fixes it
//! where it does not.

mod file;
mod steps;

use std::path::PathBuf;

use clap::Args;

use super::output::{print, runtime};
use super::{Failure, Unfinished};

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge doctor envoy.yaml        on the machine of the Envoy, where Envoy is started (relative paths begin there)

Each line is a step on the way to the bridge, with what fixes it where it fails: the name, the connection, TLS, identity, the
stream, the first answers. It asks as that Envoy, for clusters and listeners, and changes nothing. No bridge.toml is needed.
The exit code is 0 when a bridge can be used, also where a line with ! says that another address of several cannot; 3 when none can.";

/// Whose way.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The bootstrap that Envoy is started with (YAML or JSON)
    file: PathBuf,
}

/// One step that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// `None`: it works.
    fix: Option<String>,
    text: String,
}

impl Step {
    fn works(text: impl Into<String>) -> Self {
        Self {
            fix: None,
            text: text.into(),
        }
    }

    fn fails(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            text: text.into(),
        }
    }
}

pub(super) fn doctor(args: &DoctorArgs) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| format!("reading {}: {error}", args.file.display()))?;
    let way = file::read(&text).map_err(|why| format!("{}: {why}", args.file.display()))?;
    let (mut failed, mut working) = (0, 0);
    print(&format!("as node `{}` of fleet `{}`:\n", way.node, way.fleet))?;
    runtime()?.block_on(async {
        for bridge in &way.bridges {
            print(&format!("{}:{}\n", bridge.host, bridge.port))?;
            let works = steps::walk(&way, bridge, &mut |step: Step| {
                let sign = if step.fix.is_some() { '!' } else { '✓' };
                failed += usize::from(step.fix.is_some());
                let fix = step.fix.map(|fix| format!("      → {fix}\n")).unwrap_or_default();
                print(&format!("  {sign} {}\n{fix}", step.text))
            })
            .await?;
            working += usize::from(works);
        }
        Ok::<(), Failure>(())
    })?;
    if working == 0 {
        let lines = format!("{failed} steps fail; see the lines with !");
        return Err(Unfinished::new(3, "the way to the bridge does not work", &lines).into());
    }
    match (failed, way.bridges.len()) {
        (0, _) => Ok(()),
        (_, 1) => print("it works, by another of its addresses than those with !\n"),
        (_, all) => print(&format!(
            "{working} of {all} bridges can be used: Envoy has no other one while those with ! fail\n"
        )),
    }
}
