//! Where a listener logs requests, and how a line looks.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog as EnvoyLog;
use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::StdoutAccessLog;
use envoy_types::pb::google::protobuf::{Any, Value, value};
use prost::{Message, Name as _};

use crate::model::{AccessLog, LogFormat};

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

/// One logger.
pub(super) fn access_log(log: &AccessLog) -> EnvoyLog {
    let format = format(&log.format);
    let any = |type_url, value| Any { type_url, value };
    let (name, config) = match &log.file {
        Some(path) => {
            let path = path.clone();
            let message = ToFile { path, format };
            (
                "envoy.access_loggers.file",
                any(FileAccessLog::type_url(), message.encode_to_vec()),
            )
        }
        None => (
            "envoy.access_loggers.stdout",
            any(StdoutAccessLog::type_url(), ToStdout { format }.encode_to_vec()),
        ),
    };
    EnvoyLog {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..EnvoyLog::default()
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
