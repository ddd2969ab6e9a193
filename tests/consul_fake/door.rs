//! The connections of the fake agent: how many it takes, what becomes of those that are too many, and
//! HTTP/1.1 or HTTP/2 over TLS on each. Never answers a request itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::Fake;

/// What Consul says to a client with too many of them.
pub const TOO_MANY_CONNECTIONS: &str =
    "Your IP is issuing too many concurrent connections, please rate limit your calls\n";

/// What becomes of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// It is served.
    Serve,
    /// It is closed without a byte, as Consul up to 1.8 does with too many of one client.
    Close,
    /// It gets a 429 before it asked for anything, as newer ones do.
    Busy,
    /// It is held, and nothing is ever read from it.
    Ignore,
}

/// The agent's port.
pub struct Door {
    /// For all connections, and for those beyond the room.
    welcome: Mutex<(Welcome, Welcome)>,
    room: AtomicUsize,
    open: AtomicUsize,
    refused: AtomicUsize,
    served: AtomicUsize,
    tls: Mutex<Option<Arc<ServerConfig>>>,
    /// On one connection of HTTP/2; the agent's own is 250.
    streams: AtomicU32,
    /// What happens to the connections of now.
    fate: Mutex<Fate>,
    /// Whether anybody listens; the port stays ours.
    listening: watch::Sender<bool>,
}

/// Each counts for all connections that began before it.
#[derive(Clone, Default)]
struct Fate {
    end: CancellationToken,
    /// Of HTTP/2: GOAWAY.
    go_away: CancellationToken,
    /// Nothing is read or written any more.
    freeze: CancellationToken,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            welcome: Mutex::new((Welcome::Serve, Welcome::Close)),
            room: AtomicUsize::new(usize::MAX),
            open: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            tls: Mutex::default(),
            streams: AtomicU32::new(250),
            fate: Mutex::default(),
            listening: watch::Sender::new(true),
        }
    }
}

impl Door {
    /// Takes so many connections at once, and does this with the others.
    pub fn room(&self, room: usize, others: Welcome) {
        self.welcome.lock().unwrap().1 = others;
        self.room.store(room, Ordering::SeqCst);
    }

    /// Does this with each new connection.
    pub fn welcome(&self, all: Welcome) {
        self.welcome.lock().unwrap().0 = all;
    }

    /// Speaks TLS on new connections.
    pub fn tls(&self, config: ServerConfig) {
        *self.tls.lock().unwrap() = Some(Arc::new(config));
    }

    /// Ends all connections without a word.
    pub fn hang_up(&self) {
        std::mem::take(&mut self.fate.lock().unwrap().end).cancel();
    }

    /// Says GOAWAY on all connections, which serve what was asked on them to its end.
    pub fn go_away(&self) {
        std::mem::take(&mut self.fate.lock().unwrap().go_away).cancel();
    }

    /// Keeps all connections open, and does nothing on them any more.
    pub fn freeze(&self) {
        std::mem::take(&mut self.fate.lock().unwrap().freeze).cancel();
    }

    /// Allows so many streams on each new connection of HTTP/2.
    pub fn streams(&self, most: u32) {
        self.streams.store(most, Ordering::SeqCst);
    }

    /// The agent is gone: nobody listens and all connections end.
    pub fn kill(&self) {
        self.listening.send_replace(false);
        self.hang_up();
    }

    pub fn revive(&self) {
        self.listening.send_replace(true);
    }

    /// Connections that were not served.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// Connections that are served now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections that were served so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    fn admit(&self) -> Welcome {
        let (all, others) = *self.welcome.lock().unwrap();
        let full = self.open() >= self.room.load(Ordering::SeqCst);
        let welcome = if all == Welcome::Serve && full {
            others
        } else {
            all
        };
        if welcome != Welcome::Serve {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        welcome
    }
}

/// A port of the kernel's choice, served for ever.
pub fn open(fake: Arc<Fake>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(listen(listener, address, fake));
    address
}

async fn listen(listener: TcpListener, address: SocketAddr, fake: Arc<Fake>) {
    let mut listening = fake.door.listening.subscribe();
    let mut listener = Some(listener);
    let mut held = Vec::new();
    loop {
        let Some(port) = &listener else {
            listening.wait_for(|on| *on).await.unwrap();
            listener = Some(TcpListener::bind(address).await.unwrap());
            continue;
        };
        let accepted = tokio::select! {
            accepted = port.accept() => accepted,
            _ = listening.wait_for(|on| !on) => {
                listener = None;
                continue;
            }
        };
        let Ok((mut tcp, _)) = accepted else { continue };
        match fake.door.admit() {
            Welcome::Serve => {
                fake.door.open.fetch_add(1, Ordering::SeqCst);
                fake.door.served.fetch_add(1, Ordering::SeqCst);
                let fake = fake.clone();
                tokio::spawn(async move {
                    serve(tcp, &fake).await;
                    fake.door.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Welcome::Close => drop(tcp),
            Welcome::Busy => {
                let length = TOO_MANY_CONNECTIONS.len();
                let text = format!(
                    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{TOO_MANY_CONNECTIONS}"
                );
                tokio::spawn(async move { tcp.write_all(text.as_bytes()).await });
            }
            Welcome::Ignore => held.push(tcp),
        }
    }
}

async fn serve(tcp: TcpStream, fake: &Arc<Fake>) {
    let tls = fake.door.tls.lock().unwrap().clone();
    let Some(tls) = tls else {
        return speak(tcp, false, fake).await;
    };
    if let Ok(stream) = TlsAcceptor::from(tls).accept(tcp).await {
        let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        speak(stream, multiplexed, fake).await;
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    multiplexed: bool,
    fake: &Arc<Fake>,
) {
    let ends = fake.door.fate.lock().unwrap().clone();
    let streams = fake.door.streams.load(Ordering::SeqCst);
    let io = TokioIo::new(stream);
    let answering = fake.clone();
    let service = service_fn(move |request| super::answer(answering.clone(), request));
    if multiplexed {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(streams);
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let mut gone = false;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = ends.end.cancelled() => return,
                () = ends.freeze.cancelled() => return ends.end.cancelled().await,
                () = ends.go_away.cancelled(), if !gone => {
                    connection.as_mut().graceful_shutdown();
                    gone = true;
                }
            }
        }
    } else {
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
        let _ = ends.end.run_until_cancelled(connection).await;
    }
}
