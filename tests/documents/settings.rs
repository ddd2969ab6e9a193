//! docs/configuration.md has each key of `bridge.toml` with its default, docs/limits.md the same defaults, and the
//! bounds that are no keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use xds_bridge::config::load_str;

use super::fixed::FIXED;
use super::{code, files, read, root, rows};

const BASE: &str = r#"
cache.folder = "cache"
sources.consul.kind = "consul"
sources.consul.address = "http://127.0.0.1:8500"
sources.consul.import = ["traefik", "fabio"]
sources.etcd.kind = "etcd"
sources.etcd.endpoints = ["http://127.0.0.1:2379"]
sources.etcd.prefix = "/services/"
exposures.edge.hosts = ["api.example.com"]
exposures.edge.rate_limit.requests = 100
exposures.edge.authorization.service = "check"
exposures.edge.jwt.edge.issuer = "https://login.example.com"
exposures.edge.jwt.edge.audiences = ["shop"]
exposures.edge.jwt.edge.url = "https://login.example.com/keys"
exposures.edge.jwt.edge.service = "login"
listeners.edge.address = "127.0.0.1:10000"
"#;

/// Keys whose default depends on something else.
const DEPENDS: &[&str] = &[
    "exposures.NAME.hosts",
    "exposures.NAME.service_hosts",
    "sources.NAME.wait",
    "listeners.NAME.access_log_format",
];

/// The keys of a row: `.key` continues the first one.
fn keys(cell: &str) -> Vec<String> {
    let mut stem = "";
    let words = code(cell)
        .into_iter()
        .filter(|word| word.contains('.') && !word.starts_with('['));
    words
        .map(|word| match word.strip_prefix('.') {
            Some(last) => format!("{stem}.{last}"),
            None => {
                stem = word.rsplit_once('.').unwrap().0;
                word.to_owned()
            }
        })
        .collect()
}

/// The parts between commas, but not those of a list.
fn parts(cell: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in cell.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// Key → what stands as its default, and what is said about it, where the default is a value.
fn defaults(text: &str) -> BTreeMap<String, (String, String)> {
    let mut all = BTreeMap::new();
    for row in rows(text) {
        let [first, default, meaning] = row[..] else {
            continue;
        };
        let (keys, parts) = (keys(first), parts(default));
        if keys.len() != parts.len() {
            continue;
        }
        for (key, part) in keys.into_iter().zip(parts) {
            if part.starts_with('`') {
                all.insert(key, (code(&part)[0].to_owned(), meaning.to_owned()));
            }
        }
    }
    all
}

/// A value as TOML writes it.
fn toml(value: &str) -> String {
    let bare = value.parse::<i64>().is_ok() || value.starts_with('[') || ["true", "false"].contains(&value);
    if bare {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    }
}

#[test]
fn a_file_that_spells_out_each_documented_default_means_the_same() {
    let (mut spelled, mut count) = (String::new(), 0);
    for (key, (value, meaning)) in defaults(&read("docs/configuration.md")) {
        if DEPENDS.contains(&key.as_str()) {
            continue;
        }
        count += 1;
        let names: &[&str] = match key.split('.').next().unwrap() {
            "sources" if meaning.starts_with("consul:") => &["consul"],
            "sources" if meaning.starts_with("etcd:") => &["etcd"],
            "sources" => &["consul", "etcd"],
            _ => &["edge"],
        };
        let names = if key.contains("NAME") { names } else { &[""] };
        for name in names {
            let _ = writeln!(spelled, "{} = {}", key.replace("NAME", name), toml(&value));
        }
    }
    assert!(count > 35, "only {count} defaults are found");
    let file = Path::new("bridge.toml");
    let usual = load_str(file, BASE, None).unwrap();
    let text = format!("{BASE}{spelled}");
    let spelled = load_str(file, &text, None).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(
        spelled, usual,
        "a default in docs/configuration.md is another one in src/config"
    );
}

#[test]
fn each_key_that_is_read_is_documented() {
    let text = read("docs/configuration.md");
    let documented: BTreeSet<&str> = code(&text)
        .into_iter()
        .flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let mut seen = 0;
    for file in files(&root().join("src/config"), ".rs") {
        // Keys of `[formats.NAME]` have a document of their own.
        if file.to_string_lossy().contains("/formats/") {
            continue;
        }
        let source = fs::read_to_string(&file).unwrap();
        for call in [
            "get",
            "get_or",
            "need",
            "need_list",
            "list",
            "lists",
            "section",
            "optional",
            "tables",
            "sections",
        ] {
            for (at, _) in source.match_indices(&format!(".{call}(")) {
                let rest = source[at + call.len() + 2..].trim_start();
                let Some(key) = rest.strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                    continue;
                };
                // A key that is only read to say where it belongs.
                if key == "password" {
                    continue;
                }
                seen += 1;
                assert!(
                    documented.contains(key),
                    "{}: `{key}` is not in docs/configuration.md",
                    file.display()
                );
            }
        }
    }
    assert!(seen > 40, "only {seen} keys are found");
}

#[test]
fn each_bound_is_the_one_of_the_code() {
    let (limits, configuration) = (read("docs/limits.md"), defaults(&read("docs/configuration.md")));
    let sources: String = files(&root().join("src"), ".rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let (mut fixed, mut settings) = (0, 0);
    for row in rows(&limits) {
        let [bound, default, setting, ..] = row[..] else {
            continue;
        };
        if setting.starts_with("fixed") {
            let found = FIXED.iter().find(|(name, ..)| {
                bound.starts_with(name) && !bound[name.len()..].starts_with(char::is_alphanumeric)
            });
            let (_, value, origins) = found.unwrap_or_else(|| panic!("FIXED lacks `{bound}`"));
            assert_eq!(default, *value, "{bound}");
            for origin in *origins {
                assert!(
                    sources.contains(origin),
                    "docs/limits.md, {bound}: no `{origin}` in src"
                );
            }
            fixed += 1;
        } else if let [key] = code(setting)[..] {
            let (value, _) = configuration
                .get(key)
                .unwrap_or_else(|| panic!("`{key}` has no default in docs/configuration.md"));
            assert_eq!(code(default), [value.as_str()], "{key}");
            settings += 1;
        }
    }
    assert_eq!(fixed, FIXED.len(), "rows without a setting");
    assert!(settings > 15, "{settings} rows with a setting");
}
