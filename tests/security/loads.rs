//! Load reports (rule 55): what clients are asked for, who may report as whom, and what a hostile one costs.

use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterStats;
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsResponse;
use http::uri::PathAndQuery;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use xds_bridge::grpc::{Options, Rule, Tls};

use crate::pki::{BRIDGE, Ca, files};
use crate::port::{PATIENCE, Port, served};

const PATH: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";
const ALL: &str = "envoy.lrs.supports_send_all_clusters";

/// `LoadStatsRequest`, in parts that are encoded already.
#[derive(Clone, PartialEq, prost::Message)]
struct Said {
    #[prost(bytes = "bytes", optional, tag = "1")]
    node: Option<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    clusters: Vec<Bytes>,
}

struct Stream {
    requests: mpsc::Sender<Said>,
    answers: Streaming<LoadStatsResponse>,
}

fn node(id: &str, fleet: &str, agent: &str, features: &[&str]) -> Said {
    let node = Node {
        id: id.into(),
        cluster: fleet.into(),
        user_agent_name: agent.into(),
        client_features: features.iter().map(|f| (*f).to_owned()).collect(),
        ..Node::default()
    };
    Said {
        node: Some(node.encode_to_vec().into()),
        clusters: Vec::new(),
    }
}

fn clusters(names: &[&str]) -> Said {
    let cluster = |name: &&str| ClusterStats {
        cluster_name: (*name).into(),
        ..ClusterStats::default()
    };
    Said {
        node: None,
        clusters: names
            .iter()
            .map(|name| cluster(name).encode_to_vec().into())
            .collect(),
    }
}

impl Stream {
    async fn open(channel: &Channel) -> Result<Self, Status> {
        let (requests, said) = mpsc::channel(100);
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let opened = async {
            let ready = grpc.ready().await;
            ready.map_err(|e| Status::unavailable(format!("{e:?}")))?;
            let codec = ProstCodec::<Said, LoadStatsResponse>::default();
            let request = tonic::Request::new(ReceiverStream::new(said));
            grpc.streaming(request, PathAndQuery::from_static(PATH), codec)
                .await
        };
        let answers = tokio::time::timeout(PATIENCE, opened).await.expect("headers")?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
        })
    }

    async fn say(&self, said: Said) {
        // A stream that has ended says so when it is read.
        let _ = self.requests.send(said).await;
    }

    /// `None`: the stream ended with OK.
    async fn next(&mut self) -> Result<Option<LoadStatsResponse>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        next.expect("an answer in time")
    }

    async fn response(&mut self) -> LoadStatsResponse {
        self.next().await.unwrap().expect("a response")
    }

    /// The code that it ends with.
    async fn ends(&mut self) -> Code {
        self.next().await.expect_err("an error").code()
    }
}

fn seconds(response: &LoadStatsResponse) -> i64 {
    response.load_reporting_interval.unwrap().seconds
}

