//! What becomes of a request, replayed on resources as a client holds them. That real Envoys agree is in
//! `integration/routes.rs` and `integration/why.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, HealthStatus, SocketAddress};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, Rds,
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};
use expect_test::{Expect, expect};
use prost::Message;
use xds_bridge::replay::{Kind, Request, Served, replay, words};

#[derive(Default)]
struct All(BTreeMap<(u8, String), Bytes>);

impl All {
    fn put(&mut self, kind: Kind, name: &str, message: &impl Message) {
        let body = message.encode_to_vec().into();
        self.0.insert((kind as u8, name.to_owned()), body);
    }
}

impl Served for All {
    fn listeners(&self) -> Vec<Arc<str>> {
        let all = self.0.keys().filter(|(kind, _)| *kind == Kind::Listener as u8);
        all.map(|(_, name)| name.as_str().into()).collect()
    }

    fn routes(&self) -> Vec<Arc<str>> {
        let all = self.0.keys().filter(|(kind, _)| *kind == Kind::Route as u8);
        all.map(|(_, name)| name.as_str().into()).collect()
    }

    fn body(&self, kind: Kind, name: &str) -> Option<Bytes> {
        self.0.get(&(kind as u8, name.to_owned())).cloned()
    }
}

fn address(port: u32) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: "10.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..SocketAddress::default()
        })),
    }
}

fn listener(name: &str, port: u32) -> Listener {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: name.to_owned(),
            ..Rds::default()
        })),
        ..HttpConnectionManager::default()
    };
    let path = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    Listener {
        name: name.to_owned(),
        address: Some(address(port)),
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                config_type: Some(ConfigType::TypedConfig(Any {
                    type_url: format!("type.googleapis.com/{path}"),
                    value: manager.encode_to_vec(),
                })),
                ..Filter::default()
            }],
            ..FilterChain::default()
        }],
        ..Listener::default()
    }
}

fn route(prefix: &str, specifier: ClusterSpecifier) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::PathSeparatedPrefix(prefix.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(specifier),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

fn cluster(all: &mut All, name: &str, ends: &[(u32, HealthStatus)]) {
    let cluster = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)),
        ..Cluster::default()
    };
    let end = |(port, health): &(u32, HealthStatus)| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(*port)),
            ..Endpoint::default()
        })),
        health_status: *health as i32,
        ..LbEndpoint::default()
    };
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: ends.iter().map(end).collect(),
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    };
    all.put(Kind::Cluster, name, &cluster);
    all.put(Kind::Endpoints, name, &assignment);
}

/// Two versions of `orders`, of which the new one is empty, and a cluster that nobody has.
fn scene() -> All {
    let mut all = All::default();
    let weight = |name: &str, weight| ClusterWeight {
        name: name.to_owned(),
        weight: Some(UInt32Value { value: weight }),
        ..ClusterWeight::default()
    };
    let split = WeightedCluster {
        clusters: vec![weight("orders@new", 1_000), weight("orders@old", 9_000)],
        ..WeightedCluster::default()
    };
    let host = |domain: &str, routes| VirtualHost {
        name: domain.to_owned(),
        domains: vec![domain.to_owned()],
        routes,
        ..VirtualHost::default()
    };
    let routes = RouteConfiguration {
        name: "edge".to_owned(),
        virtual_hosts: vec![
            host(
                "*.x",
                vec![route("/a", ClusterSpecifier::Cluster("gone".to_owned()))],
            ),
            host(
                "api.x",
                vec![
                    route("/old", ClusterSpecifier::Cluster("orders@old".to_owned())),
                    route("/orders", ClusterSpecifier::WeightedClusters(split)),
                ],
            ),
        ],
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    all.put(Kind::Listener, "edge", &listener("edge", 443));
    all.put(Kind::Listener, "late", &listener("late", 444));
    all.put(Kind::Route, "edge", &routes);
    let own = route("/own", ClusterSpecifier::Cluster("orders@old".to_owned()));
    let of_a_file = RouteConfiguration {
        virtual_hosts: vec![host("api.x", vec![own])],
        ..routes
    };
    all.put(Kind::Route, "static", &of_a_file);
    cluster(&mut all, "orders@new", &[]);
    cluster(
        &mut all,
        "orders@old",
        &[(1, HealthStatus::Healthy), (2, HealthStatus::Draining)],
    );
    all
}

fn shows(request: &str, wanted: &Expect) {
    let request = Request::parse(request).unwrap();
    wanted.assert_eq(&words(&replay(&request, &scene())));
}

#[test]
fn the_way_of_a_request_is_said_with_what_fails_on_it() {
    shows(
        "GET http://api.x:443/orders/7",
        &expect![[r#"
        ! listener edge (10.0.0.1:443): 503: `orders@new` has no endpoint (for 10 % of the requests)
            virtual host: api.x
            not path=/old (orders@old): the path is not `/old`, and not below `/old/`
            route: path=/orders
            cluster orders@new, 10.00 % of the requests
            cluster orders@old, 90.00 % of the requests
              10.0.0.1:1 healthy, weight 1
              10.0.0.1:2 draining, weight 1
    "#]],
    );
    shows(
        "GET http://b.x:443/a",
        &expect![[r#"
        ! listener edge (10.0.0.1:443): 503: this client gets no cluster `gone`
            virtual host: *.x
            route: path=/a
            cluster gone: not there
    "#]],
    );
    shows(
        "GET http://api.x:443/old",
        &expect![[r#"
        ✓ listener edge (10.0.0.1:443): it goes to `orders@old` (1 healthy of 2 endpoints)
            virtual host: api.x
            route: path=/old
            cluster orders@old
              10.0.0.1:1 healthy, weight 1
              10.0.0.1:2 draining, weight 1
    "#]],
    );
    shows(
        "GET http://api.x/own",
        &expect![[r#"
        ! listener edge (10.0.0.1:443): 404: none of the 2 routes of the host `api.x` takes it
            virtual host: api.x
            not path=/old (orders@old): the path is not `/old`, and not below `/old/`
            not path=/orders (orders@new, orders@old): the path is not `/orders`, and not below `/orders/`
        ! listener late (10.0.0.1:444): 404: this client does not get the routes `late`
        ✓ listener in Envoy's own file: it goes to `orders@old` (1 healthy of 2 endpoints)
            note: where it is, and what stands in front of the routes `static`, says that file
            virtual host: api.x
            route: path=/own
            cluster orders@old
              10.0.0.1:1 healthy, weight 1
              10.0.0.1:2 draining, weight 1
    "#]],
    );
    shows(
        "GET https://other/",
        &expect![[r#"
        ! listener edge (10.0.0.1:443): 404: none of 2 hosts is `other`, and none is a pattern for it
            note: it does not speak TLS: an https:// request reaches it only where TLS ends in front of it
        ! listener late (10.0.0.1:444): 404: this client does not get the routes `late`
            note: it does not speak TLS: an https:// request reaches it only where TLS ends in front of it
        ! listener in Envoy's own file: 404: none of 1 hosts is `other`, and none is a pattern for it
            note: where it is, and what stands in front of the routes `static`, says that file
    "#]],
    );
}
