//! Proof 6: all mistakes of a configuration are printed at once, each with its line.

use crate::support::bridge::run;

const WRONG: &str = r#"[xds]
listen = "localhost"
settel = "10ms"

[sources.registry]
kind = "zookeeper"

[exposures.edge]
hosts = ["api.example.com:80"]

[listeners.edge]
address = "127.0.0.1:10000"
exposure = "edje"
"#;

/// Line, key, and a word of the mend.
const MISTAKES: [(u32, &str, &str); 5] = [
    (2, "xds.listen", "IP:PORT"),
    (3, "xds.settel", "settle"),
    (6, "sources.registry.kind", "etcd"),
    (9, "exposures.edge.hosts", "without port"),
    (13, "listeners.edge.exposure", "internal"),
];

#[test]
fn five_mistakes_are_five_lines() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bridge.toml");
    std::fs::write(&file, WRONG).unwrap();
    let path = file.display().to_string();
    for command in ["check", "run"] {
        let output = run(&[command, "--config", &path], dir.path());
        assert_eq!(output.status.code(), Some(1), "{command}: {}", output.stderr);
        assert!(
            output.stderr.contains("5 mistakes in the configuration"),
            "{command}: {}",
            output.stderr
        );
        for (line, key, mend) in MISTAKES {
            let start = format!("{path}:{line}: {key}: ");
            let found = output
                .stderr
                .lines()
                .any(|l| l.contains(&start) && l.contains(mend));
            assert!(
                found,
                "{command} does not print {start} … {mend}:\n{}",
                output.stderr
            );
        }
    }
}

#[test]
fn the_sample_is_right() {
    let root = env!("CARGO_MANIFEST_DIR").as_ref();
    let output = run(&["check", "--config", "examples/bridge.toml"], root);
    assert!(output.status.success(), "{}", output.stderr);
}

#[test]
fn a_token_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (file, token) = (dir.path().join("bridge.toml"), dir.path().join("token"));
    let text = "[admin]\ntoken_file = \"token\"\n[sources.files]\nkind = \"file\"\npath = \".\"\n";
    std::fs::write(&file, text).unwrap();
    let check = || run(&["check", "--config", &file.display().to_string()], dir.path());
    for (content, words) in [
        (None, "No such file"),
        (Some("\n"), "it is empty"),
        (Some("two words\n"), "one word of visible ASCII"),
    ] {
        if let Some(content) = content {
            std::fs::write(&token, content).unwrap();
        }
        let output = check();
        let place = format!("admin.token_file: {}: ", token.display());
        assert!(
            output.stderr.contains(&place) && output.stderr.contains(words),
            "{}",
            output.stderr
        );
        assert!(output.stderr.contains("no order is taken until that is fixed"));
    }
    std::fs::write(&token, "of-the-test\n").unwrap();
    assert!(!check().stderr.contains("token_file"));
}
