//! The end of a stream: the trailers that carry its status.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tonic::{Code, Status};

/// The last frame of a body.
pub(in crate::grpc) fn end(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert("grpc-status", HeaderValue::from(Code::Unknown as i32));
    }
    Frame::trailers(trailers)
}
