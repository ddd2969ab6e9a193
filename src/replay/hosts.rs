//! The virtual host of a route configuration that a request falls to. Pure.
//!
//! A configuration may hold thousands of hosts: each is looked at by its names alone, and only one is decoded.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use prost::Message;

use super::Request;

/// What is read of each host.
#[derive(Clone, PartialEq, Message)]
struct Names {
    #[prost(string, repeated, tag = "2")]
    domains: Vec<String>,
}

/// A configuration, as far as its hosts are read.
#[derive(Clone, PartialEq, Message)]
struct Configuration {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    hosts: Vec<bytes::Bytes>,
    #[prost(bool, tag = "14")]
    ignore_port: bool,
}

/// The host, and the domain of it that fits. `Err`: why there is none.
pub(super) fn choose(body: bytes::Bytes, request: &Request) -> Result<(String, VirtualHost), String> {
    let configuration =
        Configuration::decode(body).map_err(|error| format!("its routes cannot be read: {error}"))?;
    let host = match request.port {
        Some(port) if !configuration.ignore_port => format!("{}:{port}", request.host),
        _ => request.host.clone(),
    };
    let mut best: Option<(Rank, String, &bytes::Bytes)> = None;
    for encoded in &configuration.hosts {
        let Ok(names) = Names::decode(&**encoded) else {
            continue;
        };
        for domain in names.domains {
            let Some(rank) = rank(&domain, &host) else {
                continue;
            };
            if best.as_ref().is_none_or(|(other, ..)| rank > *other) {
                best = Some((rank, domain, encoded));
            }
        }
    }
    let (_, domain, encoded) = best.ok_or_else(|| {
        format!(
            "404: none of {} hosts is `{host}`, and none is a pattern for it",
            configuration.hosts.len()
        )
    })?;
    let host =
        VirtualHost::decode(&**encoded).map_err(|error| format!("the host cannot be read: {error}"))?;
    Ok((domain, host))
}

/// Each host with this in one of its names, encoded.
pub(super) fn named(body: bytes::Bytes, part: &str) -> Vec<bytes::Bytes> {
    let configuration = Configuration::decode(body).unwrap_or_default();
    let mut hosts = configuration.hosts;
    hosts.retain(|encoded| {
        part.is_empty()
            || Names::decode(&**encoded)
                .is_ok_and(|names| names.domains.iter().any(|name| name.contains(part)))
    });
    hosts
}

/// The later the better: `*`, a pattern that ends with a star, one that begins with it, each by its length, the host.
type Rank = (u8, usize);

fn rank(domain: &str, host: &str) -> Option<Rank> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some((0, 0));
    }
    if let Some(end) = domain.strip_prefix('*') {
        return (host.len() > end.len() && host.ends_with(end)).then_some((2, end.len()));
    }
    if let Some(start) = domain.strip_suffix('*') {
        return (host.len() > start.len() && host.starts_with(start)).then_some((1, start.len()));
    }
    (domain == host).then_some((3, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_has_the_request() {
        let of = |host: &str| {
            ["*", "*.x", "api.x", "*.eu.x", "api.*"]
                .into_iter()
                .filter_map(|domain| Some((rank(domain, host)?, domain)))
                .max()
                .map(|(_, domain)| domain)
        };
        assert_eq!(of("api.x"), Some("api.x"));
        assert_eq!(of("b.x"), Some("*.x"));
        assert_eq!(of("b.eu.x"), Some("*.eu.x"));
        assert_eq!(of("api.y"), Some("api.*"));
        assert_eq!(of("z"), Some("*"));
        assert_eq!(rank("*.x", ".x"), None);
    }
}
