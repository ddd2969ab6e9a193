//! The shape of the tree: which module may import which, that each file says
//! what it is, and how long a file may be.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// module → what of ours it may import. What stands nowhere may import nothing of ours.
const IMPORTS: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("files", &[]),
    ("model", &["text"]),
    ("catalog", &["model", "text"]),
    ("xds", &[]),
    ("registry", &["clock", "files", "text"]),
    ("clock", &[]),
    ("floods", &["clock"]),
    ("places", &["clock"]),
    ("metrics", &["xds"]),
    ("config", &["model", "rollout", "text"]),
    ("import", &["config", "model", "text"]),
    ("plan", &["catalog", "model", "xds"]),
    ("translate", &["model", "plan", "xds"]),
    (
        "source",
        &["clock", "config", "files", "import", "model", "registry", "text"],
    ),
    (
        "state",
        &[
            "clock", "config", "files", "registry", "rollout", "source", "text",
        ],
    ),
    (
        "pilot",
        &[
            "clock", "config", "hub", "intake", "loads", "model", "registry", "rollout", "state", "text",
        ],
    ),
    ("fanout", &["clock", "xds"]),
    (
        "barrier",
        &[
            "catalog", "clock", "fanout", "hub", "intake", "loads", "model", "state", "xds",
        ],
    ),
    ("fields", &[]),
    ("loads", &["fields", "text", "xds"]),
    ("errors", &["fields", "loads", "text"]),
    ("intake", &["clock", "errors", "fields", "loads", "rollout"]),
    ("journal", &["model", "text"]),
    ("rollout", &["model", "text"]),
    ("cache", &["clock", "files", "metrics", "model", "plan", "text"]),
    (
        "hub",
        &[
            "cache",
            "catalog",
            "model",
            "overlay",
            "plan",
            "translate",
            "xds",
            "fanout",
            "metrics",
            "clock",
            "journal",
            "text",
        ],
    ),
    (
        "grpc",
        &[
            "xds", "errors", "fanout", "fields", "files", "floods", "intake", "loads", "metrics", "clock",
            "places", "text",
        ],
    ),
    ("prober", &["catalog"]),
    ("render", &["text", "xds"]),
    ("overlay", &["model", "render", "text", "xds"]),
    (
        "admin",
        &[
            "barrier", "catalog", "clock", "config", "errors", "files", "hub", "fanout", "floods", "intake",
            "journal", "loads", "metrics", "model", "pilot", "places", "plan", "render", "replay", "rollout",
            "state", "text", "xds",
        ],
    ),
    ("replay", &["text"]),
    ("bootstrap", &["config", "model", "plan", "translate", "render"]),
    (
        "adopt",
        &[
            "bootstrap",
            "config",
            "model",
            "plan",
            "render",
            "text",
            "translate",
        ],
    ),
    (
        "webhook",
        &["clock", "config", "files", "metrics", "rollout", "text"],
    ),
    (
        "cli",
        &[
            "admin",
            "adopt",
            "app",
            "bootstrap",
            "clock",
            "config",
            "model",
            "source",
            "text",
            "xds",
        ],
    ),
    (
        "app",
        &[
            "admin", "barrier", "cache", "clock", "config", "fanout", "files", "grpc", "hub", "intake",
            "journal", "metrics", "model", "pilot", "prober", "render", "rollout", "source", "state", "text",
            "webhook", "xds",
        ],
    ),
    ("lib", &["*"]),
    ("main", &["*"]),
];

/// No file is longer, unless its header says why.
const LONGEST: usize = 500;

fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.ends_with("target") => {}
                _ if path.is_dir() => folders.push(path),
                Some(ending) if ending == "rs" => found.push(path),
                _ => {}
            }
        }
    }
    assert!(!found.is_empty(), "no Rust file in {folder}");
    found
}

