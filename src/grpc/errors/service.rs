//! Admits streams of access logs: a bounded number of them, at a bounded rate.

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
use crate::floods::Floods;
use crate::grpc::Options;
use crate::grpc::server::Caller;
use crate::grpc::turns::{Turns, too_many};
use crate::intake::Loads;
use crate::metrics::{Limit, Metrics, Reason};

/// The one method of the service.
pub(in crate::grpc) const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// The service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct AccessLogs {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl AccessLogs {
    pub(in crate::grpc) fn new(
        loads: Arc<Loads>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            loads,
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
            self.shared.metrics.log_refused(Reason::Streams);
            let most = self.shared.most();
            return Status::unavailable(format!("there are {most} streams of access logs already"))
                .into_http();
        };
        let now = clock::now();
        let turn = match self.shared.turns.turn(now) {
            Ok(turn) => turn,
            Err(wait) => {
                self.shared.metrics.log_refused(Reason::Queue);
                return too_many("streams of access logs", wait);
            }
        };
        if turn > now {
            self.shared.metrics.reached(Limit::NewStreams);
        }
        let client = Client::new(self.shared.clone(), place, caller);
        body::open(client, turn, request.into_body(), self.stop.child_token())
    }
}
