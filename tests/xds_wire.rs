//! The rules that are about the wire, through a real connection: a server of our own on a
//! free port, and tonic's client with envoy-types' messages. Where time matters it is
//! tokio's paused clock, which jumps when everybody waits.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a test is where the clock is set")]

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use http::uri::PathAndQuery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use xds_bridge::fanout::Fanout;
use xds_bridge::grpc::Options;
use xds_bridge::metrics::Metrics;
use xds_bridge::xds::{Draft, Kind, Reach, Update};

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

struct Server {
    fanout: Arc<Fanout>,
    stop: CancellationToken,
    address: std::net::SocketAddr,
}

async fn server() -> Server {
    aged(Duration::ZERO).await
}

/// With streams that end at about this age.
async fn aged(max_stream_age: Duration) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fanout = Arc::new(Fanout::new(20_000, false));
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let options = Options {
        new_streams_per_second: 100_000,
        max_stream_age,
        ..Options::default()
    };
    tokio::spawn(xds_bridge::grpc::serve(
        listener,
        fanout.clone(),
        Arc::default(),
        metrics,
        options,
        stop.clone(),
    ));
    Server {
        fanout,
        stop,
        address,
    }
}

impl Server {
    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    fn publish(&self, updates: &[Update]) {
        self.fanout.publish(updates, tokio::time::Instant::now());
    }
}

fn put(kind: Kind, name: &str, body: &[u8]) -> Update {
    Update::Put(Draft {
        kind,
        name: name.into(),
        body: body.to_vec(),
        needs: Vec::new(),
        reach: Reach::All,
        local: None,
    })
}

/// One stream, from the client's side.
struct Call<Q, R> {
    requests: mpsc::UnboundedSender<Q>,
    responses: Streaming<R>,
}

async fn call<Q, R>(channel: Channel, path: &str) -> Result<Call<Q, R>, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    R: prost::Message + Default + Send + Sync + 'static,
{
    let (requests, queue) = mpsc::unbounded_channel();
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    client.ready().await.map_err(|e| Status::unknown(e.to_string()))?;
    let path: PathAndQuery = path.parse().unwrap();
    let responses = client
        .streaming(
            tonic::Request::new(UnboundedReceiverStream::new(queue)),
            path,
            ProstCodec::<Q, R>::default(),
        )
        .await?
        .into_inner();
    Ok(Call { requests, responses })
}

async fn delta(channel: Channel) -> Result<Call<DeltaDiscoveryRequest, DeltaDiscoveryResponse>, Status> {
    call(channel, &format!("{ADS}/DeltaAggregatedResources")).await
}

