//! A virtual host and its routes on the wire, with what we fill of them. The types of envoy-types have maps whose
//! entries are encoded in another order each time.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{RetryPolicy, RouteMatch};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use super::mark::Metadata;

/// `envoy.config.route.v3.VirtualHost`
#[derive(Clone, PartialEq, Message)]
pub(super) struct VirtualHost {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) domains: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub(super) routes: Vec<Route>,
    #[prost(message, optional, tag = "16")]
    pub(super) retry_policy: Option<RetryPolicy>,
}

/// `envoy.config.route.v3.Route`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Route {
    #[prost(message, optional, tag = "1")]
    pub(super) r#match: Option<RouteMatch>,
    #[prost(oneof = "Action", tags = "2, 3, 7, 17, 18")]
    pub(super) action: Option<Action>,
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<Metadata>,
    #[prost(message, repeated, tag = "9")]
    pub(super) request_headers_to_add: Vec<HeaderValueOption>,
    #[prost(message, repeated, tag = "10")]
    pub(super) response_headers_to_add: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "11")]
    pub(super) response_headers_to_remove: Vec<String>,
    #[prost(string, repeated, tag = "12")]
    pub(super) request_headers_to_remove: Vec<String>,
    #[prost(btree_map = "string, message", tag = "13")]
    pub(super) typed_per_filter_config: BTreeMap<String, Any>,
}
