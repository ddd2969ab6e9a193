//! Connections to servers: their number, their options, how they begin.

use std::collections::HashMap;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use envoy_types::pb::envoy::config::cluster::v3::{CircuitBreakers, UpstreamConnectionOptions};
use envoy_types::pb::envoy::config::core::v3::proxy_protocol_config::Version;
use envoy_types::pb::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonHttpOptions, KeepaliveSettings,
    ProxyProtocolConfig, TcpKeepalive as TcpKeepaliveMessage, TransportSocket, transport_socket,
};
use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name};

use super::{HTTP_OPTIONS, wrapped};
use crate::model::cluster::{Http2, Limits, ProxyProtocol, TcpKeepalive};
use crate::model::{ClusterSettings, Protocol};
use crate::translate::any::{duration, pack};
use crate::translate::secret;

/// What is sent at once, at most. Overload is the server's to judge, unless it declares limits; what we must not do is
/// fail a healthy deploy.
pub(super) fn breakers(limits: Option<&Limits>) -> CircuitBreakers {
    let none = Limits::default();
    let limits = limits.unwrap_or(&none);
    let most = |declared: Option<u32>| wrapped(declared.unwrap_or(u32::MAX));
    let thresholds = Thresholds {
        max_connections: most(limits.connections),
        max_pending_requests: most(limits.pending),
        max_requests: most(limits.requests),
        max_retries: wrapped(limits.retries.unwrap_or(Limits::RETRIES)),
        retry_budget: limits.retry_budget.map(|share| RetryBudget {
            budget_percent: Some(Percent {
                value: f64::from(share),
            }),
            min_retry_concurrency: wrapped(limits.min_retries.unwrap_or(Limits::MIN_RETRIES)),
            ..RetryBudget::default()
        }),
        ..Thresholds::default()
    };
    CircuitBreakers {
        thresholds: vec![thresholds],
        ..CircuitBreakers::default()
    }
}

/// Probes of the system on silent connections.
pub(super) fn options(keepalive: &TcpKeepalive) -> UpstreamConnectionOptions {
    UpstreamConnectionOptions {
        tcp_keepalive: Some(TcpKeepaliveMessage {
            keepalive_probes: keepalive.probes.and_then(wrapped),
            keepalive_time: keepalive.idle.and_then(wrapped),
            keepalive_interval: keepalive.interval.and_then(wrapped),
        }),
        ..UpstreamConnectionOptions::default()
    }
}

/// How connections begin, where it is not with the first byte of a request.
pub(super) fn socket_of(service: &str, settings: &ClusterSettings) -> Option<TransportSocket> {
    let keys = &settings.declared;
    let tls = keys.tls.as_deref();
    let tls = tls.map(|tls| socket("tls", &secret::upstream(service, tls, settings)));
    match keys.proxy_protocol {
        None => tls,
        Some(version) => Some(proxy_protocol(
            version,
            tls.unwrap_or_else(|| socket("raw_buffer", &RawBuffer::default())),
        )),
    }
}

/// Connections that begin with the client's address.
fn proxy_protocol(version: ProxyProtocol, inner: TransportSocket) -> TransportSocket {
    let version = match version {
        ProxyProtocol::V1 => Version::V1,
        ProxyProtocol::V2 => Version::V2,
    };
    let config = ProxyProtocolUpstreamTransport {
        config: Some(ProxyProtocolConfig {
            version: version as i32,
            ..ProxyProtocolConfig::default()
        }),
        transport_socket: Some(inner),
        ..ProxyProtocolUpstreamTransport::default()
    };
    socket("upstream_proxy_protocol", &config)
}

pub(super) fn socket<M: Message + Name>(name: &str, config: &M) -> TransportSocket {
    TransportSocket {
        name: format!("envoy.transport_sockets.{name}"),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(config))),
    }
}

/// One entry or none: see the note on maps in [`crate::translate`].
pub(super) fn http_options(settings: &ClusterSettings) -> HashMap<String, Any> {
    let keys = &settings.declared;
    let protocol = match settings.protocol {
        Protocol::Tcp => return HashMap::new(),
        Protocol::Http1 | Protocol::Https => {
            ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
        }
        Protocol::Http2 | Protocol::Grpc | Protocol::Https2 | Protocol::Grpcs => {
            ProtocolConfig::Http2ProtocolOptions(http2(keys.http2.as_deref()))
        }
    };
    let common = CommonHttpOptions {
        idle_timeout: settings.idle_timeout.map(duration),
        max_connection_duration: keys
            .max_connection_duration
            .filter(|age| !age.is_zero())
            .map(duration),
        max_requests_per_connection: keys
            .max_requests_per_connection
            .filter(|most| *most > 0)
            .and_then(wrapped),
        ..CommonHttpOptions::default()
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: (common != CommonHttpOptions::default()).then_some(common),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol),
        })),
        ..HttpProtocolOptions::default()
    };
    HashMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
}

fn http2(declared: Option<&Http2>) -> Http2ProtocolOptions {
    let none = Http2::default();
    let declared = declared.unwrap_or(&none);
    let ping = |interval: Duration| KeepaliveSettings {
        interval: Some(duration(interval)),
        timeout: Some(duration(
            declared.keepalive_timeout.unwrap_or(Http2::KEEPALIVE_TIMEOUT),
        )),
        ..KeepaliveSettings::default()
    };
    Http2ProtocolOptions {
        max_concurrent_streams: declared.streams.and_then(wrapped),
        initial_stream_window_size: declared.window.and_then(wrapped),
        initial_connection_window_size: declared.connection_window.and_then(wrapped),
        connection_keepalive: declared.keepalive.map(ping),
        ..Http2ProtocolOptions::default()
    }
}
