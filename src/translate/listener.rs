//! A listener: with an HTTP connection manager whose routes come by RDS, named as the listener, or for connections that
//! services take whole.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::core::v3::{
    Address, Http1ProtocolOptions, Http3ProtocolOptions, HttpProtocolOptions, TransportSocket,
};
use envoy_types::pb::envoy::config::core::v3::socket_address::Protocol as SocketProtocol;
use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType as ListenerFilterConfig;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::listener::{InternalListenerConfig, ListenerSpecifier};
use envoy_types::pb::envoy::config::listener::v3::{
    Filter, FilterChain, Listener as EnvoyListener, ListenerFilter, QuicProtocolOptions, UdpListenerConfig,
};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier, UpgradeConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds,
};
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message as _;

use super::any::{duration, pack};
use super::cluster::ads;
use super::endpoints::socket;
use super::errors;
use super::filters::chain;
use super::log::{access_log, tracing};
use super::secret::{by_quic, downstream};
use super::tcp::Connections;
use crate::model::filters::Filters;
use crate::model::{Bind, Exposure, Listener, Secrets, Traffic};
use crate::xds::{Draft, Kind, Reach};

/// A request or stream may be silent for this time, unless its route says otherwise. Envoy's own default,
/// written down: it is all that ends a request of which no timeout is declared.
const STREAM_IDLE: Duration = Duration::from_secs(300);

/// Where a listener's routes come from.
#[derive(Clone, Debug)]
pub enum Routes {
    /// From us, by the listener's name.
    Discovered,
    /// Written into the listener.
    Inline(Box<RouteConfiguration>),
}

/// What stands in front of the routes of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Front<'a> {
    /// Those of its exposure; `None`: there are none.
    pub filters: Option<&'a Filters>,
    /// The files that these need.
    pub secrets: &'a Secrets,
}

impl<'a> Front<'a> {
    /// Of an exposure.
    #[must_use]
    pub fn of(exposure: Option<&'a Exposure>, secrets: &'a Secrets) -> Self {
        Self {
            filters: exposure.map(|exposure| &exposure.filters),
            secrets,
        }
    }

    fn knows_addresses(&self) -> bool {
        self.filters.is_some_and(Filters::knows_addresses)
    }
}

/// A listener as a resource. `None`: nobody has its connections now, so that they are refused.
#[must_use]
pub fn listener(
    name: &Arc<str>,
    listener: &Listener,
    exposure: Option<&Exposure>,
    front: &Front<'_>,
    connections: &Connections,
) -> Option<Draft> {
    let mut message = match listener.traffic {
        Traffic::Http => message(name, listener, front, Routes::Discovered),
        Traffic::Tcp { .. } => around(name, listener, Vec::new()),
    };
    let by_name = exposure.is_some_and(|exposure| !exposure.sni.is_empty());
    if by_name && !message.listener_filters.iter().any(|f| f.name == INSPECTOR) {
        message.listener_filters.push(inspector());
    }
    // Before the chain of requests, which takes all others.
    let mut chains = connections.chains(name, listener);
    chains.append(&mut message.filter_chains);
    message.filter_chains = chains;
    (!message.filter_chains.is_empty()).then(|| Draft {
        kind: Kind::Listener,
        name: name.clone(),
        body: message.encode_to_vec(),
        needs: connections.clusters(listener),
        reach: reach(listener),
        local: None,
    })
}

/// A listener that stays in Envoy's file and sends all connections to one service. `None`: it is another one.
#[must_use]
pub fn of_one_service(name: &str, listener: &Listener) -> Option<EnvoyListener> {
    let fixed = matches!(listener.traffic, Traffic::Tcp { service: Some(_) });
    fixed.then(|| around(name, listener, Connections::default().chains(name, listener)))
}

/// Who may see a listener and its routes.
#[must_use]
pub fn reach(listener: &Listener) -> Reach {
    if listener.fleets.is_empty() {
        Reach::All
    } else {
        Reach::Fleets(listener.fleets.clone().into())
    }
}

fn upgrade(name: &str) -> UpgradeConfig {
    UpgradeConfig {
        upgrade_type: name.to_owned(),
        ..UpgradeConfig::default()
    }
}

