//! Words that are not used, because a native engineer of this field uses others: in documents and in `src/`.

use std::collections::BTreeMap;
use std::fs;

use super::{files, root};

/// Word → what to write.
const WORDS: &[(&str, &str)] = &[
    ("anew", "again; re-read; verified again"),
    ("told", "sent; reported; delivered"),
    ("hear", "handle; receive"),
    ("hears", "handles; receives"),
    ("heard", "handled; received"),
    ("so many", "maximum; the number"),
    ("so much", "maximum; this number of"),
    ("so long", "for this time; until"),
    ("for ever", "without end; never ends"),
    ("come what may", "in any case"),
    ("at the most", "at most"),
    ("lesser", "lower"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("kin", "owner"),
    ("strangers", "unknown names"),
    ("dialled", "api_listener; connects to"),
];

/// The words of a text, in lower case, each with its line. An underscore ends a word.
fn split(text: &str) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.lines());
    lines
        .flat_map(|(number, line)| {
            let words = line
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty());
            words.map(move |word| (number, word.to_lowercase()))
        })
        .collect()
}

/// Each use of one of the words.
fn found(text: &str) -> Vec<String> {
    let words = split(text);
    let mut found = Vec::new();
    for (word, instead) in WORDS {
        let wanted: Vec<&str> = word.split(' ').collect();
        for at in words.windows(wanted.len()) {
            if at.iter().map(|(_, word)| word).eq(wanted.iter()) {
                found.push(format!("{}: `{word}` (write: {instead})", at[0].0));
            }
        }
    }
    found
}

/// A document without its code, which may name a test or a function.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().map(|line| {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            return String::new();
        }
        line.split('`').step_by(2).collect::<Vec<_>>().join(" - ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn documents_use_plain_words() {
    let mut wrong = BTreeMap::new();
    let mut seen = 0;
    for folder in ["", "docs", "examples", "findings"] {
        let folder = root().join(folder);
        for file in files_in(&folder) {
            seen += 1;
            let found = found(&prose(&fs::read_to_string(&file).unwrap()));
            if !found.is_empty() {
                wrong.insert(file, found);
            }
        }
    }
    assert!(seen > 15, "documents are not found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Markdown right in this folder.
fn files_in(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect()
}

#[test]
fn the_sources_use_plain_words() {
    let mut wrong = BTreeMap::new();
    for file in files(&root().join("src"), ".rs") {
        let found = found(&fs::read_to_string(&file).unwrap());
        if !found.is_empty() {
            wrong.insert(file, found);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_are_found_across_lines_and_in_names() {
    assert_eq!(found("so\n// many\nit_is_told Retold untold").len(), 2);
    assert_eq!(found(&prose("`anew` told\n```\nheard\n```\nheard")).len(), 2);
}
