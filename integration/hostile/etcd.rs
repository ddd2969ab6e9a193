//! An etcd member of a hundred services that turns hostile in its listings or its watches, and good again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use etcd_client::proto::{PbKeyValue, PbRangeResponse, PbResponseHeader, PbStatusResponse, PbWatchResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::scene::{Registry, SERVICES, Stage, TURNED, service, turned};

const UNAVAILABLE: i32 = 14;

/// Which answers are hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Range,
    Watch,
}

/// Frames of a body by their number; `None`: that was all.
type Piece = Box<dyn Fn(u64) -> Option<Vec<u8>> + Send + Sync>;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) piece: Piece,
    /// `grpc-status` and its words; `None`: it never ends.
    pub(crate) end: Option<(i32, String)>,
}

pub(crate) struct Case {
    pub(crate) about: About,
    /// By how many hostile answers there were before.
    pub(crate) answer: Box<dyn Fn(u64) -> Answer + Send + Sync>,
    /// Nothing need be said of it.
    pub(crate) quiet: bool,
}

pub(crate) struct Etcd {
    address: SocketAddr,
    stage: watch::Sender<Stage>,
    _serving: JoinSet<()>,
}

/// What both requests of ours have in their places.
#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "vec", tag = "2")]
    end: Vec<u8>,
    #[prost(bool, tag = "9")]
    count_only: bool,
    #[prost(int64, tag = "10")]
    written_since: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Watch {
    #[prost(message, optional, tag = "1")]
    create: Option<Create>,
}

#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(int64, tag = "3")]
    from: i64,
}

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;
type Out = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;
type Shared = Arc<(Case, AtomicU64)>;

impl Etcd {
    pub(crate) async fn start(case: Case) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let stage = watch::Sender::new(Stage::Good(1));
        let (case, changes): (Shared, _) = (Arc::new((case, AtomicU64::new(0))), stage.subscribe());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (case, changes) = (case.clone(), changes.clone());
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        answer(request, case.clone(), changes.clone())
                    });
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .max_header_list_size(1 << 20)
                        .serve_connection(TokioIo::new(tcp), service);
                    drop(server.await); // the bridge may leave as it likes
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            stage,
            _serving: serving,
        }
    }
}

impl Registry for Etcd {
    fn source(&self) -> String {
        format!(
            "[sources.hostile]\nkind = \"etcd\"\nendpoints = [\"http://{}\"]\n",
            self.address
        )
    }

    fn stage(&self) -> &watch::Sender<Stage> {
        &self.stage
    }
}

/// gRPC's frame of one message.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(
        u32::try_from(message.encoded_len())
            .expect("a length")
            .to_be_bytes(),
    );
    frame.extend(message.encode_to_vec());
    frame
}

pub(crate) const fn header(revision: i64) -> PbResponseHeader {
    PbResponseHeader {
        cluster_id: 7,
        member_id: 1,
        revision,
        raft_term: 2,
    }
}

