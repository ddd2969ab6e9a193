//! The image's builder gets all that Cargo reads before it builds anything.

use std::collections::BTreeSet;

use crate::read;

/// A target whose file is missing is an error, also when another one is built.
#[test]
fn the_builder_has_each_target_of_the_manifest() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let mut folders = BTreeSet::from(["src".to_owned(), ".cargo".to_owned()]);
    for (kind, folder) in [("bench", "benches"), ("example", "examples"), ("test", "tests")] {
        for target in manifest
            .get(kind)
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            let path = target.get("path").and_then(toml::Value::as_str).unwrap_or(folder);
            folders.extend(path.split('/').next().map(ToOwned::to_owned));
        }
    }
    assert!(folders.len() > 3, "{folders:?}");
    let ignore = read(".dockerignore");
    let kept: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for folder in &folders {
        assert!(
            kept.contains(folder.as_str()),
            "{folder}/ must be in .dockerignore: !{folder}"
        );
    }
}
