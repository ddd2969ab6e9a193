//! docs/troubleshooting.md: what it quotes is what the bridge really says, and its commands exist.

use std::fs;

use super::{code, files, read, root, rows};

const FILE: &str = "docs/troubleshooting.md";

/// All sources in one text, in which a literal that goes on in the next line is one.
fn sources() -> String {
    let mut all = String::new();
    for file in files(&root().join("src"), ".rs") {
        let text = fs::read_to_string(file).unwrap();
        let mut parts = text.split("\\\n");
        all.push_str(parts.next().unwrap());
        parts.for_each(|part| all.push_str(part.trim_start()));
        all.push('\n');
    }
    all
}

#[test]
fn quoted_messages_are_messages_of_the_bridge() {
    let (text, sources) = (read(FILE), sources());
    let mut quoted = 0;
    let mut wrong = Vec::new();
    for row in rows(&text) {
        for message in code(row[0]) {
            quoted += 1;
            let there = match message.strip_prefix("xds_bridge_") {
                // Counters are registered without the ending that OpenMetrics gives them.
                Some(metric) => {
                    let metric = metric.strip_suffix("_total").unwrap_or(metric);
                    sources.contains(&format!("\"{metric}\""))
                }
                None => sources.contains(message) || NOT_MESSAGES.contains(&message),
            };
            if !there {
                wrong.push(message);
            }
        }
    }
    assert!(quoted > 40, "messages are not found");
    assert!(
        wrong.is_empty(),
        "{FILE} quotes what the bridge does not say: {wrong:#?}"
    );
}

/// What the first column names beside messages.
const NOT_MESSAGES: &[&str] = &["bridge.toml", "/readyz"];

#[test]
fn each_row_names_a_command_and_a_fix() {
    let (text, sources) = (read(FILE), sources());
    let rows = rows(&text);
    let rows: Vec<_> = rows.iter().filter(|row| row[0] != "symptom").collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let [symptom, command, fix] = row[..] else {
            panic!("{FILE}: a row of three cells: {row:?}")
        };
        assert!(!fix.is_empty(), "{symptom}");
        assert!(!command.is_empty(), "{symptom}");
        for command in code(command) {
            if let Some((_, path)) = command.split_once("127.0.0.1:18001") {
                assert!(sources.contains(&format!("\"{path}\"")), "{symptom}: {command}");
            }
        }
    }
}

#[test]
fn each_metric_is_documented() {
    let text = read("docs/operations.md");
    let (_, table) = text.split_once("\n## Metrics\n").expect("a part about metrics");
    let rows = rows(table);
    let documented: Vec<&str> = rows
        .iter()
        .flat_map(|row| code(row[0]))
        .map(|name| name.strip_suffix("_total").unwrap_or(name))
        .collect();
    let mut registered = Vec::new();
    for file in files(&root().join("src"), ".rs") {
        let source = fs::read_to_string(file).unwrap();
        for call in source.split(".register(").skip(1) {
            let name = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next());
            registered.extend(name.map(str::to_owned));
        }
    }
    assert!(registered.len() > 30, "metrics are not found");
    for name in &registered {
        assert!(
            documented.contains(&name.as_str()),
            "docs/operations.md lacks {name}"
        );
    }
    for name in documented {
        assert!(
            registered.iter().any(|known| known == name),
            "there is no metric {name}"
        );
    }
}