impl<Q, R> Call<Q, R> {
    async fn next(&mut self) -> Result<Option<R>, Status> {
        self.responses.next().await.transpose()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the requests take it")]
fn node() -> Option<Node> {
    Some(Node {
        id: "n".into(),
        cluster: "edge".into(),
        user_agent_name: "envoy".into(),
        ..Node::default()
    })
}

fn asks(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(),
        type_url: type_url.into(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn acks(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn rule_01_headers_come_before_the_first_request() {
    let server = server().await;
    server.publish(&[]);
    for method in ["DeltaAggregatedResources", "StreamAggregatedResources"] {
        // The request stream is pending: the call is resolved all the same.
        let path = format!("{ADS}/{method}");
        let opened =
            call::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>(server.channel().await, &path).await;
        assert!(opened.is_ok());
    }
}

#[tokio::test]
async fn rule_02_no_node_and_rule_03_type_urls() {
    let server = server().await;
    server.publish(&[put(Kind::Cluster, "a", b"1")]);
    let code = async |path: &str, request: DeltaDiscoveryRequest| {
        let mut call = call::<_, DeltaDiscoveryResponse>(server.channel().await, path)
            .await
            .unwrap();
        call.requests.send(request).unwrap();
        call.next()
            .await
            .map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let ads = format!("{ADS}/DeltaAggregatedResources");
    let cds = "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters";
    let nobody = DeltaDiscoveryRequest {
        node: None,
        ..asks(Kind::Cluster.type_url(), &["*"])
    };
    assert_eq!(code(&ads, nobody).await, Code::InvalidArgument);
    assert_eq!(code(&ads, asks("", &["*"])).await, Code::InvalidArgument);
    assert_eq!(code(cds, asks("", &["*"])).await, Code::Ok, "implied");
    let other = asks(Kind::Route.type_url(), &["a"]);
    assert_eq!(code(cds, other).await, Code::InvalidArgument, "contradicting");
}

#[tokio::test]
async fn rule_04_an_unsupported_type_leaves_the_stream_alive() {
    let server = server().await;
    server.publish(&[put(Kind::Cluster, "a", b"1")]);
    let mut call = delta(server.channel().await).await.unwrap();
    call.requests
        .send(asks("type.googleapis.com/nobody.serves.This", &["x"]))
        .unwrap();
    call.requests
        .send(asks(Kind::Cluster.type_url(), &["*"]))
        .unwrap();
    let response = call.next().await.unwrap().unwrap();
    assert_eq!(response.resources[0].name, "a");
}

#[tokio::test]
async fn rule_07_unavailable_until_the_sources_have_delivered() {
    let server = server().await;
    let refused = delta(server.channel().await).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable);
    server.publish(&[]);
    assert!(delta(server.channel().await).await.is_ok());
}

#[tokio::test]
async fn rule_08_five_thousand_endpoint_streams_on_one_connection() {
    let server = server().await;
    let all: Vec<Update> = (0..5_000)
        .map(|n| put(Kind::Endpoints, &format!("s{n}"), b"1"))
        .collect();
    server.publish(&all);
    let channel = server.channel().await;
    let path = "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints";
    let mut calls: Vec<Call<DeltaDiscoveryRequest, DeltaDiscoveryResponse>> = Vec::new();
    for n in 0..5_000 {
        let call = call(channel.clone(), path).await.unwrap();
        call.requests.send(asks("", &[&format!("s{n}")])).unwrap();
        calls.push(call);
    }
    for (n, call) in calls.iter_mut().enumerate() {
        let response = call.next().await.unwrap().unwrap();
        assert_eq!(response.resources[0].name, format!("s{n}"));
    }
}

#[tokio::test]
async fn rule_49_messages_stay_below_four_mebibytes() {
    let server = server().await;
    let body = vec![b'x'; 100_000];
    let all: Vec<Update> = (0..100)
        .map(|n| put(Kind::Endpoints, &format!("s{n}"), &body))
        .collect();
    server.publish(&all);
    let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let path = format!("{ADS}/StreamAggregatedResources");
    let mut sotw: Call<DiscoveryRequest, DiscoveryResponse> =
        call(server.channel().await, &path).await.unwrap();
    let mut request = DiscoveryRequest {
        node: node(),
        type_url: Kind::Endpoints.type_url().into(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    };
    sotw.requests.send(request.clone()).unwrap();
    let mut got = 0;
    while got < 100 {
        let response = sotw.next().await.unwrap().unwrap();
        assert!(prost::Message::encoded_len(&response) < 4 << 20);
        got += response.resources.len();
        request.response_nonce = response.nonce;
        sotw.requests.send(request.clone()).unwrap();
    }
    let mut call = delta(server.channel().await).await.unwrap();
    call.requests
        .send(asks(Kind::Endpoints.type_url(), &names))
        .unwrap();
    let mut got = 0;
    while got < 100 {
        let response = call.next().await.unwrap().unwrap();
        assert!(prost::Message::encoded_len(&response) < 4 << 20);
        got += response.resources.len();
    }
}

#[tokio::test]
async fn rule_51_a_first_request_with_two_hundred_thousand_names() {
    let server = server().await;
    server.publish(&[put(Kind::Endpoints, "n7", b"1")]);
    let names: Vec<String> = (0..200_000).map(|n| format!("n{n}")).collect();
    let versions = names.iter().map(|n| (n.clone(), "0123456789abcdef".to_owned()));
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: versions.collect(),
        resource_names_subscribe: names.clone(),
        ..asks(Kind::Endpoints.type_url(), &[])
    };
    assert!(prost::Message::encoded_len(&request) > 4 << 20);
    let mut call = delta(server.channel().await).await.unwrap();
    call.requests.send(request).unwrap();
    let response = call.next().await.unwrap().unwrap();
    assert_eq!(response.resources[0].name, "n7");
}

#[tokio::test]
async fn rule_52_a_reader_that_stalls_gets_one_final_state() {
    let server = server().await;
    // More than a connection holds: while nobody reads, most of a response stays with us.
    let body = |n: u32| [&n.to_be_bytes()[..], &vec![b'x'; 200_000]].concat();
    server.publish(&[put(Kind::Cluster, "a", &body(0))]);
    let mut call = delta(server.channel().await).await.unwrap();
    call.requests
        .send(asks(Kind::Cluster.type_url(), &["*"]))
        .unwrap();
    let mut states = Vec::new();
    for n in 1..=1_000 {
        server.publish(&[put(Kind::Cluster, "a", &body(n))]);
        let current = server.fanout.current().unwrap();
        states.push(Arc::downgrade(current.all(Kind::Cluster).next().unwrap().1));
        tokio::task::yield_now().await;
    }
    // The newest state, the one that is being sent, and no others.
    let kept = states.iter().filter(|state| state.strong_count() > 0).count();
    assert!(kept <= 3, "{kept} states are kept for a reader that stalls");
    let first = call.next().await.unwrap().unwrap();
    call.requests.send(acks(&first)).unwrap();
    let last = call.next().await.unwrap().unwrap();
    let value = &last.resources[0].resource.as_ref().unwrap().value;
    assert_eq!(value[..4], 1_000_u32.to_be_bytes());
    // And nothing more: the next thing that is said answers a new question.
    call.requests.send(acks(&last)).unwrap();
    call.requests.send(asks(Kind::Route.type_url(), &["r"])).unwrap();
    let next = call.next().await.unwrap().unwrap();
    assert_eq!(next.type_url, Kind::Route.type_url());
}

#[tokio::test]
async fn rule_53_streams_end_with_ok_when_the_server_stops() {
    let server = server().await;
    server.publish(&[]);
    let mut call = delta(server.channel().await).await.unwrap();
    call.requests
        .send(asks(Kind::Cluster.type_url(), &["*"]))
        .unwrap();
    call.next().await.unwrap().unwrap();
    server.stop.cancel();
    assert!(
        call.next().await.unwrap().is_none(),
        "OK, not a broken connection"
    );
}

#[tokio::test(start_paused = true)]
async fn rule_53_streams_end_with_ok_at_a_jittered_age() {
    let age = Duration::from_secs(600);
    let server = aged(age).await;
    server.publish(&[]);
    let channel = server.channel().await;
    let mut ages = Vec::new();
    for _ in 0..8 {
        let began = tokio::time::Instant::now();
        let mut call = delta(channel.clone()).await.unwrap();
        call.requests
            .send(asks(Kind::Cluster.type_url(), &["*"]))
            .unwrap();
        call.next().await.unwrap().unwrap();
        assert!(call.next().await.unwrap().is_none(), "OK");
        ages.push(began.elapsed());
    }
    assert!(
        ages.iter().all(|a| *a >= age * 4 / 5 && *a <= age * 5 / 4),
        "{ages:?}"
    );
    assert!(
        ages.iter().any(|a| a.abs_diff(ages[0]) > Duration::from_secs(1)),
        "{ages:?}"
    );
}

/// A client of bytes: it says hello, and reads until the server's PING.
#[tokio::test(start_paused = true)]
async fn rule_53_the_server_pings_an_idle_connection() {
    const PING: u8 = 6;
    let server = server().await;
    server.publish(&[]);
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
    ]
    .concat();
    socket.write_all(&hello).await.unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == PING {
            return;
        }
    }
}
