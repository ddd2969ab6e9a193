//! The services of the port, as one HTTP service.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::discovery::Discovery;
use super::errors::{self, AccessLogs};
use super::loads::{self, LoadReports};
use super::status::{self, ClientStatus};

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Services {
    pub(super) discovery: Discovery,
    pub(super) reports: LoadReports,
    pub(super) logs: AccessLogs,
    pub(super) status: ClientStatus,
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = match request.uri().path() {
            loads::PATH => self.reports.open(request),
            errors::PATH => self.logs.open(request),
            path if status::PATHS.contains(&path) => self.status.open(request),
            _ => self.discovery.open(request),
        };
        ready(Ok(response))
    }
}