fn refused(reason: &str) -> String {
    format!("xds_bridge_load_streams_refused_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn rule_55_an_envoy_is_asked_for_all_and_sooner_while_somebody_waits() {
    let port = Port::start(Options::default(), 2, 100).await;
    let channel = port.plain().await.unwrap();
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.say(node("edge-1", "edge", "envoy", &[ALL])).await;
    let first = stream.response().await;
    assert!(first.send_all_clusters && first.report_endpoint_granularity && first.clusters.is_empty());
    assert_eq!(seconds(&first), 10, "never 0");
    let quick = port.loads.quicken();
    assert_eq!(seconds(&stream.response().await), 1);
    drop(quick);
    assert_eq!(seconds(&stream.response().await), 10);
    stream.say(clusters(&["c0"])).await;
    port.metric_is("xds_bridge_load_reports_total", 2).await;
    let (total, clients) = port.loads.clients(Some("edge-1"), 9);
    assert_eq!((total, clients[0].clusters, &*clients[0].fleet), (1, 1, "edge"));
    assert_eq!(port.metric("xds_bridge_load_streams"), 1);
    drop(stream);
    port.metric_is("xds_bridge_load_streams", 0).await;
}

#[tokio::test]
async fn rule_55_who_cannot_send_all_is_asked_for_each_and_grpc_opens_another_stream() {
    let port = Port::start(Options::default(), 2, 100).await;
    let channel = port.plain().await.unwrap();
    let mut envoy = Stream::open(&channel).await.unwrap();
    let mut grpc = Stream::open(&channel).await.unwrap();
    envoy.say(node("edge-1", "edge", "envoy", &[])).await;
    grpc.say(node("shop-1", "shop", "gRPC Go", &[])).await;
    for stream in [&mut envoy, &mut grpc] {
        let first = stream.response().await;
        assert_eq!(
            (first.send_all_clusters, &first.clusters[..]),
            (false, &["c0".to_owned(), "c1".to_owned()][..])
        );
    }
    let _quick = port.loads.quicken();
    assert_eq!(seconds(&envoy.response().await), 1);
    port.publish(&["c2".to_owned()], "one");
    assert_eq!(envoy.response().await.clusters, ["c0", "c1", "c2"]);
    assert_eq!(
        grpc.next().await.unwrap(),
        None,
        "it reads the first response only"
    );
}

#[tokio::test]
async fn a_client_reports_only_as_the_node_that_it_may_be() {
    let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
    let server = ca.sign(&[&format!("dns:{BRIDGE}")]);
    let tls = Tls::load(files(folder.path(), &server, Some(&ca))).unwrap();
    let options = Options {
        tls: Some(Arc::new(tls)),
        rules: Arc::new([Rule::new(
            "spiffe://shop/ns/edge/*",
            vec!["edge-*".to_owned()],
            vec!["edge".to_owned()],
        )]),
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let edge = ca.sign(&["spiffe://shop/ns/edge/sa/envoy"]);
    let channel = port.tls(&ca, Some(&edge)).await.unwrap();
    let mut right = Stream::open(&channel).await.unwrap();
    right.say(node("edge-1", "edge", "envoy", &[ALL])).await;
    assert_eq!(seconds(&right.response().await), 10);
    for (id, fleet) in [("core-1", "edge"), ("edge-1", "core"), ("", "")] {
        let mut wrong = Stream::open(&channel).await.unwrap();
        wrong.say(node(id, fleet, "envoy", &[ALL])).await;
        assert_eq!(wrong.ends().await, Code::PermissionDenied, "{id} {fleet}");
    }
    assert_eq!(port.metric(&refused("identity")), 3);
    // It stays who it is, whatever it says later.
    let later = Said {
        node: node("core-1", "core", "envoy", &[]).node,
        ..clusters(&["c0"])
    };
    right.say(later).await;
    port.metric_is("xds_bridge_load_reports_total", 2).await;
    let (_, clients) = port.loads.clients(None, 9);
    assert_eq!((clients.len(), &*clients[0].node), (1, "edge-1"));
}

#[tokio::test]
async fn what_cannot_be_read_costs_its_stream_alone() {
    let options = Options {
        max_request_bytes: 1_000,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.say(clusters(&["c0"])).await;
    assert_eq!(
        stream.ends().await,
        Code::InvalidArgument,
        "it must say who it is"
    );
    let mut stream = Stream::open(&channel).await.unwrap();
    let nonsense = Said {
        node: Some(Bytes::from_static(&[0x0a, 0xff])),
        ..Said::default()
    };
    stream.say(nonsense).await;
    assert_eq!(stream.ends().await, Code::InvalidArgument);
    assert_eq!(port.metric(&refused("protocol")), 2);
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.say(node(&"n".repeat(1_000), "edge", "envoy", &[])).await;
    assert_eq!(stream.ends().await, Code::ResourceExhausted);
    assert_eq!(port.metric(&refused("message_size")), 1);
    assert!(served(Ok(channel), "n", "edge").await.is_ok());
}

#[tokio::test]
async fn a_hostile_report_is_read_up_to_a_bound() {
    let port = Port::start(Options::default(), 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.say(node("edge-1", "edge", "envoy", &[ALL])).await;
    stream.response().await;
    let empty = Said {
        clusters: vec![Bytes::new(); 2_000_000],
        node: None,
    };
    stream.say(empty).await;
    port.metric_is("xds_bridge_limits_reached_total{limit=\"load_reports\"}", 1)
        .await;
    let names: Vec<String> = (0..60_000).map(|n| format!("cluster-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stream.say(clusters(&names)).await;
    port.metric_is("xds_bridge_limits_reached_total{limit=\"load_reports\"}", 2)
        .await;
    let (_, clients) = port.loads.clients(Some("edge-1"), 9);
    assert!(clients[0].is_cut && clients[0].clusters == 50_000, "{clients:?}");
    assert!(served(Ok(channel), "n", "edge").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn reports_that_come_too_fast_are_read_later() {
    let port = Port::start(Options::default(), 1, 100).await;
    let channel = port.plain().await.unwrap();
    let mut stream = Stream::open(&channel).await.unwrap();
    stream.say(node("edge-1", "edge", "envoy", &[ALL])).await;
    stream.response().await;
    for _ in 0..40 {
        stream.say(clusters(&["c0"])).await;
    }
    port.metric_is("xds_bridge_load_reports_total", 41).await;
    assert!(port.metric("xds_bridge_limits_reached_total{limit=\"load_reports\"}") > 10);
    assert_eq!(port.metric(&refused("requests")), 0);
}

#[tokio::test]
async fn there_are_as_many_streams_as_connections() {
    let options = Options {
        max_connections: 2,
        ..Options::default()
    };
    let port = Port::start(options, 1, 100).await;
    let channel = port.plain().await.unwrap();
    let one = Stream::open(&channel).await.unwrap();
    let _two = Stream::open(&channel).await.unwrap();
    let third = Stream::open(&channel).await;
    assert_eq!(third.err().expect("a refusal").code(), Code::Unavailable);
    assert_eq!(port.metric(&refused("streams")), 1);
    drop(one);
    port.metric_is("xds_bridge_load_streams", 1).await;
    assert!(Stream::open(&channel).await.is_ok());
}
