//! Admits streams of load reports: a bounded number of them, at a bounded rate.

use std::sync::Arc;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::body;
use super::client::Client;
use crate::fanout::Fanout;
use crate::floods::{Floods, Kind as Lines};
use crate::grpc::Demands;
use crate::grpc::visitor::{Door, Words};
use crate::intake::Loads;
use crate::metrics::Metrics;

/// The one method of the service.
pub(in crate::grpc) const PATH: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";

static WORDS: Words = Words {
    what: "load reports",
    identity: Lines::new("identity of a load report refused"),
    refused: Lines::new("load reports refused"),
    count: Metrics::report_refused,
    open: |metrics| &metrics.load_streams,
};

/// The service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct LoadReports {
    door: Arc<Door>,
    loads: Arc<Loads>,
    fanout: Arc<Fanout>,
    stop: CancellationToken,
}

impl LoadReports {
    pub(in crate::grpc) fn new(
        loads: Arc<Loads>,
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Demands,
        stop: CancellationToken,
    ) -> Self {
        // A client needs one stream, so there are as many as connections.
        let most = options.now().max_connections;
        let door = Arc::new(Door::new(&WORDS, most, metrics, floods, options));
        Self {
            door,
            loads,
            fanout,
            stop,
        }
    }

    pub(in crate::grpc) fn open(&self, request: Request<Body>) -> Response<Body> {
        match self.door.admit(&request) {
            Ok((visitor, turn)) => {
                let client = Client::new(visitor, self.loads.clone(), self.fanout.clone());
                body::open(client, turn, request.into_body(), self.stop.child_token())
            }
            Err(refused) => *refused,
        }
    }
}
