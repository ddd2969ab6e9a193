//! `analyze`: what is wrong with what is registered, declared and served, for people and for pipelines.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::output::{print, request};
use super::{Failure, Unfinished};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  xds-bridge analyze                              what is wrong, errors first
  xds-bridge analyze --ignore values-disagree     without what is known and meant
  xds-bridge analyze --json --strict              for a pipeline that wants no warnings, too

The exit code is 0 when nothing of level `error` is found (with --strict: nothing at all), 3 when something is, and 1 when the
bridge does not answer. Each code is explained in docs/analyze.md.";

/// What counts.
#[derive(Debug, Args)]
pub(super) struct AnalyzeArgs {
    /// Leave this code out; may be said more than once
    #[arg(long, value_name = "CODE", value_parser = known)]
    ignore: Vec<String>,
    /// Warnings count, too
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A code that there is.
fn known(text: &str) -> Result<String, String> {
    let mut names = crate::model::CODES.iter().map(|row| row.name);
    let known = names.any(|name| name == text);
    known
        .then(|| text.to_owned())
        .ok_or_else(|| "no such code; docs/analyze.md lists all".to_owned())
}

pub(super) fn analyze(config: &Config, args: &AnalyzeArgs) -> Result<(), Failure> {
    let mut view: Value = serde_json::from_slice(&request(config, Method::GET, "/analyze")?)?;
    if let Some(codes) = view["codes"].as_array_mut() {
        codes.retain(|code| !args.ignore.iter().any(|name| code["code"] == **name));
    }
    let count = |level: &str| -> u64 {
        let codes = view["codes"].as_array().into_iter().flatten();
        let of = codes.filter(|code| code["level"] == level);
        of.filter_map(|code| code["count"].as_u64()).sum()
    };
    let (errors, warnings) = (count("error"), count("warning"));
    view["counts"] = serde_json::json!({ "error": errors, "warning": warnings });
    if args.json {
        print(&format!("{view:#}\n"))?;
    } else {
        print(&words(&view, errors, warnings))?;
    }
    if errors > 0 || (args.strict && warnings > 0) {
        let lines = format!("{errors} errors, {warnings} warnings");
        return Err(Unfinished::new(3, "something is wrong", &lines).into());
    }
    Ok(())
}

fn words(view: &Value, errors: u64, warnings: u64) -> String {
    let mut lines = Vec::new();
    for code in view["codes"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, level) = (text(&code["code"]), text(&code["level"]));
        let listed = code["first"].as_array().map_or(&[][..], Vec::as_slice);
        for one in listed {
            let about = match one["source"].as_str() {
                Some(source) if one["about"] != source => format!("{source}: {}", text(&one["about"])),
                _ => text(&one["about"]),
            };
            lines.push(format!("{level:7} {name}: {about}: {}", text(&one["text"])));
        }
        let more = code["count"].as_u64().unwrap_or_default() - listed.len() as u64;
        if more > 0 {
            lines.push(format!("{level:7} {name}: {more} more"));
        }
    }
    lines.push(match (errors, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        _ => format!("{errors} errors, {warnings} warnings; docs/analyze.md explains each code"),
    });
    lines.join("\n") + "\n"
}
