//! Reads requests off a stream's body. As tonic's own reader does, except that it keeps no
//! buffer between messages: the first request of an Envoy names all its clusters, and a
//! reader that keeps that buffer costs 100 KiB for each stream, for good.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::connection::Caller;
use super::held::Held;
use super::incoming::Incoming;
use super::large::{Decoding, LARGE, TURN};
use crate::clock;

/// gRPC's prefix: compressed or not, and a length.
const PREFIX: usize = 5;

/// What may lie here of a stream that sends faster than it is read.
const BACKLOG: usize = 256 << 10;

/// What is not worth counting: a request that came in one piece.
const SMALL: usize = 16 << 10;

/// A request that has begun is here in full by then.
const WHOLE: Duration = Duration::from_secs(15);

/// The requests of one stream.
#[derive(Debug)]
pub(in crate::grpc) struct Inbox<M> {
    body: Body,
    /// What has arrived and is not read yet.
    held: Held,
    ended: bool,
    max: usize,
    /// Since when a request is under way.
    begun: Option<Instant>,
    /// Whose budget what is held here counts to, and how much of it does.
    caller: Option<Caller>,
    counted: usize,
    /// A large request that is here in full.
    decoding: Option<Decoding<M>>,
    /// Of the large request that was decoded last, until it is handled.
    place: Option<OwnedSemaphorePermit>,
    /// Of a large request that is not: since when its turn is waited for, and when that is; what may be read in it.
    turn: Option<(Instant, Instant)>,
    granted: usize,
}

impl<M: Incoming> Inbox<M> {
    /// No message may have more than `max` bytes.
    pub(in crate::grpc) const fn new(body: Body, max: usize, caller: Option<Caller>) -> Self {
        Self {
            body,
            held: Held::new(),
            ended: false,
            max,
            begun: None,
            caller,
            counted: 0,
            decoding: None,
            place: None,
            turn: None,
            granted: 0,
        }
    }

    /// The next request; `None` at the end of the stream. May be dropped and called again.
    pub(in crate::grpc) async fn message(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(decoding) = &mut self.decoding {
                let decoded = decoding.await;
                self.decoding = None;
                self.count()?;
                let (message, place) = decoded?;
                self.place = Some(place);
                return Ok(Some(message));
            }
            if let Some(message) = self.whole()? {
                self.begun = None;
                if let Some(caller) = self.caller.as_ref().filter(|_| message.len() > LARGE) {
                    self.decoding = Some(caller.account().large().decode(message));
                    self.count()?;
                    continue;
                }
                self.count()?;
                return M::read(message.join(), None).map(Some);
            }
            if !self.ended && self.held.is_empty() {
                self.fill().await?;
            } else if !self.ended {
                self.turn().await;
                let begun = *self.begun.get_or_insert_with(clock::now);
                let filled = tokio::time::timeout_at(begun + WHOLE, self.fill()).await;
                filled
                    .map_err(|_| Status::deadline_exceeded("a request that had begun did not arrive"))??;
            } else if self.held.is_empty() {
                return Ok(None);
            } else {
                return Err(Status::internal("the stream ends within a message"));
            }
        }
    }

    /// A request is here, and others wait for its place: nothing else is to come before it.
    pub(in crate::grpc) const fn is_decoding(&self) -> bool {
        self.decoding.is_some()
    }

    /// Whether the last request is a large one that is not [`Self::handled`].
    pub(in crate::grpc) const fn is_large(&self) -> bool {
        self.place.is_some()
    }

    /// The last request is handled.
    pub(in crate::grpc) fn handled(&mut self) {
        self.place = None;
    }

    /// Takes in what arrives while it is too early to read it: h2 ends the whole connection of a client whose small
    /// frames lie unread. Returns only when there is too much of it, or the stream is broken.
    pub(in crate::grpc) async fn overflow(&mut self) -> Status {
        loop {
            if self.held.len() > BACKLOG && self.is_whole() {
                return Status::resource_exhausted("requests come faster than xds.max_requests_per_second");
            }
            // The rest of a large request waits with the client: flow control holds it back.
            if self.ended || self.held.len() > BACKLOG {
                return std::future::pending().await;
            }
            if let Err(status) = self.fill().await {
                return status;
            }
        }
    }

    /// Waits for its turn, if what is under way is large. That is not the client's delay.
    async fn turn(&mut self) {
        let Some(caller) = &self.caller else { return };
        if self.held.len() < LARGE || self.granted > 0 {
            return;
        }
        let ask = || {
            let now = clock::now();
            (now, caller.account().large().turn(now))
        };
        let (asked, turn) = *self.turn.get_or_insert_with(ask);
        if turn > clock::now() {
            tokio::time::sleep_until(turn).await;
        }
        self.turn = None;
        self.granted = TURN;
        self.excuse(turn - asked);
    }

    /// A message without its prefix, once it is here in full.
    fn whole(&mut self) -> Result<Option<Held>, Status> {
        let Some(prefix) = self.held.prefix() else {
            return Ok(None);
        };
        let length = length(prefix)?;
        if length > self.max {
            let why = format!("a request of {length} bytes; the limit is {}", self.max);
            return Err(Status::out_of_range(why));
        }
        if self.held.len() < PREFIX + length {
            return Ok(None);
        }
        drop(self.held.take(PREFIX));
        Ok(Some(self.held.take(length)))
    }

    /// Whether a message is here in full.
    fn is_whole(&self) -> bool {
        let length = self.held.prefix().and_then(|prefix| length(prefix).ok());
        length.is_some_and(|length| self.held.len() >= PREFIX + length)
    }

    async fn fill(&mut self) -> Result<(), Status> {
        match self.body.frame().await.transpose()? {
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    self.granted = self.granted.saturating_sub(data.len());
                    self.held.put(data);
                    self.count()?;
                }
            }
            None => self.ended = true,
        }
        Ok(())
    }

    /// Nothing was read here for this time, because the client did not read what it was sent.
    pub(in crate::grpc) fn excuse(&mut self, time: Duration) {
        self.begun = self.begun.map(|begun| begun + time);
    }

    /// Counts what is held. A small request that comes in one piece is not worth it, what waits behind it is.
    fn count(&mut self) -> Result<(), Status> {
        let held = match &self.held {
            Held::One(bytes) if bytes.len() <= SMALL => 0,
            held => held.len(),
        };
        let held = held + self.decoding.as_ref().map_or(0, |decoding| decoding.bytes);
        let Some(caller) = &self.caller else { return Ok(()) };
        let before = std::mem::replace(&mut self.counted, held);
        let too_much =
            |_| Status::resource_exhausted("too many bytes of requests under way on this connection");
        caller.account().change(before, held).map_err(too_much)
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        if let Some(caller) = &self.caller {
            // Less is never too much.
            let _ = caller.account().change(self.counted, 0);
        }
    }
}

