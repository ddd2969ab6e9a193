//! A service as gRPC's own xDS clients dial it (`xds:///orders`): a listener named as
//! the service, whose `api_listener` sends every call to the service's cluster.
//!
//! Never for Envoy: no wildcard holds it, and a name that a listener of `bridge.toml`
//! has is left to that.

use std::sync::Arc;

use envoy_types::pb::envoy::config::listener::v3::{ApiListener, Listener};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use prost::Message as _;

use super::any::pack;
use super::filters::router;
use super::route::weighted;
use crate::plan::Split;
use crate::xds::{Draft, Kind, Reach};

/// The listener of a service for gRPC clients. It depends on the name alone, so it is
/// sent once and never again, unless versions share the calls.
#[must_use]
pub fn api_listener(name: &Arc<str>, split: Option<&Split>) -> Draft {
    let host = VirtualHost {
        name: name.to_string(),
        domains: vec!["*".to_owned()],
        routes: followed(routes(name, split)),
        ..VirtualHost::default()
    };
    let mut needs = split.map_or_else(|| vec![name.clone()], |split| split.clusters().collect());
    needs.sort_unstable();
    needs.dedup();
    draft(name, host, needs)
}

/// The same, while there is nobody to call: no host of it is the name that clients connect to. Each client of gRPC
/// fails calls by that, and Go, Java, the C core and tonic-xds name the service that is missing. The route
/// stays: tonic-xds never again follows a cluster that no route named for a while.
#[must_use]
pub fn stopped(name: &Arc<str>, split: Option<&Split>, why: &str) -> Draft {
    let host = VirtualHost {
        name: why.to_owned(), // for who looks into what a client holds
        domains: vec![NOBODY.to_owned()],
        routes: followed(routes(name, split)),
        ..VirtualHost::default()
    };
    draft(name, host, Vec::new())
}

/// A host that nobody dials (RFC 2606). A configuration without any host is refused by tonic-xds.
const NOBODY: &str = "nobody-to-call.invalid";

fn draft(name: &Arc<str>, host: VirtualHost, needs: Vec<Arc<str>>) -> Draft {
    Draft {
        kind: Kind::Listener,
        name: name.clone(),
        body: message(name, host).encode_to_vec(),
        needs,
        reach: Reach::ByName,
        local: None,
    }
}

/// The routes that gRPC's own clients follow, all of them: a single route with another action (a redirect,
/// a response of its own) makes Java, Node and tonic-xds refuse all others with it, and a matcher that one
/// of them ignores would catch calls of others.
fn followed(routes: Vec<Route>) -> Vec<Route> {
    let path = |m: &RouteMatch| {
        matches!(
            m.path_specifier,
            Some(PathSpecifier::Prefix(_) | PathSpecifier::Path(_) | PathSpecifier::SafeRegex(_))
        ) && m.query_parameters.is_empty()
    };
    let target = |a: &RouteAction| {
        matches!(
            a.cluster_specifier,
            Some(ClusterSpecifier::Cluster(_) | ClusterSpecifier::WeightedClusters(_))
        )
    };
    let follows = |route: &Route| {
        route.r#match.as_ref().is_some_and(path)
            && matches!(&route.action, Some(Action::Route(action)) if target(action))
    };
    routes.into_iter().filter(follows).collect()
}

/// Where calls go: those that ask for a version, then all others.
fn routes(name: &str, split: Option<&Split>) -> Vec<Route> {
    let Some(split) = split else {
        return vec![to_cluster(name)];
    };
    let forced = split.forced().map(|(header, part)| {
        let mut route = to_cluster(&part.cluster);
        if let Some(wanted) = &mut route.r#match {
            wanted.headers = vec![asks_for(header, &part.version)];
        }
        route
    });
    let mut shared = to_cluster(name);
    if let Some(Action::Route(action)) = &mut shared.action {
        // None of them chooses a cluster by a hash.
        action.cluster_specifier = Some(weighted(split, false));
    }
    forced.chain([shared]).collect()
}

#[expect(deprecated, reason = "the newer form is not read by each of them")]
fn asks_for(header: &str, version: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: header.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::ExactMatch(version.to_owned())),
        ..HeaderMatcher::default()
    }
}