/// What looks at a connection before its first request.
fn listener_filters(listener: &Listener) -> Vec<ListenerFilter> {
    let filter = |name: &str, config| ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ListenerFilterConfig::TypedConfig(config)),
        ..ListenerFilter::default()
    };
    let proxy = listener.proxy_protocol.then(|| {
        filter(
            "envoy.filters.listener.proxy_protocol",
            pack(&ProxyProtocol::default()),
        )
    });
    // Which certificate fits is known by the name that the client asks for.
    let several = listener
        .tls
        .as_ref()
        .is_some_and(|tls| tls.certificates.len() > 1);
    proxy.into_iter().chain(several.then(inspector)).collect()
}

const INSPECTOR: &str = "envoy.filters.listener.tls_inspector";

/// Sees whether a connection begins with TLS, and for which name.
fn inspector() -> ListenerFilter {
    ListenerFilter {
        name: INSPECTOR.to_owned(),
        config_type: Some(ListenerFilterConfig::TypedConfig(pack(&TlsInspector::default()))),
        ..ListenerFilter::default()
    }
}

/// An address to listen on: `[::]` takes IPv4, too, as everybody expects of it.
#[must_use]
pub fn bound(address: SocketAddr) -> Address {
    let mut bound = socket(address);
    if let Some(AddressKind::SocketAddress(socket)) = &mut bound.address {
        socket.ipv4_compat = matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified());
    }
    bound
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, listener: &Listener, front: &Front<'_>, routes: Routes) -> EnvoyListener {
    let chain = FilterChain {
        filters: vec![filter(&manager(name, listener, front, routes))],
        transport_socket: listener.tls.as_ref().map(|tls| TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(SocketConfig::TypedConfig(downstream(tls))),
        }),
        ..FilterChain::default()
    };
    around(name, listener, vec![chain])
}

/// What serves HTTP/3 beside a listener, by UDP, with the same routes. `None`: it does not.
#[must_use]
pub fn http3(name: &Arc<str>, listener: &Listener, front: &Front<'_>) -> Option<Draft> {
    let (Some(of_quic), Some(tls), Bind::Address(address)) =
        (listener.http3_name(name), &listener.tls, listener.bind)
    else {
        return None;
    };
    let manager = HttpConnectionManager {
        codec_type: CodecType::Http3 as i32,
        http3_protocol_options: Some(Http3ProtocolOptions::default()),
        upgrade_configs: Vec::new(),
        ..manager(name, listener, front, Routes::Discovered)
    };
    let mut bound = bound(address);
    if let Some(AddressKind::SocketAddress(socket)) = &mut bound.address {
        socket.protocol = SocketProtocol::Udp as i32;
    }
    let message = EnvoyListener {
        name: of_quic.to_string(),
        address: Some(bound),
        udp_listener_config: Some(UdpListenerConfig {
            quic_options: Some(QuicProtocolOptions::default()),
            ..UdpListenerConfig::default()
        }),
        filter_chains: vec![FilterChain {
            filters: vec![filter(&manager)],
            transport_socket: Some(TransportSocket {
                name: "envoy.transport_sockets.quic".to_owned(),
                config_type: Some(SocketConfig::TypedConfig(by_quic(tls))),
            }),
            ..FilterChain::default()
        }],
        ..EnvoyListener::default()
    };
    Some(Draft {
        kind: Kind::Listener,
        name: of_quic,
        body: message.encode_to_vec(),
        needs: listener.collectors().cloned().collect(),
        reach: reach(listener),
        local: None,
    })
}

fn filter(manager: &HttpConnectionManager) -> Filter {
    Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(FilterConfig::TypedConfig(pack(manager))),
    }
}

