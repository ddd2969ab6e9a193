//! One entry of a health answer → one instance: where it listens, its health and weight, and what it declares. Pure.

use super::wire::{Check, Entry, Node, Service};
use crate::config::{self, ConsulSelection, Import};
use crate::import::{self, Imported, Placed};
use crate::model::declaration::{self, Declared, Spelling};
use crate::model::service::{Registered, UNIX_SOCKET, address, assemble};
use crate::model::{Health, Instance, Issue, MAX_WEIGHT, Policy, Protocol};
use crate::source::place as url;
use crate::text::clip;

/// Its name in messages.
pub(super) fn label(entry: &Entry) -> String {
    format!("{}@{}", clip(&entry.service.id), clip(&entry.node.name))
}

/// An instance, and what fabio makes of it: its share of the requests, and where its commands find it.
pub(super) fn instance(
    entry: &Entry,
    selection: &ConsulSelection,
    issues: &mut Vec<Issue>,
) -> Result<(Instance, Option<f64>, Option<Placed>), String> {
    let (node, service) = (&entry.node, &entry.service);
    if service.id.is_empty() || service.id.len() > 1024 || node.name.len() > 1024 {
        return Err("a service id has 1 to 1024 bytes, as has a node's name".to_owned());
    }
    let own = declared(entry, issues);
    let imported = imported(entry, &selection.import, &own, issues);
    let mut place = place(node, service, &selection.preferred_address)?;
    place.port = imported.port.map_or(place.port, u64::from);
    place.host = imported.host.as_deref().unwrap_or(place.host);
    if place.port == 0 {
        return Err(no_port(service));
    }
    let (health, weight) = judge(&entry.checks, service);
    let first = |places: [Option<&'_ String>; 3]| {
        let place = places.into_iter().flatten().find(|place| !place.is_empty());
        place.cloned()
    };
    let (of_service, of_node) = (&service.locality, &node.locality);
    let zone = first([node.meta.get("zone"), Some(&of_service.zone), Some(&of_node.zone)]);
    let region = first([
        node.meta.get("region"),
        Some(&of_service.region),
        Some(&of_node.region),
    ]);
    let registered = Registered {
        id: &format!("{}/{}", node.name, service.id),
        address: address(place.host, place.port)?,
        health: imported.health.unwrap_or(health),
        weight: imported.weight.unwrap_or(weight),
        zone: zone.as_ref().unwrap_or(&node.datacenter),
        region: region.as_deref().unwrap_or_default(),
    };
    let scheme = Declared::of_service(Policy {
        protocol: place.protocol,
        ..Policy::default()
    });
    let mut declared = own.over(&imported.declared).over(&scheme);
    if imported.version.is_some() {
        declared.instance.version = imported.version;
    }
    let mut instance = assemble(&registered, declared);
    instance.node = node.name.as_str().into();
    Ok((instance, imported.share, imported.placed))
}

/// What it declares for other programs.
fn imported(entry: &Entry, settings: &Import, own: &Declared, issues: &mut Vec<Issue>) -> Imported {
    if *settings == Import::default() {
        return Imported::default();
    }
    let checked = |check: &Check| import::Checked {
        status: match check.status.as_str() {
            "passing" => config::Check::Passing,
            "warning" => config::Check::Warning,
            _ => config::Check::Critical,
        },
        maintenance: is_maintenance(check),
        node: check.service_id.is_empty(),
    };
    let checks: Vec<import::Checked> = entry.checks.iter().map(checked).collect();
    let entry = import::Entry {
        label: &label(entry),
        service: &entry.service.name,
        datacenter: &entry.node.datacenter,
        tags: &entry.service.tags,
        checks: &checks,
        own: import::Own {
            version: own.instance.version.as_deref(),
            share: own.instance.share.is_some(),
            routes: !own.policy.routes.is_empty(),
        },
    };
    import::import(settings, &entry, issues)
}

fn is_maintenance(check: &Check) -> bool {
    check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance")
}

/// Consul accepts a service without a port, and answers with none or with 0.
fn no_port(service: &Service) -> String {
    if !service.socket_path.is_empty() {
        format!("`SocketPath` is {UNIX_SOCKET}")
    } else if service.ports.is_empty() {
        "it has no port (port 0): register one from 1 to 65535 (several `Ports` take agents of Consul 1.22 or newer)"
            .to_owned()
    } else {
        "none of its `Ports` from 1 to 65535 is the default: mark one with \"Default\": true".to_owned()
    }
}

