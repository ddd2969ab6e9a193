//! A virtual host: the claims of one host, in their order, and what stands around all hosts.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message as _;

use super::action::{action, retry_policy};
use super::changes::{Changes, filters, served_by_http3};
use super::mark::mark;
use super::matching::matching;
use super::versions;
use super::wire::{Route, VirtualHost};
use crate::model::Extras;
use crate::plan::Claim;

/// The field of `RouteConfiguration` that holds its hosts; prost knows it by the type only.
const VIRTUAL_HOSTS: u32 = 2;

/// What stands before the hosts, with room for them.
pub(super) fn head(name: &str, room: usize) -> Vec<u8> {
    let before = RouteConfiguration {
        name: name.to_owned(),
        ..RouteConfiguration::default()
    };
    let mut body = before.encode_to_vec();
    body.reserve(room + 16);
    body
}

/// What stands behind them.
pub(super) fn tail(http3: Option<u16>) -> Vec<u8> {
    let after = RouteConfiguration {
        response_headers_to_add: http3.map(served_by_http3).into_iter().collect(),
        ..without_hosts("")
    };
    after.encode_to_vec()
}

pub(super) fn encode(host: &VirtualHost, into: &mut Vec<u8>) {
    prost::encoding::message::encode(VIRTUAL_HOSTS, host, into);
}

/// A host as it stands in the configuration.
pub(super) fn field(host: &str, claims: &[Claim]) -> Box<[u8]> {
    let message = virtual_host(host, claims);
    let mut field = Vec::with_capacity(message.encoded_len() + 8);
    encode(&message, &mut field);
    field.into()
}

/// Whether what a route says takes a filter that protects it.
pub(super) fn is_guarded(claim: &Claim) -> bool {
    claim.action.extras.as_deref().is_some_and(Extras::is_guarded)
}

/// For listeners whose filters nobody knows.
pub(super) fn refused(claim: &Claim) -> Claim {
    let mut claim = claim.clone();
    if is_guarded(&claim) {
        claim.action = claim.action.refused();
    }
    claim
}

pub(super) fn without_hosts(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        // `Host: orders:10001` is the host `orders`.
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    }
}

pub(super) fn virtual_host<'a>(host: &str, claims: impl IntoIterator<Item = &'a Claim>) -> VirtualHost {
    let mut claims = claims.into_iter().peekable();
    let retries = claims.peek().map_or(0, |claim| claim.action.retries);
    VirtualHost {
        name: host.to_owned(),
        domains: vec![host.to_owned()],
        routes: claims.flat_map(|claim| routes(claim, retries)).collect(),
        retry_policy: (retries > 0).then(|| retry_policy(retries, None, None)),
    }
}

/// One, unless its requests are shared out among versions.
fn routes(claim: &Claim, retries: u32) -> Vec<Route> {
    let route = one(claim, retries);
    match claim.shared_out() {
        None => vec![route],
        Some(split) => versions::routes(claim, split, &route),
    }
}

/// `retries`: those of the virtual host.
fn one(claim: &Claim, retries: u32) -> Route {
    let changes = Changes::of(claim.action.extras.as_deref());
    Route {
        r#match: Some(matching(claim)),
        action: Some(action(claim, retries)),
        metadata: claim.shared_out().and_then(|split| mark(split)),
        request_headers_to_add: changes.request.added,
        request_headers_to_remove: changes.request.removed,
        response_headers_to_add: changes.response.added,
        response_headers_to_remove: changes.response.removed,
        typed_per_filter_config: filters(claim.action.extras.as_deref()),
    }
}
