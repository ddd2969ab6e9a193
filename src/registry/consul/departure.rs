//! Whether a request has left. On a connection that many share it may wait, without a word, until the other
//! end allows one more stream; nothing but the life of its body tells so from outside. A burst hides that,
//! since h2 counts a stream only once it is opened: so they leave one after the other. Never judges what it means.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// A body that tells when it is dropped: hyper does so once a request without one has its stream.
pub(super) struct Marked {
    body: Full<Bytes>,
    _turn: Option<OwnedMutexGuard<()>>,
    _held: oneshot::Sender<Infallible>,
}

/// Resolves once the request has left.
pub(super) struct Left(oneshot::Receiver<Infallible>);

/// `turn`: nobody else leaves before it.
pub(super) fn mark(body: Bytes, turn: Option<OwnedMutexGuard<()>>) -> (Marked, Left) {
    let (held, left) = oneshot::channel();
    let marked = Marked {
        body: Full::new(body),
        _turn: turn,
        _held: held,
    };
    (marked, Left(left))
}

impl Left {
    pub(super) async fn wait(self) {
        let _ = self.0.await; // never a value: the end of the body ends it
    }
}

impl Body for Marked {
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

/// Whose turn it is to leave.
pub(super) type Turns = Arc<Mutex<()>>;

/// Requests that have left and are not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Underway(Arc<AtomicUsize>);

/// One of them; over when dropped.
pub(super) struct One(Underway);

impl Underway {
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
