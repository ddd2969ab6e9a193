//! The documents' tables of keys and of the words of a route are the program's own
//! (`UPDATE_DOCUMENTS=1` writes them), and `xds-bridge keys` lists all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xds_bridge::model::keys::Row;
use xds_bridge::model::route::WORDS;
use xds_bridge::model::{CODES, Key};

/// The page with a table between `<!-- NAME -->` and `<!-- /NAME -->`, and where that is in it.
fn table(name: &str) -> (PathBuf, String, std::ops::Range<usize>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if let Some(start) = text.find(&begin) {
            let start = start + begin.len();
            let end = start + text[start..].find(&end).expect("where the table ends");
            return (path, text, start..end);
        }
    }
    panic!("no page of docs/ has the table `{name}`");
}

fn hold(name: &str, wanted: &str) {
    let (path, mut text, place) = table(name);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        text.replace_range(place, wanted);
        fs::write(path, text).unwrap();
    } else {
        assert!(
            text[place] == *wanted,
            "the table `{name}` of {} is old: UPDATE_DOCUMENTS=1 cargo test --test keys",
            path.display()
        );
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    Key::ALL.iter().map(|key| key.row())
}

#[test]
fn the_table_of_codes_is_the_programs_own() {
    let mut wanted = String::from("| code | level | it means | what to do |\n|---|---|---|---|\n");
    for row in CODES {
        let (name, level) = (row.name, row.level.as_str());
        writeln!(wanted, "| `{name}` | {level} | {} | {} |", row.means, row.fix).unwrap();
    }
    hold("codes", &wanted);
}

#[test]
fn the_table_of_keys_is_the_programs_own() {
    let mut wanted = String::from("| key | of | meaning | default |\n|---|---|---|---|\n");
    for row in rows() {
        let names: Vec<String> = row.names().iter().map(|name| format!("`{name}`")).collect();
        let more = if row.numbered { ", …" } else { "" };
        let (names, scope) = (names.join(", "), row.scope().as_str());
        writeln!(
            wanted,
            "| {names}{more} | {scope} | {} | {} |",
            row.help, row.default
        )
        .unwrap();
    }
    hold("keys", &wanted);
}

#[test]
fn the_table_of_route_words_is_the_programs_own() {
    let mut wanted = String::from("| word of a route | meaning |\n|---|---|\n");
    for word in &WORDS {
        writeln!(wanted, "| `{}=` | {} |", word.name, word.help).unwrap();
    }
    hold("route words", &wanted);
}

#[test]
fn each_row_fits_in_a_table() {
    for row in rows() {
        for text in [row.name, row.since, row.help, row.default, row.fallback] {
            assert!(
                !text.is_empty() && !text.contains(['|', '\n']),
                "{}: {text}",
                row.name
            );
        }
    }
    assert!(WORDS.iter().all(|word| !word.help.contains(['|', '\n'])));
}

#[test]
fn the_command_lists_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
        .arg("keys")
        .current_dir(folder.path()) // without any bridge.toml
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for row in rows() {
        assert!(
            text.contains(&format!("\n{}", row.name)) && text.contains(row.help),
            "{}",
            row.name
        );
    }
    for name in WORDS.iter().map(|w| w.name) {
        assert!(text.contains(&format!("\n{name}")), "{name}");
    }
}
