//! Detects when a request was really sent. On a full HTTP/2 connection it queues silently; hyper drops its body once the
//! stream opens, so we watch for that drop. Requests are sent one at a time because h2 counts a stream only after
//! opening it. Never judges what a delay means.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// A body whose drop is noticed: hyper drops the empty body of a request once that has its stream.
pub(super) struct Tracked {
    body: Full<Bytes>,
    _turn: Option<OwnedMutexGuard<()>>,
    _alive: oneshot::Sender<Infallible>,
}

/// Resolves once the request was sent.
pub(super) struct Sent(oneshot::Receiver<Infallible>);

/// `turn`: nothing else is sent before it.
pub(super) fn track(body: Bytes, turn: Option<OwnedMutexGuard<()>>) -> (Tracked, Sent) {
    let (alive, sent) = oneshot::channel();
    let tracked = Tracked {
        body: Full::new(body),
        _turn: turn,
        _alive: alive,
    };
    (tracked, Sent(sent))
}

impl Sent {
    pub(super) async fn wait(self) {
        let _ = self.0.await; // never a value: the end of the body ends it
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whose turn it is to be sent.
pub(super) type SendOrder = Arc<Mutex<()>>;

/// Requests that were sent and are not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

/// One of them; over when dropped.
pub(super) struct One(InFlight);

impl InFlight {
    pub(super) fn begin(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self.clone())
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
