//! Access logs on the discovery port: who may log, and what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::{Node, RequestMethod};
use envoy_types::pb::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
};
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use envoy_types::pb::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use envoy_types::pb::google::protobuf::UInt32Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use xds_bridge::fanout::Fanout;
use xds_bridge::grpc;
use xds_bridge::intake::Loads;
use xds_bridge::metrics::Metrics;

/// A busy machine gets so long.
const WITHIN: Duration = Duration::from_secs(60);

struct Port {
    address: SocketAddr,
    loads: Arc<Loads>,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Port {
    async fn start(options: grpc::Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (loads, metrics) = (Arc::new(Loads::default()), Arc::new(Metrics::default()));
        let fanout = Arc::new(Fanout::new(100, false));
        loads
            .errors()
            .expect([("orders".into(), (1, ["orders@b".into()].into()))].into());
        let stop = CancellationToken::new();
        let serving = grpc::serve(
            listener,
            fanout,
            loads.clone(),
            metrics.clone(),
            options,
            stop.clone(),
        );
        tokio::spawn(async move { serving.await.unwrap() });
        Self {
            address,
            loads,
            metrics,
            _stop: stop.drop_guard(),
        }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Sends these on one stream of this connection, ends it, and waits for what it ends with.
    async fn log_on(&self, channel: Channel, messages: Vec<StreamAccessLogsMessage>) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
            .parse()
            .unwrap();
        let codec = tonic_prost::ProstCodec::<StreamAccessLogsMessage, StreamAccessLogsResponse>::default();
        let stream = tonic::Request::new(futures::stream::iter(messages));
        let answer = client.client_streaming(stream, path, codec);
        tokio::time::timeout(WITHIN, answer)
            .await
            .expect("an end")
            .map(drop)
    }

    async fn log(&self, messages: Vec<StreamAccessLogsMessage>) -> Result<(), Status> {
        self.log_on(self.connect().await, messages).await
    }

    fn lines(&self) -> Vec<String> {
        let all = self.loads.errors().of(None, 10);
        let line = |of: &xds_bridge::errors::ClusterErrors| {
            let shown = of
                .lines
                .iter()
                .map(|line| format!("{} {} {}x", line.method, line.status, line.count));
            format!("{}: {}", of.cluster, shown.collect::<Vec<_>>().join(", "))
        };
        all.iter().map(line).collect()
    }

    fn count(&self, series: &str) -> u64 {
        let text = self.metrics.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("xds_bridge_{series} ")));
        line.unwrap_or_else(|| panic!("{series} in {text}"))
            .parse()
            .unwrap()
    }
}

fn entry(path: &str, status: u32) -> HttpAccessLogEntry {
    HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            upstream_cluster: "orders@b".into(),
            ..AccessLogCommon::default()
        }),
        request: Some(HttpRequestProperties {
            request_method: RequestMethod::Get as i32,
            path: path.into(),
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(UInt32Value { value: status }),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    }
}

fn message(node: Option<&str>, entries: Vec<HttpAccessLogEntry>) -> StreamAccessLogsMessage {
    let identifier = node.map(|id| Identifier {
        node: Some(Node {
            id: id.into(),
            cluster: "edge".into(),
            ..Node::default()
        }),
        log_name: "errors".into(),
    });
    StreamAccessLogsMessage {
        identifier,
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: entries })),
    }
}

#[tokio::test]
async fn errors_are_taken_in_until_the_client_ends_the_stream() {
    let port = Port::start(grpc::Options::default()).await;
    let first = message(Some("edge-1"), vec![entry("/a", 500), entry("/a", 404)]);
    let second = message(None, vec![entry("/a?x", 500), entry("/b", 503)]);
    port.log(vec![first, second]).await.unwrap();
    assert_eq!(port.lines(), ["orders@b: GET /a 500 2x, GET /b 503 1x"]);
    assert_eq!(port.count("request_errors_total"), 3);
}

#[tokio::test]
async fn a_stream_that_names_no_node_is_refused() {
    let port = Port::start(grpc::Options::default()).await;
    let refused = port
        .log(vec![message(None, vec![entry("/a", 500)])])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(port.lines(), Vec::<String>::new());
    assert_eq!(port.count("log_streams_refused_total{reason=\"protocol\"}"), 1);
}

#[tokio::test]
async fn a_message_beyond_a_megabyte_ends_the_stream() {
    let port = Port::start(grpc::Options::default()).await;
    let large = message(
        Some("edge-1"),
        vec![entry(&format!("/{}", "a".repeat(1 << 20)), 500)],
    );
    let refused = port.log(vec![large]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(
        port.count("log_streams_refused_total{reason=\"message_size\"}"),
        1
    );
}

#[tokio::test]
async fn streams_take_a_part_of_the_connections_at_most() {
    let options = grpc::Options {
        max_connections: 8,
        ..grpc::Options::default()
    };
    let port = Port::start(options).await;
    let channel = port.connect().await;
    let open = |channel: Channel| async move {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let path = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
            .parse()
            .unwrap();
        let codec = tonic_prost::ProstCodec::<StreamAccessLogsMessage, StreamAccessLogsResponse>::default();
        let stream = tonic::Request::new(futures::stream::pending::<StreamAccessLogsMessage>());
        client.client_streaming(stream, path, codec).await
    };
    let held = [
        tokio::spawn(open(channel.clone())),
        tokio::spawn(open(channel.clone())),
    ];
    let waiting = async {
        while port.count("log_streams") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("two streams");
    let refused = port
        .log(vec![message(Some("edge-1"), vec![entry("/a", 500)])])
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(port.count("log_streams_refused_total{reason=\"streams\"}"), 1);
    for task in held {
        task.abort();
    }
}
