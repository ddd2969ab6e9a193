//! The response body is the stream: messages are read until the client ends it, and it is sent nothing before. One that
//! has had nothing to log for a while gives its connection back.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::client::Client;
use crate::clock;
use crate::grpc::pace::{Pace, jittered};
use crate::grpc::server::Inbox;
use crate::grpc::stream::{Frames, end, response};
use crate::grpc::turns::begins;
use crate::grpc::visitor::{Encoded, receive};

/// Messages that one stream is read per second, and at once after quiet. An Envoy sends one a second, and one for each
/// 16 KiB.
const MESSAGES: u32 = 50;
const BURST: u32 = 100;

/// The longest message, bytes: the node of an Envoy takes 60 KiB, and an entry as much as a path may be long.
const LONGEST: usize = 1 << 20;

/// Without a message for this time the stream ends, and with it a connection that has no other: each thread of an Envoy
/// opened one for it.
const IDLE: Duration = Duration::from_secs(60);

/// gRPC's prefix of an empty message: `StreamAccessLogsResponse`.
const EMPTY: &[u8] = &[0; 5];

struct Conversation {
    client: Client,
    inbox: Inbox<Encoded>,
    rate: Pace,
    /// It begins then.
    turn: Option<Instant>,
    /// `xds.max_stream_age`
    ends: Option<Instant>,
    stop: CancellationToken,
    over: Over,
}

/// How far the response is.
#[derive(PartialEq)]
enum Over {
    No,
    /// The one message was sent.
    Answered,
    Yes,
}

/// One stream, which begins at `turn`.
pub(super) fn open(client: Client, turn: Instant, requests: Body, stop: CancellationToken) -> Response<Body> {
    let (now, age) = (clock::now(), client.visitor.door().options.now().max_stream_age);
    let most = client.visitor.door().options.now().max_request_bytes.min(LONGEST);
    response(Conversation {
        inbox: Inbox::new(requests, most, client.visitor.caller().cloned()),
        rate: Pace::new(MESSAGES, BURST, now),
        turn: Some(turn),
        ends: (!age.is_zero()).then(|| now + jittered(age)),
        client,
        stop,
        over: Over::No,
    })
}

impl Frames for Conversation {
    fn excuse(&mut self, time: Duration) {
        self.inbox.excuse(time);
    }

    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        match self.over {
            Over::Yes => return None,
            Over::Answered => {
                self.over = Over::Yes;
                return Some(end(&Status::new(Code::Ok, "")));
            }
            Over::No => {}
        }
        match self.read().await {
            Ok(()) => {
                self.over = Over::Answered;
                Some(Frame::data(Bytes::from_static(EMPTY)))
            }
            Err(status) => {
                self.over = Over::Yes;
                Some(end(&status))
            }
        }
    }
}

impl Conversation {
    /// Until the stream ends.
    async fn read(&mut self) -> Result<(), Status> {
        if let Some(turn) = self.turn.take()
            && !begins(turn, &self.stop).await
        {
            return Ok(());
        }
        loop {
            let now = clock::now();
            let wait = self.rate.wait(now);
            let received = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = clock::until(self.ends) => return Ok(()),
                () = tokio::time::sleep_until(now + IDLE) => {
                    self.client.idle();
                    return Ok(());
                }
                received = receive(&mut self.inbox, wait) => received,
            };
            let message = received.map_err(|status| self.client.visitor.unread(status))?;
            let Some(message) = message else { return Ok(()) };
            let now = clock::now();
            self.rate.take(now);
            if !self.rate.wait(now).is_zero() {
                self.client.too_fast();
            }
            let taken = self.client.take(&message);
            self.inbox.handled();
            taken?;
        }
    }
}
