//! Keys that do not fit the protocol of their service, or another key: they have no effect, and a warning says so.
//! Envoy, or one of gRPC's own clients, would refuse the whole cluster with some of them.

use super::{Balancing, ClusterKeys, Probe};
use crate::model::key::Key;
use crate::model::policy::Protocol;

impl ClusterKeys {
    /// What has an effect with this protocol.
    #[must_use]
    pub fn fitting(&self, protocol: Protocol) -> Self {
        let mut fitting = self.clone();
        for (key, _) in self.misfits(protocol) {
            match key {
                Key::HealthCheck => fitting.health_check = None,
                Key::MaxConnectionDuration => fitting.max_connection_duration = None,
                Key::MaxRequestsPerConnection => fitting.max_requests_per_connection = None,
                Key::Http2 => fitting.http2 = None,
                Key::ProxyProtocol => fitting.proxy_protocol = None,
                _ => fitting.slow_start = None,
            }
        }
        fitting
    }

    /// What has none, with the reason and the fix.
    #[must_use]
    pub fn misfits(&self, protocol: Protocol) -> Vec<(Key, String)> {
        let speaks = protocol.as_str();
        let http2 = matches!(protocol, Protocol::Http2 | Protocol::Grpc);
        let tcp = protocol == Protocol::Tcp;
        let check = self.health_check.as_ref().map(|check| &check.probe);
        let by_grpc = matches!(check, Some(Probe::Grpc(_)));
        let (lb, start) = (self.lb.unwrap_or_default(), self.slow_start);
        let slow = matches!(lb, Balancing::RoundRobin | Balancing::LeastRequest);
        let without_http = || format!("protocol `{speaks}` has no HTTP, so it has no effect; leave it out");
        let all = [
            (by_grpc && !http2).then(|| {
                let fix = "check by http:/PATH or tcp, or declare protocol=grpc";
                (
                    Key::HealthCheck,
                    format!("`grpc` needs HTTP/2, and the service speaks `{speaks}`, so nobody is checked; {fix}"),
                )
            }),
            (tcp && self.max_connection_duration.is_some())
                .then(|| (Key::MaxConnectionDuration, without_http())),
            (tcp && self.max_requests_per_connection.is_some())
                .then(|| (Key::MaxRequestsPerConnection, without_http())),
            (!http2 && self.http2.is_some()).then(|| {
                let reason = format!("the service speaks `{speaks}`, so it has no effect; declare protocol=http2");
                (Key::Http2, reason)
            }),
            (protocol == Protocol::Grpc && self.proxy_protocol.is_some()).then(|| {
                let reason = "gRPC's own clients refuse such a cluster, so it has no effect; declare protocol=http2 if \
                              only Envoys call the service";
                (Key::ProxyProtocol, reason.to_owned())
            }),
            (!slow && start.is_some_and(|time| !time.is_zero())).then(|| {
                let reason = format!(
                    "lb `{}` has no slow start, so it has no effect; declare lb=round_robin or lb=least_request",
                    lb.as_str()
                );
                (Key::SlowStart, reason)
            }),
        ];
        all.into_iter().flatten().collect()
    }
}
