//! The logs by which Envoys say which errors there are: each attempt that fails, with its server and what that said. They
//! stand in each listener, and do nothing until a route has the mark, which comes with the routes: neither a listener nor
//! a cluster changes for it, so no connection ends.
//!
//! Two logs make one list. The router's is of attempts, also of those that are tried again; it knows nothing of what the
//! router itself gives up (timeouts, full queues), which the listener's adds.

use std::time::Duration;

use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::comparison_filter::Op;
use envoy_types::pb::envoy::config::accesslog::v3::grpc_status_filter::Status;
use envoy_types::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ComparisonFilter, ExtensionFilter, GrpcStatusFilter, HeaderFilter,
    OrFilter, ResponseFlagFilter, StatusCodeFilter, extension_filter,
};
use envoy_types::pb::envoy::config::core::v3::{ApiVersion, RuntimeUInt32};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::any::{duration, grpc_service, pack};

/// Where a route has the mark: `metadata.filter_metadata`.
pub(super) const NAMESPACE: &str = "xds-bridge";
pub(super) const MARK: &str = "errors";

/// Equal in all listeners, so that they share one stream.
const LOG: &str = "xds-bridge errors";

/// How long an Envoy gathers errors.
const FLUSH: Duration = Duration::from_secs(1);

/// Read from answers: a call of gRPC has its status in the trailers, or in the headers where it has no body.
const READ: [&str; 2] = ["grpc-status", "grpc-message"];

/// No connection, one that ended, one that the server reset, and what is no HTTP.
const OF_ATTEMPTS: [&str; 4] = ["UF", "UC", "UR", "UPE"];

/// No response in time, too many requests at once, and `max-stream-duration`.
const OF_THE_ROUTER: [&str; 3] = ["UT", "UO", "UMSDR"];

/// The codes of gRPC that Envoy counts as errors.
const CODES: [Status; 6] = [
    Status::Unknown,
    Status::DeadlineExceeded,
    Status::Unimplemented,
    Status::Internal,
    Status::Unavailable,
    Status::DataLoss,
];

/// For `Router.upstream_log`: attempts.
pub(super) fn of_attempts(cluster: &str) -> AccessLog {
    // Without the type each other request would have the status UNKNOWN; without an answer, one whose client hung up.
    let grpc = and(vec![
        filter(FilterSpecifier::HeaderFilter(HeaderFilter {
            header: Some(HeaderMatcher {
                name: "content-type".to_owned(),
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                    match_pattern: Some(MatchPattern::Prefix("application/grpc".to_owned())),
                    ..StringMatcher::default()
                })),
                ..HeaderMatcher::default()
            }),
        })),
        status(1),
        filter(FilterSpecifier::GrpcStatusFilter(GrpcStatusFilter {
            statuses: CODES.map(|code| code as i32).into(),
            ..GrpcStatusFilter::default()
        })),
    ]);
    let failed = filter(FilterSpecifier::OrFilter(OrFilter {
        filters: vec![status(500), flags(&OF_ATTEMPTS), grpc],
    }));
    log(cluster, failed)
}

/// For the listener: what the router gives up.
pub(super) fn of_the_router(cluster: &str) -> AccessLog {
    log(cluster, flags(&OF_THE_ROUTER))
}

fn log(cluster: &str, failed: AccessLogFilter) -> AccessLog {
    let read = || READ.map(str::to_owned).into();
    let config = HttpGrpcAccessLogConfig {
        common_config: Some(CommonGrpcAccessLogConfig {
            log_name: LOG.to_owned(),
            grpc_service: Some(grpc_service(cluster)),
            transport_api_version: ApiVersion::V3 as i32,
            buffer_flush_interval: Some(duration(FLUSH)),
            ..CommonGrpcAccessLogConfig::default()
        }),
        additional_response_headers_to_log: read(),
        additional_response_trailers_to_log: read(),
        ..HttpGrpcAccessLogConfig::default()
    };
    AccessLog {
        name: "envoy.access_loggers.http_grpc".to_owned(),
        // What is cheap comes first: the mark is looked at for errors alone.
        filter: Some(and(vec![failed, marked()])),
        config_type: Some(ConfigType::TypedConfig(pack(&config))),
    }
}

/// The route has the mark. An expression that finds nothing is false.
fn marked() -> AccessLogFilter {
    let expression = ExpressionFilter {
        expression: format!("xds.route_metadata.filter_metadata['{NAMESPACE}']['{MARK}'] == true"),
        ..ExpressionFilter::default()
    };
    filter(FilterSpecifier::ExtensionFilter(ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(extension_filter::ConfigType::TypedConfig(pack(&expression))),
    }))
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter {
        filter_specifier: Some(specifier),
    }
}

fn and(filters: Vec<AccessLogFilter>) -> AccessLogFilter {
    filter(FilterSpecifier::AndFilter(AndFilter { filters }))
}

fn flags(names: &[&str]) -> AccessLogFilter {
    filter(FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
        flags: names.iter().map(|name| (*name).to_owned()).collect(),
    }))
}

/// A status of this number or above. Envoy wants the name of a runtime key, which nobody sets.
fn status(least: u32) -> AccessLogFilter {
    filter(FilterSpecifier::StatusCodeFilter(StatusCodeFilter {
        comparison: Some(ComparisonFilter {
            op: Op::Ge as i32,
            value: Some(RuntimeUInt32 {
                default_value: least,
                runtime_key: format!("xds-bridge.errors.status.{least}"),
            }),
        }),
    }))
}
