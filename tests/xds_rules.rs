//! Rules of the protocol that the scripts of `xds_delta.rs` and `xds_sotw.rs` do not carry by
//! number yet, on the aggregated and the per-type services. Numbers: docs/xds-rules.md.

mod support;

use prost::Message as _;
use support::{Script, run};
use xds_bridge::xds::Variant::{Delta, Sotw};
use xds_bridge::xds::{
    DeltaRequest, Draft, Generation, Kind, Limits, Names, Node, Reach, Refusal, Response, SotwRequest,
    Stream, Update, Variant,
};

/// A server with one resource of each type, and a stream of it.
struct Bench {
    names: Names,
    generation: Generation,
    stream: Stream,
}

impl Bench {
    fn new(variant: Variant, only: Option<Kind>) -> Self {
        let mut names = Names::default();
        let put = |kind| {
            Update::Put(Draft {
                kind,
                name: "a".into(),
                body: b"1".to_vec(),
                needs: Vec::new(),
                reach: Reach::All,
                local: None,
            })
        };
        let (generation, _) = Generation::default().next(&mut names, &Kind::ALL.map(put));
        Self {
            names,
            generation,
            stream: Stream::new(variant, only, Limits::default()),
        }
    }

    fn delta(&mut self, request: DeltaRequest) -> Result<Vec<Response>, Refusal> {
        self.stream
            .handle_request(request, &mut self.names, &self.generation)?;
        Ok(self.listen())
    }

    fn sotw(&mut self, request: SotwRequest) -> Result<Vec<Response>, Refusal> {
        self.stream
            .handle_request(request, &mut self.names, &self.generation)?;
        Ok(self.listen())
    }

