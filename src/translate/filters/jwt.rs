//! The filter that checks tokens (`jwt_authn`). Each requirement that a route can name contains what the operator
//! requires of all routes, so that naming one never makes less of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::config::core::v3::{DataSource, HttpUri};
use envoy_types::pb::envoy::config::route::v3::RouteMatch;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtAuthentication, JwtHeader, JwtProvider, JwtRequirement, JwtRequirementAndList, JwtRequirementOrList,
    RemoteJwks, RequirementRule,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message, Name as _};

use super::super::any::duration;
use crate::model::filters::{Jwt, Keys};

/// How long a fetch of keys may take.
const FETCH: Duration = Duration::from_secs(5);

/// `JwtAuthentication`, whose maps are encoded in the same order each time.
#[derive(Clone, PartialEq, Message)]
struct Filter {
    #[prost(btree_map = "string, message", tag = "1")]
    providers: BTreeMap<String, JwtProvider>,
    #[prost(message, repeated, tag = "2")]
    rules: Vec<RequirementRule>,
    #[prost(btree_map = "string, message", tag = "5")]
    requirement_map: BTreeMap<String, JwtRequirement>,
}

/// What there is of it.
pub(super) enum Tokens {
    /// There are no issuers.
    Unused,
    /// Tokens are required, and there are keys of none of the issuers whose tokens count.
    Closed,
    /// The configuration.
    Checked(Any),
}

pub(super) fn filter(issuers: &BTreeMap<Arc<str>, Jwt>, keys: impl Fn(&str) -> Option<Arc<[u8]>>) -> Tokens {
    if issuers.is_empty() {
        return Tokens::Unused;
    }
    let mut providers = BTreeMap::new();
    for (name, issuer) in issuers {
        let source = match &issuer.keys {
            Keys::File => keys(name).map(|keys| {
                JwksSourceSpecifier::LocalJwks(DataSource {
                    specifier: Some(Specifier::InlineBytes(keys.to_vec())),
                    ..DataSource::default()
                })
            }),
            Keys::Remote { url, service, cache } => {
                Some(JwksSourceSpecifier::RemoteJwks(remote(url, service, *cache)))
            }
        };
        // A route that names an issuer without keys gets 403: Envoy knows no requirement of that name.
        if let Some(source) = source {
            providers.insert(name.to_string(), provider(issuer, source));
        }
    }
    let required: Vec<JwtRequirement> = issuers
        .iter()
        .filter(|(name, issuer)| issuer.require && providers.contains_key(&***name))
        .map(|(name, _)| token_of(name))
        .collect();
    if required.is_empty() && issuers.values().any(|issuer| issuer.require) {
        return Tokens::Closed;
    }
    let rule = |requirement| RequirementRule {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            ..RouteMatch::default()
        }),
        requirement_type: Some(RequirementType::Requires(requirement)),
    };
    let of_all = match &required[..] {
        [] => None,
        [one] => Some(one.clone()),
        _ => Some(requirement(RequiresType::RequiresAny(JwtRequirementOrList {
            requirements: required,
        }))),
    };
    let named = |name: &String| {
        let own = token_of(name);
        let both = match &of_all {
            Some(all) if *all != own => requirement(RequiresType::RequiresAll(JwtRequirementAndList {
                requirements: vec![all.clone(), own],
            })),
            _ => own,
        };
        (name.clone(), both)
    };
    let filter = Filter {
        requirement_map: providers.keys().map(named).collect(),
        rules: of_all.iter().cloned().map(rule).collect(),
        providers,
    };
    Tokens::Checked(Any {
        type_url: JwtAuthentication::type_url(),
        value: filter.encode_to_vec(),
    })
}

const fn requirement(requires: RequiresType) -> JwtRequirement {
    JwtRequirement {
        requires_type: Some(requires),
    }
}

fn token_of(name: &str) -> JwtRequirement {
    requirement(RequiresType::ProviderName(name.to_owned()))
}

fn provider(issuer: &Jwt, source: JwksSourceSpecifier) -> JwtProvider {
    JwtProvider {
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.clone(),
        // The server may want to look at it, too.
        forward: true,
        from_headers: issuer.header.iter().map(|name| header(name)).collect(),
        jwks_source_specifier: Some(source),
        ..JwtProvider::default()
    }
}

fn header(name: &str) -> JwtHeader {
    JwtHeader {
        name: name.to_owned(),
        ..JwtHeader::default()
    }
}

fn remote(url: &str, service: &str, cache: Duration) -> RemoteJwks {
    RemoteJwks {
        http_uri: Some(HttpUri {
            uri: url.to_owned(),
            timeout: Some(duration(FETCH)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(service.to_owned())),
        }),
        cache_duration: Some(duration(cache)),
        ..RemoteJwks::default()
    }
}