pub(crate) fn kv(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, revision: i64) -> PbKeyValue {
    PbKeyValue {
        key: key.as_ref().to_vec(),
        value: value.as_ref().to_vec(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        ..PbKeyValue::default()
    }
}

pub(crate) fn key(service: &str, id: impl std::fmt::Display) -> String {
    format!("/services/{service}/instances/{id}")
}

/// The revision of a hostile store.
pub(crate) const HOSTILE: i64 = 1_500;

pub(crate) fn created() -> PbWatchResponse {
    PbWatchResponse {
        header: Some(header(HOSTILE)),
        created: true,
        ..PbWatchResponse::default()
    }
}

async fn answer(
    request: Request<Incoming>,
    case: Shared,
    stage: watch::Receiver<Stage>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let mut read = Vec::new();
    // The first message; what a watch asks later is not answered.
    while read.len() < 5 || read.len() < 5 + u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize
    {
        match body.frame().await {
            Some(Ok(frame)) => read.extend(frame.into_data().unwrap_or_default()),
            _ => break,
        }
    }
    read.resize(read.len().max(5), 0);
    let message = Bytes::from(read).slice(5..);
    let (out, frames) = mpsc::channel(1);
    let now = *stage.borrow();
    let (port, revision) = match now {
        Stage::Good(port) => (port, i64::from(port) * 1_000),
        Stage::Hostile => (1, HOSTILE),
    };
    let about = match path.as_str() {
        "/etcdserverpb.KV/Range" => {
            let range = Range::decode(message.clone()).unwrap_or_default();
            let lists = !range.end.is_empty() && !range.count_only && range.written_since == 0;
            lists.then_some(About::Range)
        }
        "/etcdserverpb.Watch/Watch" => Some(About::Watch),
        _ => None,
    };
    let mut response = Response::builder().header("content-type", "application/grpc");
    if now == Stage::Hostile && about == Some(case.0.about) {
        let nth = case.1.fetch_add(1, Ordering::Relaxed);
        let answer = (case.0.answer)(nth);
        response = response.status(answer.status);
        for (name, value) in &answer.headers {
            response = response.header(name, value);
        }
        tokio::spawn(hostile(answer, out, body, stage));
    } else {
        tokio::spawn(good(path, message, (port, revision), out, body, stage));
    }
    Ok(response
        .body(StreamBody::new(ReceiverStream::new(frames)))
        .expect("a response"))
}

async fn hostile(answer: Answer, out: Out, body: Incoming, mut stage: watch::Receiver<Stage>) {
    let writing = async {
        let mut nth = 0;
        while let Some(piece) = (answer.piece)(nth) {
            nth += 1;
            if out.send(Ok(Frame::data(piece.into()))).await.is_err() {
                return;
            }
        }
        match answer.end {
            Some((code, words)) => fail(&out, code, &words).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = writing => {}
        () = out.closed() => {}
        () = turned(&mut stage, Stage::Hostile) => fail(&out, UNAVAILABLE, TURNED).await,
    }
    drop(body);
}

async fn good(
    path: String,
    message: Bytes,
    (port, revision): (u16, i64),
    out: Out,
    body: Incoming,
    mut stage: watch::Receiver<Stage>,
) {
    match path.as_str() {
        "/etcdserverpb.KV/Range" => {
            let range = Range::decode(message).unwrap_or_default();
            let lists = !range.end.is_empty() && !range.count_only && range.written_since == 0;
            let value = format!("{{\"address\":\"10.0.0.1\",\"port\":{port}}}");
            let kvs = (0..SERVICES)
                .filter(|_| lists)
                .map(|n| kv(key(&service(n), "i"), &value, revision));
            let response = PbRangeResponse {
                header: Some(header(revision)),
                kvs: kvs.collect(),
                count: i64::try_from(SERVICES).expect("a number"),
                ..PbRangeResponse::default()
            };
            send(&out, framed(&response)).await;
            fail(&out, 0, "").await;
        }
        "/etcdserverpb.Maintenance/Status" => {
            let status = PbStatusResponse {
                header: Some(header(revision)),
                raft_index: u64::try_from(revision).expect("a number"),
                ..PbStatusResponse::default()
            };
            send(&out, framed(&status)).await;
            fail(&out, 0, "").await;
        }
        _ => {
            let watch = Watch::decode(message).unwrap_or_default();
            let from = watch.create.map_or(0, |create| create.from);
            let created = PbWatchResponse {
                header: Some(header(revision)),
                ..created()
            };
            send(&out, framed(&created)).await;
            if from <= revision {
                let compacted = PbWatchResponse {
                    header: Some(header(0)),
                    canceled: true,
                    compact_revision: revision,
                    ..PbWatchResponse::default()
                };
                send(&out, framed(&compacted)).await;
            }
            let before = *stage.borrow_and_update();
            tokio::select! {
                () = out.closed() => {}
                () = turned(&mut stage, before) => fail(&out, UNAVAILABLE, TURNED).await,
            }
        }
    }
    drop(body);
}

async fn send(out: &Out, message: Vec<u8>) {
    drop(out.send(Ok(Frame::data(message.into()))).await);
}

async fn fail(out: &Out, code: i32, words: &str) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    if let Ok(words) = HeaderValue::from_str(&words.replace(' ', "%20")) {
        trailers.insert("grpc-message", words);
    }
    drop(out.send(Ok(Frame::trailers(trailers))).await);
}
