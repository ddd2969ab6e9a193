//! A stream of the port: the response that opens it, its body frame by frame, and the trailers that end it.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::clock;

/// Both sides of one stream: what is sent, and what is read as long as the client takes it.
pub(in crate::grpc) trait Frames: Send + 'static {
    /// The client took this long to ask for more: nothing was read meanwhile.
    fn excuse(&mut self, time: Duration);

    /// What is sent next; `None`: it is over.
    fn frame(&mut self) -> impl Future<Output = Option<Frame<Bytes>>> + Send;
}

/// Headers go out at once, before the first request is read (rule 1).
pub(in crate::grpc) fn response(frames: impl Frames) -> Response<Body> {
    let body = stream::unfold((frames, clock::now()), |(mut frames, handed)| async move {
        frames.excuse(clock::now() - handed);
        let frame = frames.frame().await?;
        Some((Ok::<_, Status>(frame), (frames, clock::now())))
    });
    let mut response = Response::new(Body::new(StreamBody::new(body)));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// The last frame of a body.
pub(in crate::grpc) fn end(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from(Code::Unknown as i32));
    }
    Frame::trailers(trailers)
}

/// With gRPC's prefix: not compressed, and a length.
pub(in crate::grpc) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}
