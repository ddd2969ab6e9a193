//! The operator's port as a server: bounded in connections and in time, so that nobody who connects and
//! says nothing, or reads nothing, keeps the operator out or the program from ending.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; the next one waits until one ends.
const CONNECTIONS: usize = 64;
/// A pause after an accept that failed for want of descriptors: without, the loop would take a whole core.
const AFTER_ERROR: Duration = Duration::from_millis(250);

/// How long a connection may take. The default is right for people and for Prometheus; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The head of a request, also of the next one on a kept connection.
    pub(super) head: Duration,
    /// All of it: who reads nothing does not hold a place for ever.
    pub(super) whole: Duration,
    /// The answer under way when the connection is told to end.
    pub(super) last: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            whole: Duration::from_secs(300),
            last: Duration::from_secs(1),
        }
    }
}

/// Serves until `stop`, and a moment longer for the answers under way.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let open = TaskTracker::new();
    let accept = async {
        loop {
            // Never closed, so it always comes.
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let one = connection(stream, router.clone(), patience, stop.clone());
                    open.spawn(async move {
                        one.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the admin port cannot be accepted");
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    };
    let ended = stop.run_until_cancelled(accept).await.unwrap_or(Ok(()));
    open.close();
    open.wait().await;
    ended
}

/// One connection, until it ends, is too old, or `stop`.
async fn connection(stream: TcpStream, router: Router, patience: Patience, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        // What goes wrong on a connection is the matter of whoever opened it.
        _ = connection.as_mut() => return,
        () = sleep(patience.whole) => {}
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(patience.last, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    struct Port {
        address: std::net::SocketAddr,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn port(patience: Patience) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", get(async || "hello"));
        let task = tokio::spawn(serve(listener, router, patience, stop.clone()));
        Port { address, stop, task }
    }

    async fn say(address: std::net::SocketAddr, words: &str) -> TcpStream {
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

    #[tokio::test]
    async fn who_says_half_a_request_keeps_nobody_out_and_nothing_from_ending() {
        let short = Patience {
            head: Duration::from_millis(200),
            ..Patience::default()
        };
        let Port { address, stop, task } = port(short).await;
        let mut half = Vec::new();
        for _ in 0..CONNECTIONS {
            half.push(say(address, "GET / HTTP/1.1\r\nHos").await);
        }
        let whole = say(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(rest(whole).await.ends_with("hello"), "once their time is over");
        stop.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_open_connection_does_not_delay_the_end() {
        let long = Patience {
            head: DEADLINE * 10,
            whole: DEADLINE * 10,
            last: Duration::from_millis(50),
        };
        let Port { address, stop, task } = port(long).await;
        let half = say(address, "GET / HTTP/1.1\r\nHos").await;
        let idle = say(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        idle.readable().await.unwrap();
        stop.cancel();
        timeout(DEADLINE, task).await.unwrap().unwrap().unwrap();
        assert!(rest(idle).await.ends_with("hello"));
        assert_eq!(rest(half).await, "");
    }

    #[tokio::test]
    async fn a_connection_does_not_hold_its_place_for_ever() {
        let short = Patience {
            head: DEADLINE * 10,
            whole: Duration::from_millis(100),
            last: Duration::from_millis(50),
        };
        let Port { address, .. } = port(short).await;
        assert_eq!(rest(say(address, "GET").await).await, "");
    }
}