fn manager(name: &str, listener: &Listener, front: &Front<'_>, routes: Routes) -> HttpConnectionManager {
    let route_specifier = match routes {
        Routes::Discovered => RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: name.to_owned(),
        }),
        Routes::Inline(configuration) => RouteSpecifier::RouteConfig(*configuration),
    };
    let of_attempts = listener.errors.as_deref().map(errors::of_attempts);
    HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(route_specifier),
        http_filters: match front.filters {
            Some(filters) => chain(&listener.exposure, filters, front.secrets, of_attempts),
            None => chain(
                &listener.exposure,
                &Filters::default(),
                front.secrets,
                of_attempts,
            ),
        },
        // At the edge the caller is whoever connects, not whoever a header names. An internal listener is called by
        // one in the same Envoy, which has seen to that. Lists of addresses are never of what callers say of themselves.
        use_remote_address: Some(BoolValue {
            value: (&*listener.exposure != "internal" || front.knows_addresses())
                && listener.bind != Bind::Internal,
        }),
        normalize_path: Some(BoolValue { value: true }),
        merge_slashes: true,
        // `Host: orders.` is the host `orders`.
        strip_trailing_host_dot: true,
        stream_idle_timeout: Some(duration(STREAM_IDLE)),
        http_protocol_options: listener.http10.then(|| Http1ProtocolOptions {
            accept_http_10: true,
            ..Http1ProtocolOptions::default()
        }),
        upgrade_configs: listener.upgrades.iter().map(|name| upgrade(name)).collect(),
        access_log: listener
            .access_log
            .iter()
            .map(|log| access_log(name, &listener.traffic, log))
            .chain(listener.errors.as_deref().map(errors::of_the_router))
            .collect(),
        tracing: listener.tracing.as_ref().map(tracing),
        xff_num_trusted_hops: listener.trusted_hops,
        common_http_protocol_options: listener.max_connection_duration.map(|time| HttpProtocolOptions {
            max_connection_duration: Some(duration(time)),
            ..HttpProtocolOptions::default()
        }),
        ..HttpConnectionManager::default()
    }
}

/// Where these filter chains are reached.
fn around(name: &str, listener: &Listener, filter_chains: Vec<FilterChain>) -> EnvoyListener {
    let (address, specifier) = match listener.bind {
        Bind::Address(address) => (Some(bound(address)), None),
        Bind::Internal => (
            None,
            Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})),
        ),
    };
    EnvoyListener {
        name: name.to_owned(),
        address,
        listener_specifier: specifier,
        filter_chains,
        listener_filters: listener_filters(listener),
        ..EnvoyListener::default()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter;

    use super::*;

    #[test]
    fn any_address_of_ipv6_takes_ipv4_too() {
        let compat = |text: &str| match bound(text.parse().unwrap()).address {
            Some(AddressKind::SocketAddress(socket)) => socket.ipv4_compat,
            other => panic!("{other:?}"),
        };
        assert!(compat("[::]:80"));
        assert!(!compat("[::1]:80") && !compat("0.0.0.0:80"));
    }

    #[test]
    fn what_an_operator_turns_off_is_not_there() {
        let made = |listener: &Listener| {
            let mut message = message(
                "edge",
                listener,
                &Front::of(None, &Secrets::new()),
                Routes::Discovered,
            );
            let filter = message.filter_chains.remove(0).filters.remove(0);
            let Some(FilterConfig::TypedConfig(any)) = filter.config_type else {
                panic!("no manager")
            };
            HttpConnectionManager::decode(&*any.value).unwrap()
        };
        let logs = |listener: &Listener| {
            let manager = made(listener);
            let router = manager.http_filters.last().and_then(|f| f.config_type.clone());
            let Some(http_filter::ConfigType::TypedConfig(any)) = router else {
                panic!("no router")
            };
            let router = Router::decode(&*any.value).unwrap();
            (manager.access_log.len(), router.upstream_log.len())
        };
        let manager = |listener: &Listener| {
            let manager = made(listener);
            (
                manager.http_protocol_options.is_some(),
                manager.upgrade_configs.len(),
            )
        };
        let listener = Listener::new(Bind::Internal, "internal".into());
        assert_eq!(manager(&listener), (true, 1));
        let reporting = Listener {
            errors: Some("xds-bridge".into()),
            ..listener.clone()
        };
        assert_eq!((logs(&listener), logs(&reporting)), ((0, 0), (1, 1)));
        let strict = Listener {
            http10: false,
            upgrades: Vec::new(),
            ..listener
        };
        assert_eq!(manager(&strict), (false, 0));
    }
}
