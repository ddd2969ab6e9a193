//! The response body is the stream: hyper asks for the next frame when the client
//! can take one, and only then the engine is asked what to say. So a slow reader
//! holds no queue, and what it gets is the newest state.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::peer::Peer;
use crate::xds::{DeltaRequest, Response, SotwRequest, Variant};

/// Small frames are put together up to this size: one HTTP/2 frame for each of
/// 5,000 resources costs more than copying them. Larger ones are passed on as they are.
const CHUNK: usize = 16 << 10;

enum Requests {
    Delta(Streaming<DeltaRequest>),
    Sotw(Streaming<SotwRequest>),
}

struct Conversation {
    peer: Peer,
    requests: Requests,
    sending: VecDeque<Bytes>,
    response: Option<(Response, usize)>,
    over: bool,
}

/// The body of one discovery stream.
pub(super) fn body(peer: Peer, requests: Body, max_request: usize) -> Body {
    let requests = match peer.variant() {
        Variant::Delta => {
            let decoder = ProstCodec::<(), DeltaRequest>::default().decoder();
            Requests::Delta(Streaming::new_request(decoder, requests, None, Some(max_request)))
        }
        Variant::Sotw => {
            let decoder = ProstCodec::<(), SotwRequest>::default().decoder();
            Requests::Sotw(Streaming::new_request(decoder, requests, None, Some(max_request)))
        }
    };
    let conversation = Conversation {
        peer,
        requests,
        sending: VecDeque::new(),
        response: None,
        over: false,
    };
    Body::new(StreamBody::new(stream::unfold(
        conversation,
        |mut c| async move {
            let frame = c.frame().await?;
            Some((Ok::<_, Status>(frame), c))
        },
    )))
}

impl Conversation {
    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if self.over {
            return None;
        }
        loop {
            if let Some(data) = self.data() {
                return Some(Frame::data(data));
            }
            if let Some(response) = self.peer.next() {
                self.sending.push_back(response.head());
                self.response = Some((response, 0));
                continue;
            }
            let heard = tokio::select! {
                () = self.peer.over() => return Some(self.end(&Status::new(Code::Ok, ""))),
                () = self.peer.changed() => continue,
                heard = hear(&mut self.requests) => heard,
            };
            let done = match heard {
                Ok(Some(Request::Delta(request))) => self.peer.on_delta(request),
                Ok(Some(Request::Sotw(request))) => self.peer.on_sotw(request),
                Ok(None) => return Some(self.end(&Status::new(Code::Ok, ""))),
                Err(status) => Err(status),
            };
            if let Err(status) = done {
                return Some(self.end(&status));
            }
        }
    }

    /// The next piece of the response that is being sent.
    fn data(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        loop {
            let next = self.sending.pop_front().or_else(|| {
                let (response, at) = self.response.as_mut()?;
                let frame = response
                    .resources
                    .get(*at)
                    .map(|resource| response.frame(resource));
                *at += 1;
                frame
            });
            let Some(next) = next else {
                self.response = None;
                break;
            };
            if chunk.is_empty() && next.len() >= CHUNK {
                return Some(next);
            }
            if chunk.len() + next.len() > CHUNK && !chunk.is_empty() {
                self.sending.push_front(next);
                break;
            }
            chunk.extend_from_slice(&next);
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.over = true;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", http::HeaderValue::from(Code::Unknown as i32));
        }
        Frame::trailers(trailers)
    }
}

enum Request {
    Delta(DeltaRequest),
    Sotw(SotwRequest),
}

async fn hear(requests: &mut Requests) -> Result<Option<Request>, Status> {
    Ok(match requests {
        Requests::Delta(stream) => stream.message().await?.map(Request::Delta),
        Requests::Sotw(stream) => stream.message().await?.map(Request::Sotw),
    })
}
