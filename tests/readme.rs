//! What the README and the documents show is what the program does: the files of `examples/envoy` are printed again
//! (`UPDATE_DOCUMENTS=1` writes them), commands, make targets and links exist. `integration/readme.rs` pastes the rest.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml_ng::Value;

/// Maximum length of the README; anything more belongs in a document.
const LINES: usize = 250;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

/// The pages at the top, and all of `docs/`.
fn documents() -> Vec<(PathBuf, String)> {
    let mut files = vec![root().join("examples/README.md")];
    for folder in [root().to_owned(), root().join("docs")] {
        for entry in fs::read_dir(folder).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    assert!(files.len() > 5, "docs/ is not where it was");
    let read = |file: PathBuf| (file.clone(), fs::read_to_string(file).unwrap());
    files.into_iter().map(read).collect()
}

/// The fenced blocks of a language, with where they begin.
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

fn program(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xds-bridge"))
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_readme_stays_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= LINES, "README.md has {lines} lines");
}

#[test]
fn the_bridge_toml_is_right_and_the_examples_are_printed_by_the_commands_shown() {
    let (readme, adoption) = (read("README.md"), read("docs/adoption.md"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    fs::write(&file, blocks(&readme, "toml").first().expect("a bridge.toml").1).unwrap();
    let file = file.to_str().unwrap();
    for step in ["endpoints", "clusters", "listeners"] {
        let name = format!("examples/envoy/{step}.yaml");
        let shown = readme.find(&format!("({name})")).expect("the link to the file");
        let start = "target/debug/xds-bridge bootstrap ";
        let command = &readme[readme[..shown].rfind(start).expect("the command above it")..];
        let command = command.split(" > envoy.yaml\n").next().unwrap();
        assert!(command.contains(&format!("--step {step}")), "{name}: {command}");
        assert!(
            adoption.contains(command),
            "docs/adoption.md shows another command: {command}"
        );
        let mut arguments = vec!["bootstrap", "--config", file];
        arguments.extend(command[start.len()..].split_whitespace());
        let printed = program(&arguments);
        if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
            fs::write(root().join(&name), &printed).unwrap();
        }
        assert!(
            read(&name) == printed,
            "{name} is old: UPDATE_DOCUMENTS=1 cargo test --test readme"
        );
        let whole: Value = serde_yaml_ng::from_str(&printed).unwrap();
        for (document, link) in [(&readme, name.clone()), (&adoption, format!("../{name}"))] {
            let end = document.find(&format!("({link})")).expect("the link to the file");
            let excerpts = blocks(&document[..end], "yaml");
            let (_, excerpt) = excerpts.last().expect("an excerpt above the link");
            let part: Value = serde_yaml_ng::from_str(excerpt).unwrap();
            assert!(contains(&whole, &part), "{name} does not contain\n{excerpt}");
        }
    }
}

/// Whether all of `part` is in `whole`: keys of a mapping, elements of a list in any place.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Mapping(whole), Value::Mapping(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value))),
        (Value::Sequence(whole), Value::Sequence(part)) => part
            .iter()
            .all(|value| whole.iter().any(|found| contains(found, value))),
        _ => whole == part,
    }
}

/// Nothing but the registry of whoever uses it: a sample beside it would be merged with real services.
#[test]
fn the_shipped_bridge_toml_has_no_source_and_is_right_with_either() {
    let text = read("bridge.toml");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bridge.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xds-bridge"));
        let output = command.arg("check").arg("--config").arg(&file).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = check(&text);
    assert!(
        said.contains("1 mistake") && said.contains("sources: at least one"),
        "{said}"
    );
    for kind in ["consul", "etcd"] {
        let begin = text.find(&format!("#[sources.{kind}]")).expect(kind);
        let length = text[begin..].find("\n\n").expect("the end of a section");
        let section = text[begin..begin + length].lines().map(|line| &line[1..]);
        // The token is only for those who have one.
        let section = section.map(|line| if line.starts_with("token_file") { "" } else { line });
        let section: Vec<&str> = section.collect();
        let said = check(&format!("{text}\n{}\n", section.join("\n")));
        assert!(!said.contains("mistake"), "{kind}: {said}");
    }
}

#[test]
fn each_command_and_target_that_is_named_exists() {
    let (makefile, help) = (read("Makefile"), program(&["--help"]));
    let named = |text: &str, before: &str, word: &str| -> Vec<String> {
        let at = text.match_indices(word).filter(|(at, _)| {
            let previous = text[..*at].chars().last().unwrap_or('\n');
            before.contains(previous)
        });
        at.map(|(at, _)| {
            let rest = text[at + word.len()..].chars();
            rest.take_while(|c| c.is_ascii_lowercase() || *c == '-').collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
    };
    for (file, text) in documents() {
        let file = file.display();
        for target in named(&text, "`\n", "make ") {
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{file}: make {target}"
            );
        }
        for command in named(&text, "/`", "xds-bridge ") {
            assert!(
                help.contains(&format!("\n  {command} ")),
                "{file}: xds-bridge {command}"
            );
        }
    }
}

/// `[text](FILE#HEADING)`, for files of this project.
#[test]
fn each_link_leads_somewhere() {
    let mut seen = 0;
    for (file, text) in documents() {
        for (at, _) in text.match_indices("](") {
            let link = &text[at + 2..];
            let link = &link[..link.find(')').expect("the end of a link")];
            if link.starts_with("http") {
                continue;
            }
            seen += 1;
            let (name, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if name.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap().join(name)
            };
            let found = fs::read_to_string(&target);
            let found = found.unwrap_or_else(|_| panic!("{}: no file {name}", file.display()));
            assert!(
                heading.is_empty() || headings(&found).contains(heading),
                "{}: {name} has no heading #{heading}",
                file.display()
            );
        }
    }
    assert!(seen > 20, "links are not found");
}

/// As they are written in links.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    lines
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}
