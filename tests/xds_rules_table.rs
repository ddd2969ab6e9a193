//! docs/xds-rules.md tells the truth: each rule stands there once, each test that it names
//! exists, and each test that carries a number is named there, at that rule.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod tables;

use std::collections::{BTreeMap, BTreeSet};

fn tests() -> BTreeSet<String> {
    tables::tests(&["src/xds", "tests"])
}

fn table() -> BTreeMap<u32, Vec<String>> {
    tables::table("docs/xds-rules.md")
}

#[test]
fn each_rule_stands_in_the_table_with_tests_that_exist() {
    tables::check(&table(), &tests(), 56);
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
