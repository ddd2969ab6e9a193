//! Mistakes of the engine that the model (`support/model.rs`) found, each as the script
//! of a few words that it came down to.

mod support;

use expect_test::{Expect, expect};
use support::{Script, run};
use xds_bridge::xds::{Limits, Variant};

#[allow(clippy::needless_pass_by_value)] // expect! makes a value
fn delta(script: &str, wanted: Expect) {
    wanted.assert_eq(&run(Variant::Delta, script));
}

#[allow(clippy::needless_pass_by_value)]
fn sotw(script: &str, wanted: Expect) {
    wanted.assert_eq(&run(Variant::Sotw, script));
}

/// The task of a stream spun on a deadline that was over, until its client answered.
#[test]
fn a_deadline_passes_while_an_answer_is_awaited() {
    // The script runner checks the deadline after each command.
    let up = "put cds a=1; put rds r=1(a) s=1; sub cds; ack 1; sub rds r s; ack 2";
    delta(
        &format!("{up}; put cds b=1 + put rds r=2(b) s=2; wait 20s; ack 3; ack 4; ack 5"),
        expect![[r#"
        cds#1 +a=1
        rds#2 +r=1 +s=1
        cds#3 +b=1
        rds#4 +s=2
        rds#5 +r=2
    "#]],
    );
    let up = "put cds a=1 b=1; put rds r=1(a); sub cds; ack 1; sub rds r";
    delta(
        &format!("{up}; put rds r=2(b) + del cds a; put rds r=3(b); wait 20s; wait 20s; ack 2; ack 3"),
        expect![[r#"
        cds#1 +a=1 +b=1
        rds#2 +r=1
        rds#3 +r=3
        cds#4 -a
    "#]],
    );
}

/// An Envoy that connected again asked for clusters, got one that had changed meanwhile, and then claimed the endpoints of
/// that, which had not: it warmed the cluster for 15 s. Found by the simulation (seed 4).
#[test]
fn a_cluster_that_changed_meanwhile_is_followed_by_endpoints_that_did_not() {
    delta(
        "put cds a=2 b=1; put eds a=1 b=1; claim cds a=1 b=1; claim eds a=1 b=1 & a b",
        expect![[r#"
        cds#1 +a=2
        eds#2 +a=1
    "#]],
    );
}

/// A client that was frozen for longer than the gate read a route to a cluster that it was sent only after that, and the
/// removal of one that its route still named. Found by the simulation (seeds 3 and 7).
#[test]
fn a_client_that_does_not_answer_gets_no_route_before_its_cluster() {
    let up = "put cds a=1; put rds r=1(a); sub cds; ack 1; sub rds r; ack 2";
    delta(
        &format!("{up}; put cds b=1; put cds c=1 + put rds r=2(a,c); wait 20s; wait 20s; ack 3; ack 4"),
        expect![[r#"
        cds#1 +a=1
        rds#2 +r=1
        cds#3 +b=1
        cds#4 +c=1
        rds#5 +r=2
    "#]],
    );
    let up = "put cds a=1; put lds l=1(a); sub cds; ack 1; sub lds; ack 2";
    sotw(
        &format!("{up}; put cds b=1; put cds c=1 + put lds l=2(c); wait 20s; wait 20s; ack 3; ack 4"),
        expect![[r#"
        cds#1 +a=1
        lds#2 +l=1
        cds#3 +a=1 +b=1
        cds#4 +a=1 +b=1 +c=1
        lds#5 +l=2
    "#]],
    );
}

/// The time for what refers to a cluster passed while the client had not answered for another one, so that the route could
/// not change: the cluster went before it. Found by the simulation (seed 1496 and others).
#[test]
fn a_client_that_answers_late_keeps_the_clusters_of_its_routes() {
    sotw(
        "put cds a=1; put rds r=1(a); want cds; ack 1; want rds r; ack 2
         put cds b=1 + put rds r=2(b) + del cds a; put cds c=1 + put rds r=3(b,c); wait 20s; ack 3; ack 4; ack 5",
        expect![[r#"
            cds#1 +a=1
            rds#2 +r=1
            cds#3 +a=1 +b=1
            cds#4 +a=1 +b=1 +c=1
            rds#5 +r=3
            cds#6 +b=1 +c=1
        "#]],
    );
}

/// The refused route came again alone before the cluster that its new content needs.
#[test]
fn a_single_one_of_a_refused_batch_waits_for_its_clusters_too() {
    delta(
        "put cds a=1; put rds r=1(a) s=1(a); sub cds; ack 1; sub rds r s
         put cds a=2; put cds b=1 + put rds r=2(b); nack 2; ack 3; ack 4; ack 5",
        expect![[r#"
            cds#1 +a=1
            rds#2 +r=1 +s=1
            cds#3 +a=2
            refused 2
            cds#4 +b=1
            rds#5 +s=1
            rds#6 +r=2
        "#]],
    );
}

/// A name that a reconnecting client claimed, and that was published while its removal waited.
#[test]
fn what_was_unknown_and_is_published_is_not_removed() {
    delta(
        "claim cds x=1; put cds x=2; ack 1; ack 2",
        expect![[r#"
        cds#1 
        cds#2 +x=2
    "#]],
    );
}

/// What is on its way when a subscription is given up and taken again arrives after all.
#[test]
fn what_is_gone_while_on_its_way_to_a_new_subscription_is_told() {
    delta(
        "put cds a=1 d=1; sub cds; unsub cds *; del cds d; sub cds *; ack 1; ack 2; ack 3",
        expect![[r#"
        cds#1 +a=1 +d=1
        cds#2 +a=1
        cds#3 -d
    "#]],
    );
    delta(
        "put eds b=1; sub eds b; unsub eds b; sub eds b; del eds b; ack 1; ack 2",
        expect![[r#"
        eds#1 +b=1
        eds#2 +b=∅
    "#]],
    );
}

/// Unsubscribed, and then subscribed again, before anything could be said.
#[test]
fn a_missing_name_is_told_once_in_a_response() {
    delta(
        "sub cds *; sub cds x; unsub cds x; sub cds x; ack 1; ack 2",
        expect![[r#"
        cds#1 
        cds#2 -x
    "#]],
    );
}

#[test]
fn removals_are_split_like_the_rest() {
    let limits = Limits {
        response_bytes: 60,
        ..Limits::default()
    };
    let said = Script::with_limits(Variant::Delta, None, "envoy", limits).play("auto; sub eds a b c d e f");
    expect![[r#"
        eds#1 -a -b -c
        eds#2 -d -e -f
    "#]]
    .assert_eq(&said);
}

/// The set of clusters without the old one went out before the route that still named it.
#[test]
fn rule_44_one_publication_replaces_a_service() {
    sotw(
        "put cds a=1; put rds r=1(a); auto; want cds; want rds r; put cds b=1 + del cds a + put rds r=2(b)",
        expect![[r#"
            cds#1 +a=1
            rds#2 +r=1
            cds#3 +a=1 +b=1
            rds#4 +r=2
            cds#5 +b=1
        "#]],
    );
}

/// A missing listener is no reason to send another one before its cluster.
#[test]
fn rule_47_a_removal_does_not_take_a_waiting_listener_along() {
    sotw(
        "want cds; want lds *; ack 2; put cds b=1 + put lds a=1(b); want lds * b; ack 1; ack 3",
        expect![[r#"
            cds#1 
            lds#2 
            cds#3 +b=1
            lds#4 +a=1
        "#]],
    );
}

/// gRPC's clients ask for more names, with an empty nonce, before their first answer.
#[test]
fn rule_12_a_refusal_that_a_request_overtook_counts() {
    sotw(
        "put lds a=1; want lds! a; want lds! a; nack 2; want lds! a",
        expect![[r#"
        lds#1 +a=1
        lds#2 +a=1
        refused 1
    "#]],
    );
}

/// State of the world answers only the newest nonce: one suspect at a time.
#[test]
fn the_first_of_a_refused_batch_may_be_the_culprit() {
    sotw(
        "put eds a=1 b=1; want eds a b; nack 1; nack 2; ack 3; put eds a=1; put eds a=2",
        expect![[r#"
        eds#1 +a=1 +b=1
        refused 2
        eds#2 +a=1
        refused 1
        eds#3 +b=1
        eds#4 +a=2
    "#]],
    );
}

#[test]
fn rule_45_a_cluster_sent_alone_is_followed_by_its_endpoints() {
    delta(
        "put cds a=1 b=1; put eds a=1 b=1; sub cds; sub eds a b; ack 2; nack 1; ack 3",
        expect![[r#"
            cds#1 +a=1 +b=1
            eds#2 +a=1 +b=1
            refused 2
            cds#3 +a=1
            cds#4 +b=1
            eds#5 +a=1 +b=1
        "#]],
    );
}

/// Each unsubscription scanned all subscriptions of its message, under the lock of all streams.
#[test]
fn many_names_taken_and_given_up_in_one_message_cost_little() {
    let names: Vec<String> = (0..100_000).map(|n| format!("n{n}")).collect();
    let names = names.join(" ");
    assert_eq!(
        run(Variant::Delta, &format!("sub eds {names} & unsub {names}")),
        ""
    );
}

/// Its number was given back although the empty resource was still on its way: the removal named nothing, or
/// another name.
#[test]
fn what_was_never_served_and_is_on_its_way_to_a_new_subscription_is_removed_by_its_name() {
    delta(
        "sub rds x; unsub rds x; sub rds *; ack 1; ack 2; ack 3",
        expect![[r#"
            rds#1 +x=∅
            rds#2 
            rds#3 +x=∅
        "#]],
    );
}

/// The refused set had two new clusters, one of which was unsubscribed before the refusal came: the other was
/// blamed, and never sent again.
#[test]
fn what_was_unsubscribed_meanwhile_may_be_what_was_refused() {
    sotw(
        "put cds a=1; want cds a c d; ack 1; put cds c=1 d=1; want cds? a d; nack 2; ack 3",
        expect![[r#"
            cds#1 +a=1
            cds#2 +a=1 +c=1 +d=1
            refused 3
            cds#3 +a=1 +d=1
        "#]],
    );
}

/// The listener waited for its turn after a refusal, in the content before it, and the cluster of that content went.
#[test]
fn rule_44_a_cluster_stays_while_a_refused_set_is_tried_in_parts() {
    sotw(
        "put cds a=1 c=1; put lds z=1(c); want cds; ack 1; want lds; ack 2
         put lds a=1 z=2(a); nack 3; del cds c; ack 4; ack 5; ack 6",
        expect![[r#"
            cds#1 +a=1 +c=1
            lds#2 +z=1
            lds#3 +a=1 +z=2
            refused 2
            lds#4 +a=1 +z=1
            lds#5 +a=1 +z=2
            cds#6 +a=1
        "#]],
    );
}

/// It never came again, although the removal of what was refused lay between.
#[test]
fn rule_12_what_was_refused_and_gone_and_comes_again_is_tried_again() {
    sotw(
        "put cds b=1; want cds; ack 1; put cds a=1; del cds a; nack 2; ack 3; put cds a=1; ack 4",
        expect![[r#"
            cds#1 +b=1
            cds#2 +a=1 +b=1
            refused 2
            cds#3 +b=1
            cds#4 +a=1 +b=1
        "#]],
    );
}

/// A client that gave up what it had refused, and subscribed to it again, was sent nothing.
#[test]
fn a_refused_set_that_is_subscribed_to_again_is_sent_again() {
    sotw(
        "put cds a=1; want cds *; nack 1; want cds b; want cds *; ack 3",
        expect![[r#"
            cds#1 +a=1
            refused 1
            cds#2 
            cds#3 +a=1
        "#]],
    );
    sotw(
        "put cds a=1; want cds *; want cds? b; nack 1 & b; want cds *; ack 3",
        expect![[r#"
            cds#1 +a=1
            refused 1
            cds#2 
            cds#3 +a=1
        "#]],
    );
}
