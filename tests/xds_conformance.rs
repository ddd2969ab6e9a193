//! The public conformance scenarios for xDS servers, written again as scripts, each for
//! the types and variants where it applies. `T` in a script stands for the type; whoever
//! reads may check that each ends with silence: the runner does (`Script::play`).

mod support;

use support::run;
use xds_bridge::xds::Variant::{self, Delta, Sotw};

/// A scenario: its name, variant, types, script, and what the server says (without nonces).
type Scenario<'s> = (&'s str, Variant, &'s [&'s str], &'s str, &'s str);

const FULL: &[&str] = &["cds", "lds"];
const PARTIAL: &[&str] = &["eds", "rds"];
const ALL: &[&str] = &["cds", "eds", "lds", "rds"];

const SCENARIOS: &[Scenario] = &[
    // State of the world.
    (
        "wildcard: all at once",
        Sotw,
        FULL,
        "put T a=1 b=1; auto; want T",
        "+a=1 +b=1",
    ),
    (
        "wildcard: update",
        Sotw,
        FULL,
        "put T a=1 b=1; auto; want T; put T a=2",
        "+a=1 +b=1|+a=2 +b=1",
    ),
    (
        "wildcard: addition",
        Sotw,
        FULL,
        "put T a=1; auto; want T; put T b=1",
        "+a=1|+a=1 +b=1",
    ),
    (
        "named subset",
        Sotw,
        ALL,
        "put T a=1 b=1 c=1; auto; want T a c",
        "+a=1 +c=1",
    ),
    (
        "subset: full set",
        Sotw,
        FULL,
        "put T a=1 b=1 c=1; auto; want T a c; put T c=2; put T b=2",
        "+a=1 +c=1|+a=1 +c=2",
    ),
    (
        "subset: the changed one",
        Sotw,
        PARTIAL,
        "put T a=1 b=1 c=1; auto; want T a c; put T c=2; put T b=2",
        "+a=1 +c=1|+c=2",
    ),
    (
        "missing, then created",
        Sotw,
        FULL,
        "put T b=1; auto; want T a b; put T a=1",
        "+b=1|+a=1 +b=1",
    ),
    (
        "missing, then created (partial)",
        Sotw,
        PARTIAL,
        "put T b=1; auto; want T a b; put T a=1",
        "+b=1|+a=∅|+a=1",
    ),
    (
        "narrowed",
        Sotw,
        ALL,
        "put T a=1 b=1; auto; want T a b; want T a; put T b=2",
        "+a=1 +b=1",
    ),
    (
        "unsubscribed from all",
        Sotw,
        ALL,
        "put T a=1 b=1; auto; want T a b; want T; put T a=2 b=2; put T c=1",
        "+a=1 +b=1",
    ),
    // Delta.
    (
        "wildcard: all at once",
        Delta,
        FULL,
        "put T a=1 b=1; auto; sub T",
        "+a=1 +b=1",
    ),
    (
        "wildcard by name",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T *",
        "+a=1 +b=1",
    ),
    (
        "wildcard: update",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T *; put T a=2",
        "+a=1 +b=1|+a=2",
    ),
    (
        "wildcard: addition",
        Delta,
        ALL,
        "put T a=1; auto; sub T *; put T b=1",
        "+a=1|+b=1",
    ),
    (
        "named subset",
        Delta,
        ALL,
        "put T a=1 b=1 c=1; auto; sub T a c; put T b=2",
        "+a=1 +c=1",
    ),
    (
        "one after another",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T a; sub T b",
        "+a=1|+b=1",
    ),
    (
        "only what changed",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T a; sub T b; put T b=2",
        "+a=1|+b=1|+b=2",
    ),
    (
        "missing is told, created is sent",
        Delta,
        &["cds", "eds", "lds"],
        "auto; sub T a; put T a=1",
        "-a|+a=1",
    ),
    (
        "missing route, for Envoy",
        Delta,
        &["rds"],
        "auto; sub T a; put T a=1",
        "+a=∅|+a=1",
    ),
    (
        "removed is told, and added again",
        Delta,
        FULL,
        "put T a=1; auto; sub T a; del T a; put T a=1",
        "+a=1|-a|+a=1",
    ),
    (
        "the same, for Envoy",
        Delta,
        PARTIAL,
        "put T a=1; auto; sub T a; del T a; put T a=1",
        "+a=1|+a=∅|+a=1",
    ),
    (
        "removed under the wildcard",
        Delta,
        FULL,
        "put T a=1 b=1; auto; sub T; del T a",
        "+a=1 +b=1|-a",
    ),
    (
        "unsubscribed one by one",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T a b; unsub T a; put T a=2; put T b=2; unsub T b; put T a=3 b=3",
        "+a=1 +b=1|+b=2",
    ),
    (
        "narrowed",
        Delta,
        ALL,
        "put T a=1 b=1; auto; sub T a b; unsub T b; put T b=2",
        "+a=1 +b=1",
    ),
];

/// What was said, a response each, without types and nonces.
fn said(transcript: &str) -> String {
    let bodies = transcript
        .lines()
        .map(|line| line.split_once(' ').map_or("", |(_, body)| body));
    bodies.collect::<Vec<_>>().join("|")
}

#[test]
fn every_scenario_for_each_type() {
    let mut wrong = Vec::new();
    for (name, variant, types, script, wanted) in SCENARIOS {
        for kind in *types {
            let got = said(&run(*variant, &script.replace('T', kind)));
            if got != *wanted {
                wrong.push(format!("{name} ({variant:?}, {kind}): {got} instead of {wanted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn two_types_on_one_stream_in_both_orders() {
    for (variant, ask) in [(Sotw, "want"), (Delta, "sub")] {
        let clusters_first = format!("put cds a=1; put eds a=1; auto; {ask} cds *; {ask} eds a; put eds a=2");
        assert_eq!(
            said(&run(variant, &clusters_first)),
            "+a=1|+a=1|+a=2",
            "{variant:?}"
        );
        let endpoints_first =
            format!("put cds a=1; put eds a=1; auto; {ask} eds a; {ask} cds *; put eds a=2");
        // Rule 45: the cluster that is sent is followed by its endpoints.
        assert_eq!(
            said(&run(variant, &endpoints_first)),
            "+a=1|+a=1|+a=1|+a=2",
            "{variant:?}"
        );
        let others = format!("put lds a=1; put rds a=1; auto; {ask} rds a; {ask} lds *; put lds a=2");
        assert_eq!(said(&run(variant, &others)), "+a=1|+a=1|+a=2", "{variant:?}");
    }
}
