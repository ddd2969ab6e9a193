//! The HTTP filters of a listener: the operator's, which no route can turn off, and those that do nothing until a route
//! asks for it. The operator's are filters of their own: what a route says to a filter takes the place of what the
//! listener says to it, so the two never share one, but for tokens, where a route can only choose among requirements
//! that contain the operator's.

mod authorization;
pub(super) mod guard;
mod jwt;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::core::v3::{CidrRange, RuntimeFractionalPercent, TypedExtensionConfig};
use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Identifier, Set};
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal, Rbac as Rules};
use envoy_types::pb::envoy::extensions::compression::brotli::compressor::v3::Brotli;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3::Gzip;
use envoy_types::pb::envoy::extensions::compression::zstd::compressor::v3::Zstd;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::Compressor;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, TokenBucket};
use envoy_types::pb::google::protobuf::{Any, UInt32Value};

use self::jwt::Tokens;
use super::any::{duration, pack};
use crate::model::filters::{Clients, Compression, Filters, Range, RateLimit};
use crate::model::{Secret, Secrets};

/// The operator's.
const ADDRESSES: &str = "xds-bridge.addresses";
const LIMIT: &str = "xds-bridge.rate-limit";
const AUTHORIZATION: &str = "xds-bridge.authorization";
/// What routes declare. They do nothing where a route declares nothing.
pub(super) const CORS: &str = "envoy.filters.http.cors";
const RBAC: &str = "envoy.filters.http.rbac";
const JWT: &str = "envoy.filters.http.jwt_authn";
const ROUTE_LIMIT: &str = "envoy.filters.http.local_ratelimit";

/// The filter of one way to compress.
const fn compressor(by: Compression) -> &'static str {
    match by {
        Compression::Gzip => "xds-bridge.gzip",
        Compression::Brotli => "xds-bridge.brotli",
        Compression::Zstd => "xds-bridge.zstd",
    }
}

fn filter(name: &str, config: Any) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..HttpFilter::default()
    }
}

/// The filter that each chain ends with, with a log of attempts.
pub(super) fn router(log: Option<AccessLog>) -> HttpFilter {
    let router = Router {
        upstream_log: log.into_iter().collect(),
        ..Router::default()
    };
    filter("envoy.filters.http.router", pack(&router))
}

/// All filters of a listener of this exposure. What costs least, and what needs nobody else, comes first.
pub(super) fn chain(
    exposure: &str,
    filters: &Filters,
    secrets: &Secrets,
    log: Option<AccessLog>,
) -> Vec<HttpFilter> {
    let keys = |issuer: &str| secrets.get(&*Secret::jwks_name(exposure, issuer))?.jwks.clone();
    // Without keys no token can be good: what must have one is closed.
    let (tokens, addresses) = match jwt::filter(&filters.jwt, keys) {
        Tokens::Unused => (None, addresses(filters)),
        Tokens::Closed => (None, Some(none())),
        Tokens::Checked(config) => (Some(filter(JWT, config)), addresses(filters)),
    };
    let addresses = addresses.map(|rules| {
        let rbac = Rbac {
            rules: Some(rules),
            rules_stat_prefix: "addresses".to_owned(),
            ..Rbac::default()
        };
        filter(ADDRESSES, pack(&rbac))
    });
    let limit = filters
        .rate_limit
        .map(|limit| filter(LIMIT, pack(&rate_limit("exposure", limit))));
    // Envoy counts by the names that the listener gives, whatever a route says.
    let callers = Rbac {
        rules_stat_prefix: "callers".to_owned(),
        shadow_rules_stat_prefix: "callers".to_owned(),
        ..Rbac::default()
    };
    let callers = filter(RBAC, pack(&callers));
    let authorization = filters.authorization.as_ref().map(authorization::filter);
    let route_limit = LocalRateLimit {
        stat_prefix: "route".to_owned(),
        ..LocalRateLimit::default()
    };
    let compressors = Compression::ALL.map(|by| compress(by, filters.compress.contains(&by)));
    let of_operator = addresses.into_iter().chain(limit);
    let before = of_operator.chain([filter(CORS, pack(&Cors::default())), callers]);
    let checked = before.chain(tokens).chain(authorization);
    checked
        .chain([filter(ROUTE_LIMIT, pack(&route_limit))])
        .chain(compressors)
        .chain([router(log)])
        .collect()
}

