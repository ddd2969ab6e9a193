//! Where a listener logs requests, how a line looks, and where it sends spans.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog as EnvoyLog;
use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::{ApiVersion, DataSource};
use envoy_types::pb::envoy::config::trace::v3::OpenTelemetryConfig;
use envoy_types::pb::envoy::config::trace::v3::tracing::Http as Provider;
use envoy_types::pb::envoy::config::trace::v3::tracing::http::ConfigType as ProviderConfig;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as ManagerTracing;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, Value, value};
use prost::{Message, Name as _};

use super::any::{grpc_service, pack};
use crate::model::{AccessLog, LogFormat, LogTarget, Tracing, Traffic};

/// `FileAccessLog`
#[derive(Clone, PartialEq, Message)]
struct ToFile {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "5")]
    format: Option<Format>,
}

/// `StdoutAccessLog`
#[derive(Clone, PartialEq, Message)]
struct ToStdout {
    #[prost(message, optional, tag = "1")]
    format: Option<Format>,
}

/// `SubstitutionFormatString`
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(message, optional, tag = "2")]
    json: Option<Fields>,
    #[prost(message, optional, tag = "5")]
    text: Option<DataSource>,
}

/// `google.protobuf.Struct`. That of envoy-types is encoded in another order each time.
#[derive(Clone, PartialEq, Message)]
struct Fields {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// The fields of a line in JSON, and Envoy's names of them.
const FIELDS: [(&str, &str); 17] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("grpc_status", "%GRPC_STATUS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("duration_ms", "%DURATION%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
];

/// One logger of a listener: of requests, or of connections.
pub(super) fn access_log(listener: &str, traffic: &Traffic, log: &AccessLog) -> EnvoyLog {
    let format = || format(&log.format);
    let any = |type_url, value| Any { type_url, value };
    let (name, config) = match &log.to {
        LogTarget::File(path) => {
            let message = ToFile {
                path: path.clone(),
                format: format(),
            };
            (
                "envoy.access_loggers.file",
                any(FileAccessLog::type_url(), message.encode_to_vec()),
            )
        }
        LogTarget::Stdout => (
            "envoy.access_loggers.stdout",
            any(
                StdoutAccessLog::type_url(),
                ToStdout { format: format() }.encode_to_vec(),
            ),
        ),
        LogTarget::Service(service) => {
            let common_config = Some(CommonGrpcAccessLogConfig {
                log_name: listener.to_owned(),
                grpc_service: Some(grpc_service(service)),
                transport_api_version: ApiVersion::V3 as i32,
                ..CommonGrpcAccessLogConfig::default()
            });
            match traffic {
                Traffic::Http => (
                    "envoy.access_loggers.http_grpc",
                    pack(&HttpGrpcAccessLogConfig {
                        common_config,
                        ..HttpGrpcAccessLogConfig::default()
                    }),
                ),
                Traffic::Tcp { .. } => (
                    "envoy.access_loggers.tcp_grpc",
                    pack(&TcpGrpcAccessLogConfig { common_config }),
                ),
            }
        }
    };
    EnvoyLog {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..EnvoyLog::default()
    }
}

/// Envoy's traces of requests, by OpenTelemetry.
pub(super) fn tracing(tracing: &Tracing) -> ManagerTracing {
    ManagerTracing {
        random_sampling: Some(Percent {
            value: f64::from(tracing.millionths) / 10_000.0,
        }),
        provider: Some(Provider {
            name: "envoy.tracers.opentelemetry".to_owned(),
            config_type: Some(ProviderConfig::TypedConfig(pack(&OpenTelemetryConfig {
                grpc_service: Some(grpc_service(&tracing.collector)),
                service_name: tracing.name.clone(),
                ..OpenTelemetryConfig::default()
            }))),
        }),
        ..ManagerTracing::default()
    }
}

/// `None`: Envoy's own.
fn format(format: &LogFormat) -> Option<Format> {
    match format {
        LogFormat::Text => None,
        LogFormat::Custom(text) => Some(Format {
            text: Some(DataSource {
                specifier: Some(Specifier::InlineString(format!("{text}\n"))),
                ..DataSource::default()
            }),
            ..Format::default()
        }),
        LogFormat::Json => {
            let field = |(name, text): &(&str, &str)| {
                let kind = value::Kind::StringValue((*text).to_owned());
                ((*name).to_owned(), Value { kind: Some(kind) })
            };
            Some(Format {
                json: Some(Fields {
                    fields: FIELDS.iter().map(field).collect(),
                }),
                ..Format::default()
            })
        }
    }
}