    fn listen(&mut self) -> Vec<Response> {
        let names = &self.names;
        std::iter::from_fn(|| {
            self.stream
                .poll_response(&self.generation, names, std::time::Duration::ZERO)
        })
        .collect()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as a request carries it")]
fn node(id: &str, cluster: &str) -> Option<Node> {
    Some(Node {
        id: id.into(),
        cluster: cluster.into(),
        user_agent: "envoy".into(),
        ..Node::default()
    })
}

fn delta(node: Option<Node>, type_url: &str) -> DeltaRequest {
    DeltaRequest {
        node,
        type_url: type_url.into(),
        subscribe: vec!["a".into()],
        ..DeltaRequest::default()
    }
}

fn sotw(node: Option<Node>, type_url: &str) -> SotwRequest {
    SotwRequest {
        node,
        type_url: type_url.into(),
        names: vec!["a".into()],
        ..SotwRequest::default()
    }
}

#[test]
fn rule_02_the_first_request_carries_the_node_and_no_later_one_changes_it() {
    for kind in Kind::ALL {
        let url = kind.type_url();
        for only in [None, Some(kind)] {
            let mut bench = Bench::new(Delta, only);
            assert_eq!(bench.delta(delta(None, url)).unwrap_err(), Refusal::NoNode);
            let mut bench = Bench::new(Sotw, only);
            assert_eq!(bench.sotw(sotw(None, url)).unwrap_err(), Refusal::NoNode);
            let mut bench = Bench::new(Delta, only);
            assert_eq!(bench.delta(delta(node("n1", "edge"), url)).unwrap().len(), 1);
            assert!(bench.delta(delta(None, url)).is_ok());
            assert!(bench.delta(delta(node("n2", "bff"), url)).is_ok());
            assert_eq!(
                bench.stream.node().map(|node| &**node),
                node("n1", "edge").as_ref()
            );
        }
    }
}

#[test]
fn rule_03_type_urls() {
    let mut bench = Bench::new(Delta, None);
    assert_eq!(
        bench.delta(delta(node("n", ""), "")).unwrap_err(),
        Refusal::NoType
    );
    let mut bench = Bench::new(Sotw, None);
    assert_eq!(bench.sotw(sotw(node("n", ""), "")).unwrap_err(), Refusal::NoType);
    for kind in Kind::ALL {
        let mut bench = Bench::new(Delta, Some(kind));
        assert_eq!(bench.delta(delta(node("n", ""), "")).unwrap()[0].kind, kind);
        let mut bench = Bench::new(Sotw, Some(kind));
        assert_eq!(bench.sotw(sotw(node("n", ""), "")).unwrap()[0].kind, kind);
        let other = Kind::ALL.into_iter().find(|k| *k != kind).unwrap().type_url();
        let mut bench = Bench::new(Delta, Some(kind));
        let refused = bench.delta(delta(node("n", ""), other)).unwrap_err();
        assert!(matches!(refused, Refusal::WrongType { .. }));
        let mut bench = Bench::new(Sotw, Some(kind));
        let refused = bench.sotw(sotw(node("n", ""), other)).unwrap_err();
        assert!(matches!(refused, Refusal::WrongType { .. }));
    }
}

/// VHDS, and whatever else is not served.
#[test]
fn rule_04_and_39_an_unknown_type_leaves_the_others_alive() {
    let hosts = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
    let mut bench = Bench::new(Delta, None);
    assert!(bench.delta(delta(node("n", ""), hosts)).unwrap().is_empty());
    assert_eq!(bench.delta(delta(None, Kind::Route.type_url())).unwrap().len(), 1);
    let mut bench = Bench::new(Sotw, None);
    assert!(bench.sotw(sotw(node("n", ""), hosts)).unwrap().is_empty());
    assert_eq!(bench.sotw(sotw(None, Kind::Route.type_url())).unwrap().len(), 1);
}

#[test]
fn rule_05_a_refusal_of_one_type_does_not_touch_another() {
    let delta = "put cds a=1; put rds r=1; sub cds; sub rds r; nack 1; ack 2; put rds r=2; put cds a=2";
    let wanted = "cds#1 +a=1\nrds#2 +r=1\nrefused 1\nrds#3 +r=2\ncds#4 +a=2\n";
    assert_eq!(run(Delta, delta), wanted);
    assert_eq!(run(Sotw, &delta.replace("sub", "want")), wanted);
}

#[test]
fn rule_06_nothing_unasked_and_no_wait_for_it_state_of_the_world() {
    let script = "put cds a=1; put eds a=1; want eds a; put cds b=1; put lds l=1; put rds r=1(b)";
    assert_eq!(run(Sotw, script), "eds#1 +a=1\n");
}

#[test]
fn rule_09_nonces_are_unique_on_a_stream() {
    // The script runner asserts it for each response of each script.
    let script = "put cds a=1; put eds a=1; auto; ASK cds *; ASK eds a; put cds a=2; put eds a=2; del cds a";
    for (variant, ask) in [(Delta, "sub"), (Sotw, "want")] {
        assert!(run(variant, &script.replace("ASK", ask)).lines().count() >= 5);
    }
}

#[test]
fn rule_13_a_pseudo_nack_has_no_answer() {
    assert_eq!(
        run(Sotw, "put eds a=1; want eds a; ack 1; ack 1 &"),
        "eds#1 +a=1\n"
    );
    assert_eq!(run(Sotw, "put lds a=1; want lds; ack 1; ack 1 &"), "lds#1 +a=1\n");
}

#[test]
fn rule_14_each_delta_response_is_answered() {
    let limits = Limits {
        response_bytes: 200,
        ..Limits::default()
    };
    let script = "put cds a=1 b=1 c=1 d=1; sub cds; ack 2; put cds a=2; ack 1";
    let said = Script::with_limits(Delta, None, "envoy", limits).play(script);
    assert_eq!(said, "cds#1 +a=1 +b=1\ncds#2 +c=1 +d=1\ncds#3 +a=2\n");
}

#[test]
fn rule_16_and_43_a_version_or_nonce_of_another_stream_proves_nothing() {
    for kind in Kind::ALL {
        let first = Bench::new(Sotw, None)
            .sotw(sotw(node("n", ""), kind.type_url()))
            .unwrap();
        let mut request = sotw(node("n", ""), kind.type_url());
        request.version.clone_from(&first[0].version);
        request.nonce.clone_from(&first[0].nonce);
        assert_eq!(Bench::new(Sotw, None).sotw(request).unwrap().len(), 1, "{kind:?}");
        let mut request = delta(node("n", ""), kind.type_url());
        request.nonce = "1".into();
        assert_eq!(
            Bench::new(Delta, None).delta(request).unwrap().len(),
            1,
            "{kind:?}"
        );
    }
}

/// A delta `Resource`, as far as these rules go.
#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(message, optional, tag = "2")]
    resource: Option<Inner>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Inner {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    any: Option<Any>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bytes = "vec", optional, tag = "6")]
    ttl: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[test]
fn rule_17_and_37_and_38_each_resource_has_version_body_and_type_and_no_ttl() {
    for kind in Kind::ALL {
        let mut bench = Bench::new(Delta, None);
        let said = bench.delta(delta(node("n", ""), kind.type_url())).unwrap();
        let frame = Frame::decode(said[0].frames().next().unwrap()).unwrap();
        let resource = frame.resource.unwrap();
        assert!(!resource.version.is_empty());
        assert_eq!(resource.ttl, None, "never a heartbeat");
        let any = resource.any.unwrap();
        assert_eq!(
            (any.type_url.as_str(), any.value.as_slice()),
            (kind.type_url(), &b"1"[..])
        );
    }
}

#[test]
fn rule_20_a_name_under_the_wildcard_stays_for_each_type() {
    for kind in ["cds", "eds", "lds", "rds"] {
        let script =
            "put T a=1 b=1; auto; sub T *; sub T a; unsub T *; put T b=2; put T a=2; unsub T a; put T a=3";
        let said = run(Delta, &script.replace('T', kind));
        assert_eq!(said.lines().count(), 3, "{said}");
        assert!(said.ends_with("+a=2\n"), "{said}");
    }
}

#[test]
fn rule_26_subscriptions_count_in_an_ack_a_nack_and_a_stale_answer() {
    for answer in ["ack 1 & b", "nack 1 & b", "ack 1; ack 1 & b"] {
        let said = run(
            Delta,
            &format!("put eds a=1 b=1; sub eds a; {answer}; ack 2 & unsub a; put eds a=2"),
        );
        assert!(said.ends_with("eds#2 +b=1\n"), "{said}");
    }
    for answer in ["ack 1 & a b", "nack 1 & a b", "ack 1; ack 1 & a b"] {
        let said = run(
            Sotw,
            &format!("put eds a=1 b=1; want eds a; {answer}; ack 2 & b; put eds a=2"),
        );
        assert!(said.ends_with("eds#2 +b=1\n"), "{said}");
    }
}

#[test]
fn rule_30_duplicates_and_empty_names_state_of_the_world() {
    let mut bench = Bench::new(Sotw, None);
    let mut request = sotw(node("n", ""), Kind::Endpoints.type_url());
    request.names = vec!["a".into(), String::new(), "a".into()];
    let said = bench.sotw(request).unwrap();
    assert_eq!((said.len(), said[0].resources.len()), (1, 1));
    let mut bench = Bench::new(Delta, None);
    let mut request = delta(node("n", ""), Kind::Endpoints.type_url());
    request.subscribe = vec!["a".into(), String::new(), "a".into()];
    request.unsubscribe = vec![String::new()];
    let said = bench.delta(request).unwrap();
    assert_eq!((said.len(), said[0].resources.len()), (1, 1));
}

#[test]
fn rule_31_names_with_context_parameters_in_any_order() {
    let mut bench = Bench::new(Delta, None);
    let put = Update::Put(Draft {
        kind: Kind::Endpoints,
        name: "xdstp://a/t/x?p=1&q=2".into(),
        body: b"1".to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    });
    (bench.generation, _) = bench.generation.next(&mut bench.names, &[put]);
    let mut request = delta(node("n", ""), Kind::Endpoints.type_url());
    request.subscribe = vec!["xdstp://a/t/x?q=2&p=1".into()];
    assert_eq!(bench.delta(request).unwrap()[0].resources.len(), 1);
}

#[test]
fn rule_35_a_missing_name_is_an_error_for_grpc_and_empty_for_envoy() {
    for kind in ["eds", "rds"] {
        let said = Script::new(Sotw, None, "gRPC Go")
            .play(&format!("auto; want {kind} a; put {kind} a=1; del {kind} a"));
        // Endpoints that it holds cannot be taken from it otherwise in this variant.
        let gone = if kind == "eds" { "+a=∅" } else { "!a" };
        assert_eq!(said, format!("{kind}#1 !a\n{kind}#2 +a=1\n{kind}#3 {gone}\n"));
        let said = Script::new(Sotw, None, "envoy").play(&format!("auto; want {kind} a"));
        assert_eq!(said, format!("{kind}#1 +a=∅\n"));
    }
    for kind in ["cds", "lds"] {
        let said = Script::new(Sotw, None, "grpc-go").play(&format!("put {kind} b=1; auto; want {kind} a b"));
        assert_eq!(said, format!("{kind}#1 +b=1 !a\n"));
    }
}

#[test]
fn rule_36_endpoints_are_drained_by_an_empty_assignment() {
    assert_eq!(
        run(Delta, "put eds a=1; auto; sub eds a; del eds a"),
        "eds#1 +a=1\neds#2 +a=∅\n"
    );
}

#[test]
fn rule_43_nonces_begin_anew() {
    let said = run(
        Delta,
        "put cds a=1; sub cds; put cds a=2; ack 1; ack 1; ack 1; put cds a=3",
    );
    assert_eq!(said, "cds#1 +a=1\ncds#2 +a=2\n", "an old answer answers nothing");
}

#[test]
fn rule_45_clusters_are_followed_by_their_endpoints_state_of_the_world() {
    let said = run(
        Sotw,
        "put cds a=1 b=1; put eds a=1 b=1; auto; want cds; want eds a b; put cds a=2",
    );
    assert!(said.ends_with("cds#3 +a=2 +b=1\neds#4 +a=1\n"), "{said}");
}

#[test]
fn rule_46_endpoints_do_not_wait_for_the_cluster_ack_state_of_the_world() {
    let said = run(Sotw, "put cds a=1; put eds a=1; want cds; want eds a");
    assert_eq!(said, "cds#1 +a=1\neds#2 +a=1\n");
}

#[test]
fn rule_47_a_listener_waits_for_its_new_cluster_and_48_not_for_ever() {
    for (variant, ask) in [(Delta, "sub"), (Sotw, "want")] {
        let up = format!(
            "put cds a=1; put lds l=1(a); {ask} cds; ack 1; {ask} lds; ack 2; put cds b=1 + put lds l=2(b)"
        );
        let before = run(variant, &up);
        assert_eq!(before.lines().count(), 3, "{before}");
        for end in ["ack 3", "wait 9s; wait 2s"] {
            let said = run(variant, &format!("{up}; {end}"));
            assert!(said.ends_with("lds#4 +l=2\n"), "{said}");
        }
    }
    // A client without CDS has its clusters from elsewhere.
    assert_eq!(
        run(Sotw, "put cds a=1; put rds r=1(a); want rds r"),
        "rds#1 +r=1\n"
    );
}