/// Meta over tags, key by key.
fn declared(entry: &Entry, issues: &mut Vec<Issue>) -> Declared {
    let label = label(entry);
    let meta = entry
        .service
        .meta
        .iter()
        .filter_map(|(k, v)| Some((Spelling::Meta.strip(k)?, v.as_str())));
    let mut meta = declaration::parse(&label, Spelling::Meta, meta, issues);
    let others = entry.service.meta.keys().map(String::as_str);
    let others = others.filter(|key| Spelling::Meta.strip(key).is_none());
    declaration::near_misses(&label, Spelling::Meta, others, &mut meta, issues);
    let (mut pairs, mut unread) = (Vec::new(), Vec::new());
    for tag in entry
        .service
        .tags
        .iter()
        .filter_map(|tag| Spelling::Tag.strip(tag))
    {
        match tag.split_once('=') {
            Some(pair) => pairs.push(pair),
            None => {
                unread.push(tag);
                issues.push(Issue::warning(
                    &label,
                    format!("tag `xds.{}` must be xds.KEY=value; not used", clip(tag)),
                ));
            }
        }
    }
    let mut tags = declaration::parse(&label, Spelling::Tag, pairs, issues);
    for key in unread {
        tags.slip_named(key);
    }
    // Of a tag only what stands before its value.
    let others = entry.service.tags.iter().map(String::as_str);
    let others = others.filter(|tag| Spelling::Tag.strip(tag).is_none());
    let others = others.filter_map(|tag| tag.split_once('=')).map(|(name, _)| name);
    declaration::near_misses(&label, Spelling::Tag, others, &mut tags, issues);
    meta.over(&tags)
}

/// Where a server listens.
struct Place<'a> {
    host: &'a str,
    port: u64,
    /// Of a URL.
    protocol: Option<Protocol>,
}

/// The preferred address of the service, its own, the preferred one of its node, the node's. Any of them may be a URL,
/// as kratos registers them.
fn place<'a>(node: &'a Node, service: &'a Service, preferred: &str) -> Result<Place<'a>, String> {
    let (host, port) = registered(node, service, preferred);
    let port = u64::try_from(port).unwrap_or(0);
    if !host.contains("://") {
        let protocol = None;
        return Ok(Place { host, port, protocol });
    }
    let url = url::parse(host);
    if url.secure {
        return Err(url::SECURE.to_owned());
    }
    let scheme = url.scheme.unwrap_or_default();
    let protocol = Protocol::parse(&scheme.to_ascii_lowercase()).ok_or_else(|| {
        format!(
            "the scheme `{}` is none of http, http2, grpc, tcp; clusters here are plaintext",
            clip(scheme)
        )
    })?;
    let port = match url.port {
        Some(port) => port.map_err(|()| "the port of the URL must be a whole number from 1 to 65535")?,
        None => port,
    };
    Ok(Place {
        host: url.host,
        port,
        protocol: Some(protocol),
    })
}

/// `Port`, or the one of `Ports` that is the default.
fn own_port(service: &Service) -> i64 {
    let default = service.ports.iter().find(|port| port.default);
    default.map_or(service.port, |port| port.port)
}

fn registered<'a>(node: &'a Node, service: &'a Service, preferred: &str) -> (&'a str, i64) {
    let tagged = service
        .tagged_addresses
        .get(preferred)
        .filter(|tagged| !tagged.address.is_empty());
    if let Some(tagged) = tagged {
        let port = if tagged.port == 0 {
            own_port(service)
        } else {
            tagged.port
        };
        return (&tagged.address, port);
    }
    if !service.address.is_empty() {
        return (&service.address, own_port(service));
    }
    let of_node = node
        .tagged_addresses
        .get(preferred)
        .filter(|host| !host.is_empty());
    (of_node.unwrap_or(&node.address), own_port(service))
}

/// All checks count, those of the node too, and the worst decides; maintenance is no failure.
fn judge(checks: &[Check], service: &Service) -> (Health, u32) {
    let failing = |c: &Check| c.status != "passing" && c.status != "warning";
    let maintained = is_maintenance;
    let weight = |w: i64| u32::try_from(w.max(0)).unwrap_or(MAX_WEIGHT).min(MAX_WEIGHT);
    let passing = weight(service.weights.passing);
    if checks.iter().any(|c| failing(c) && maintained(c)) {
        (Health::Draining, passing)
    } else if checks.iter().any(failing) {
        (Health::Unhealthy, passing)
    } else if checks.iter().any(|c| c.status == "warning") {
        (Health::Healthy, weight(service.weights.warning))
    } else {
        (Health::Healthy, passing)
    }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