/// Every call goes to the cluster of this name. A call's own deadline is its only one, and retries are the
/// client's to declare.
fn to_cluster(name: &str) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix(String::new())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(name.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

/// The routes stand in the listener: one answer less before the first call.
fn message(name: &str, host: VirtualHost) -> Listener {
    let routes = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: name.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![router(None)],
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

    /// Section 8 of the protocol notes: what a gRPC client demands of a listener.
    #[test]
    fn the_listener_is_what_grpc_clients_demand() {
        let draft = api_listener(&"orders".into(), None);
        assert_eq!((draft.kind, &*draft.name), (Kind::Listener, "orders"));
        assert_eq!(draft.reach, Reach::ByName, "no wildcard of an Envoy holds it");
        assert_eq!(
            draft.needs,
            ["orders".into()],
            "it waits for its cluster (rule 47)"
        );
        let listener = Listener::decode(&*draft.body).unwrap();
        assert_eq!(listener.name, "orders", "the name is what clients connect to");
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

    fn routes_of(draft: &Draft) -> RouteConfiguration {
        let listener = Listener::decode(&*draft.body).unwrap();
        let any = listener.api_listener.unwrap().api_listener.unwrap();
        let manager = HttpConnectionManager::decode(&*any.value).unwrap();
        let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else {
            panic!("the routes are not inline");
        };
        routes
    }

    #[test]
    fn a_stopped_service_has_no_host_and_keeps_its_cluster() {
        let stopped = stopped(&"orders".into(), None, "all of them are off");
        assert_eq!(stopped.reach, Reach::ByName);
        assert_eq!(stopped.needs, [""; 0].map(Arc::from), "it waits for nothing");
        let routes = routes_of(&stopped);
        let [host] = &routes.virtual_hosts[..] else {
            panic!("without any, tonic-xds refuses it")
        };
        assert_eq!(host.domains, [NOBODY]);
        assert_eq!(
            host.routes,
            routes_of(&api_listener(&"orders".into(), None)).virtual_hosts[0].routes,
            "tonic-xds goes on watching the cluster"
        );
    }

    /// One route that a client does not follow would cost it all of them.
    #[test]
    fn only_routes_that_grpc_clients_follow_are_in_their_tables() {
        use envoy_types::pb::envoy::config::route::v3::{
            DirectResponseAction, NonForwardingAction, QueryParameterMatcher, RedirectAction, WeightedCluster,
        };
        let good = to_cluster("orders");
        let with = |change: fn(&mut Route)| {
            let mut route = good.clone();
            change(&mut route);
            route
        };
        let on_match = |change: fn(&mut RouteMatch)| {
            let mut route = good.clone();
            change(route.r#match.as_mut().unwrap());
            route
        };
        let weighted = with(|r| {
            r.action = Some(Action::Route(RouteAction {
                cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster::default())),
                ..RouteAction::default()
            }));
        });
        let method = on_match(|m| m.path_specifier = Some(PathSpecifier::Path("/a.B/C".into())));
        let bad = vec![
            with(|r| r.action = Some(Action::Redirect(RedirectAction::default()))),
            with(|r| r.action = Some(Action::DirectResponse(DirectResponseAction::default()))),
            with(|r| r.action = Some(Action::NonForwardingAction(NonForwardingAction::default()))),
            with(|r| r.action = Some(Action::Route(RouteAction::default()))),
            with(|r| r.action = None),
            with(|r| r.r#match = None),
            on_match(|m| m.path_specifier = None),
            on_match(|m| m.path_specifier = Some(PathSpecifier::PathSeparatedPrefix("/a".into()))),
            on_match(|m| m.query_parameters = vec![QueryParameterMatcher::default()]),
        ];
        for bad in bad {
            let routes = vec![weighted.clone(), bad, method.clone(), good.clone()];
            assert_eq!(followed(routes), [weighted.clone(), method.clone(), good.clone()]);
        }
    }

    #[test]
    fn equal_names_give_equal_bytes() {
        assert_eq!(
            api_listener(&"orders".into(), None).body,
            api_listener(&Arc::from(String::from("orders")), None).body
        );
    }
}
