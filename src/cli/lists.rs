//! `services` and `routes`: what there is.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::Failure;
use super::output::{encode, print, request};
use crate::config::Config;

/// Which services.
#[derive(Debug, Args)]
pub(super) struct ServicesArgs {
    /// A part of the name
    #[arg(long, default_value = "")]
    search: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which routes.
#[derive(Debug, Args)]
pub(super) struct RoutesArgs {
    /// A part of the host
    #[arg(long, default_value = "")]
    host: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn services(config: &Config, args: &ServicesArgs) -> Result<(), Failure> {
    let mut rows: Vec<Value> = Vec::new();
    loop {
        let path = format!("/services?search={}&offset={}", encode(&args.search), rows.len());
        let page: Value = serde_json::from_slice(&request(config, Method::GET, &path)?)?;
        let more = page["services"].as_array().cloned().unwrap_or_default();
        let done = more.is_empty();
        rows.extend(more);
        if done
            || page["total"]
                .as_u64()
                .is_none_or(|total| rows.len() as u64 >= total)
        {
            break;
        }
    }
    if args.json {
        return print(&format!("{:#}\n", Value::Array(rows)));
    }
    let mut lines = vec![
        [
            "SERVICE", "HEALTHY", "OTHERS", "VERSIONS", "ROUTES", "WARNINGS", "FROM",
        ]
        .map(str::to_owned),
    ];
    for row in &rows {
        let count = |name: &str| row[name].as_u64().unwrap_or_default();
        let others = [
            ("draining", "draining"),
            ("unhealthy", "unhealthy"),
            ("off", "off"),
        ];
        let others: Vec<String> = others
            .into_iter()
            .filter(|(name, _)| count(name) > 0)
            .map(|(name, word)| format!("{} {word}", count(name)))
            .collect();
        let versions: Vec<String> = row["versions"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(version, _)| !version.is_empty())
            .map(|(version, n)| format!("{version} ({n})"))
            .collect();
        let sources = row["sources"].as_array().into_iter().flatten();
        let sources: Vec<&str> = sources.filter_map(Value::as_str).collect();
        lines.push([
            row["name"].as_str().unwrap_or_default().to_owned(),
            count("healthy").to_string(),
            others.join(", "),
            versions.join(", "),
            count("routes").to_string(),
            count("warnings").to_string(),
            sources.join(", "),
        ]);
    }
    print(&columns(&lines))
}

pub(super) fn routes(config: &Config, args: &RoutesArgs) -> Result<(), Failure> {
    let path = format!("/routes?host={}", encode(&args.host));
    let answer = request(config, Method::GET, &path)?;
    if args.json {
        return print(&String::from_utf8_lossy(&answer));
    }
    let answer: Value = serde_json::from_slice(&answer)?;
    for listener in answer["listeners"].as_array().into_iter().flatten() {
        let rows = listener["routes"].as_array().cloned().unwrap_or_default();
        let total = listener["total"].as_u64().unwrap_or_default();
        let name = listener["listener"].as_str().unwrap_or_default();
        print(&format!(
            "listener {name}: {total} routes, in the order in which they are tried\n"
        ))?;
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let shadow = |row: &Value| match row["shadowed_by"].as_str() {
            Some(earlier) => format!("! no request reaches it: {earlier} takes all before it"),
            None => String::new(),
        };
        let line = |row| {
            let [host, requests, to] = ["host", "requests", "to"].map(|name| text(row, name));
            [host, requests, to, shadow(row)]
        };
        let lines: Vec<[String; 4]> = rows.iter().map(line).collect();
        print(&columns(&lines))?;
        if (rows.len() as u64) < total {
            print(&format!(
                "  and {} more: narrow it with --host\n",
                total - rows.len() as u64
            ))?;
        }
    }
    Ok(())
}

/// Lines with their columns below each other.
fn columns<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |n: usize| {
        lines
            .iter()
            .map(|line| line[n].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |line: &[String; N]| {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}
