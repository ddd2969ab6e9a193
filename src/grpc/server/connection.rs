//! One connection of the discovery port: its bytes, who is at the other end, and its place among those that
//! have yet to open a stream. Says nothing itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::budget::{Account, Budget};
use super::identity::San;
use crate::floods::{Floods, Kind};
use crate::metrics::{Limit, Metrics};
use crate::places::Place;

/// Deadline for the TLS handshake, and again for the HTTP/2 preface: late clients are disconnected.
pub(super) const GREETING: Duration = Duration::from_secs(10);

/// The length of HTTP/2's connection preface, bytes.
const PREFACE: usize = 24;

/// The first byte of a TLS connection: a handshake record.
pub(in crate::grpc) const TLS_HANDSHAKE: u8 = 22;

const MEMORY: Kind = Kind::new("xds.max_request_memory is reached");
const TLS_HERE: Kind = Kind::new("TLS to a plaintext port");

/// What is read of one connection before others have their turn. Without it a client that sends as fast as it can keeps a
/// thread for up to 128 reads of 16 KiB, and sixty of them hold everybody else up for tens of milliseconds.
const SHARE: usize = 64 << 10;

/// Maximum of first responses of one connection that are on their way: a client that opens thousands of streams and
/// does not read keeps only itself waiting.
const FIRST_RESPONSES: usize = 16;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Caller(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    address: SocketAddr,
    sans: Vec<San>,
    streams: AtomicUsize,
    first: Arc<Semaphore>,
    account: Account,
    /// Closes the connection.
    close: CancellationToken,
    /// It is closed because it has nothing to do.
    retired: AtomicBool,
    /// Until the first stream opens.
    place: Mutex<Option<Place>>,
}

impl Caller {
    pub(super) fn new(address: SocketAddr, sans: Vec<San>, place: Place, budget: &Arc<Budget>) -> Self {
        let close = place.out().clone();
        Self(Arc::new(Inner {
            address,
            account: budget.account(close.clone()),
            close,
            retired: AtomicBool::new(false),
            sans,
            streams: AtomicUsize::new(0),
            first: Arc::new(Semaphore::new(FIRST_RESPONSES)),
            place: Mutex::new(Some(place)),
        }))
    }

    pub(in crate::grpc) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(in crate::grpc) fn sans(&self) -> &[San] {
        &self.0.sans
    }

    /// A stream opens: the connection needs no place among the newcomers any more.
    pub(in crate::grpc) fn opens(&self) {
        let place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }

    /// It has opened no stream.
    fn is_newcomer(&self) -> bool {
        self.0
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// One more stream on this connection; how many there are now.
    pub(in crate::grpc) fn enter(&self) -> usize {
        self.0.streams.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connection's share of the first responses.
    pub(in crate::grpc) fn first(&self) -> Arc<Semaphore> {
        self.0.first.clone()
    }

    pub(in crate::grpc) fn leave(&self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes the connection, unless it has another stream than the one that asks.
    pub(in crate::grpc) fn retire(&self) {
        if self.0.streams.load(Ordering::Relaxed) <= 1 {
            self.0.retired.store(true, Ordering::Relaxed);
            self.0.close.cancel();
        }
    }

    fn speaks(&self) {
        let place = self.0.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = &*place {
            place.speaks(true);
        }
    }

    /// What this connection's requests take.
    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }
}

pub(in crate::grpc) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Until the client has said that it speaks HTTP/2: the deadline, and the bytes to come.
struct Greeting {
    deadline: Pin<Box<Sleep>>,
    left: usize,
}

/// One connection, counted while it lives.
pub(in crate::grpc) struct Connection {
    io: Io,
    caller: Caller,
    greeting: Option<Greeting>,
    /// What may be read before others have their turn.
    left: usize,
    /// It has lost its place, or takes too much memory.
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    /// That was noticed.
    ended: bool,
    metrics: Arc<Metrics>,
    floods: Arc<Floods>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(in crate::grpc) fn new(
        io: Io,
        caller: Caller,
        permit: OwnedSemaphorePermit,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
    ) -> Self {
        metrics.connections.inc();
        Self {
            io,
            greeting: Some(Greeting {
                deadline: Box::pin(tokio::time::sleep(GREETING)),
                left: PREFACE,
            }),
            left: SHARE,
            closed: Box::pin(caller.0.close.clone().cancelled_owned()),
            ended: false,
            caller,
            metrics,
            floods,
            _permit: permit,
        }
    }

    fn write(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream),
            Io::Tls(stream) => Pin::new(&mut **stream),
        }
    }

