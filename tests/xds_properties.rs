//! Random histories of publications, subscriptions, answers, refusals, reconnects, slow
//! readers and time, against clients like Envoy and gRPC (`support/client.rs`): what they
//! hold in the end is what the server has, it falls silent, and no promise is broken on the way.
//!
//! `PROPTEST_CASES=20000 cargo test --test xds_properties` plays more of them;
//! `XDS_TRACE=1` shows the history that failed.

#[path = "support/client.rs"]
mod client;
#[path = "support/contents.rs"]
mod contents;
#[path = "support/model.rs"]
mod model;
#[path = "support/promises.rs"]
mod promises;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// `XDS_HISTORY=1,2,3` plays one history, such as a fuzzer or a failed test printed.
#[test]
fn the_given_history() {
    if let Ok(text) = std::env::var("XDS_HISTORY") {
        let bytes: Vec<u8> = text
            .split(',')
            .map(|n| n.trim().parse().expect("bytes"))
            .collect();
        model::play(&bytes);
    }
}

#[test]
fn every_promise_holds_in_every_history() {
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    // The same histories each time; more cases go on where fewer stopped.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let histories = prop::collection::vec(any::<u8>(), 1..400);
    runner
        .run(&histories, |bytes| {
            model::play(&bytes);
            Ok(())
        })
        .unwrap_or_else(|failed| panic!("{failed}"));
}

/// What the fuzzer found once, and what it keeps to start from, stays found.
#[test]
fn every_promise_holds_in_the_histories_of_the_fuzzer() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fuzz/corpus/stream");
    let mut played = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        model::play(&std::fs::read(file.unwrap().path()).unwrap());
        played += 1;
    }
    assert!(played > 10, "only {played} histories");
}
