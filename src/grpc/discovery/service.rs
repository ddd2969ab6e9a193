//! Which path is which stream: the aggregated service and the per-type ones, in both variants.

use std::sync::Arc;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};

use super::admission::Admission;
use super::body;
use super::peer::Peer;
use super::shared::{Removed, Shared};
use crate::clock;
use crate::fanout::{Fanout, RegisterError};
use crate::floods::Floods;
use crate::grpc::Demands;
use crate::grpc::server::Caller;
use crate::grpc::turns::too_many;
use crate::metrics::{Limit, Metrics, Reason};
use crate::xds::{Kind, Stream, Variant};

const AGGREGATED: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// The discovery services, as one HTTP service.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Discovery {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Discovery {
    pub(in crate::grpc) fn new(
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        floods: Arc<Floods>,
        options: Demands,
        stop: CancellationToken,
    ) -> Self {
        let now = options.now();
        let admission = Admission::new(now.new_streams_per_second, now.max_first_responses);
        let shared = Arc::new(Shared {
            fanout,
            metrics,
            floods,
            options,
            admission,
            removed: Removed::default(),
        });
        Self { shared, stop }
    }

    /// Headers go out at once, also before it is the stream's turn.
    pub(in crate::grpc) fn open(&self, request: Request<Body>) -> Response<Body> {
        let Some((variant, only)) = route(request.uri().path()) else {
            return Status::new(Code::Unimplemented, "not a discovery stream of this server").into_http();
        };
        let caller = request.extensions().get::<Caller>().cloned();
        if let Some(caller) = &caller {
            caller.opens();
        }
        let shared = &self.shared;
        let stream = Stream::new(variant, only, shared.options.now().engine);
        let registration = match shared.fanout.register(stream) {
            Ok(registration) => registration,
            Err(why) => {
                shared.metrics.refused(match why {
                    RegisterError::NotReady => Reason::NotReady,
                    RegisterError::Full(_) => Reason::Streams,
                });
                return Status::unavailable(why.to_string()).into_http();
            }
        };
        // From here on the stream is unregistered when the peer is dropped.
        let peer = Peer::new(
            variant,
            registration,
            caller,
            shared.clone(),
            self.stop.child_token(),
        );
        let now = clock::now();
        let turn = match shared.admission.turns.turn(now) {
            Ok(turn) => turn,
            Err(wait) => {
                shared.metrics.refused(Reason::Queue);
                return too_many("discovery streams", wait);
            }
        };
        if turn > now {
            shared.metrics.reached(Limit::NewStreams);
        }
        body::open(peer, turn, request.into_body())
    }
}

/// The stream that a path asks for.
fn route(path: &str) -> Option<(Variant, Option<Kind>)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    if service == AGGREGATED {
        return match method {
            "DeltaAggregatedResources" => Some((Variant::Delta, None)),
            "StreamAggregatedResources" => Some((Variant::Sotw, None)),
            _ => None,
        };
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.service().0 == service)?;
    let stem = kind.service().1;
    if method.strip_prefix("Delta") == Some(stem) {
        return Some((Variant::Delta, Some(kind)));
    }
    (method.strip_prefix("Stream") == Some(stem)).then_some((Variant::Sotw, Some(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_known() {
        let ads = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        assert_eq!(route(ads), Some((Variant::Delta, None)));
        let eds = "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints";
        assert_eq!(route(eds), Some((Variant::Sotw, Some(Kind::Endpoints))));
        assert_eq!(
            route("/envoy.service.endpoint.v3.EndpointDiscoveryService/FetchEndpoints"),
            None
        );
        assert_eq!(route("/"), None);
    }
}
