//! The rules of the delta variant, as scripts. Numbers are those of docs/xds-rules.md.

mod support;

use expect_test::{Expect, expect};
use support::{Script, run};
use xds_bridge::xds::stream::{MAX_NAME, MAX_TEXT};
use xds_bridge::xds::{DeltaRequest, Generation, Kind, Limits, Names, Node, Stream, Variant};

#[allow(clippy::needless_pass_by_value)] // expect! makes a value
fn check(script: &str, wanted: Expect) {
    wanted.assert_eq(&run(Variant::Delta, script));
}

#[test]
fn rule_02_no_node() {
    let mut script = Script::new(Variant::Delta, None, "envoy");
    script.steps("sub cds");
    let second = Script::new(Variant::Delta, Some(Kind::Route), "envoy").play("sub cds");
    expect!["ended: this service serves type.googleapis.com/envoy.config.route.v3.RouteConfiguration only, not type.googleapis.com/envoy.config.cluster.v3.Cluster\n"]
        .assert_eq(&second);
}

#[test]
fn rule_06_nothing_unasked_and_no_wait_for_an_ack_of_it() {
    check(
        "put cds a=1; put eds a=1; sub eds a; put cds b=1; put lds l=1; put rds r=1(b)",
        expect![[r#"
        eds#1 +a=1
    "#]],
    );
}

#[test]
fn rule_12_the_same_nack_three_times() {
    check(
        "put cds a=1; sub cds; nack 1; sub cds; put cds a=1; put cds a=2",
        expect![[r#"
        cds#1 +a=1
        refused 1
        cds#2 +a=2
    "#]],
    );
}

#[test]
fn rule_15_back_to_an_accepted_version() {
    check(
        "put cds a=1; sub cds; ack 1; put cds a=2; nack 2; put cds a=1; ack 3",
        expect![[r#"
        cds#1 +a=1
        cds#2 +a=2
        refused 1
        cds#3 +a=1
    "#]],
    );
}

#[test]
fn a_refused_batch_is_split_once_so_that_the_culprit_is_known() {
    check(
        "put cds a=1 b=1 c=1; sub cds; nack 1; ack 2; nack 3; ack 4; put cds a=1 b=1 c=2; ack 5; put cds b=2",
        expect![[r#"
            cds#1 +a=1 +b=1 +c=1
            refused 3
            cds#2 +a=1
            cds#3 +b=1
            cds#4 +c=1
            refused 1
            cds#5 +c=2
            cds#6 +b=2
        "#]],
    );
}

#[test]
fn rule_18_legacy_wildcard_for_clusters_and_listeners_only() {
    check(
        "put cds a=1; put eds a=1; put lds l=1; put rds r=1; auto; sub cds; sub eds; sub lds; sub rds",
        expect![[r#"
        cds#1 +a=1
        lds#2 +l=1
    "#]],
    );
}

#[test]
fn rule_20_wildcard_and_names() {
    check(
        "put cds a=1 b=1; auto; sub cds; sub cds a; put cds b=2; unsub cds *; put cds b=3 a=2; unsub cds a; put cds a=3 b=4",
        expect![[r#"
            cds#1 +a=1 +b=1
            cds#2 +a=1
            cds#3 +b=2
            cds#4 +a=2
        "#]],
    );
}

#[test]
fn rule_21_subscribe_and_unsubscribe_star_in_one_message_is_nothing() {
    check("put cds a=1; sub cds * & unsub *; put cds a=2", expect![""]);
}

#[test]
fn rule_22_unsubscribing_a_name_under_the_wildcard() {
    check(
        "put cds a=1; auto; sub cds * a b; unsub cds a; unsub cds b",
        expect![[r#"
        cds#1 +a=1
        cds#2 -b
        cds#3 +a=1
        cds#4 -b
    "#]],
    );
}

#[test]
fn rule_23_other_unsubscriptions_are_silent() {
    check(
        "put cds a=1; auto; sub cds a; unsub cds a; unsub cds zzz; put cds a=2",
        expect![[r#"
        cds#1 +a=1
    "#]],
    );
}

#[test]
fn rule_24_subscribing_again_resends() {
    check(
        "put eds a=1; auto; sub eds a; sub eds a",
        expect![[r#"
        eds#1 +a=1
        eds#2 +a=1
    "#]],
    );
}

#[test]
fn rule_26_subscriptions_count_in_an_ack() {
    check(
        "put eds a=1 b=1; sub eds a; sub eds b; ack 1",
        expect![[r#"
        eds#1 +a=1
        eds#2 +b=1
    "#]],
    );
}

#[test]
fn rule_29_created_later() {
    check(
        "auto; sub eds a; put eds a=1; del eds a; put eds a=2",
        expect![[r#"
        eds#1 -a
        eds#2 +a=1
        eds#3 +a=∅
        eds#4 +a=2
    "#]],
    );
}

#[test]
fn rule_30_duplicates_and_empty_names() {
    check(
        "put eds a=1; auto; sub eds a a",
        expect![[r#"
        eds#1 +a=1
    "#]],
    );
}

#[test]
fn rule_32_the_first_wildcard_is_answered_also_when_empty() {
    check(
        "sub cds; sub lds; put cds a=1",
        expect![[r#"
        cds#1 
        lds#2 
    "#]],
    );
}

#[test]
fn rule_33_a_missing_name_is_told_once() {
    check(
        "auto; sub cds a; put cds b=1; put cds a=1; del cds a; put cds b=2",
        expect![[r#"
        cds#1 -a
        cds#2 +a=1
        cds#3 -a
    "#]],
    );
}

#[test]
fn rule_34_a_missing_route_configuration_is_empty_for_envoy_and_removed_for_grpc() {
    check(
        "auto; sub rds r; put rds r=1",
        expect![[r#"
        rds#1 +r=∅
        rds#2 +r=1
    "#]],
    );
    let grpc = Script::new(Variant::Delta, None, "gRPC Go").play("auto; sub rds r; put rds r=1; del rds r");
    expect![[r#"
        rds#1 -r
        rds#2 +r=1
        rds#3 -r
    "#]]
    .assert_eq(&grpc);
}

#[test]
fn rule_40_claims_are_compared() {
    check(
        "put cds a=1 b=2; auto; claim cds a=1 b=1 gone=1; put cds c=1",
        expect![[r#"
            cds#1 +b=2
            cds#2 -gone
            cds#3 +c=1
        "#]],
    );
}

#[test]
fn rule_40_named_claims() {
    check(
        "put rds r=1; put cds x=1; del cds x; auto; claim rds r=1 x=1 & r x",
        expect![[r#"
        rds#1 +x=∅
    "#]],
    );
}

#[test]
fn rule_41_endpoints_are_heard_again_when_asked_before_clusters() {
    check(
        "put cds a=1; put eds a=1; auto; claim eds a=1 & a; claim cds a=1",
        expect![[r#"
        eds#1 +a=1
        cds#2 
    "#]],
    );
    check(
        "put cds a=1; put eds a=1; auto; claim cds a=1; claim eds a=1 & a",
        expect![[r#"
        cds#1 
    "#]],
    );
}

#[test]
fn rule_42_removals_and_additions_are_kept_apart() {
    check(
        "put cds a=1; sub cds; put cds b=1; del cds a; ack 1; ack 2",
        expect![[r#"
        cds#1 +a=1
        cds#2 +b=1
        cds#3 -a
    "#]],
    );
}

#[test]
fn rule_44_additions_bottom_up_and_removals_top_down() {
    check(
        "put cds a=1; put eds a=1; put lds l=1; put rds r=1(a); auto
         sub cds; sub eds a; sub lds; sub rds r
         # all at once: a new service and the old one gone
         put cds b=1; del cds a; put rds r=2(b)",
        expect![[r#"
            cds#1 +a=1
            eds#2 +a=1
            lds#3 +l=1
            rds#4 +r=1
            cds#5 +b=1
            cds#6 -a
            rds#7 +r=2
        "#]],
    );
}

#[test]
fn rule_45_each_cluster_is_followed_by_its_endpoints() {
    check(
        "put cds a=1 b=1; put eds a=1 b=1; auto; sub cds; sub eds a b; put cds a=2",
        expect![[r#"
        cds#1 +a=1 +b=1
        eds#2 +a=1 +b=1
        cds#3 +a=2
        eds#4 +a=1
    "#]],
    );
}

#[test]
fn rule_46_endpoints_do_not_wait_for_the_cluster_ack() {
    check(
        "put cds a=1; put eds a=1; sub cds; sub eds a",
        expect![[r#"
        cds#1 +a=1
        eds#2 +a=1
    "#]],
    );
}

#[test]
fn rule_47_a_route_waits_for_its_new_cluster_and_48_not_for_ever() {
    let up = "put cds a=1; put rds r=1(a); sub cds; ack 1; sub rds r; ack 2; put cds b=1; put rds r=2(a,b)";
    check(
        &format!("{up}; ack 3"),
        expect![[r#"
        cds#1 +a=1
        rds#2 +r=1
        cds#3 +b=1
        rds#4 +r=2
    "#]],
    );
    check(
        &format!("{up}; wait 9s; wait 2s"),
        expect![[r#"
        cds#1 +a=1
        rds#2 +r=1
        cds#3 +b=1
        rds#4 +r=2
    "#]],
    );
    check(
        up,
        expect![[r#"
        cds#1 +a=1
        rds#2 +r=1
        cds#3 +b=1
    "#]],
    );
    // A client without CDS has its clusters from elsewhere.
    check(
        "put cds a=1; put rds r=1(a); sub rds r",
        expect![[r#"
        rds#1 +r=1
    "#]],
    );
}

#[test]
fn a_cluster_goes_only_after_the_route_that_named_it() {
    check(
        "put cds a=1 b=1; put rds r=1(a,b); sub cds; ack 1; sub rds r
         # the route response is not answered yet: the cluster stays
         put rds r=2(b); del cds a; ack 2; ack 3",
        expect![[r#"
            cds#1 +a=1 +b=1
            rds#2 +r=1
            rds#3 +r=2
            cds#4 -a
        "#]],
    );
}

#[test]
fn rule_49_and_50_a_large_answer_comes_in_parts_without_waiting() {
    let limits = Limits {
        response_bytes: 200,
        ..Limits::default()
    };
    let script = "put cds a=1 b=1 c=1 d=1 e=1; sub cds; put cds a=2; ack 1; ack 2";
    let said = Script::with_limits(Variant::Delta, None, "envoy", limits).play(script);
    expect![[r#"
        cds#1 +a=1 +b=1
        cds#2 +c=1 +d=1
        cds#3 +e=1
    "#]]
    .assert_eq(&said);
}

#[test]
fn rule_52_changes_merge_while_a_response_is_outstanding() {
    let changes = (2..1000)
        .map(|n| format!("put eds a={n}"))
        .collect::<Vec<_>>()
        .join(";");
    check(
        &format!("put eds a=1; sub eds a; {changes}; ack 1; ack 2"),
        expect![[r#"
        eds#1 +a=1
        eds#2 +a=999
    "#]],
    );
}

#[test]
fn fleets_see_what_is_theirs() {
    check(
        "put lds l=1@edge m=1@bff n=1@name; auto; sub lds; sub lds n m",
        expect![[r#"
        lds#1 +l=1@edge
        lds#2 +n=1@name
        lds#3 -m
    "#]],
    );
}

#[test]
fn names_are_limited() {
    let limits = Limits {
        names: 3,
        ..Limits::default()
    };
    let said = Script::with_limits(Variant::Delta, None, "envoy", limits).play("sub eds a b c d");
    expect![[r#"
        ended: more than 3 names of one type on one stream
    "#]]
    .assert_eq(&said);
}

#[test]
fn bytes_of_names_are_limited_over_all_types() {
    let limits = Limits {
        name_bytes: 10,
        ..Limits::default()
    };
    let said = Script::with_limits(Variant::Delta, None, "envoy", limits)
        .play("sub eds aaaa bbbb; unsub eds aaaa; sub rds cccc; sub rds cccc; sub rds ddddd");
    assert!(
        said.ends_with("ended: more than 10 bytes of names on one stream\n"),
        "{said}"
    );
    assert!(said.contains("eds#1") && said.contains("cccc"), "{said}");
}

#[test]
fn a_name_that_cannot_exist_is_answered_and_not_stored() {
    let (long, short) = ("n".repeat(MAX_NAME + 1), "n".repeat(MAX_NAME));
    let said = run(Variant::Delta, &format!("sub eds {long}"));
    assert_eq!(said, format!("eds#1 -{long}\n"));
    let mut script = Script::new(Variant::Delta, None, "envoy");
    script.steps(&format!("sub eds {long}"));
    assert_eq!(script.stream.subscriptions().count(), 0);
    script.steps(&format!("sub eds {short}"));
    assert_eq!(script.stream.subscriptions().count(), 1);
    let mut script = Script::new(Variant::Sotw, None, "envoy");
    script.steps(&format!("want eds {long} a"));
    assert_eq!(script.stream.subscriptions().count(), 1);
}

#[test]
fn names_given_and_taken_back_in_one_request_cost_no_more_than_others() {
    // Looked through once for each name, these would take minutes, and every publication waits for it.
    let words: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
    let words = words.join(" ");
    let said = run(
        Variant::Delta,
        &format!("put eds a=1; sub eds {words} & unsub {words}; sub eds a"),
    );
    expect![[r#"
        eds#1 +a=1
    "#]]
    .assert_eq(&said);
}

#[test]
fn a_text_beyond_any_reason_is_refused() {
    let long = "n".repeat(MAX_TEXT + 1);
    let said = run(
        Variant::Delta,
        &format!("sub eds {}; sub eds b {long}", &long[1..]),
    );
    assert!(
        said.ends_with("ended: a name is longer than 4096 bytes\n"),
        "{said}"
    );
    let said = Script::new(Variant::Delta, None, &long).play("sub cds");
    assert_eq!(said, "ended: the node is longer than 4096 bytes\n");
}

#[test]
fn a_foreign_type_is_shown_short_and_on_one_line() {
    let mut stream = Stream::new(Variant::Delta, Some(Kind::Route), Limits::default());
    let request = DeltaRequest {
        node: Some(Node::default()),
        type_url: format!("x\nERROR forged {}", "y".repeat(1 << 20)),
        ..DeltaRequest::default()
    };
    let refusal = stream.handle_request(request, &mut Names::default(), &Generation::default());
    let text = refusal.unwrap_err().to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{text}");
}
