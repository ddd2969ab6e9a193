//! Admits streams of access logs: a bounded number of them, at a bounded rate.

use std::sync::Arc;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::body;
use super::client::Client;
use crate::floods::{Floods, Kind as Lines};
use crate::grpc::Demands;
use crate::grpc::visitor::{Door, Words};
use crate::intake::Loads;
use crate::metrics::Metrics;

/// The one method of the service.
pub(in crate::grpc) const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Each thread of an Envoy that has something to log does so on a connection of its own: together they take no more than
/// this part of all connections.
const PART: usize = 4;

static WORDS: Words = Words {
    what: "access logs",
    identity: Lines::new("identity of an access log refused"),
    refused: Lines::new("access logs refused"),
    count: Metrics::log_refused,
    open: |metrics| &metrics.log_streams,
};

/// The service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct AccessLogs {
    door: Arc<Door>,
    loads: Arc<Loads>,
    stop: CancellationToken,
}

impl AccessLogs {
    pub(in crate::grpc) fn new(
        loads: Arc<Loads>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Demands,
        stop: CancellationToken,
    ) -> Self {
        let most = (options.now().max_connections / PART).max(1);
        let door = Arc::new(Door::new(&WORDS, most, metrics, floods, options));
        Self { door, loads, stop }
    }

    pub(in crate::grpc) fn open(&self, request: Request<Body>) -> Response<Body> {
        match self.door.admit(&request) {
            Ok((visitor, turn)) => {
                let client = Client::new(visitor, self.loads.clone());
                body::open(client, turn, request.into_body(), self.stop.child_token())
            }
            Err(refused) => *refused,
        }
    }
}
