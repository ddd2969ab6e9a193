//! How Envoy finds out by itself which servers are well: by asking them, and by what becomes of requests.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::OutlierDetection;
use envoy_types::pb::envoy::config::core::v3::HealthCheck as Message;
use envoy_types::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use envoy_types::pb::envoy::r#type::v3::{CodecClientType, Int64Range};

use super::wrapped;
use crate::model::Protocol;
use crate::model::cluster::{Ejection, HealthCheck, Probe};
use crate::translate::any::duration;

/// The longest that a server is ejected, unless the first time is longer: Envoy's own.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// An active health check; `host`: of requests that name none.
pub(super) fn check(check: &HealthCheck, protocol: Protocol, host: &str) -> Message {
    let interval = duration(check.interval.unwrap_or(HealthCheck::INTERVAL));
    let host = check.host.clone().unwrap_or_else(|| host.to_owned());
    let checker = match &check.probe {
        Probe::Http { path, status } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            host,
            path: path.clone(),
            expected_statuses: status
                .iter()
                .map(|(first, last)| Int64Range {
                    start: i64::from(*first),
                    end: i64::from(*last) + 1,
                })
                .collect(),
            codec_client_type: match protocol {
                Protocol::Http1 | Protocol::Https | Protocol::Tcp => CodecClientType::Http1 as i32,
                _ => CodecClientType::Http2 as i32,
            },
            ..HttpHealthCheck::default()
        }),
        Probe::Grpc(service) => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.clone().unwrap_or_default(),
            authority: host,
            ..GrpcHealthCheck::default()
        }),
        Probe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
    };
    Message {
        timeout: Some(duration(check.timeout.unwrap_or(HealthCheck::TIMEOUT))),
        interval: Some(interval),
        // Envoy would check services without requests once a minute only.
        no_traffic_interval: Some(interval),
        unhealthy_threshold: wrapped(check.unhealthy.unwrap_or(HealthCheck::UNHEALTHY)),
        healthy_threshold: wrapped(check.healthy.unwrap_or(HealthCheck::HEALTHY)),
        health_checker: Some(checker),
        ..Message::default()
    }
}

/// Outlier detection. Each field of the rates is written: a gRPC client that lacks one may end its process (Node), or
/// take a default that ejects.
pub(super) fn ejection(ejection: &Ejection) -> OutlierDetection {
    let enforced = |on: bool| wrapped(if on { 100 } else { 0 });
    let errors = ejection.errors();
    let first = ejection.ejection.unwrap_or(Ejection::EJECTION);
    OutlierDetection {
        consecutive_5xx: wrapped(errors.unwrap_or(Ejection::ERRORS)),
        enforcing_consecutive_5xx: enforced(errors.is_some()),
        consecutive_gateway_failure: wrapped(ejection.gateway_errors.unwrap_or(Ejection::ERRORS)),
        enforcing_consecutive_gateway_failure: enforced(ejection.gateway_errors.is_some()),
        interval: Some(duration(ejection.interval.unwrap_or(Ejection::INTERVAL))),
        base_ejection_time: Some(duration(first)),
        max_ejection_time: Some(duration(first.max(LONGEST_EJECTION))),
        max_ejection_percent: wrapped(ejection.max_ejected.unwrap_or(Ejection::MAX_EJECTED)),
        enforcing_success_rate: wrapped(0),
        success_rate_minimum_hosts: wrapped(5),
        success_rate_request_volume: wrapped(100),
        success_rate_stdev_factor: wrapped(1_900),
        failure_percentage_threshold: wrapped(ejection.failure_rate.unwrap_or(85)),
        enforcing_failure_percentage: enforced(ejection.failure_rate.is_some()),
        failure_percentage_minimum_hosts: wrapped(2),
        failure_percentage_request_volume: wrapped(50),
        ..OutlierDetection::default()
    }
}
