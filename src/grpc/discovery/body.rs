//! The response body is the stream: hyper asks for the next frame when the client
//! can take one, and only then the engine is polled for a response. So a slow reader
//! holds no queue, and what it gets is the newest state.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::admission::Slot;
use super::peer::Peer;
use crate::clock;
use crate::grpc::pace::Pace;
use crate::grpc::server::Inbox;
use crate::grpc::stream::{Frames, end, response};
use crate::grpc::turns::begins;
use crate::metrics::Limit;
use crate::xds::{DeltaRequest, Request, Response, SotwRequest, Variant};

/// Small pieces are joined up to this size: one HTTP/2 frame for each resource
/// costs more than copying it.
const CHUNK: usize = 16 << 10;

/// Larger ones are passed on as they are, shared with all streams.
const SMALL: usize = 4 << 10;

enum Requests {
    Delta(Inbox<DeltaRequest>),
    Sotw(Inbox<SotwRequest>),
}

impl Requests {
    fn excuse(&mut self, time: Duration) {
        match self {
            Self::Delta(inbox) => inbox.excuse(time),
            Self::Sotw(inbox) => inbox.excuse(time),
        }
    }

    const fn is_decoding(&self) -> bool {
        match self {
            Self::Delta(inbox) => inbox.is_decoding(),
            Self::Sotw(inbox) => inbox.is_decoding(),
        }
    }

    const fn is_large(&self) -> bool {
        match self {
            Self::Delta(inbox) => inbox.is_large(),
            Self::Sotw(inbox) => inbox.is_large(),
        }
    }

    fn handled(&mut self) {
        match self {
            Self::Delta(inbox) => inbox.handled(),
            Self::Sotw(inbox) => inbox.handled(),
        }
    }

    async fn overflow(&mut self) -> Status {
        match self {
            Self::Delta(inbox) => inbox.overflow().await,
            Self::Sotw(inbox) => inbox.overflow().await,
        }
    }
}

struct Conversation {
    peer: Peer,
    requests: Requests,
    pace: Pace,
    first: First,
    sending: VecDeque<Bytes>,
    over: bool,
}

/// How far the stream is with its first response.
enum First {
    /// It begins then.
    Queued(Instant),
    /// Nothing was sent yet.
    Waiting,
    /// It holds a place while it is being sent.
    Sending(
        #[expect(dead_code, reason = "held, and freed when dropped")] (Slot, Option<OwnedSemaphorePermit>),
    ),
    /// It is handed out.
    Sent,
}

/// Requests come in bursts: an Envoy that starts asks for each type, and for names as it learns them.
const BURST: u32 = 5;

/// One discovery stream, which begins at `turn`.
pub(super) fn open(peer: Peer, turn: Instant, requests: Body) -> http::Response<Body> {
    let (max_request, rate) = {
        let options = peer.shared().options.now();
        (options.max_request_bytes, options.max_requests_per_second)
    };
    let caller = peer.caller().cloned();
    let requests = match peer.variant() {
        Variant::Delta => Requests::Delta(Inbox::new(requests, max_request, caller)),
        Variant::Sotw => Requests::Sotw(Inbox::new(requests, max_request, caller)),
    };
    response(Conversation {
        peer,
        requests,
        pace: Pace::new(rate, rate.saturating_mul(BURST), clock::now()),
        first: First::Queued(turn),
        sending: VecDeque::new(),
        over: false,
    })
}

impl Frames for Conversation {
    fn excuse(&mut self, time: Duration) {
        self.requests.excuse(time);
    }

    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if self.over {
            return None;
        }
        if let First::Queued(turn) = self.first {
            if !begins(turn, &self.peer.stop).await {
                return Some(self.end(&Status::new(Code::Ok, "")));
            }
            self.first = First::Waiting;
        }
        loop {
            if let Some(data) = self.data() {
                return Some(Frame::data(data));
            }
            if matches!(self.first, First::Sending(_)) {
                self.first = First::Sent;
            }
            if self.peer.is_old() {
                return Some(self.end(&Status::new(Code::Ok, "")));
            }
            let received = if self.requests.is_decoding() {
                receive(&mut self.requests, Duration::ZERO).await
            } else {
                let response = match self.respond().await {
                    Ok(response) => response,
                    Err(Stopped) => return Some(self.end(&Status::new(Code::Ok, ""))),
                };
                if let Some(response) = response {
                    self.sending.push_back(response.head());
                    // The rest of it may be large, and this client slow.
                    self.sending.extend(response.pieces);
                    continue;
                }
                let wait = self.pace.wait(clock::now());
                tokio::select! {
                    () = self.peer.stop.cancelled() => return Some(self.end(&Status::new(Code::Ok, ""))),
                    () = self.peer.old() => continue,
                    () = self.peer.changed() => continue,
                    received = receive(&mut self.requests, wait) => received,
                }
            };
            let done = match received {
                Ok(Some(request)) => {
                    let now = clock::now();
                    self.pace.take(now);
                    if !self.pace.wait(now).is_zero() {
                        self.peer.too_fast();
                    }
                    let is_large = self.requests.is_large();
                    let handled = self.peer.handle_request(request, is_large).await;
                    self.requests.handled();
                    handled
                }
                Ok(None) => return Some(self.end(&Status::new(Code::Ok, ""))),
                Err(status) => Err(self.peer.unread(status)),
            };
            if let Err(status) = done {
                return Some(self.end(&status));
            }
        }
    }
}

impl Conversation {
    /// The response to send now, if any. The first response of a stream waits for a place.
    async fn respond(&mut self) -> Result<Option<Response>, Stopped> {
        if !matches!(self.first, First::Waiting) {
            return Ok(self.peer.next());
        }
        if !self.peer.is_named() {
            return Ok(None); // nothing was requested yet
        }
        // Its own connection's share first, so that a stream which waits for that holds no place of others.
        let share = match self.peer.first_share() {
            None => None,
            Some(share) => tokio::select! {
                () = self.peer.stop.cancelled() => return Err(Stopped),
                share = share.acquire_owned() => share.ok(),
            },
        };
        let slot = match self.peer.shared().admission.try_slot() {
            Some(slot) => slot,
            None => {
                self.peer.shared().metrics.reached(Limit::FirstResponses);
                tokio::select! {
                    () = self.peer.stop.cancelled() => return Err(Stopped),
                    slot = self.peer.shared().admission.slot() => slot,
                }
            }
        };
        let response = self.peer.next();
        if response.is_some() {
            self.first = First::Sending((slot, share));
        }
        Ok(response)
    }

    /// The next piece of the response that is being sent.
    fn data(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        loop {
            let Some(next) = self.sending.pop_front() else {
                self.sending = VecDeque::new(); // its memory too
                break;
            };
            if chunk.is_empty() && next.len() >= SMALL {
                return Some(next);
            }
            if !chunk.is_empty() && (next.len() >= SMALL || chunk.len() + next.len() > CHUNK) {
                self.sending.push_front(next);
                break;
            }
            chunk.extend_from_slice(&next);
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.over = true;
        end(status)
    }
}

/// The bridge is ending.
struct Stopped;

/// The next request, not before `wait` is over.
async fn receive(requests: &mut Requests, wait: Duration) -> Result<Option<Request>, Status> {
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            status = requests.overflow() => return Err(status),
        }
    }
    Ok(match requests {
        Requests::Delta(stream) => stream.message().await?.map(Request::Delta),
        Requests::Sotw(stream) => stream.message().await?.map(Request::Sotw),
    })
}
