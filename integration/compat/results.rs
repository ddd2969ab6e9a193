//! What the output of the tests says: which passed, and which of those that were to run did not.

use std::collections::BTreeMap;

use crate::groups::{self, Group};

/// Of one group in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Result {
    pub(crate) passed: usize,
    /// Those that failed, were ignored or said nothing, as in a run that was ended.
    pub(crate) failed: Vec<String>,
    /// What this version lacks, and the test that wants it.
    pub(crate) lacking: Vec<String>,
}

/// How the line begins by which a test says that the program lacks what it is about (`consul_version::lacks`).
const LACKING: &str = "NOT PROVEN with ";

impl Result {
    /// A cell of the table.
    pub(crate) fn cell(&self) -> String {
        let all = self.passed + self.failed.len();
        if all == 0 {
            "–".to_owned()
        } else if self.failed.is_empty() {
            format!("{all} of {all}")
        } else {
            format!("**{} of {all}**", self.passed)
        }
    }
}

/// The paths in what `--list` prints.
pub(crate) fn listed(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect()
}

/// By the names of the groups. `wanted`: the tests that were to run.
pub(crate) fn read(output: &str, wanted: &[String]) -> BTreeMap<&'static str, Result> {
    let passed: Vec<&str> = output.lines().filter_map(passed).collect();
    let lacking: BTreeMap<&str, &str> = output.lines().filter_map(lacking).collect();
    let mut results: BTreeMap<&'static str, Result> = BTreeMap::new();
    for test in wanted {
        let Some(Group { name, .. }) = groups::of(test) else {
            continue;
        };
        let result = results.entry(name).or_default();
        let passed = passed.contains(&test.as_str());
        if let (true, Some(what)) = (passed, lacking.get(test.as_str())) {
            result.lacking.push(format!("`{test}` is not proven with {what}"));
        } else if passed {
            result.passed += 1;
        } else {
            result.failed.push(test.clone());
        }
    }
    results
}

/// `test a::b ... ok`
fn passed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... ok")
}

/// `NOT PROVEN with Consul 1.8, which lacks cluster peering: a::b`
fn lacking(line: &str) -> Option<(&str, &str)> {
    let (what, test) = line.strip_prefix(LACKING)?.rsplit_once(": ")?;
    Some((test, what))
}
