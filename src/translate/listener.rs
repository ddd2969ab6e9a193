//! A listener with an HTTP connection manager whose routes come by RDS, named as the listener.

use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType as FilterConfig;
use envoy_types::pb::envoy::config::listener::v3::listener::{InternalListenerConfig, ListenerSpecifier};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener as EnvoyListener};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpFilterConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
};
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message as _;

use super::any::pack;
use super::cluster::ads;
use super::endpoints::socket;
use crate::model::{Bind, Listener};
use crate::xds::{Draft, Kind, Reach};

/// Where a listener's routes come from.
#[derive(Clone, Debug)]
pub enum Routes {
    /// From us, by the listener's name.
    Discovered,
    /// Written into the listener.
    Inline(Box<RouteConfiguration>),
}

/// A listener as a resource.
#[must_use]
pub fn listener(name: &Arc<str>, listener: &Listener) -> Draft {
    Draft {
        kind: Kind::Listener,
        name: name.clone(),
        body: message(name, listener, Routes::Discovered).encode_to_vec(),
        needs: Vec::new(),
        reach: reach(listener),
    }
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

/// The filter that each chain ends with.
pub(super) fn router() -> HttpFilter {
    HttpFilter {
        name: "envoy.filters.http.router".to_owned(),
        config_type: Some(HttpFilterConfig::TypedConfig(pack(&Router::default()))),
        ..HttpFilter::default()
    }
}

/// The same as a message, for static resources.
#[must_use]
pub fn message(name: &str, listener: &Listener, routes: Routes) -> EnvoyListener {
    let route_specifier = match routes {
        Routes::Discovered => RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: name.to_owned(),
        }),
        Routes::Inline(configuration) => RouteSpecifier::RouteConfig(*configuration),
    };
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(route_specifier),
        http_filters: vec![router()],
        // At the edge the caller is whoever connects, not whoever a header names.
        use_remote_address: Some(BoolValue {
            value: &*listener.exposure != "internal",
        }),
        normalize_path: Some(BoolValue { value: true }),
        merge_slashes: true,
        ..HttpConnectionManager::default()
    };
    let (address, specifier) = match listener.bind {
        Bind::Address(address) => (Some(socket(address)), None),
        Bind::Internal => (
            None,
            Some(ListenerSpecifier::InternalListener(InternalListenerConfig {})),
        ),
    };
    EnvoyListener {
        name: name.to_owned(),
        address,
        listener_specifier: specifier,
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(FilterConfig::TypedConfig(pack(&manager))),
            }],
            ..FilterChain::default()
        }],
        ..EnvoyListener::default()
    }
}
