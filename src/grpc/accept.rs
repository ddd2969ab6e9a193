//! Takes connections in: a bounded number, TLS first where it is on, each with a deadline
//! for its first words. It never waits for one client before it takes the next.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::identity::{self, San};
use super::tls::Tls;
use crate::metrics::{Limit, Metrics};

/// A client that has not shaken hands, or not said that it speaks HTTP/2, by then is none.
const GREETING: Duration = Duration::from_secs(10);

/// Handshakes at once: each is a signature for us, and may be a client that never answers.
const HANDSHAKES: usize = 512;

/// HTTP/2's connection preface has so many bytes.
const PREFACE: usize = 24;

/// A pause after an accept that failed.
const AFTER_ERROR: Duration = Duration::from_millis(250);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    sans: Vec<San>,
    streams: AtomicUsize,
    first: Arc<Semaphore>,
}

/// So many first responses of one connection may be on their way: who opens thousands of
/// streams and does not read waits for itself, not others for it.
const FIRST_RESPONSES: usize = 16;

impl Caller {
    fn new(address: SocketAddr, sans: Vec<San>) -> Self {
        Self(Arc::new(Inner {
            address,
            sans,
            streams: AtomicUsize::new(0),
            first: Arc::new(Semaphore::new(FIRST_RESPONSES)),
        }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(super) fn sans(&self) -> &[San] {
        &self.0.sans
    }

    /// One more stream on this connection; how many there are now.
    pub(super) fn enter(&self) -> usize {
        self.0.streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connection's share of the first responses.
    pub(super) fn first(&self) -> Arc<Semaphore> {
        self.0.first.clone()
    }

    pub(super) fn leave(&self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The task that takes connections in.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) max_connections: usize,
    pub(super) taken: mpsc::Sender<Result<Connection, Infallible>>,
}

impl Acceptor {
    /// Until `stop`, or nobody takes connections any more.
    pub(super) async fn run(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.max_connections));
        let mut handshakes = JoinSet::new();
        let (mut full, mut busy) = (false, false);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = handshakes.join_next() => {
                    if let Err(error) = done {
                        tracing::error!(task = "handshake", %error, "ended badly");
                    }
                    continue;
                }
                accepted = self.listener.accept(), if handshakes.len() < HANDSHAKES => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                self.metrics.reached(Limit::Connections);
                if !full {
                    tracing::warn!(%address, max = self.max_connections, "xds.max_connections is reached: closed at once");
                }
                full = true;
                continue;
            };
            full = false;
            // Small responses must not wait for the ACK of the last one; a socket that
            // refuses this is on its way out and says so soon.
            let _ = stream.set_nodelay(true);
            let (taken, metrics) = (self.taken.clone(), self.metrics.clone());
            let Some(tls) = &self.tls else {
                let plain = Io::Plain(stream);
                let connection = Connection::new(plain, Caller::new(address, Vec::new()), permit, metrics);
                if taken.send(Ok(connection)).await.is_err() {
                    break;
                }
                continue;
            };
            let shake = TlsAcceptor::from(tls.current()).accept(stream);
            handshakes.spawn(async move {
                match tokio::time::timeout(GREETING, shake).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let leaf = certificates.and_then(<[_]>::first);
                        let caller = Caller::new(address, leaf.map(identity::sans).unwrap_or_default());
                        let connection = Connection::new(Io::Tls(Box::new(stream)), caller, permit, metrics);
                        // Nobody takes it: we are stopping.
                        let _ = taken.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => {
                        metrics.tls_handshake_failures.inc();
                        tracing::debug!(%address, %error, "no TLS with this client");
                    }
                    Err(_) => {
                        metrics.tls_handshake_failures.inc();
                        tracing::debug!(%address, after = ?GREETING, "no TLS with this client: it is too slow");
                    }
                }
            });
            let now_busy = handshakes.len() >= HANDSHAKES;
            if now_busy && !busy {
                self.metrics.reached(Limit::Handshakes);
            }
            busy = now_busy;
        }
        handshakes.shutdown().await;
    }
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection, counted while it lives.
pub(super) struct Connection {
    io: Io,
    caller: Caller,
    /// Until the client has said that it speaks HTTP/2: the deadline, and the bytes to come.
    greeting: Option<(Pin<Box<Sleep>>, usize)>,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(io: Io, caller: Caller, permit: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self {
            io,
            caller,
            greeting: Some((Box::pin(tokio::time::sleep(GREETING)), PREFACE)),
            metrics,
            _permit: permit,
        }
    }

    fn write(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream),
            Io::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        };
        let Some((deadline, left)) = &mut this.greeting else {
            return read;
        };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *left = left.saturating_sub(buf.filled().len() - before);
        if *left == 0 {
            this.greeting = None;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// Without free descriptors each accept fails at once, and the loop would take a whole core.
async fn pause(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // The peer has gone before it was accepted: no reason to let the next one wait.
    let of_one_peer = matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    );
    if !of_one_peer {
        tracing::warn!(%error, "a connection cannot be accepted");
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_accepts_are_paced() {
        let began = crate::clock::now();
        pause(&io::ErrorKind::ConnectionReset.into()).await;
        assert_eq!(crate::clock::now(), began);
        pause(&io::Error::other("no descriptors")).await;
        assert_eq!(crate::clock::now().duration_since(began), AFTER_ERROR);
    }
}
