//! The rules of the state-of-the-world variant, as scripts. Numbers are those of docs/xds-rules.md.

mod support;

use expect_test::{Expect, expect};
use support::{Script, run};
use xds_bridge::xds::{Limits, Variant};

#[allow(clippy::needless_pass_by_value)] // expect! makes a value
fn check(script: &str, wanted: Expect) {
    wanted.assert_eq(&run(Variant::Sotw, script));
}

#[test]
fn wildcard_returns_all_and_then_all_again_when_one_changes() {
    check(
        "put cds a=1 b=1; auto; want cds; put cds b=2; put cds c=1; del cds a",
        expect![[r#"
        cds#1 +a=1 +b=1
        cds#2 +a=1 +b=2
        cds#3 +a=1 +b=2 +c=1
        cds#4 +b=2 +c=1
    "#]],
    );
}

#[test]
fn rule_10_a_stale_nonce_is_silent_but_its_names_count() {
    check(
        "put eds a=1 b=1; want eds a; ack 1; put eds a=2; ack 1; want eds a b; ack 2",
        expect![[r#"
        eds#1 +a=1
        eds#2 +a=2
        eds#3 +b=1
    "#]],
    );
}

#[test]
fn rule_11_an_empty_nonce_subscribes_again() {
    check(
        "put eds a=1 b=1; auto; want eds a; want eds! a b; want eds! a",
        expect![[r#"
        eds#1 +a=1
        eds#2 +b=1
        eds#3 +a=1
    "#]],
    );
    check(
        "put cds a=1 b=1; auto; want cds! a; want cds! a b",
        expect![[r#"
        cds#1 +a=1
        cds#2 +a=1 +b=1
    "#]],
    );
}

#[test]
fn rule_12_the_same_nack_three_times() {
    check(
        "put cds a=1; want cds; nack 1; nack 1; nack 1; put cds a=1; put cds a=2; put eds x=1",
        expect![[r#"
        cds#1 +a=1
        refused 1
        cds#2 +a=2
    "#]],
    );
}

#[test]
fn rule_14_only_the_newest_nonce_is_answered() {
    check(
        "put eds a=1; want eds a; ack 1; put eds a=2; ack 2; put eds a=3; ack 3",
        expect![[r#"
        eds#1 +a=1
        eds#2 +a=2
        eds#3 +a=3
    "#]],
    );
}

#[test]
fn rule_15_back_to_an_accepted_version() {
    check(
        "put cds a=1; want cds; ack 1; put cds a=2; nack 2; put cds a=1; ack 3",
        expect![[r#"
        cds#1 +a=1
        cds#2 +a=2
        refused 1
        cds#3 +a=1
    "#]],
    );
}

#[test]
fn rule_18_and_32() {
    check(
        "auto; want cds; want eds; want lds; want rds",
        expect![[r#"
        cds#1 
        lds#2 
    "#]],
    );
}

#[test]
fn rule_19_the_sequence_of_lists() {
    check(
        "put cds A=1 B=1; auto; want cds; want cds * A; want cds A; put cds B=2; put cds A=2; want cds; put cds A=3 B=3",
        expect![[r#"
        cds#1 +A=1 +B=1
        cds#2 +A=1 +B=1
        cds#3 +A=2
    "#]],
    );
}

#[test]
fn rule_25_unsubscribed_and_subscribed_again() {
    check(
        "put eds A=1; auto; want eds A; want eds; want eds A",
        expect![[r#"
        eds#1 +A=1
        eds#2 +A=1
    "#]],
    );
}

#[test]
fn rule_27_the_warming_re_request_gets_the_endpoints_of_clusters_sent_since() {
    check(
        "put cds a=1 b=1; put eds a=1 b=1; auto; want cds; want eds a b; put cds a=2; want eds a b; want eds a b",
        expect![[r#"
            cds#1 +a=1 +b=1
            eds#2 +a=1 +b=1
            cds#3 +a=2 +b=1
            eds#4 +a=1
        "#]],
    );
}

#[test]
fn rule_28_endpoints_may_be_partial() {
    check(
        "put eds a=1 b=1; auto; want eds a b; put eds b=2",
        expect![[r#"
        eds#1 +a=1 +b=1
        eds#2 +b=2
    "#]],
    );
}

#[test]
fn rule_29_missing_then_created_and_rule_35_empty_for_envoy() {
    check(
        "auto; want eds a; put eds a=1; del eds a",
        expect![[r#"
        eds#1 +a=∅
        eds#2 +a=1
        eds#3 +a=∅
    "#]],
    );
    let grpc = Script::new(Variant::Sotw, None, "grpc-go").play("auto; want lds a; put lds a=1; del lds a");
    expect![[r#"
        lds#1 !a
        lds#2 +a=1
        lds#3 !a
    "#]]
    .assert_eq(&grpc);
}

#[test]
fn rule_44_order_of_a_new_service_and_an_old_one_gone() {
    check(
        "put cds a=1; put rds r=1(a); auto; want cds; want eds a; want rds r
         put cds b=1; put rds r=2(b); del cds a",
        expect![[r#"
            cds#1 +a=1
            eds#2 +a=∅
            rds#3 +r=1
            cds#4 +a=1 +b=1
            rds#5 +r=2
            cds#6 +b=1
        "#]],
    );
}

#[test]
fn rule_49_endpoints_are_split() {
    let limits = Limits {
        response_bytes: 200,
        ..Limits::default()
    };
    let said = Script::with_limits(Variant::Sotw, None, "envoy", limits)
        .play("put eds a=1 b=1 c=1 d=1 e=1; want eds a b c d e; ack 1; ack 2; ack 3");
    expect![[r#"
        eds#1 +a=1 +b=1
        eds#2 +c=1 +d=1
        eds#3 +e=1
    "#]]
    .assert_eq(&said);
}

#[test]
fn rule_52_changes_merge() {
    let changes = (2..1000)
        .map(|n| format!("put cds a={n}"))
        .collect::<Vec<_>>()
        .join(";");
    check(
        &format!("put cds a=1; want cds; {changes}; ack 1; ack 2"),
        expect![[r#"
        cds#1 +a=1
        cds#2 +a=999
    "#]],
    );
}

#[test]
fn a_refused_partial_batch_is_split_once() {
    check(
        "put eds a=1 b=1; want eds a b; nack 1; ack 2; nack 3; put eds b=2",
        expect![[r#"
        eds#1 +a=1 +b=1
        refused 2
        eds#2 +a=1
        eds#3 +b=1
        refused 1
        eds#4 +b=2
    "#]],
    );
}

#[test]
fn who_asks_for_too_many_keeps_what_it_had() {
    // What is dropped is told with the answer; a refusal tells nothing, and the index would keep it for good.
    let limits = Limits {
        names: 2,
        ..Limits::default()
    };
    let mut script = Script::with_limits(Variant::Sotw, None, "envoy", limits);
    let said = script
        .steps("auto; put eds a=1 b=1; want eds a b; want eds c d e")
        .to_owned();
    expect![[r#"
        eds#1 +a=1 +b=1
        ended: more than 2 names of one type on one stream
    "#]]
    .assert_eq(&said);
    assert_eq!(script.stream.subscriptions().count(), 2);
}

/// Some of gRPC's clients keep a listener or cluster that is gone (tonic-xds always, others by
/// `ignore_resource_deletion`): without this they would call its last instances for ever.
#[test]
fn rule_36_grpc_clients_drain_endpoints_that_are_gone() {
    let grpc = Script::new(Variant::Sotw, None, "gRPC C-core")
        .play("put eds a=1; auto; want eds a b; del eds a; put eds a=1; del eds a; put eds c=1");
    expect![[r#"
        eds#1 +a=1
        eds#2 !b
        eds#3 +a=∅
        eds#4 +a=1
        eds#5 +a=∅
    "#]]
    .assert_eq(&grpc);
}

#[test]
fn a_refused_set_is_halved_until_the_culprit_is_left_out() {
    // d is bad: each set that holds it is refused.
    check(
        "put cds a=1 b=1 c=1 d=1; want cds; nack 1; ack 2; nack 3; ack 4; nack 5; put cds a=2; ack 6; put cds d=2; ack 7",
        expect![[r#"
            cds#1 +a=1 +b=1 +c=1 +d=1
            refused 4
            cds#2 +a=1 +b=1
            cds#3 +a=1 +b=1 +c=1 +d=1
            refused 4
            cds#4 +a=1 +b=1 +c=1
            cds#5 +a=1 +b=1 +c=1 +d=1
            refused 4
            cds#6 +a=2 +b=1 +c=1
            cds#7 +a=2 +b=1 +c=1 +d=2
        "#]],
    );
}

#[test]
fn what_was_accepted_stays_in_the_set_while_its_successor_is_in_doubt() {
    check(
        "put cds a=1 b=1; want cds; ack 1; put cds a=2 b=2 c=2; nack 2; nack 3; ack 4; del cds c; ack 5",
        expect![[r#"
            cds#1 +a=1 +b=1
            cds#2 +a=2 +b=2 +c=2
            refused 3
            cds#3 +a=2 +b=1
            refused 2
            cds#4 +a=1 +b=2 +c=2
            cds#5 +a=1 +b=2
        "#]],
    );
}

#[test]
fn a_change_while_a_culprit_is_looked_for_is_sent_at_once() {
    check(
        "put cds a=1 b=1 c=1 d=1; want cds; nack 1; put cds e=1; ack 2; put cds d=2; ack 3; put cds a=2; ack 4",
        expect![[r#"
            cds#1 +a=1 +b=1 +c=1 +d=1
            refused 4
            cds#2 +a=1 +b=1
            cds#3 +a=1 +b=1 +c=1 +d=1 +e=1
            cds#4 +a=1 +b=1 +c=1 +d=2 +e=1
            cds#5 +a=2 +b=1 +c=1 +d=2 +e=1
        "#]],
    );
}

#[test]
fn a_listener_that_is_refused_costs_the_others_nothing() {
    check(
        "put lds a=1 b=1 c=1; want lds; nack 1; nack 2; ack 3; put lds a=2; ack 4",
        expect![[r#"
            lds#1 +a=1 +b=1 +c=1
            refused 3
            lds#2 +a=1
            refused 1
            lds#3 +b=1 +c=1
            lds#4 +a=2 +b=1 +c=1
        "#]],
    );
}

#[test]
fn what_a_client_may_have_taken_of_a_refused_set_is_taken_back() {
    // a may be at the client, and is gone before it is tried again.
    check(
        "put cds a=1 b=1; want cds; nack 1; del cds a; nack 2; ack 3",
        expect![[r#"
            cds#1 +a=1 +b=1
            refused 2
            cds#2 +a=1
            refused 1
            cds#3 +b=1
        "#]],
    );
}

#[test]
fn rule_47_what_is_tried_again_after_a_refusal_waits_for_its_clusters() {
    check(
        "put cds a=1; put lds x=1 y=1(a); want cds; ack 1; want lds; nack 2; put cds a=2; ack 3; put cds b=1; ack 4; ack 5",
        expect![[r#"
            cds#1 +a=1
            lds#2 +x=1 +y=1
            refused 2
            lds#3 +x=1
            cds#4 +a=2
            cds#5 +a=2 +b=1
            lds#6 +x=1 +y=1
        "#]],
    );
}
