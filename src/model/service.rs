//! A service: what one source says of it, and the union of all sources, which Envoy gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::declaration::Declared;
use super::instance::{Facts, Health, Instance, Own};
use super::issue::Issue;
use super::key::Key;
use super::policy::{InstanceKeys, Policy, Protocol, State};
use super::route::Matcher;
use super::route::rewrite::NewHost;
use super::standing::Standing;
use crate::text::clip;

/// All that one source says of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRecord {
    /// In the order of their ids.
    pub instances: Vec<Instance>,
    /// The service's policy document, where there is one; stronger than what instances declare.
    pub policy: Option<Policy>,
    /// What is wrong with entries of this service.
    pub issues: Vec<Issue>,
    /// Entries that are there and cannot be read at all: ids of instances, `""` for the policy document.
    pub unread: Vec<Arc<str>>,
    /// Instances that are there and rejected, by their ids, where the registry's own word for that is no last good
    /// value: each is judged by what it says now.
    pub rejected: Vec<Arc<str>>,
    /// Keys that keep their last good value, since what is registered now cannot be read: by the id of the
    /// instance, `""` for the policy document. `None`: the whole entry.
    pub stale: Vec<(Arc<str>, Option<Key>)>,
    /// Addresses of instances that the source no longer lists, and what is known about them.
    pub withheld: BTreeMap<SocketAddr, Standing>,
}

/// A service as it is served: the union of its instances in all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The registered name.
    pub name: Arc<str>,
    /// Ordered by address; no address twice.
    pub instances: Vec<Instance>,
    /// Instances of sources that are not the first choice: their address, and the source's priority (above 0).
    pub behind: BTreeMap<SocketAddr, u32>,
    /// Withheld instances that may be dead, and that receive requests only when no other can.
    pub unsure: BTreeSet<SocketAddr>,
    /// The policy in force.
    pub policy: Policy,
    /// What the instances declare, before policy documents: what a later tie keeps.
    pub elected: Policy,
    /// Keys that instances declare differently.
    pub conflicts: Vec<Conflict>,
    /// Its routes are those of a policy document.
    pub documented: bool,
    /// Keys that its instances declare, and its policy documents otherwise.
    pub overridden: Vec<Key>,
    /// Keys that it declares, and the operator otherwise.
    pub overruled: Vec<Key>,
    /// A route of it gives servers their own address for a host: endpoints bring it along.
    pub addressed: bool,
    /// It has no instances any more, and its routes are kept. From this time on another service that claims
    /// the same requests gets them.
    pub kept: Option<Duration>,
}

impl Service {
    /// In the cluster of one version, instances of another that stands in for it have a priority this far behind.
    pub const SPARE: u32 = 1 << 24;

    /// Where an instance stands among the others, the first ones first: those that may be dead behind all
    /// others, then by the priority of its source.
    #[must_use]
    pub fn rank(&self, instance: &Instance) -> (bool, u32) {
        let priority = self.behind.get(&instance.address).copied().unwrap_or(0);
        (self.unsure.contains(&instance.address), priority)
    }

    /// Some instance is unhealthy and none is healthy. Those that drain or are off go by themselves and
    /// decide nothing: a service that only drains is not all unhealthy.
    #[must_use]
    pub fn all_unhealthy(&self) -> bool {
        let any = |health| self.instances.iter().any(|i| i.health == health);
        any(Health::Unhealthy) && !any(Health::Healthy)
    }

    /// Whoever listens there.
    #[must_use]
    pub fn at(&self, address: SocketAddr) -> Option<&Instance> {
        let found = self.instances.binary_search_by_key(&address, |i| i.address);
        self.instances.get(found.ok()?)
    }

    /// How whoever listens there is served; `None`: nobody is known there.
    #[must_use]
    pub fn health_at(&self, address: SocketAddr) -> Option<Health> {
        self.at(address).map(|instance| instance.health)
    }

