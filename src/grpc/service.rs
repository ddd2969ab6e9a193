//! Which path is which stream: the aggregated service and the per-type ones, in both variants.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::body;
use super::peer::Peer;
use crate::fanout::Fanout;
use crate::metrics::Metrics;
use crate::xds::{Kind, Limits, Stream, Variant};

const AGGREGATED: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// The discovery services, as one HTTP service.
#[derive(Clone, Debug)]
pub struct Discovery {
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    limits: Limits,
    max_request: usize,
    stop: CancellationToken,
}

impl Discovery {
    pub(super) const fn new(
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
        limits: Limits,
        max_request: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            fanout,
            metrics,
            limits,
            max_request,
            stop,
        }
    }

    /// Headers go out at once, before the first request is read (rule 1).
    fn open(&self, request: Request<Body>) -> Response<Body> {
        let Some((variant, only)) = route(request.uri().path()) else {
            return Status::new(Code::Unimplemented, "not a discovery stream of this server").into_http();
        };
        let place = match self.fanout.enter() {
            Ok(place) => place,
            Err(why) => {
                self.metrics.streams_refused.inc();
                return Status::unavailable(why.to_string()).into_http();
            }
        };
        let core = Stream::new(variant, only, self.limits);
        let peer = Peer::new(
            variant,
            core,
            place,
            self.fanout.clone(),
            self.metrics.clone(),
            self.stop.child_token(),
            self.limits.age,
        );
        let mut response = Response::new(body::body(peer, request.into_body(), self.max_request));
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        response
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

impl Service<Request<Body>> for Discovery {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok(self.open(request)))
    }
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
