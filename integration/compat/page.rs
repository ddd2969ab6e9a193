//! The tables of docs/compatibility.md: a row for each run with its date, a table for each part. Rows of runs that
//! were not part of this one stay as they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::groups::{GROUPS, Part};
use crate::runs::Run;

const BEGIN: &str = "<!-- compat: begin, written by `make compat` -->";
const END: &str = "<!-- compat: end -->";

/// A part, and the title of its table.
const TABLES: [(Part, &str); 6] = [
    (Part::Consul, "Consul"),
    (Part::Etcd, "etcd"),
    (
        Part::Upgrade,
        "etcd, three members upgraded through all these versions",
    ),
    (Part::Envoy, "Envoy"),
    (Part::Fleet, "Envoys of all these versions on one bridge"),
    (Part::Java, "gRPC clients, Java among them"),
];

/// A run as the page has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) date: String,
    /// By the names of the groups.
    pub(crate) cells: BTreeMap<String, String>,
    /// Whether all was run and nothing failed. The page does not say it in one word.
    pub(crate) passed: bool,
    /// What stands below the table: failures, what the version lacks, or why it did not run.
    pub(crate) notes: Vec<String>,
}

/// Puts the tables between the markers. `None`: the page lacks a marker.
pub(crate) fn write(page: &str, runs: &[Run], fresh: &BTreeMap<String, Row>) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (old, after) = rest.split_once(END)?;
    let mut rows = read(old);
    rows.extend(fresh.clone());
    Some(format!("{before}{BEGIN}\n{}{END}{after}", tables(runs, &rows)))
}

/// What is printed, too.
pub(crate) fn tables(runs: &[Run], rows: &BTreeMap<String, Row>) -> String {
    let mut text = String::new();
    for (part, title) in TABLES {
        let columns: Vec<&str> = GROUPS
            .iter()
            .filter(|g| g.depends_on(part))
            .map(|g| g.name)
            .collect();
        let own: Vec<(&Run, &Row)> = runs
            .iter()
            .filter(|run| run.part == part)
            .filter_map(|run| Some((run, rows.get(&run.name)?)))
            .collect();
        if own.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n### {title}\n\n| | date | {} |", columns.join(" | "));
        let _ = writeln!(text, "|---|---|{}", "---|".repeat(columns.len()));
        for (run, row) in &own {
            let cells = columns
                .iter()
                .map(|name| row.cells.get(*name).map_or("not run", String::as_str));
            let cells: Vec<&str> = cells.collect();
            let _ = writeln!(text, "| `{}` | {} | {} |", run.name, row.date, cells.join(" | "));
        }
        let notes = || {
            own.iter()
                .flat_map(|(run, row)| row.notes.iter().map(move |note| (run, note)))
        };
        if notes().next().is_some() {
            text.push('\n');
        }
        for (run, note) in notes() {
            let _ = writeln!(text, "- `{}`: {note}", run.name);
        }
    }
    text.push('\n');
    text
}

/// The rows and notes that the page has.
fn read(text: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut columns: Vec<String> = Vec::new();
    for line in text.lines() {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect();
        if line.starts_with("| | date |") {
            columns = cells.into_iter().skip(2).collect();
        } else if let Some([name, date, cells @ ..]) = line.starts_with("| `").then_some(cells.as_slice()) {
            let row = rows.entry(name.trim_matches('`').to_owned()).or_default();
            row.date.clone_from(date);
            row.cells = columns.iter().cloned().zip(cells.iter().cloned()).collect();
        } else if let Some((name, note)) = line.strip_prefix("- `").and_then(|line| line.split_once("`: ")) {
            rows.entry(name.to_owned())
                .or_default()
                .notes
                .push(note.to_owned());
        }
    }
    rows
}
