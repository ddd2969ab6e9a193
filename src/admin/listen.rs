//! The operator's port as a server: bounded in connections and in time, so that a client that connects and
//! sends nothing, or reads nothing, neither keeps the operator out nor the program from ending.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::{Extension, Router};
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::guard::Peer;
use crate::floods::{Floods, Kind};
use crate::places::{Place, Places, Safe};

/// A pause after an accept that failed for want of descriptors: without, the loop would take a whole core.
const AFTER_ERROR: Duration = Duration::from_millis(250);

const UNACCEPTED: Kind = Kind::new("an admin connection cannot be accepted");
const FULL: Kind = Kind::new("the admin port is full");

/// How long a connection may take. The default is right for people and for Prometheus; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The head of a request, also of the next one on a kept connection.
    pub(super) head: Duration,
    /// All of it: a client that reads nothing does not hold a place forever.
    pub(super) whole: Duration,
    /// The answer under way when the connection is to end.
    pub(super) last: Duration,
    /// When all places are taken: until when the next one waits for a connection without a request under way,
    /// and for one that is slow to read its answer.
    pub(super) safe: Safe,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            whole: Duration::from_secs(300),
            last: Duration::from_secs(1),
            safe: Safe {
                silent: Duration::from_millis(100),
                speaking: Duration::from_secs(10),
            },
        }
    }
}

/// Serves until `stop`, and a moment longer for the answers under way.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    (connections, patience): (usize, Patience),
    floods: Arc<Floods>,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(connections, patience.safe);
    let open = TaskTracker::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let place = place(&places, address, &floods).await;
                    let router = router.clone().layer(Extension(Peer(address.ip())));
                    open.spawn(connection(stream, router, place, patience, stop.clone()));
                }
                Err(error) => {
                    if floods.has_line(UNACCEPTED, None) {
                        tracing::warn!(%error, "a connection to the admin port cannot be accepted");
                    }
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accept).await;
    open.close();
    open.wait().await;
    Ok(())
}

async fn place(places: &Arc<Places>, address: SocketAddr, floods: &Floods) -> Arc<Place> {
    let (place, free) = places.enter(address.ip()).await;
    if !free && floods.has_line(FULL, Some(address.ip())) {
        tracing::warn!(%address, "the admin port is full: the longest idle connection makes room");
    }
    Arc::new(place)
}

/// One connection, until it ends, is too old, makes room for another, or `stop`.
async fn connection(
    stream: TcpStream,
    router: Router,
    place: Arc<Place>,
    patience: Patience,
    stop: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head);
    // Called once the head of a request is complete.
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let under_way = UnderWay::new(place.clone());
        let answer = router.clone().call(Request::from(request.map(Body::new)));
        async move {
            let answer = answer.await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, under_way }))
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // What goes wrong on a connection is the matter of whoever opened it.
        _ = connection.as_mut() => return,
        () = place.out().cancelled() => return,
        () = sleep(patience.whole) => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(patience.last, connection).await;
}

/// While a request is answered, its connection keeps its place.
struct UnderWay(Arc<Place>);

impl UnderWay {
    fn new(place: Arc<Place>) -> Self {
        place.speaks(true);
        Self(place)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.speaks(false);
    }
}

/// A body that is under way until it was sent.
struct Answer {
    body: Body,
    #[expect(dead_code, reason = "held, and dropped with the body")]
    under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    const CONNECTIONS: usize = 8;

    struct Port {
        address: SocketAddr,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn port(patience: Patience) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/slow", get(std::future::pending::<&'static str>));
        let served = (CONNECTIONS, patience);
        let task = tokio::spawn(serve(listener, router, served, Arc::default(), stop.clone()));
        Port { address, stop, task }
    }

    async fn say(address: SocketAddr, words: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the server ends the connection.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let read = timeout(DEADLINE, stream.read_to_string(&mut text)).await.unwrap();
        read.map_or_else(|_| text.clone(), |_| text.clone())
    }

    /// Nothing ends by itself before the test does.
    fn long() -> Patience {
        Patience {
            head: DEADLINE * 10,
            whole: DEADLINE * 10,
            last: Duration::from_millis(50),
            ..Patience::default()
        }
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn who_says_half_a_request_keeps_nobody_out_and_nothing_from_ending() {
        let Port { address, stop, task } = port(long()).await;
        let mut half = Vec::new();
        for _ in 0..3 * CONNECTIONS {
            half.push(say(address, "GET / HTTP/1.1\r\nHos").await);
        }
        assert!(rest(say(address, WHOLE).await).await.ends_with("hello"));
        assert_eq!(rest(half.remove(0)).await, "", "the oldest made room");
        stop.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn whose_request_is_under_way_makes_room_last() {
        let Port { address, .. } = port(long()).await;
        let slow = say(address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // Answered, and kept: without a request under way, as if it had sent half of one.
        let idle = say(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        idle.readable().await.unwrap();
        let mut half = Vec::new();
        for _ in 2..CONNECTIONS {
            half.push(say(address, "GET").await);
        }
        assert!(rest(say(address, WHOLE).await).await.ends_with("hello"));
        assert!(
            rest(idle).await.ends_with("hello"),
            "closed, though it came after the slow one"
        );
        let mut byte = [0];
        let ended = timeout(Duration::from_millis(50), slow.peek(&mut byte)).await;
        assert!(ended.is_err(), "the slow one is there yet");
    }

    #[tokio::test]
    async fn who_does_not_read_the_answer_makes_room_in_the_end() {
        let patience = Patience {
            safe: Safe {
                silent: Duration::from_millis(20),
                speaking: Duration::from_millis(200),
            },
            ..long()
        };
        let Port { address, .. } = port(patience).await;
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS {
            slow.push(say(address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await);
        }
        assert!(rest(say(address, WHOLE).await).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn an_open_connection_does_not_delay_the_end() {
        let Port { address, stop, task } = port(long()).await;
        let half = say(address, "GET / HTTP/1.1\r\nHos").await;
        let idle = say(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        idle.readable().await.unwrap();
        stop.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
        assert!(rest(idle).await.ends_with("hello"));
        assert_eq!(rest(half).await, "");
    }

    #[tokio::test]
    async fn a_connection_does_not_hold_its_place_without_end() {
        let short = Patience {
            whole: Duration::from_millis(100),
            ..long()
        };
        let Port { address, .. } = port(short).await;
        assert_eq!(rest(say(address, "GET").await).await, "");
    }
}
