//! docs/xds-rules.md tells the truth: each rule stands there once, each test that it names
//! exists, and each test that carries a number is named there, at that rule.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

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

/// All functions under `#[test]` or `#[tokio::test]`.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src/xds"), &mut files);
    sources(&root.join("tests"), &mut files);
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

/// Rule → the tests in its row.
fn table() -> BTreeMap<u32, Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/xds-rules.md");
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

#[test]
fn each_rule_stands_in_the_table_with_tests_that_exist() {
    let (tests, table) = (tests(), table());
    assert_eq!(
        table.keys().copied().collect::<Vec<_>>(),
        (1..=56).collect::<Vec<_>>()
    );
    for (rule, named) in &table {
        for name in named {
            assert!(
                tests.contains(name),
                "rule {rule} names {name}, which does not exist"
            );
        }
    }
}

#[test]
fn each_numbered_test_stands_at_its_rule() {
    let table = table();
    for name in tests().iter().filter(|name| name.starts_with("rule_")) {
        let number: u32 = name[5..7].parse().unwrap();
        assert!(
            table[&number].contains(name),
            "{name} is missing at rule {number}"
        );
    }
}
