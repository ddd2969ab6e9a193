//! `load hostile`: the memory that clients can take which mean no good, or ask for everything, and what of it
//! comes back; and what changes take beside them (`beside.rs`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use xds_bridge::xds::{DeltaRequest, Kind, Node};

use crate::beside;
use crate::catalog;
use crate::numbers::{Table, mib};
use crate::options::HostileArgs;
use crate::server::Server;
use crate::support::http::Http;
use crate::support::procfs;

/// Instances of the catalog in all.
pub(crate) const SERVICES: usize = 5_000;

const ADS: &str =
    "http://bridge/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A request is this large at the most.
const REQUEST: usize = 16 << 20;

/// Requests that begin.
const BEGUN: usize = 60;

/// Names of each type.
const NAMES: usize = 200_000;

/// When nothing more is taken for so long, the server holds it back.
const STUCK: Duration = Duration::from_secs(3);

/// What is given back is given back by then.
const AFTER: Duration = Duration::from_secs(20);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Prints the tables.
pub(crate) async fn measure(wish: &HostileArgs) {
    let attacks: Vec<Attack> = ATTACKS
        .into_iter()
        .filter(|attack| {
            wish.only
                .as_ref()
                .is_none_or(|only| attack.title().contains(only))
        })
        .collect();
    if !wish.beside {
        memory(&attacks).await;
    }
    beside::measure(&attacks).await;
}

async fn memory(attacks: &[Attack]) {
    let folder = tempfile::tempdir().expect("a folder");
    catalog::write(&folder.path().join("catalog.json"), SERVICES, catalog::INSTANCES);
    let sources = catalog::file_source(folder.path());
    let mut table = Table::new(
        format!(
            "Hostile clients: resident memory with {SERVICES} services × {}, MiB",
            catalog::INSTANCES
        ),
        &["what they do", "before", "peak", "20 s after they left"],
    );
    for attack in attacks {
        let server = Server::start(&sources).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = procfs::resident(server.pid());
        procfs::forget_peak(server.pid());
        attack.run(server.xds, server.admin, STUCK).await;
        let peak = procfs::peak(server.pid());
        tokio::time::sleep(AFTER).await;
        table.row([
            attack.title(),
            mib(before),
            mib(peak),
            mib(procfs::resident(server.pid())),
        ]);
    }
    println!("{table}");
}

/// What a client does that means no good, or asks for everything.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// Requests that never end.
    Begun,
    /// Names of so many bytes.
    Names(usize),
    /// So many dumps at once.
    Dumps(usize),
}

const ATTACKS: [Attack; 5] = [
    Attack::Begun,
    Attack::Names(4_090),
    Attack::Names(500),
    Attack::Dumps(1),
    Attack::Dumps(4),
];

impl Attack {
    pub(crate) fn title(self) -> String {
        match self {
            Self::Begun => format!("{BEGUN} requests of 16 MiB begun, none ended"),
            Self::Names(length) => format!("2 × {NAMES} names of {length} bytes on one stream"),
            Self::Dumps(1) => "`/config_dump` once".to_owned(),
            Self::Dumps(times) => format!("`/config_dump` {times} times at once"),
        }
    }

    /// Does it once, and holds what it has got for so long.
    pub(crate) async fn run(self, xds: SocketAddr, admin: SocketAddr, hold: Duration) {
        match self {
            Self::Begun => begun(xds, hold).await,
            Self::Names(length) => names(xds, length, hold).await,
            Self::Dumps(times) => dumps(admin, times).await,
        }
    }
}

/// A stream whose requests are what is sent into the channel. It ends with the receiver's task.
async fn open(target: SocketAddr) -> (mpsc::Sender<Bytes>, JoinSet<()>) {
    let tcp = TcpStream::connect(target).await.expect("connecting");
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp))
        .await
        .expect("HTTP/2 with the server");
    let (say, said) = mpsc::channel::<Bytes>(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) }); // it may be closed: that is what is measured
    tasks.spawn(listen(sender, said));
    (say, tasks)
}

async fn listen(mut sender: SendRequest<Body>, said: mpsc::Receiver<Bytes>) {
    let frames = ReceiverStream::new(said).map(|data| Ok(Frame::data(data)));
    let request = Request::post(ADS)
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(StreamBody::new(frames).boxed_unsync())
        .expect("a request");
    let Ok(response) = sender.send_request(request).await else {
        return;
    };
    let mut body = response.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        drop(frame);
    }
}

fn framed(length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("a length"));
    frame.extend_from_slice(message);
    frame.freeze()
}

/// Sends as much as is taken.
async fn push(say: &mpsc::Sender<Bytes>, data: Bytes) -> bool {
    tokio::time::timeout(STUCK, say.send(data))
        .await
        .is_ok_and(|sent| sent.is_ok())
}

async fn begun(target: SocketAddr, hold: Duration) {
    let mut clients = JoinSet::new();
    for _ in 0..BEGUN {
        clients.spawn(async move {
            let (say, tasks) = open(target).await;
            push(&say, framed(REQUEST, &[])).await;
            let chunk = Bytes::from(vec![0; 64 << 10]);
            for _ in 1..REQUEST / chunk.len() {
                if !push(&say, chunk.clone()).await {
                    break;
                }
            }
            (say, tasks)
        });
    }
    let open = clients.join_all().await;
    tokio::time::sleep(hold).await;
    drop(open);
}

async fn names(target: SocketAddr, length: usize, hold: Duration) {
    let (say, tasks) = open(target).await;
    let each = (REQUEST - (64 << 10)) / (length + 4);
    let mut node = Some(Node {
        id: "hostile".to_owned(),
        cluster: "load".to_owned(),
        user_agent: "envoy".to_owned(),
        ..Node::default()
    });
    for kind in [Kind::Endpoints, Kind::Route] {
        for from in (0..NAMES).step_by(each) {
            let request = DeltaRequest {
                node: node.take(),
                type_url: kind.type_url().to_owned(),
                subscribe: (from..NAMES.min(from + each))
                    .map(|n| format!("{n:0length$}"))
                    .collect(),
                ..DeltaRequest::default()
            };
            let message = request.encode_to_vec();
            if !push(&say, framed(message.len(), &message)).await {
                break;
            }
        }
    }
    tokio::time::sleep(hold).await;
    drop((say, tasks));
}

async fn dumps(admin: SocketAddr, times: usize) {
    let url = format!("http://{admin}/config_dump");
    let mut clients = JoinSet::new();
    for _ in 0..times {
        let (http, url) = (Http::fresh(), url.clone());
        // Two at once are served, the others are told to come back.
        clients.spawn(async move { http.send("GET", &url, None, "").await.map(|reply| reply.status) });
    }
    drop(clients.join_all().await);
}
