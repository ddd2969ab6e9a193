//! The service: who may ask, how often, and the stream of answers. The same rule as for orders on the admin port: with the
//! token of operators, or where there is none, from this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::service::status::v3::ClientStatusRequest;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body::Frame;
use prost::Message as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::answer::answer;
use crate::clock;
use crate::fanout::Fanout;
use crate::files::shows_token;
use crate::floods::{Floods, Kind as Lines};
use crate::grpc::Demands;
use crate::grpc::pace::Pace;
use crate::grpc::server::Inbox;
use crate::grpc::stream::{Frames, end, framed, response};
use crate::grpc::turns::begins;
use crate::grpc::visitor::{Door, Encoded, Visitor, Words, receive};
use crate::metrics::{Metrics, Reason};

/// The methods, of which the second answers once.
pub(in crate::grpc) const PATHS: [&str; 2] = [
    "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus",
    "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
];

/// Streams at once.
const STREAMS: usize = 16;
/// Requests that one stream is read per second, and at once after quiet: each looks at all clients.
const REQUESTS: u32 = 1;
const BURST: u32 = 3;
/// The longest request, bytes.
const REQUEST: usize = 64 << 10;

static WORDS: Words = Words {
    what: "client status",
    identity: Lines::new("identity of a request for client status refused"),
    refused: Lines::new("client status refused"),
    count: Metrics::refused,
    open: |metrics| &metrics.status_streams,
};

/// The service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct ClientStatus {
    door: Arc<Door>,
    fanout: Arc<Fanout>,
    token: Option<PathBuf>,
    stop: CancellationToken,
}

impl ClientStatus {
    pub(in crate::grpc) fn new(
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Demands,
        stop: CancellationToken,
    ) -> Self {
        let token = options.now().operators.clone();
        let door = Arc::new(Door::new(&WORDS, STREAMS, metrics, floods, options));
        Self {
            door,
            fanout,
            token,
            stop,
        }
    }

    pub(in crate::grpc) fn open(&self, request: Request<Body>) -> Response<Body> {
        let (visitor, turn) = match self.door.admit(&request) {
            Ok(admitted) => admitted,
            Err(refused) => return *refused,
        };
        let once = request.uri().path() == PATHS[1];
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.map(|value| value.as_bytes().to_vec());
        response(Conversation {
            inbox: Inbox::new(request.into_body(), REQUEST, visitor.caller().cloned()),
            rate: Pace::new(REQUESTS, BURST, clock::now()),
            visitor,
            fanout: self.fanout.clone(),
            token: self.token.clone(),
            shown,
            turn: Some(turn),
            once,
            stop: self.stop.child_token(),
            over: None,
        })
    }
}

struct Conversation {
    visitor: Visitor,
    fanout: Arc<Fanout>,
    inbox: Inbox<Encoded>,
    rate: Pace,
    token: Option<PathBuf>,
    /// What the caller shows as its token.
    shown: Option<Vec<u8>>,
    /// It begins then.
    turn: Option<Instant>,
    once: bool,
    stop: CancellationToken,
    /// What it ends with, and that this was said.
    over: Option<(Status, bool)>,
}

impl Frames for Conversation {
    fn excuse(&mut self, time: Duration) {
        self.inbox.excuse(time);
    }

    async fn frame(&mut self) -> Option<Frame<Bytes>> {
        if self.over.is_none() {
            match self.next().await {
                Ok(data) => {
                    self.over = self.once.then(|| (Status::new(Code::Ok, ""), false));
                    return Some(Frame::data(data));
                }
                Err(status) => self.over = Some((status, false)),
            }
        }
        let (status, said) = self.over.as_mut()?;
        (!std::mem::replace(said, true)).then(|| end(status))
    }
}

impl Conversation {
    async fn next(&mut self) -> Result<Bytes, Status> {
        let done = || Status::new(Code::Ok, "");
        if let Some(turn) = self.turn.take() {
            if !begins(turn, &self.stop).await {
                return Err(done());
            }
            self.may_ask().await?;
        }
        let wait = self.rate.wait(clock::now());
        let received = tokio::select! {
            () = self.stop.cancelled() => return Err(done()),
            received = receive(&mut self.inbox, wait) => received,
        };
        let Some(Encoded(bytes)) = received.map_err(|status| self.visitor.unread(status))? else {
            return Err(done());
        };
        self.rate.take(clock::now());
        let request = ClientStatusRequest::decode(bytes);
        self.inbox.handled();
        let request = request.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let fanout = self.fanout.clone();
        // Each client is looked at: not on a thread that serves streams.
        let made = tokio::task::spawn_blocking(move || {
            answer(&request, &fanout).map(|answer| framed(&answer.encode_to_vec()))
        });
        made.await
            .map_err(|_| Status::internal("the answer cannot be made"))?
    }

    async fn may_ask(&mut self) -> Result<(), Status> {
        let refused = match &self.token {
            Some(file) => match shows_token(file, self.shown.as_deref()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    "who asks for the status of clients shows the token of admin.token_file, as metadata \
                              `authorization: Bearer TOKEN`"
                }
                Err(error) => {
                    tracing::warn!(file = %file.display(), %error, "admin.token_file cannot be read: nobody gets the status of clients");
                    "admin.token_file cannot be read: the log says why"
                }
            },
            None => {
                let address = self
                    .visitor
                    .caller()
                    .map(|caller| caller.address().ip().to_canonical());
                if address.is_some_and(|address| address.is_loopback()) {
                    return Ok(());
                }
                "the status of clients is for this machine only; set admin.token_file to ask from others"
            }
        };
        let status = Status::permission_denied(refused);
        Err(self.visitor.refuse(Reason::Identity, status))
    }
}