    /// Whether nobody but the one there is healthy, of those who get its requests: of a version that stands apart that
    /// version alone.
    #[must_use]
    pub fn is_alone(&self, address: SocketAddr) -> bool {
        let there = self.instances.iter().find(|i| i.address == address);
        let apart = there.filter(|i| i.is_apart()).map(|i| &i.version);
        !self.instances.iter().any(|i| {
            let instead = match apart {
                Some(version) => i.is_apart() && i.version == *version,
                None => !i.is_apart(),
            };
            i.address != address && i.health.serves() && instead
        })
    }

    /// All of its instances ask for no traffic (`state = off`, weight 0): a state of its own.
    #[must_use]
    pub fn all_off(&self) -> bool {
        !self.instances.is_empty() && self.instances.iter().all(|i| i.health == Health::Off)
    }

    /// The protocol in force: as declared, or as its routes say.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        let routed = || {
            if self.has_grpc_route() {
                Protocol::Grpc
            } else if self.takes_connections_alone() {
                Protocol::Tcp
            } else {
                Protocol::default()
            }
        };
        self.policy.protocol.map_or_else(routed, Protocol::plain)
    }

    /// Whether each of its routes takes connections, and no requests.
    fn takes_connections_alone(&self) -> bool {
        let mut routes = self.policy.routes.values().peekable();
        routes.peek().is_some() && routes.all(|route| route.matcher.is_of_connections())
    }

    /// Whether a route of its policy gives servers their own address for a host.
    #[must_use]
    pub fn names_servers(&self) -> bool {
        let rules = self.policy.routes.values();
        rules
            .into_iter()
            .any(|rule| rule.extras.host_rewrite == Some(NewHost::Server))
    }

    /// Whether one of its routes is a gRPC service.
    #[must_use]
    pub fn has_grpc_route(&self) -> bool {
        self.policy
            .routes
            .values()
            .any(|route| matches!(route.matcher, Matcher::Grpc(_)))
    }
}

/// A key that instances of one service declare differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which.
    pub key: Key,
    /// The version whose value is in force.
    pub winner: Arc<str>,
    /// Versions with instances that declare another value; the winner's own, too, when they differ within it.
    pub losers: Vec<Arc<str>>,
}

/// What a registry itself says of one instance, before its declaration is looked at.
#[derive(Clone, Debug)]
pub struct Registered<'a> {
    /// The registry's id of it.
    pub id: &'a str,
    /// Checked by [`address`].
    pub address: SocketAddr,
    /// From the registry's checks.
    pub health: Health,
    /// The registry's own weight.
    pub weight: u32,
    /// The registry's own idea of the zone.
    pub zone: &'a str,
    /// The registry's own idea of the region.
    pub region: &'a str,
}

/// Puts registry fields and declaration together. An instance that asks for no traffic
/// stays known: when all of a service do, its routes and protocol are still there.
#[must_use]
pub fn assemble(registered: &Registered<'_>, declared: Declared) -> Instance {
    // The instance has its version in any case: one that declares no more is remembered by that.
    let silent = InstanceKeys {
        version: None,
        ..declared.instance.clone()
    } == InstanceKeys::default();
    let own = Own {
        declared: declared.instance,
        health: registered.health,
        registered_weight: registered.weight,
        registered_zone: registered.zone.into(),
        registered_region: registered.region.into(),
    };
    let mut facts = Facts {
        health: registered.health,
        weight: registered.weight,
        policy: Arc::new(declared.policy),
        ..Facts::new(registered.id, registered.address)
    };
    facts.follow(&own);
    facts.own = (!silent).then(|| Arc::new(own));
    facts.into()
}

impl Facts {
    /// Another weight than the registry's own; weaker than a declared one.
    pub(crate) fn set_registered_weight(&mut self, weight: u32) {
        let own = Own {
            declared: self.declared(),
            health: self.health,
            registered_weight: weight,
            registered_zone: self.zone.clone(),
            registered_region: self.region.clone(),
        };
        let own = match self.own.take() {
            Some(known) => Own {
                registered_weight: weight,
                ..(*known).clone()
            },
            None => own,
        };
        self.follow(&own);
        self.own = (own.declared != InstanceKeys::default()).then(|| Arc::new(own));
    }

