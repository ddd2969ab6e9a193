//! Requests that are large: the rest of one is read in turns, at a bounded rate of all connections together, and it is
//! decoded on a thread that serves no stream, a few at once. What nearly all clients send is neither.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::held::Held;
use super::incoming::Incoming;
use crate::clock;
use crate::grpc::pace::Pace;

/// Beyond this a request is large: its rest is read in turns, and it is decoded aside. An Envoy that reconnects with 10,000
/// clusters sends less: a thousand of them are read as fast as they can be answered, and no faster, so that they do
/// not lie here.
pub(super) const LARGE: usize = 1 << 20;

/// What is read in one turn.
pub(super) const TURN: usize = 64 << 10;

/// Turns of all connections together in a second: 64 MiB.
const TURNS: u32 = 1_024;

/// Turns that nobody took, and that may be taken at once.
const SAVED: u32 = 16;

/// Requests that are decoded aside, or decoded and not handled, at once: each may take some 50 MiB.
const DECODERS: usize = 2;

/// A request may have at least as many entries, whatever `xds.max_names` is.
const ENTRIES: usize = 500_000;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Large {
    pace: Mutex<Pace>,
    decoders: Arc<Semaphore>,
    /// Names and claims of one request: decoded, each takes far more than it may have bytes.
    entries: usize,
}

/// A request that is being decoded aside.
#[derive(Debug)]
pub(super) struct Decoding<M> {
    /// Its bytes.
    pub(super) bytes: usize,
    task: AbortOnDropHandle<Result<Decoded<M>, Status>>,
}

/// A request, and its place among those that are decoded and not handled.
pub(super) type Decoded<M> = (M, OwnedSemaphorePermit);

impl Large {
    /// With this maximum of names of one type on one stream.
    pub(super) fn new(names: usize) -> Self {
        Self {
            pace: Mutex::new(Pace::new(TURNS, SAVED, clock::now())),
            decoders: Arc::new(Semaphore::new(DECODERS)),
            entries: names.saturating_mul(2).max(ENTRIES),
        }
    }

    /// When the next turn is, for whoever asks now. Who waits for one asks for no other, so all have equally many.
    pub(super) fn turn(&self, now: Instant) -> Instant {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = pace.wait(now);
        pace.take(now);
        now + wait
    }

    /// Begins to decode a request.
    pub(super) fn decode<M: Incoming>(&self, message: Held) -> Decoding<M> {
        let (decoders, entries, bytes) = (self.decoders.clone(), self.entries, message.len());
        let task = tokio::spawn(async move {
            let place = decoders.acquire_owned().await;
            let place = place.map_err(|e| Status::internal(e.to_string()))?;
            // The place is taken also when nobody waits for it any more.
            let decoding =
                tokio::task::spawn_blocking(move || Ok((M::read(message.join(), Some(entries))?, place)));
            decoding.await.map_err(|e| Status::internal(e.to_string()))?
        });
        Decoding {
            bytes,
            task: AbortOnDropHandle::new(task),
        }
    }
}

/// May be dropped and polled again, until it is ready.
impl<M> Future for Decoding<M> {
    type Output = Result<Decoded<M>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let decoded = ready!(Pin::new(&mut self.task).poll(cx));
        Poll::Ready(decoded.unwrap_or_else(|e| Err(Status::internal(e.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message as _;
    use tonic::Code;

    use super::*;
    use crate::xds::DeltaRequest;

    #[tokio::test(start_paused = true)]
    async fn turns_come_one_after_the_other() {
        let (large, now) = (Large::new(1), clock::now());
        for _ in 0..SAVED {
            assert_eq!(large.turn(now), now);
        }
        let next = large.turn(now);
        assert!(next > now && large.turn(now) - now == 2 * (next - now));
        let second: Vec<Instant> = (0..TURNS).map(|_| large.turn(now)).collect();
        let last = second.last().map(|last| last.duration_since(now).as_millis());
        assert_eq!(last, Some(1_001));
        let later = now + Duration::from_secs(60);
        assert_eq!(large.turn(later), later, "nothing is owed after a pause");
    }

    #[tokio::test]
    async fn a_request_of_far_too_many_names_is_not_decoded() {
        let of = |names: usize| DeltaRequest {
            subscribe: vec![String::new(); names],
            ..DeltaRequest::default()
        };
        let large = Large::new(1);
        let held = |bytes: Vec<u8>| Held::One(bytes.into());
        let decoded = large.decode::<DeltaRequest>(held(of(ENTRIES).encode_to_vec()));
        let (request, place) = decoded.await.unwrap();
        assert_eq!(request.subscribe.len(), ENTRIES);
        assert_eq!(large.decoders.available_permits(), DECODERS - 1);
        drop(place);
        let refused = large.decode::<DeltaRequest>(held(of(ENTRIES + 1).encode_to_vec()));
        assert_eq!(refused.await.unwrap_err().code(), Code::OutOfRange);
        let wrong = large.decode::<DeltaRequest>(held(vec![0xff; 100]));
        assert_eq!(wrong.await.unwrap_err().code(), Code::Internal);
        assert_eq!(large.decoders.available_permits(), DECODERS);
    }
}