/// Nobody may pass.
fn none() -> Rules {
    Rules::default()
}

/// These may pass, and no others.
fn only(principals: Vec<Principal>) -> Rules {
    let all = Permission {
        rule: Some(Rule::Any(true)),
    };
    let policy = Policy {
        permissions: vec![all],
        principals,
        ..Policy::default()
    };
    Rules {
        policies: [("these".to_owned(), policy)].into(),
        ..Rules::default()
    }
}

const fn principal(identifier: Identifier) -> Principal {
    Principal {
        identifier: Some(identifier),
    }
}

fn addresses(filters: &Filters) -> Option<Rules> {
    let deny = ranges(&filters.deny_ips, false).map(not);
    let allow = ranges(&filters.allow_ips, false);
    let ids: Vec<Principal> = allow.into_iter().chain(deny).collect();
    (!ids.is_empty()).then(|| only(vec![all_of(ids)]))
}

/// One of these addresses; none: nothing is said. `direct`: of the connection itself.
fn ranges(ranges: &[Range], direct: bool) -> Option<Principal> {
    let ids = ranges.iter().map(|range| {
        let range = CidrRange {
            address_prefix: range.address.to_string(),
            prefix_len: Some(UInt32Value {
                value: range.bits.into(),
            }),
        };
        principal(if direct {
            Identifier::DirectRemoteIp(range)
        } else {
            Identifier::RemoteIp(range)
        })
    });
    (!ranges.is_empty()).then(|| principal(Identifier::OrIds(Set { ids: ids.collect() })))
}

/// The clients of a route. One without an address is none of them, also where the route only says who is not.
fn clients(clients: &Clients) -> Principal {
    const ALL: [Range; 2] = [
        Range {
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            bits: 0,
        },
        Range {
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            bits: 0,
        },
    ];
    let allow = match &clients.allow[..] {
        [] => &ALL[..],
        allow => allow,
    };
    let by = if clients.connection {
        &[false, true][..]
    } else {
        &[false]
    };
    let ids = by.iter().flat_map(|direct| {
        let deny = ranges(&clients.deny, *direct).map(not);
        ranges(allow, *direct).into_iter().chain(deny)
    });
    all_of(ids.collect())
}

fn not(other: Principal) -> Principal {
    principal(Identifier::NotId(Box::new(other)))
}

const fn all_of(ids: Vec<Principal>) -> Principal {
    principal(Identifier::AndIds(Set { ids }))
}

/// What is over the limit gets 429.
fn rate_limit(stat_prefix: &str, limit: RateLimit) -> LocalRateLimit {
    let always = || {
        Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: 100,
                denominator: DenominatorType::Hundred as i32,
            }),
            ..RuntimeFractionalPercent::default()
        })
    };
    LocalRateLimit {
        stat_prefix: stat_prefix.to_owned(),
        token_bucket: Some(TokenBucket {
            max_tokens: limit.burst,
            tokens_per_fill: Some(UInt32Value {
                value: limit.requests,
            }),
            fill_interval: Some(duration(limit.per)),
        }),
        filter_enabled: always(),
        filter_enforced: always(),
        ..LocalRateLimit::default()
    }
}

fn compress(by: Compression, always: bool) -> HttpFilter {
    let (name, library) = match by {
        Compression::Gzip => ("gzip", pack(&Gzip::default())),
        Compression::Brotli => ("brotli", pack(&Brotli::default())),
        Compression::Zstd => ("zstd", pack(&Zstd::default())),
    };
    let config = Compressor {
        compressor_library: Some(TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(library),
        }),
        // Of what a client likes equally. Else it would be the first one that it names: most name gzip.
        choose_first: by == Compression::Brotli,
        ..Compressor::default()
    };
    HttpFilter {
        // One that is there and compresses nothing would take part in the choice all the same, and win it.
        disabled: !always,
        ..filter(compressor(by), pack(&config))
    }
}

#[cfg(test)]
#[path = "filters_tests.rs"]
mod tests;
