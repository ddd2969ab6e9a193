//! Reads requests off a stream's body. As tonic's own reader does, except that it keeps no
//! buffer between messages: the first request of an Envoy names all its clusters, and a
//! reader that keeps that buffer costs 100 KiB for each stream, for good.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use prost::Message;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::connection::Caller;
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
    message: PhantomData<fn() -> M>,
}

/// Mostly a message comes in one piece, and is read where it lies.
#[derive(Debug)]
enum Held {
    One(Bytes),
    Many(BytesMut),
}

impl<M: Message + Default> Inbox<M> {
    /// No message may have more than `max` bytes.
    pub(in crate::grpc) const fn new(body: Body, max: usize, caller: Option<Caller>) -> Self {
        Self {
            body,
            held: Held::One(Bytes::new()),
            ended: false,
            max,
            begun: None,
            caller,
            counted: 0,
            message: PhantomData,
        }
    }

    /// The next request; `None` at the end of the stream. May be dropped and called again.
    pub(in crate::grpc) async fn message(&mut self) -> Result<Option<M>, Status> {
        loop {
            if let Some(message) = self.held.take(self.max)? {
                self.begun = None;
                self.count()?;
                let decoded = M::decode(message);
                return decoded.map(Some).map_err(|e| Status::internal(e.to_string()));
            }
            if !self.ended && self.held.is_empty() {
                self.fill().await?;
            } else if !self.ended {
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

    /// Takes in what arrives while it is too early to read it: h2 ends the whole connection of a client whose small
    /// frames lie unread. Returns only when there is too much of it, or the stream is broken.
    pub(in crate::grpc) async fn overflow(&mut self) -> Status {
        loop {
            if self.held.bytes().len() > BACKLOG && self.held.is_whole() {
                return Status::resource_exhausted("requests come faster than xds.max_requests_per_second");
            }
            // The rest of a large request waits with the client: flow control holds it back.
            if self.ended || self.held.bytes().len() > BACKLOG {
                return std::future::pending().await;
            }
            if let Err(status) = self.fill().await {
                return status;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Status> {
        match self.body.frame().await.transpose()? {
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
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
            held => held.bytes().len(),
        };
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

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Many(bytes) => bytes,
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Whether a message is here in full.
    fn is_whole(&self) -> bool {
        let mut bytes = self.bytes();
        bytes.len() >= PREFIX && {
            bytes.advance(1);
            let length = bytes.get_u32() as usize;
            bytes.len() >= length
        }
    }

    fn put(&mut self, data: Bytes) {
        match self {
            Self::One(bytes) if bytes.is_empty() => *self = Self::One(data),
            Self::One(bytes) => {
                let mut many = BytesMut::from(&bytes[..]);
                many.extend_from_slice(&data);
                *self = Self::Many(many);
            }
            Self::Many(bytes) => bytes.extend_from_slice(&data),
        }
    }

    /// A message without its prefix, once it is here in full.
    fn take(&mut self, max: usize) -> Result<Option<Bytes>, Status> {
        let Some(mut prefix) = self.bytes().get(..PREFIX) else {
            return Ok(None);
        };
        if prefix.get_u8() != 0 {
            return Err(Status::unimplemented("compressed requests are not read here"));
        }
        let length = prefix.get_u32() as usize;
        if length > max {
            let why = format!("a request of {length} bytes; the limit is {max}");
            return Err(Status::out_of_range(why));
        }
        if self.bytes().len() < PREFIX + length {
            return Ok(None);
        }
        let mut message = match self {
            Self::One(bytes) => bytes.split_to(PREFIX + length),
            Self::Many(bytes) => {
                let message = bytes.split_to(PREFIX + length).freeze();
                let rest = Bytes::copy_from_slice(bytes); // the buffer goes with the message
                *self = Self::One(rest);
                message
            }
        };
        if self.is_empty() {
            *self = Self::One(Bytes::new());
        }
        message.advance(PREFIX);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::Code;

    use super::*;
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

    #[tokio::test]
    async fn messages_arrive_in_pieces_of_any_size() {
        let request = |n: usize| DeltaRequest {
            nonce: "n".repeat(n),
            ..DeltaRequest::default()
        };
        let lengths = [0, 1, 300, 0, 7];
        let bytes: Vec<u8> = lengths.iter().flat_map(|n| frame(&request(*n))).collect();
        for piece in [1, 2, 5, 6, 7, 100, 1_000] {
            let mut inbox = inbox(&bytes, piece, 1_000);
            for n in lengths {
                assert_eq!(inbox.message().await.unwrap(), Some(request(n)));
            }
            assert_eq!(inbox.message().await.unwrap(), None);
            assert!(matches!(&inbox.held, Held::One(rest) if rest.is_empty()));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_ends_the_stream() {
        let request = DeltaRequest {
            nonce: "n".repeat(100),
            ..DeltaRequest::default()
        };
        let bytes = frame(&request);
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
