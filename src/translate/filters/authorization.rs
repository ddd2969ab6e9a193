//! The filter that asks somebody whether a request may pass (`ext_authz`). Without an answer it may not, unless the
//! operator says so; a cluster that is not there gives none.

use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::core::v3::{ApiVersion, GrpcService, HttpUri};
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::{
    AuthorizationResponse, ExtAuthz, HttpService,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{ListStringMatcher, StringMatcher};

use super::super::any::{duration, grpc_service, pack};
use crate::model::filters::Authorization;

pub(super) fn filter(by: &Authorization) -> HttpFilter {
    let timeout = Some(duration(by.timeout));
    let services = if by.grpc {
        Services::GrpcService(GrpcService {
            timeout,
            ..grpc_service(&by.service)
        })
    } else {
        Services::HttpService(HttpService {
            server_uri: Some(HttpUri {
                uri: format!("http://{}", by.service),
                timeout,
                http_upstream_type: Some(HttpUpstreamType::Cluster(by.service.to_string())),
            }),
            path_prefix: by.path_prefix.clone(),
            authorization_response: names(&by.upstream_headers).map(|headers| AuthorizationResponse {
                allowed_upstream_headers: Some(headers),
                ..AuthorizationResponse::default()
            }),
            ..HttpService::default()
        })
    };
    let config = ExtAuthz {
        transport_api_version: ApiVersion::V3 as i32,
        failure_mode_allow: by.open,
        allowed_headers: names(&by.request_headers).filter(|_| !by.grpc),
        services: Some(services),
        ..ExtAuthz::default()
    };
    super::filter(super::AUTHORIZATION, pack(&config))
}

fn names(names: &[String]) -> Option<ListStringMatcher> {
    let exact = |name: &String| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(name.clone())),
        ignore_case: true,
    };
    (!names.is_empty()).then(|| ListStringMatcher {
        patterns: names.iter().map(exact).collect(),
    })
}
