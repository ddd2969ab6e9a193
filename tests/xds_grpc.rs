//! What gRPC's own clients get that Envoy does not: another content of a resource, and something that stops
//! them where a resource is gone. Most of them go on with what they hold otherwise.

mod support;

use expect_test::expect;
use support::{Script, run};
use xds_bridge::xds::Variant;

const VARIED: &str = "put eds a=1 b=1; auto; want eds a b; vary java eds a=2; put eds a=3; \
                      vary go eds b=4; unvary java eds a; del eds a; put eds a=1";

#[test]
fn a_client_of_grpc_gets_its_own_content_and_nobody_else_does() {
    let java = Script::for_grpc("gRPC Java").play(VARIED);
    expect![[r#"
        eds#1 +a=1 +b=1
        eds#2 +a=2
        eds#3 +a=2
        eds#4 +b=1
        eds#5 +a=3
        eds#6 +a=gone
        eds#7 +a=1
    "#]]
    .assert_eq(&java);
    let go = Script::for_grpc("gRPC Go").play(VARIED);
    expect![[r#"
        eds#1 +a=1 +b=1
        eds#2 +a=1
        eds#3 +a=3
        eds#4 +b=4
        eds#5 +a=3
        eds#6 +a=gone
        eds#7 +a=1
    "#]]
    .assert_eq(&go);
    let envoy = run(Variant::Sotw, VARIED);
    assert!(!envoy.contains("=2") && !envoy.contains("=4"), "{envoy}");
}

/// The variant came with an instance that left: what it stood for is not there either.
#[test]
fn a_variant_of_what_is_gone_is_not_sent() {
    let java =
        Script::for_grpc("gRPC Java").play("put eds a=1; vary java eds a=2; auto; want eds a; del eds a");
    expect![[r#"
        eds#1 +a=2
        eds#2 +a=gone
    "#]]
    .assert_eq(&java);
}

#[test]
fn rule_35_a_listener_that_is_gone_stops_clients_of_grpc() {
    // In each later response it stands for what is gone, until that is back.
    let script = "put lds a=1 b=1 + put eds a=1; auto; want lds a b c; want eds a; del lds a; put lds b=2; \
                  put lds a=1; del lds a; want lds b; want lds a b";
    let go = Script::for_grpc("gRPC Go").play(script);
    expect![[r#"
        lds#1 +a=1 +b=1 !c
        eds#2 +a=1
        lds#3 +a=gone +b=1 !c
        lds#4 +a=gone +b=2 !c
        lds#5 +a=1 +b=2 !c
        lds#6 +a=gone +b=2 !c
        lds#7 +b=2 !a
    "#]]
    .assert_eq(&go);
}

/// Where Java, the C core and Node are stopped by endpoints, those carry the reason to the caller.
#[test]
fn rule_35_a_listener_is_left_to_its_endpoints_where_those_stop_the_client() {
    let all_gone = "put lds a=1 + put eds a=1; auto; want lds a; want eds a; del lds a + del eds a";
    let java = Script::for_grpc("gRPC Java").play(all_gone);
    expect![[r#"
        lds#1 +a=1
        eds#2 +a=1
        lds#3 !a
        eds#4 +a=gone
    "#]]
    .assert_eq(&java);
    let listener_gone = "put lds a=1 + put eds a=1; auto; want lds a; want eds a; del lds a";
    let java = Script::for_grpc("gRPC Java").play(listener_gone);
    expect![[r#"
        lds#1 +a=1
        eds#2 +a=1
        lds#3 +a=gone
    "#]]
    .assert_eq(&java);
}

/// What went while its stream was broken is gone for a client that may hold it, and missing for a new one.
#[test]
fn rule_35_what_went_before_the_stream_began_stops_who_may_hold_it() {
    let again = "put lds b=1; auto; resume lds a b; resume eds a; want eds a c; put lds a=1 + put eds a=1";
    let go = Script::for_grpc("gRPC Go").play(again);
    expect![[r#"
        lds#1 +a=gone +b=1
        eds#2 +a=gone
        eds#3 !c
        eds#4 +a=1
        lds#5 +a=1 +b=1
    "#]]
    .assert_eq(&go);
    let new = "put lds b=1; auto; want lds a b; want eds a";
    let go = Script::for_grpc("gRPC Go").play(new);
    expect![[r#"
        lds#1 +b=1 !a
        eds#2 !a
    "#]]
    .assert_eq(&go);
    let envoy = run(Variant::Sotw, "auto; resume lds a; resume eds a");
    assert!(!envoy.contains("gone"), "{envoy}");
}
