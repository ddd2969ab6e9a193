//! The response body is the stream: reports are read for as long as the client takes what it is sent, which is next to
//! nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::client::Client;
use crate::clock;
use crate::grpc::pace::{self, jittered};
use crate::grpc::server::Inbox;
use crate::grpc::stream::{Frames, end, framed, response};
use crate::grpc::turns::begins;
use crate::grpc::visitor::{Encoded, receive};
use crate::intake::Pace;
use crate::loads::Say;

/// Reports that one stream is read per second, and at once after quiet. Clients are asked for one a second at most.
const REPORTS: u32 = 5;
const BURST: u32 = 20;

struct Conversation {
    client: Client,
    inbox: Inbox<Encoded>,
    rate: pace::Pace,
    pace: watch::Receiver<Pace>,
    /// Where clusters are named: that there are others.
    published: watch::Receiver<u64>,
    /// It begins then.
    turn: Option<Instant>,
    /// `xds.max_stream_age`
    ends: Option<Instant>,
    stop: CancellationToken,
    over: bool,
}

/// One stream, which begins at `turn`.
pub(super) fn open(client: Client, turn: Instant, requests: Body, stop: CancellationToken) -> Response<Body> {
    let (now, age) = (clock::now(), client.visitor.door().options.now().max_stream_age);
    response(Conversation {
        inbox: Inbox::new(
            requests,
            client.visitor.door().options.now().max_request_bytes,
            client.visitor.caller().cloned(),
        ),
        rate: pace::Pace::new(REPORTS, BURST, now),
        pace: client.loads.pace(),
        published: client.fanout.published(),
        turn: Some(turn),
        ends: (!age.is_zero()).then(|| now + jittered(age)),
        client,
        stop,
        over: false,
    })
}

impl Frames for Conversation {
    fn excuse(&mut self, time: Duration) {
        self.inbox.excuse(time);
    }

    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if self.over {
            return None;
        }
        match self.next().await {
            Ok(data) => Some(Frame::data(data)),
            Err(status) => {
                self.over = true;
                Some(end(&status))
            }
        }
    }
}

impl Conversation {
    /// The next response, or the status that the stream ends with.
    async fn next(&mut self) -> Result<Bytes, Status> {
        let done = || Status::new(Code::Ok, "");
        if let Some(turn) = self.turn.take()
            && !begins(turn, &self.stop).await
        {
            return Err(done());
        }
        loop {
            let now = clock::now();
            let (interval, until) = self.pace.borrow_and_update().interval(now);
            self.published.mark_unchanged();
            match self.client.poll(interval) {
                Some(Say::Response(response)) => return Ok(framed(&response)),
                Some(Say::End) => return Err(done()),
                None => {}
            }
            let (wait, names) = (self.rate.wait(now), self.client.needs_names());
            let received = tokio::select! {
                () = self.stop.cancelled() => return Err(done()),
                () = clock::until(self.ends) => return Err(done()),
                () = clock::until(until) => continue,
                // The senders live as long as the port.
                Ok(()) = self.pace.changed() => continue,
                Ok(()) = self.published.changed(), if names => continue,
                received = receive(&mut self.inbox, wait) => received,
            };
            let report = received.map_err(|status| self.client.visitor.unread(status))?;
            let Some(report) = report else { return Err(done()) };
            let now = clock::now();
            self.rate.take(now);
            if !self.rate.wait(now).is_zero() {
                self.client.too_fast();
            }
            let is_large = self.inbox.is_large();
            let reported = self.client.report(report, is_large).await;
            self.inbox.handled();
            reported?;
        }
    }
}