    /// Its place is another's, or its requests take too much memory.
    fn closed_by_us(&mut self) -> io::Error {
        let closed = io::ErrorKind::ConnectionAborted.into();
        let was_ended = std::mem::replace(&mut self.ended, true);
        if was_ended || self.caller.is_newcomer() || self.caller.0.retired.load(Ordering::Relaxed) {
            return closed; // whoever took the place has logged that
        }
        self.metrics.reached(Limit::RequestMemory);
        let address = self.caller.address();
        if self.floods.has_line(MEMORY, Some(address.ip())) {
            tracing::warn!(%address, "xds.max_request_memory is reached: the connection that holds the most of it is closed");
        }
        closed
    }

    /// What was read while the client is still to say that it speaks HTTP/2.
    fn greeted(&mut self, read: &[u8]) {
        let Some(greeting) = &mut self.greeting else {
            return;
        };
        if greeting.left == PREFACE && !read.is_empty() {
            self.caller.speaks();
            let address = self.caller.address();
            if read.first() == Some(&TLS_HANDSHAKE) && self.floods.has_line(TLS_HERE, Some(address.ip())) {
                tracing::warn!(%address, "a client speaks TLS to this port, which has no [xds.tls]");
            }
        }
        greeting.left = greeting.left.saturating_sub(read.len());
        if greeting.left == 0 {
            self.greeting = None;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Streams may outlive it for a moment, and its place is another's now.
        self.caller.opens();
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
        if this.left == 0 {
            if this.closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(this.closed_by_us()));
            }
            this.left = SHARE;
            cx.waker().wake_by_ref(); // behind the others
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = match &mut this.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
        };
        if read.is_ready() {
            let read_now = buf.filled().get(before..).unwrap_or_default();
            this.left = this.left.saturating_sub(read_now.len());
            this.greeted(read_now);
            return read;
        }
        this.left = SHARE;
        if this.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(this.closed_by_us()));
        }
        let Some(greeting) = &mut this.greeting else {
            return Poll::Pending;
        };
        ready!(greeting.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Connection {
    /// HTTP/2 does not read on before it has written what it has to say, so a client that reads nothing would never
    /// be closed where only reads look.
    fn unless_closed<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending() && self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.closed_by_us()));
        }
        written
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.write().poll_write(cx, buf);
        this.unless_closed(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.write().poll_flush(cx);
        this.unless_closed(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = this.write().poll_shutdown(cx);
        this.unless_closed(cx, shut)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.write().poll_write_vectored(cx, bufs);
        this.unless_closed(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::super::large::Large;
    use super::*;
    use crate::places::{Places, Safe};

    /// What lies there to be read is read by shares; between two of them the task stands behind the others, and a
    /// connection that is to be closed is.
    #[tokio::test]
    async fn who_sends_as_fast_as_it_can_is_read_by_shares() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, address) = listener.accept().await.unwrap();
        let safe = Safe {
            silent: Duration::ZERO,
            speaking: Duration::ZERO,
        };
        let (place, _) = Places::new(1, safe).enter(address.ip()).await;
        let budget = Budget::new(64 << 20, 16 << 20, Large::new(1));
        let caller = Caller::new(address, Vec::new(), place, &budget);
        let close = caller.0.close.clone();
        let metrics = Arc::new(Metrics::default());
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let mut connection = Connection::new(Io::Plain(io), caller, permit, metrics, Arc::default());
        let sending = tokio::spawn(async move { client.write_all(&vec![0; 20 * SHARE]).await });

        let read = |connection: &mut Connection, cx: &mut Context<'_>| {
            let mut bytes = [0; 16 << 10];
            let mut buffer = ReadBuf::new(&mut bytes);
            let polled = Pin::new(connection).poll_read(cx, &mut buffer);
            polled.map_ok(|()| buffer.filled().len())
        };
        let (mut all, mut at_once) = (0, 0);
        while all < 20 * SHARE {
            std::future::poll_fn(|cx| {
                at_once = 0;
                while let Poll::Ready(bytes) = read(&mut connection, cx) {
                    at_once += bytes.unwrap();
                }
                all += at_once;
                assert!(at_once < SHARE + (16 << 10), "{at_once} at once");
                if all < 20 * SHARE {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        }
        sending.await.unwrap().unwrap();

        connection.left = 0;
        close.cancel();
        let waker = noop_waker();
        let closed = read(&mut connection, &mut Context::from_waker(&waker));
        assert!(
            matches!(closed, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted)
        );
    }
}
