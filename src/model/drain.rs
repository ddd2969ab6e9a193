//! Servers that go down: what holds for them (`[drain]`), and which an operator drains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::instance::Instance;

/// How servers are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainRule {
    /// An instance that left its registry stays for this time, without new requests, as long as another one
    /// serves; zero: it goes at once.
    pub linger: Duration,
    /// How long requests may be under way where no load report tells; `None`: the longest timeout that the service
    /// declares, else [`Self::IN_FLIGHT`].
    pub in_flight: Option<Duration>,
    /// A client that has disconnected may go on with what it had for this time.
    pub grace: Duration,
}

impl DrainRule {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self {
        linger: Duration::from_secs(10),
        in_flight: None,
        // Envoys try again after up to 30 s.
        grace: Duration::from_secs(30),
    };
    /// For tests of other things: who left is gone.
    #[cfg(test)]
    pub const OFF: Self = Self {
        linger: Duration::ZERO,
        ..Self::DEFAULT
    };
    /// How long a request may take where nothing says it.
    pub const IN_FLIGHT: Duration = Duration::from_secs(10);
}

/// What an operator drains, beside what registries say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    /// By service and id, with the registry's count of its registration at that time (0: unknown): one that
    /// registers again is another one.
    pub instances: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u64>>,
    /// All instances of these nodes: as Consul calls them, or by their IP address.
    pub nodes: BTreeSet<Arc<str>>,
    /// All instances of these zones.
    pub zones: BTreeSet<Arc<str>>,
}

impl Drains {
    /// Whether nothing is drained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.nodes.is_empty() && self.zones.is_empty()
    }

    /// Whether this instance is drained.
    #[must_use]
    pub fn hold(&self, service: &Arc<str>, instance: &Instance) -> bool {
        if self.zones.contains(&instance.zone) && !instance.zone.is_empty() {
            return true;
        }
        if !self.nodes.is_empty() && self.nodes.iter().any(|node| is_on(node, instance)) {
            return true;
        }
        let of_service = self.instances.get(service);
        let drained = of_service.and_then(|drained| drained.get(&instance.id));
        drained.is_some_and(|created| is_same_registration(*created, instance.created))
    }
}

/// Whether an instance runs on this node.
#[must_use]
pub fn is_on(node: &str, instance: &Instance) -> bool {
    is_node(node, &instance.node, instance.address.ip())
}

/// Whether a node of this name and address is meant, either of which may be written.
#[must_use]
pub fn is_node(meant: &str, name: &str, address: IpAddr) -> bool {
    let is_named = !name.is_empty() && name == meant;
    is_named || meant.parse().is_ok_and(|ip: IpAddr| ip.to_canonical() == address)
}

/// Whether two counts are of one registration; registries without a count cannot tell.
#[must_use]
pub const fn is_same_registration(one: u64, other: u64) -> bool {
    one == 0 || other == 0 || one == other
}
