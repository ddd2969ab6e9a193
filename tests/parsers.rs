//! What every parser of registry data promises (`support/parsers`), for the samples that the fuzzer starts
//! from and for what it found. `PARSER=etcd_value PARSER_FILE=FILE` plays one file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

#[path = "support/parsers/mod.rs"]
mod parsers;

use std::path::Path;

type Play = fn(&[u8]);

const PARSERS: [(&str, Play); 10] = [
    ("access_log", parsers::access_log),
    ("bridge_toml", parsers::bridge_toml),
    ("consul_catalog", parsers::consul_catalog),
    ("consul_health", parsers::consul_health),
    ("consul_keys", parsers::consul_keys),
    ("consul_policy", parsers::consul_policy),
    ("declaration", parsers::declaration),
    ("etcd_value", parsers::etcd_value),
    ("file_document", parsers::file_document),
    ("last_known", parsers::last_known),
];

/// Each sample whole, cut short, and with each of some bytes changed.
fn play(name: &str, play: Play, sample: &[u8]) {
    let said = std::panic::catch_unwind(|| {
        play(sample);
        for end in (0..sample.len()).step_by(1 + sample.len() / 50) {
            play(&sample[..end]);
            for byte in [0, b'"', b'}', b'0', 0xff] {
                let mut changed = sample.to_vec();
                changed[end] = byte;
                play(&changed);
            }
        }
    });
    assert!(said.is_ok(), "{name}: {}", sample.escape_ascii());
}

#[test]
fn every_promise_holds_for_the_samples_and_what_the_fuzzer_found() {
    for (name, parser) in PARSERS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("integration/fuzz/corpus")
            .join(name);
        let mut played = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            play(name, parser, &std::fs::read(file.unwrap().path()).unwrap());
            played += 1;
        }
        assert!(played > 1, "only {played} samples for {name}");
    }
}

#[test]
fn each_fuzz_target_of_a_parser_is_played() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fuzz/fuzz_targets");
    for file in std::fs::read_dir(targets).unwrap() {
        let name = file
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let engine = ["stream", "requests"].contains(&&*name);
        assert!(
            engine || PARSERS.iter().any(|(parser, _)| *parser == name),
            "{name}"
        );
    }
}

#[test]
fn the_given_file() {
    if let (Ok(name), Ok(file)) = (std::env::var("PARSER"), std::env::var("PARSER_FILE")) {
        let (_, parser) = PARSERS.into_iter().find(|(parser, _)| *parser == name).unwrap();
        parser(&std::fs::read(file).unwrap());
    }
}
