//! Many discovery streams over a few connections, each doing what an Envoy does: clusters by
//! wildcard, then the endpoints of all of them by name; everything is accepted at once.
//! (An Envoy has a connection of its own; a hundred streams here share one.)

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Request;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use xds_bridge::xds::Kind;

use crate::board::Board;
use crate::decode::{Decoder, Seen};
use crate::requests::Script;

const PER_CONNECTION: usize = 100;

/// Envoy's own: 16 MiB for a stream, 24 MiB for a connection.
const WINDOWS: (u32, u32) = (16 << 20, 24 << 20);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Open streams, on threads of their own; they are cut when this is dropped.
pub(crate) struct Client(Option<Runtime>);

impl Client {
    /// Opens one stream per script, all at once.
    pub(crate) fn open(target: SocketAddr, scripts: &[Arc<Script>], board: &Arc<Board>) -> Self {
        let runtime = Runtime::new().expect("threads");
        for (first, chunk) in scripts.chunks(PER_CONNECTION).enumerate() {
            let talk = |(at, script): (usize, &Arc<Script>)| Talk {
                number: first * PER_CONNECTION + at,
                script: script.clone(),
                board: board.clone(),
            };
            let talks: Vec<Talk> = chunk.iter().enumerate().map(talk).collect();
            runtime.spawn(async move {
                let sender = connect(target).await;
                for talk in talks {
                    tokio::spawn(talk.run(sender.clone()));
                }
            });
        }
        Self(Some(runtime))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background(); // sockets and all
        }
    }
}

async fn connect(target: SocketAddr) -> SendRequest<Body> {
    let tcp = TcpStream::connect(target)
        .await
        .expect("connecting to the server");
    tcp.set_nodelay(true).expect("no delay");
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .keep_alive_interval(Duration::from_secs(30))
        .handshake(TokioIo::new(tcp))
        .await
        .expect("HTTP/2 with the server");
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("load: a connection ended: {error}");
        }
    });
    sender
}

/// One stream.
struct Talk {
    number: usize,
    script: Arc<Script>,
    board: Arc<Board>,
}

impl Talk {
    async fn run(self, mut sender: SendRequest<Body>) {
        let (say, said) = mpsc::unbounded_channel::<Bytes>();
        let frames = UnboundedReceiverStream::new(said).map(|data| Ok(Frame::data(data)));
        let method = if self.script.delta {
            "DeltaAggregatedResources"
        } else {
            "StreamAggregatedResources"
        };
        let request = Request::post(format!(
            "http://bridge/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}"
        ))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(StreamBody::new(frames).boxed_unsync())
        .expect("a request");

        let mut asked = false; // for endpoints
        let send = |data: Bytes| drop(say.send(data)); // an error means: the stream has ended
        if self.script.clusters {
            send(self.script.first(Kind::Cluster, Some(self.number)));
        }
        if !self.script.clusters || self.script.again {
            let node = (!self.script.clusters).then_some(self.number);
            send(self.script.first(Kind::Endpoints, node));
            asked = true;
        }
        let response = sender
            .send_request(request)
            .await
            .expect("an answer of the server");
        let mut body = response.into_body();
        let mut decoder = Decoder::new(self.script.delta, self.number == 0);
        let mut arrived: Vec<Seen> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            if let Some(trailers) = frame.trailers_ref().filter(|_| self.number == 0) {
                eprintln!("load: stream {} ended: {trailers:?}", self.number);
            }
            let Some(data) = frame.data_ref() else { continue };
            self.board.received(data.len());
            decoder.feed(data, |seen| arrived.push(seen));
            for seen in arrived.drain(..) {
                send(self.script.ack(&seen));
                let clusters = seen.type_url == Kind::Cluster.type_url();
                self.board.note(self.number, clusters, seen);
                if !std::mem::replace(&mut asked, true) {
                    send(self.script.first(Kind::Endpoints, None));
                }
            }
        }
    }
}