    /// Takes the facts that the registry and the declaration say together.
    pub(crate) fn follow(&mut self, own: &Own) {
        let declared = &own.declared;
        self.weight = declared.weight.unwrap_or(own.registered_weight);
        self.health = match declared.state {
            _ if self.weight == 0 => Health::Off,
            Some(State::Off) => Health::Off,
            Some(State::Drain) => Health::Draining,
            Some(State::Up) | None => own.health,
        };
        let zone = declared.zone.as_ref();
        self.zone = zone.unwrap_or(&own.registered_zone).clone();
        let region = declared.region.as_ref();
        self.region = region.unwrap_or(&own.registered_region).clone();
        self.version = declared.version.clone().unwrap_or_default();
    }

    /// The keys that it declares of itself.
    pub(crate) fn declared(&self) -> InstanceKeys {
        let version = || InstanceKeys {
            version: (!self.version.is_empty()).then(|| self.version.clone()),
            ..InstanceKeys::default()
        };
        self.own.as_ref().map_or_else(version, |own| own.declared.clone())
    }
}

/// What is wrong with a server on a unix socket, and what would be right.
pub const UNIX_SOCKET: &str = "a unix socket, which no other host can connect to; register the IP address and the \
                               port (1 to 65535) of a listener beside it";

/// Refuses an address that is a unix socket: a path, or a URL such as `unix:///run/orders.sock`.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn not_a_socket(address: &str) -> Result<(), String> {
    let address = address.trim();
    let scheme = address.split(':').next().unwrap_or_default();
    let socket = scheme.eq_ignore_ascii_case("unix") || scheme.eq_ignore_ascii_case("unix-abstract");
    if socket || address.starts_with('/') {
        return Err(format!("address `{}` is {UNIX_SOCKET}", clip(address)));
    }
    Ok(())
}

/// Checks host and port of an instance: an IP address (IPv6 bare or in brackets) and a port.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn address(host: &str, port: u64) -> Result<SocketAddr, String> {
    not_a_socket(host)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let ip: IpAddr = bare.parse().map_err(|_| {
        format!(
            "address `{}` is not an IP address; Envoy's EDS takes no host names",
            clip(host)
        )
    })?;
    // `::ffff:10.0.0.1` is `10.0.0.1`, and Envoy cannot connect to it in that form.
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!(
            "address {ip} cannot be connected to; register the address of the server"
        ));
    }
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(SocketAddr::new(ip, port)),
        _ => Err(format!("port {port} must be from 1 to 65535")),
    }
}

/// The static cluster of the bridge itself in each Envoy's file. Envoy keeps that one and says nothing:
/// the routes of a service of this name would lead to the discovery port.
pub const BRIDGE_CLUSTER: &str = "xds-bridge";

/// Whether a registered name can be a cluster name.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 200 {
        return Err("a service name has 1 to 200 bytes".to_owned());
    }
    if name.chars().any(char::is_control) {
        return Err("a service name holds no control characters".to_owned());
    }
    if name == BRIDGE_CLUSTER {
        return Err(format!(
            "`{name}` is the cluster that each Envoy reaches the bridge by and cannot name a service"
        ));
    }
    let scheme = name.split(':').next().unwrap_or_default();
    if scheme.len() < name.len() && scheme.eq_ignore_ascii_case("xdstp") {
        return Err(
            "a service name cannot begin with `xdstp:`: clients read that as a resource locator, and Envoy refuses \
             a whole response in which it cannot read one"
                .to_owned(),
        );
    }
    if name == "*" {
        return Err("`*` means everything in xDS and cannot name a service".to_owned());
    }
    Ok(())
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
