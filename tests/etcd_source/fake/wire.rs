//! What of gRPC and of etcd's messages the fake needs: the requests that we send, and frames.
//!
//! Spelled out here, because etcd-client gives its own only together with servers for everything.

use std::convert::Infallible;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::OK;

#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
    #[prost(int64, tag = "4")]
    pub(super) revision: i64,
    #[prost(bool, tag = "9")]
    pub(super) count_only: bool,
    #[prost(int64, tag = "10")]
    pub(super) written_since: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) create: Option<CreateRequest>,
    #[prost(message, optional, tag = "3")]
    pub(super) progress: Option<Progress>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) from: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Progress {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) password: String,
}

pub(super) type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>;

pub(super) type Answer = StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>>;

pub(super) fn response(
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, Infallible>>,
) -> Response<Answer> {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(UnboundedReceiverStream::new(frames)))
        .unwrap()
}

/// gRPC's frame of one message: not compressed, its length, and it.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

pub(super) fn once(to: &Sender, message: &impl Message) {
    let _ = to.send(Ok(Frame::data(framed(message))));
    fail(to, OK, "");
}

pub(super) fn fail(to: &Sender, code: i32, text: &str) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.to_string().parse().unwrap());
    trailers.insert("grpc-message", text.replace(' ', "%20").parse().unwrap());
    let _ = to.send(Ok(Frame::trailers(trailers)));
}

/// Messages out of a request's body.
pub(super) struct Messages {
    body: http_body_util::BodyDataStream<Incoming>,
    buffer: BytesMut,
}

impl Messages {
    pub(super) fn new(body: Incoming) -> Self {
        Self {
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
        }
    }

    pub(super) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(length) = self.buffer.get(1..5).map(|mut l| l.get_u32() as usize)
                && self.buffer.len() >= 5 + length
            {
                let mut message = self.buffer.split_to(5 + length);
                message.advance(5);
                return Some(M::decode(message).unwrap());
            }
            self.buffer.extend_from_slice(&self.body.next().await?.ok()?);
        }
    }
}