fn module(path: &Path) -> String {
    let inside = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of ours that a file names by `crate::…`.
fn imported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            let word = |s: &str| {
                s.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect::<String>()
            };
            match rest.strip_prefix('{') {
                Some(list) => names.extend(list.split(',').map(|part| word(part.trim()))),
                None => names.push(word(rest)),
            }
        }
    }
    names.retain(|name| !name.is_empty() && name.starts_with(|c: char| c.is_lowercase()));
    names
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    let mut wrong = Vec::new();
    // A test may show what several rooms do together.
    let is_test = |path: &PathBuf| path.to_string_lossy().ends_with("tests.rs");
    for path in files("src").into_iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(&path).unwrap();
        let module = module(&path);
        let may = allowed
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{module} is not in the table"));
        for name in imported(&text) {
            let is_ours = allowed.contains_key(name.as_str());
            if is_ours && name != module && !may.contains(&name.as_str()) && !may.contains(&"*") {
                wrong.push(format!("{}: {module} must not import {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pure_parts_do_no_io_and_read_no_clock() {
    let mut wrong = Vec::new();
    for path in files("src") {
        let text = fs::read_to_string(&path).unwrap();
        let is_pure = matches!(
            module(&path).as_str(),
            "catalog"
                | "errors"
                | "fields"
                | "import"
                | "loads"
                | "model"
                | "plan"
                | "rollout"
                | "text"
                | "translate"
                | "xds"
        );
        if !is_pure {
            continue;
        }
        for word in [
            "tokio::",
            "std::fs",
            "std::net::Tcp",
            "Instant",
            "SystemTime",
            "Mutex",
            "RwLock",
            "Atomic",
        ] {
            if text
                .lines()
                .any(|l| !l.trim_start().starts_with("//") && l.contains(word))
            {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Elsewhere a file may say of itself that it is pure: it may name an `Instant`, and nothing that gives one.
#[test]
fn what_calls_itself_pure_does_no_io_and_reads_no_clock() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in files("src") {
        let text = fs::read_to_string(&path).unwrap();
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        let words: Vec<&str> = head.flat_map(str::split_whitespace).collect();
        if !words
            .iter()
            .any(|word| matches!(*word, "Pure." | "Pure:" | "Pure;"))
        {
            continue;
        }
        seen += 1;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in [
                "clock::",
                "::now()",
                "fs::",
                "tokio::fs",
                "tokio::net",
                "tokio::spawn",
                "sleep",
                "std::net::Tcp",
                "Mutex",
            ] {
                if line.contains(word) {
                    wrong.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} files say that they are pure");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Clippy forbids to read a clock (`.clippy.toml`); that it is not allowed again elsewhere is checked here.
#[test]
fn one_file_reads_the_clock() {
    let clock = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/clock.rs");
    let mut wrong = Vec::new();
    for path in files("src") {
        let text = fs::read_to_string(&path).unwrap();
        let reads = ["Instant::now", "SystemTime::now", "disallowed_methods"]
            .iter()
            .any(|word| text.contains(word));
        if reads != (path == clock) {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "ask clock.rs instead: {}", wrong.join(", "));
}

/// What a service declares is merged with the operator's defaults once, in `model/effective.rs`.
/// `endpoints_tests.rs`, beside `endpoints.rs`.
fn is_for_tests(path: &Path) -> bool {
    path.file_stem()
        .is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"))
}

#[test]
fn generators_know_no_defaults() {
    let mut wrong = Vec::new();
    for path in files("src")
        .iter()
        .filter(|path| module(path) == "translate" && !is_for_tests(path))
    {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        if words.any(|word| word == "Clusters") {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "the defaults of clusters: {}", wrong.join(", "));
}

#[test]
fn each_file_says_what_it_is_and_stays_small() {
    let mut wrong = Vec::new();
    for path in ["src", "tests", "integration", "benches"]
        .into_iter()
        .flat_map(files)
    {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: no //! header", path.display()));
        }
        let lines = text.lines().count();
        if lines > LONGEST && !text.contains("//! Long because") {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What clippy checks for our own code (`.clippy.toml`), checked for all that we link.
#[test]
fn the_oldest_rust_is_what_dependencies_need_and_documents_say() {
    let version = |text: &str| -> Vec<u64> { text.split('.').map(|n| n.parse().unwrap()).collect() };
    let ours = version(env!("CARGO_PKG_RUST_VERSION"));
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        // Those of this platform: others need not be here.
        .args(["--filter-platform", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let others = packages.iter().filter(|p| p["name"] != env!("CARGO_PKG_NAME"));
    let needs: Vec<_> = others
        .filter_map(|p| p["rust_version"].as_str().map(|needed| (version(needed), p)))
        .collect();
    let newer: Vec<String> = needs
        .iter()
        .filter(|(needed, _)| needed[..2] > ours[..2])
        .map(|(_, p)| format!("{} {} needs {}", p["name"], p["version"], p["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "{}", newer.join("\n"));
    assert!(
        needs.iter().any(|(needed, _)| needed[..2] == ours[..2]),
        "no dependency needs {ours:?} any more: an older Rust may do"
    );
    let ours = env!("CARGO_PKG_RUST_VERSION");
    for (file, stated) in [
        (".clippy.toml", format!("msrv = \"{ours}\"")),
        ("README.md", format!("Rust ({ours} or newer)")),
        ("CONTRIBUTING.md", format!("Rust {ours} or newer")),
        ("Makefile", format!("Rust {ours} or newer")),
    ] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(&stated), "{file} must say {stated}");
    }
}