/// The length that a prefix says. A message may be compressed, and then it is not read.
fn length(prefix: [u8; PREFIX]) -> Result<usize, Status> {
    let [compressed, length @ ..] = prefix;
    if compressed != 0 {
        return Err(Status::unimplemented("compressed requests are not read here"));
    }
    Ok(u32::from_be_bytes(length) as usize)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::{FutureExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use prost::Message as _;
    use tonic::Code;

    use super::super::budget::Budget;
    use super::super::large::Large;
    use super::*;
    use crate::places::{Places, Safe};
    use crate::xds::DeltaRequest;

    fn frame(request: &DeltaRequest) -> Vec<u8> {
        let body = request.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    }

    fn inbox(bytes: &[u8], piece: usize, max: usize) -> Inbox<DeltaRequest> {
        let pieces: Vec<Result<_, Infallible>> = bytes
            .chunks(piece)
            .map(|p| Ok(Frame::data(Bytes::copy_from_slice(p))))
            .collect();
        Inbox::new(Body::new(StreamBody::new(stream::iter(pieces))), max, None)
    }

    fn request(length: usize) -> DeltaRequest {
        DeltaRequest {
            nonce: "n".repeat(length),
            ..DeltaRequest::default()
        }
    }

    /// A request of about this length, of a client that is known.
    async fn of_caller(length: usize) -> Inbox<DeltaRequest> {
        let safe = Safe {
            silent: Duration::ZERO,
            speaking: Duration::ZERO,
        };
        let address = ([127, 0, 0, 1], 1).into();
        let (place, _) = Places::new(1, safe)
            .enter(std::net::SocketAddr::ip(&address))
            .await;
        let budget = Budget::new(64 << 20, 16 << 20, Large::new(1));
        let caller = Caller::new(address, Vec::new(), place, &budget);
        let mut inbox = inbox(&frame(&request(length)), 16 << 10, 16 << 20);
        inbox.caller = Some(caller);
        inbox
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_rest_of_a_large_request_waits_for_turns() {
        for (length, waits) in [(LARGE - 100, false), (8 * LARGE, true)] {
            let mut inbox = of_caller(length).await;
            let began = clock::now();
            let message = inbox.message().await.unwrap();
            assert!(message.is_some_and(|message| message.nonce.len() == length));
            assert_eq!(clock::now() > began, waits, "{length}");
        }
    }

    #[tokio::test]
    async fn a_large_request_is_decoded_aside_and_has_its_place_until_it_is_handled() {
        let mut inbox = of_caller(LARGE + 1).await;
        assert!(inbox.message().now_or_never().is_none());
        assert!(inbox.is_decoding() && !inbox.is_large());
        assert!(inbox.counted > LARGE, "its memory counts until it is taken");
        let message = inbox.message().await.unwrap();
        assert!(message.is_some_and(|message| message.nonce.len() == LARGE + 1));
        assert!(!inbox.is_decoding() && inbox.is_large() && inbox.counted == 0);
        inbox.handled();
        assert!(!inbox.is_large());
        let mut small = of_caller(LARGE / 2).await;
        assert!(small.message().now_or_never().is_some() && !small.is_large());
    }

    #[tokio::test]
    async fn messages_arrive_in_pieces_of_any_size() {
        let lengths = [0, 1, 300, 0, 7, 200_000, 3];
        let bytes: Vec<u8> = lengths.iter().flat_map(|n| frame(&request(*n))).collect();
        for piece in [1, 2, 5, 6, 7, 100, 1_000, 150_000] {
            let mut inbox = inbox(&bytes, piece, 1_000_000);
            for n in lengths {
                assert_eq!(inbox.message().await.unwrap(), Some(request(n)));
            }
            assert_eq!(inbox.message().await.unwrap(), None);
            assert!(matches!(&inbox.held, Held::One(rest) if rest.is_empty()));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_ends_the_stream() {
        let bytes = frame(&request(100));
        let code = |inbox: Inbox<DeltaRequest>| async {
            let mut inbox = inbox;
            inbox.message().await.unwrap_err().code()
        };
        assert_eq!(code(inbox(&bytes, 50, 100)).await, Code::OutOfRange);
        assert_eq!(code(inbox(&bytes[..50], 50, 200)).await, Code::Internal);
        assert_eq!(code(inbox(&[0, 0, 0, 0, 1, 0xff], 50, 200)).await, Code::Internal);
        assert_eq!(
            code(inbox(&[1, 0, 0, 0, 1, 0], 50, 200)).await,
            Code::Unimplemented
        );
    }
}
