//! `load reports`: what load reports cost: many Envoys, each with its clusters, each second.

use std::convert::Infallible;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterStats, UpstreamEndpointStats, UpstreamLocalityStats,
};
use envoy_types::pb::envoy::service::load_stats::v3::LoadStatsRequest;
use futures::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::catalog;
use crate::numbers::{Table, figures, mib, now};
use crate::server::Server;
use crate::support::procfs;

const PATH: &str = "http://bridge/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";

/// How long is measured.
const TIME: Duration = Duration::from_secs(20);

/// Endpoints of each cluster that have requests.
const ENDPOINTS: usize = 3;

/// Extensions that an Envoy 1.40.0 lists in its node, and bytes of each: 61 KB in each report.
const EXTENSIONS: (usize, usize) = (450, 130);

/// Envoys, clusters with requests of each, and clusters that an Envoy only lists.
const SCALES: [(usize, usize, usize); 3] = [(100, 50, 0), (1_000, 50, 0), (1_000, 50, 450)];

/// Prints the table.
pub(crate) async fn measure(quick: bool) {
    let mut table = Table::new(
        format!("Load reports, one a second of each Envoy; {ENDPOINTS} endpoints of each active cluster"),
        &[
            "Envoys × active clusters, others listed",
            "a report, KiB",
            "reports a second",
            "server CPU, % of a core",
            "resident before, MiB",
            "after",
            "peak",
        ],
    );
    let scales = if quick { &SCALES[..1] } else { &SCALES[..] };
    for (envoys, active, listed) in scales.iter().copied() {
        let folder = tempfile::tempdir().expect("a folder");
        catalog::write(&folder.path().join("catalog.json"), 2, 2);
        let server = Server::start(&catalog::file_source(folder.path())).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = procfs::resident(server.pid());
        let clients = Runtime::new().expect("threads");
        let size = report(0, active, listed).len();
        for number in 0..envoys {
            // Not all in the same moment, as Envoys that started by themselves.
            let first = Duration::from_millis((number * 997 % 1_000) as u64);
            clients.spawn(envoy(server.xds, report(number, active, listed), first));
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (began, cpu, reports) = (now(), procfs::total(server.pid()), taken(&server).await);
        tokio::time::sleep(TIME).await;
        let (time, cpu, reports) = (
            now() - began,
            procfs::total(server.pid()).saturating_sub(cpu),
            taken(&server).await - reports,
        );
        table.row([
            format!("{envoys} × {active}, {listed}"),
            mib(size as u64), // bytes of it, so KiB
            (reports / time.as_secs().max(1)).to_string(),
            figures(100.0 * cpu.as_secs_f64() / time.as_secs_f64()),
            mib(before),
            mib(procfs::resident(server.pid())),
            mib(procfs::peak(server.pid())),
        ]);
        clients.shutdown_background();
    }
    println!("{table}");
}

/// Reports that the server has taken in.
async fn taken(server: &Server) -> u64 {
    let url = format!("http://{}/metrics", server.admin);
    let text = crate::support::http::Http::fresh()
        .text(&url)
        .await
        .expect("metrics");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("xds_bridge_load_reports_total "));
    line.and_then(|value| value.parse().ok()).expect("a counter")
}

/// Reports each second, without end.
async fn envoy(target: std::net::SocketAddr, report: Bytes, first: Duration) {
    let tcp = TcpStream::connect(target)
        .await
        .expect("connecting to the server");
    tcp.set_nodelay(true).expect("no delay");
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp))
        .await
        .expect("HTTP/2 with the server");
    tokio::spawn(connection);
    let (frames, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let request = Request::post(PATH)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(ReceiverStream::new(body)).boxed_unsync())
        .expect("a request");
    let response = sender.send_request(request).await.expect("headers");
    let mut answers = response.into_body().into_data_stream();
    tokio::spawn(async move { while let Some(Ok(_)) = answers.next().await {} });
    tokio::time::sleep(first).await;
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        if frames.send(Ok(Frame::data(report.clone()))).await.is_err() {
            return;
        }
    }
}

/// As an Envoy frames it.
fn report(number: usize, active: usize, listed: usize) -> Bytes {
    let endpoint = |cluster: usize, at: usize| UpstreamEndpointStats {
        address: Some(core::Address {
            address: Some(core::address::Address::SocketAddress(core::SocketAddress {
                address: format!("10.{}.{}.{at}", cluster / 250, cluster % 250),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(8_080)),
                ..core::SocketAddress::default()
            })),
        }),
        total_requests_in_progress: 2,
        total_issued_requests: 20,
        total_successful_requests: 19,
        total_error_requests: 1,
        ..UpstreamEndpointStats::default()
    };
    let cluster = |cluster: usize| ClusterStats {
        cluster_name: format!("svc-{cluster:05}"),
        upstream_locality_stats: (cluster < active)
            .then(|| UpstreamLocalityStats {
                locality: Some(core::Locality {
                    region: "eu1".into(),
                    zone: "a".into(),
                    ..core::Locality::default()
                }),
                total_requests_in_progress: 6,
                total_issued_requests: 60,
                total_successful_requests: 57,
                total_error_requests: 3,
                upstream_endpoint_stats: (0..ENDPOINTS).map(|at| endpoint(cluster, at)).collect(),
                ..UpstreamLocalityStats::default()
            })
            .into_iter()
            .collect(),
        load_report_interval: Some(envoy_types::pb::google::protobuf::Duration {
            seconds: 1,
            nanos: 1_234_000,
        }),
        ..ClusterStats::default()
    };
    let version = envoy_types::pb::envoy::r#type::v3::SemanticVersion {
        major_number: 1,
        minor_number: 40,
        patch: 0,
    };
    let build = core::BuildVersion {
        version: Some(version),
        ..core::BuildVersion::default()
    };
    let (extensions, length) = EXTENSIONS;
    let node = core::Node {
        id: format!("envoy-{number}"),
        cluster: "edge".into(),
        user_agent_name: "envoy".into(),
        user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentBuildVersion(build)),
        client_features: vec!["envoy.lrs.supports_send_all_clusters".into()],
        extensions: (0..extensions)
            .map(|_| core::Extension {
                name: "e".repeat(length),
                ..core::Extension::default()
            })
            .collect(),
        ..core::Node::default()
    };
    let request = LoadStatsRequest {
        node: Some(node),
        cluster_stats: (0..active + listed).map(cluster).collect(),
    };
    let body = request.encode_to_vec();
    let mut frame = BytesMut::with_capacity(body.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(body.len()).expect("some KiB"));
    frame.put_slice(&body);
    frame.freeze()
}
