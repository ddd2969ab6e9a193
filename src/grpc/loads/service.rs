//! Admits streams of load reports: a bounded number of them, at a bounded rate.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

use super::body;
use super::client::Client;
use super::shared::{Place, Shared};
use crate::clock;
use crate::fanout::Fanout;
use crate::floods::Floods;
use crate::grpc::Options;
use crate::grpc::server::Caller;
use crate::grpc::turns::{Turns, too_many};
use crate::intake::Loads;
use crate::metrics::{Limit, Metrics, Reason};

/// The one method of the service.
pub(in crate::grpc) const PATH: &str = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats";

/// The service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct LoadReports {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl LoadReports {
    pub(in crate::grpc) fn new(
        loads: Arc<Loads>,
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            loads,
            fanout,
            metrics,
            floods,
            turns: Turns::new(options.new_streams_per_second),
            options,
            open: AtomicUsize::new(0),
        });
        Self { shared, stop }
    }

    pub(in crate::grpc) fn open(&self, request: Request<Body>) -> Response<Body> {
        let caller = request.extensions().get::<Caller>().cloned();
        if let Some(caller) = &caller {
            caller.opens();
        }
        let Some(place) = Place::take(&self.shared) else {
            self.shared.metrics.report_refused(Reason::Streams);
            let most = self.shared.options.max_connections;
            return Status::unavailable(format!("there are {most} streams of load reports already"))
                .into_http();
        };
        let now = clock::now();
        let turn = match self.shared.turns.turn(now) {
            Ok(turn) => turn,
            Err(wait) => {
                self.shared.metrics.report_refused(Reason::Queue);
                return too_many("streams of load reports", wait);
            }
        };
        if turn > now {
            self.shared.metrics.reached(Limit::NewStreams);
        }
        let client = Client::new(self.shared.clone(), place, caller);
        body::open(client, turn, request.into_body(), self.stop.child_token())
    }
}
