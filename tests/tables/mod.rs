//! Tables in docs/ that name tests for each row: what they say, and which tests there are.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "a module of each test that reads a table")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All functions under `#[test]` or `#[tokio::test]` in these folders.
pub fn tests(folders: &[&str]) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        sources(&root.join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(at) = line.find("fn ").filter(|_| marked) {
                let name = line[at + 3..].split('(').next().unwrap();
                names.insert(name.to_owned());
                marked = false;
            }
        }
    }
    names
}

/// Number of a row → the tests in it. A row without any must say why: `no: …`.
pub fn table(file: &str) -> BTreeMap<u32, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let mut rules = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let Some(rule) = cells[0].strip_prefix("| ").and_then(|n| n.parse().ok()) else {
            continue;
        };
        let named: Vec<String> = cells[2]
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let held = cells[3];
        assert!(
            !named.is_empty() || held.starts_with("no: "),
            "rule {rule} has neither test nor reason"
        );
        assert!(
            rules.insert(rule, named).is_none(),
            "rule {rule} stands there twice"
        );
    }
    rules
}

/// Each number from 1 on stands there once, with tests that exist.
pub fn check(table: &BTreeMap<u32, Vec<String>>, tests: &BTreeSet<String>, rows: u32) {
    assert_eq!(
        table.keys().copied().collect::<Vec<_>>(),
        (1..=rows).collect::<Vec<_>>()
    );
    for (row, named) in table {
        for name in named {
            assert!(
                tests.contains(name),
                "row {row} names {name}, which does not exist"
            );
        }
    }
}
