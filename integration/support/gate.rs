//! A TCP proxy between an Envoy and its bridge that cuts the connection at a chosen point
//! of the conversation, and can be pointed at another bridge. It reads HTTP/2 frames, so
//! that the cut falls between two of them and nothing of the second one gets through.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::wait;

/// The type of HTTP/2 frames that carry messages.
const DATA: u8 = 0;

/// The proxy; it ends with the test.
pub(crate) struct Gate {
    /// Where the Envoy connects to.
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    /// Where connections lead; `None`: they are closed at once.
    target: Option<SocketAddr>,
    /// A message from the bridge with this word in it is not passed on; the gate closes instead.
    needle: Option<&'static str>,
    /// Cuts the connections of now.
    cut: CancellationToken,
}

impl Gate {
    /// A gate that leads to this bridge.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State {
            target: Some(target),
            needle: None,
            cut: CancellationToken::new(),
        }));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, shared.clone()));
            }
        });
        Self { address, state, task }
    }

    /// Cuts before the first message from the bridge that has this word in it, and closes.
    pub(crate) fn cut_before(&self, needle: &'static str) {
        self.state.lock().expect("no connection panics").needle = Some(needle);
    }

    /// Waits until it has cut.
    pub(crate) async fn has_cut(&self) {
        wait::until(wait::PATIENCE, "the connection is cut", async || {
            let closed = self.state.lock().expect("no connection panics").target.is_none();
            wait::holds(closed, || "it is open".to_owned())
        })
        .await;
    }

    /// Cuts what is open; connections lead to this bridge from now on.
    pub(crate) fn open(&self, target: SocketAddr) {
        let mut state = self.state.lock().expect("no connection panics");
        state.target = Some(target);
        std::mem::take(&mut state.cut).cancel();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
        if let Ok(state) = self.state.lock() {
            state.cut.cancel();
        }
    }
}

async fn pass(client: TcpStream, state: Arc<Mutex<State>>) {
    let (target, cut) = {
        let state = state.lock().expect("no connection panics");
        (state.target, state.cut.clone())
    };
    let Some(target) = target else { return };
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = cut.cancelled() => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = frames(from_server, to_client, &state) => {}
    }
}

/// Passes on frame by frame what the bridge says.
async fn frames(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    loop {
        let mut frame = vec![0; 9];
        from.read_exact(&mut frame).await?;
        let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
        frame.resize(9 + length, 0);
        from.read_exact(&mut frame[9..]).await?;
        if frame[3] == DATA {
            let mut state = state.lock().expect("no connection panics");
            let found = |word: &str| frame.windows(word.len()).any(|w| w == word.as_bytes());
            if state.needle.is_some_and(found) {
                state.needle = None;
                state.target = None;
                return Ok(());
            }
        }
        to.write_all(&frame).await?;
    }
}
