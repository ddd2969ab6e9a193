//! A service as gRPC's own xDS clients dial it (`xds:///orders`): a listener named as
//! the service, whose `api_listener` sends every call to the service's cluster.
//!
//! Never for Envoy: no wildcard holds it, and a name that a listener of `bridge.toml`
//! has is left to that.

use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use prost::Message as _;

use super::any::pack;
use super::listener::router;
use crate::model::declaration::Expose;
use crate::model::{Protocol, Service};
use crate::xds::{Draft, Kind, Reach};

/// Whether gRPC clients may dial a service by its name: it speaks HTTP/2, and does not
/// declare `expose = none`.
#[must_use]
pub fn is_dialled(service: &Service) -> bool {
    matches!(service.protocol(), Protocol::Grpc | Protocol::Http2)
        && service.policy.expose != Some(Expose::Nothing)
}

/// The listener of a service for gRPC clients. It depends on the name alone, so it is
/// sent once and never again.
#[must_use]
pub fn dialled(name: &Arc<str>) -> Draft {
    Draft {
        kind: Kind::Listener,
        name: name.clone(),
        body: message(name).encode_to_vec(),
        needs: vec![name.clone()],
        reach: Reach::ByName,
    }
}

/// The routes stand in the listener: one answer less before the first call. A call's own
/// deadline is its only one, and retries are the client's to declare.
fn message(name: &str) -> Listener {
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(String::new())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(name.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    let routes = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: name.to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route],
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router()],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(pack(&manager)),
        }),
        ..Listener::default()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;

    use super::*;
    use crate::model::Policy;

    fn service(protocol: Option<Protocol>, expose: Option<Expose>) -> Service {
        Service {
            name: "orders".into(),
            policy: Policy {
                protocol,
                expose,
                ..Policy::default()
            },
            ..Service::default()
        }
    }

    #[test]
    fn what_speaks_http2_and_wants_callers_is_dialled() {
        let cases = [
            (Some(Protocol::Grpc), None, true),
            (Some(Protocol::Http2), None, true),
            (Some(Protocol::Grpc), Some(Expose::On(vec!["edge".into()])), true),
            (Some(Protocol::Grpc), Some(Expose::Nothing), false),
            (Some(Protocol::Http1), None, false),
            (Some(Protocol::Tcp), None, false),
            (None, None, false),
        ];
        for (protocol, expose, wanted) in cases {
            let service = service(protocol, expose);
            assert_eq!(is_dialled(&service), wanted, "{:?}", service.policy);
        }
    }

    /// Section 8 of the protocol notes: what a gRPC client demands of a listener.
    #[test]
    fn the_listener_is_what_grpc_clients_demand() {
        let draft = dialled(&"orders".into());
        assert_eq!((draft.kind, &*draft.name), (Kind::Listener, "orders"));
        assert_eq!(draft.reach, Reach::ByName, "no wildcard of an Envoy holds it");
        assert_eq!(
            draft.needs,
            ["orders".into()],
            "it waits for its cluster (rule 47)"
        );
        let listener = Listener::decode(&*draft.body).unwrap();
        assert_eq!(listener.name, "orders", "the name is what is dialled");
        assert!(listener.address.is_none() && listener.filter_chains.is_empty());
        let any = listener.api_listener.unwrap().api_listener.unwrap();
        assert!(
            any.type_url.ends_with(".v3.HttpConnectionManager"),
            "{}",
            any.type_url
        );
        let manager = HttpConnectionManager::decode(&*any.value).unwrap();
        let Some(ConfigType::TypedConfig(last)) = &manager.http_filters.last().unwrap().config_type else {
            panic!("the last filter has no configuration");
        };
        assert!(
            last.type_url.ends_with(".router.v3.Router"),
            "the router is last: {}",
            last.type_url
        );
        let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else {
            panic!("the routes are not inline");
        };
        let [host] = &routes.virtual_hosts[..] else {
            panic!("one virtual host")
        };
        assert_eq!(host.domains, ["*"]);
        let [route] = &host.routes[..] else {
            panic!("one route")
        };
        let path = route.r#match.as_ref().unwrap().path_specifier.as_ref();
        assert_eq!(
            path,
            Some(&PathSpecifier::Prefix(String::new())),
            "each route has a path matcher"
        );
        let Some(Action::Route(action)) = &route.action else {
            panic!("a route to a cluster")
        };
        assert_eq!(
            action.cluster_specifier,
            Some(ClusterSpecifier::Cluster("orders".into()))
        );
    }

    #[test]
    fn equal_names_give_equal_bytes() {
        assert_eq!(
            dialled(&"orders".into()).body,
            dialled(&Arc::from(String::from("orders"))).body
        );
    }
}
