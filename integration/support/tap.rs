//! A transparent TCP proxy before a registry that counts: connections, bytes, and when somebody
//! tried to connect. It can be shut, as a machine that is switched off, and opened again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The proxy; it ends when this is dropped.
pub(crate) struct Tap {
    /// Where clients connect to.
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// What is open is cut by it; `None`: shut, whoever connects is closed at once.
    open: Mutex<Option<CancellationToken>>,
    attempts: Mutex<Vec<Instant>>,
    now: AtomicUsize,
    most: AtomicUsize,
    sent: AtomicU64,
    received: AtomicU64,
    requests: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "an attempt is recorded with its time")]
fn now() -> Instant {
    Instant::now()
}

impl Tap {
    /// A proxy before this address.
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let counts = Arc::new(Counts::default());
        *counts.open.lock().expect("no connection panics") = Some(CancellationToken::new());
        let shared = counts.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let counts = shared.clone();
                counts.attempts.lock().expect("no connection panics").push(now());
                let open = counts.open.lock().expect("no connection panics").clone();
                let Some(cut) = open else { continue };
                tokio::spawn(async move {
                    let most = counts.now.fetch_add(1, Relaxed) + 1;
                    counts.most.fetch_max(most, Relaxed);
                    tokio::select! {
                        () = cut.cancelled() => {}
                        () = pass(client, target, &counts) => {}
                    }
                    counts.now.fetch_sub(1, Relaxed);
                });
            }
        });
        Self {
            address,
            counts,
            task,
        }
    }

    /// Cuts all connections; new ones are closed at once.
    pub(crate) fn shut(&self) {
        let open = self.counts.open.lock().expect("no connection panics").take();
        open.expect("an open tap").cancel();
    }

    /// Lets connections through again.
    pub(crate) fn open(&self) {
        *self.counts.open.lock().expect("no connection panics") = Some(CancellationToken::new());
    }

    /// When somebody connected, so far.
    pub(crate) fn attempts(&self) -> Vec<Instant> {
        self.counts.attempts.lock().expect("no connection panics").clone()
    }

    /// The most connections that were open at once since this was last asked.
    pub(crate) fn most(&self) -> usize {
        self.counts.most.swap(self.counts.now.load(Relaxed), Relaxed)
    }

    /// Connections that are open now.
    pub(crate) fn connections(&self) -> usize {
        self.counts.now.load(Relaxed)
    }

    /// Bytes in both directions so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.sent.load(Relaxed) + self.counts.received.load(Relaxed)
    }

    /// Requests of HTTP/1.1 so far.
    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests.load(Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
        if let Ok(mut open) = self.counts.open.lock()
            && let Some(open) = open.take()
        {
            open.cancel();
        }
    }
}

async fn pass(client: TcpStream, target: SocketAddr, counts: &Counts) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let sent = |piece: &[u8]| {
        counts.sent.fetch_add(piece.len() as u64, Relaxed);
        // A request without a body is written at once.
        counts
            .requests
            .fetch_add(u64::from(piece.starts_with(b"GET ")), Relaxed);
    };
    let received = |piece: &[u8]| {
        counts.received.fetch_add(piece.len() as u64, Relaxed);
    };
    tokio::select! {
        () = copy(from_client, to_server, sent) => {}
        () = copy(from_server, to_client, received) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, note: impl Fn(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(length @ 1..) => {
                note(&buffer[..length]);
                if to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
