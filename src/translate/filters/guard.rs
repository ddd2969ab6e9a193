//! What a route says to the filters of its listener: a limit of its own, a token that it needs, who may call it, how
//! its responses are compressed.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier, Set};
use envoy_types::pb::envoy::config::rbac::v3::{Principal, Rbac as Rules};
use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::compressor_per_route::Override;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::{
    CompressorOverrides, CompressorPerRoute, ResponseDirectionOverrides,
};
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::PerRouteConfig;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::Any;

use super::super::any::pack;
use super::{JWT, RBAC, ROUTE_LIMIT, all_of, clients, compressor, none, only, principal, rate_limit};
use crate::model::Extras;
use crate::model::filters::Compression;
use crate::model::pattern::escape;
use crate::model::route::extras::Admitted;

/// By the filter that it is for.
pub(in super::super) fn guards(extras: &Extras) -> BTreeMap<String, Any> {
    let limit = extras
        .rate_limit
        .map(|limit| (ROUTE_LIMIT, pack(&rate_limit("route", limit))));
    let token = extras.jwt.as_ref().map(|name| {
        let config = PerRouteConfig {
            requirement_specifier: Some(RequirementSpecifier::RequirementName(name.clone())),
        };
        (JWT, pack(&config))
    });
    let admitted = admitted(extras).map(|rbac| {
        let rbac = RbacPerRoute { rbac: Some(rbac) };
        (RBAC, pack(&rbac))
    });
    let compressed = extras.compress.iter().flat_map(|wanted| {
        Compression::ALL.map(|by| (compressor(by), pack(&compress(wanted.contains(&by)))))
    });
    let all = limit.into_iter().chain(token).chain(admitted).chain(compressed);
    all.map(|(name, config)| (name.to_owned(), config)).collect()
}

/// The filter is off in the listener, unless the exposure compresses all.
fn compress(wanted: bool) -> FilterConfig {
    let on = CompressorPerRoute {
        r#override: Some(Override::Overrides(CompressorOverrides {
            response_direction_config: Some(ResponseDirectionOverrides::default()),
            ..CompressorOverrides::default()
        })),
    };
    FilterConfig {
        // Envoy refuses one that says nothing.
        config: wanted.then(|| pack(&on)),
        disabled: !wanted,
        ..FilterConfig::default()
    }
}

/// Who may pass, by address and by identity: one filter, so that nothing has a listener of somebody's own file lack the
/// one and not the other.
fn admitted(extras: &Extras) -> Option<Rbac> {
    let by_address = extras.clients.as_ref().map(clients);
    let (rules, shadow_rules) = match (by_address, &extras.admitted) {
        (None, None) => return None,
        (by_address, None) => (by_address.map(|clients| only(vec![clients])), None),
        (by_address, Some(admitted)) if admitted.enforced => (Some(callers(admitted, by_address)), None),
        (by_address, Some(admitted)) => (
            by_address.map(|clients| only(vec![clients])),
            Some(callers(admitted, None)),
        ),
    };
    Some(Rbac {
        rules,
        shadow_rules,
        ..Rbac::default()
    })
}

/// On a connection without a certificate of the caller's nobody has an identity, so nobody passes.
fn callers(admitted: &Admitted, by_address: Option<Principal>) -> Rules {
    let names = admitted.identities.iter().map(|identity| {
        principal(Identifier::Authenticated(Authenticated {
            principal_name: Some(name(identity)),
        }))
    });
    if admitted.identities.is_empty() {
        return none();
    }
    match by_address {
        None => only(names.collect()),
        Some(clients) => {
            let any = principal(Identifier::OrIds(Set { ids: names.collect() }));
            only(vec![all_of(vec![any, clients])])
        }
    }
}

/// A URI or, after `dns:`, a name. `*` stands for one character or more, but no `/`, and in a name no `:` either, so that
/// no URI is one.
fn name(identity: &str) -> StringMatcher {
    let (text, any) = match identity.strip_prefix("dns:") {
        Some(name) => (name, "[^/:]+"),
        None => (identity, "[^/]+"),
    };
    let pattern = if text.contains('*') {
        let parts: Vec<String> = text.split('*').map(escape).collect();
        MatchPattern::SafeRegex(RegexMatcher {
            regex: parts.join(any),
            ..RegexMatcher::default()
        })
    } else {
        MatchPattern::Exact(text.to_owned())
    };
    StringMatcher {
        match_pattern: Some(pattern),
        ..StringMatcher::default()
    }
}
