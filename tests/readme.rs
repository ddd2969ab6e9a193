//! What the README shows is what the program does: its files are read, and its
//! bootstraps are made again. `UPDATE_README=1` writes them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The fenced blocks of a language, with where they begin and end.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let fence = format!("```{language}\n");
    text.match_indices(&fence)
        .map(|(at, _)| {
            let start = at + fence.len();
            let end = text[start..].find("```").expect("a closing fence") + start;
            (start, &text[start..end])
        })
        .collect()
}

#[test]
fn the_bridge_toml_is_right_and_the_bootstraps_are_made_by_the_commands_above_them() {
    let text = fs::read_to_string(readme()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    fs::write(&file, blocks(&text, "toml").first().expect("a bridge.toml").1).unwrap();
    let made = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
            .args(arguments.split_whitespace())
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let mut new = text.clone();
    let yaml = blocks(&text, "yaml");
    assert_eq!(yaml.len(), 3, "one file per adoption step");
    for (start, shown) in yaml.into_iter().rev() {
        let program = "target/debug/xds-bridge bootstrap ";
        let command = text[..start].rfind(program).expect("the command") + program.len();
        let end = text[command..].find(" > envoy.yaml\n").expect("where it goes");
        let command = format!("bootstrap {}", &text[command..command + end]);
        new.replace_range(start..start + shown.len(), &made(&command));
    }
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(readme(), &new).unwrap();
    } else {
        assert!(
            new == text,
            "the README's bootstraps are old: UPDATE_README=1 cargo test --test readme"
        );
    }
}

#[test]
fn each_command_and_target_that_is_named_exists() {
    let text = fs::read_to_string(readme()).unwrap();
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    for (at, _) in text.match_indices("make ") {
        let target: String = text[at + 5..]
            .chars()
            .take_while(char::is_ascii_lowercase)
            .collect();
        let before = text[..at].chars().last().unwrap_or('\n');
        if matches!(before, '`' | '\n') && !target.is_empty() {
            assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
        }
    }
    let help = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for (at, _) in text.match_indices("xds-bridge ") {
        let word: String = text[at + 11..]
            .chars()
            .take_while(char::is_ascii_lowercase)
            .collect();
        let before = text[..at].chars().last().unwrap_or(' ');
        if matches!(before, '/' | '`') && !word.is_empty() {
            assert!(help.contains(&format!("\n  {word} ")), "xds-bridge {word}");
        }
    }
}
