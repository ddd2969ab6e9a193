//! One server process, as a registry knows it. Never a hostname: EDS carries
//! addresses only (Envoy refuses a whole assignment that holds a hostname).

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::policy::{InstanceKeys, Policy};
use super::rollouts::Share;

/// The largest weight an instance may have. Envoy adds the weights of a
/// locality up in 32 bits; this leaves room for 32,000 instances of the largest.
pub const MAX_WEIGHT: u32 = 128_000;

/// One server process of a service. Its copies share one allocation, so that a service of ten thousands is copied and
/// compared without a look at those that stay; one that is written to becomes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(Arc<Facts>);

/// What is known of one [`Instance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Unique within its service and source, e.g. `orders-7`.
    pub id: Arc<str>,
    /// Where it listens; the port is never 0.
    pub address: SocketAddr,
    /// What the registry (or its declaration) says of it.
    pub health: Health,
    /// Relative share of the traffic, 1..=[`MAX_WEIGHT`]; 0 when it is [`Health::Off`].
    pub weight: u32,
    /// Locality zone, `""` when unknown.
    pub zone: Arc<str>,
    /// Locality region, `""` when unknown.
    pub region: Arc<str>,
    /// The machine it runs on, as the registry calls it; `""` when unknown.
    pub node: Arc<str>,
    /// A commit id or release, `""` when not declared.
    pub version: Arc<str>,
    /// The service policy this instance declares (it may differ between versions).
    pub policy: Arc<Policy>,
    /// What it declares of itself, where it declares anything: the fields above have it already.
    pub own: Option<Arc<Own>>,
    /// When it was registered, in its registry's own count; 0: there is none. Counts of two registries
    /// cannot be compared.
    pub created: u64,
}

impl Facts {
    /// A healthy one with one share of the traffic, of which nothing else is known.
    pub fn new(id: impl Into<Arc<str>>, address: SocketAddr) -> Self {
        Self {
            id: id.into(),
            address,
            health: Health::Healthy,
            weight: 1,
            zone: Arc::default(),
            region: Arc::default(),
            node: Arc::default(),
            version: Arc::default(),
            policy: Arc::default(),
            own: None,
            created: 0,
        }
    }
}

impl Facts {
    /// `share` of its version, as it declares it.
    #[must_use]
    pub fn declared_share(&self) -> Option<u32> {
        match self.own.as_ref()?.declared.share? {
            Share::Of(parts) => Some(parts),
            Share::Routes => None,
        }
    }

    /// It gets the requests of routes that name its version, and no others.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| own.declared.share == Some(Share::Routes))
    }

    /// The version of the stored data that it writes.
    #[must_use]
    pub fn data(&self) -> Option<u64> {
        self.own.as_ref().and_then(|own| own.declared.data)
    }

    /// The versions of the stored data that it reads: the first and the last. What it writes, where it says no more.
    #[must_use]
    pub fn data_reads(&self) -> Option<(u64, u64)> {
        let declared = self.own.as_ref().and_then(|own| own.declared.data_reads);
        declared.or_else(|| self.data().map(|data| (data, data)))
    }

    /// Whether it reads the stored data, if they have this number. Who declares nothing reads everything.
    #[must_use]
    pub fn can_read(&self, stored: u32) -> bool {
        self.data_reads()
            .is_none_or(|(from, to)| (from..=to).contains(&u64::from(stored)))
    }
}

impl Instance {
    /// A healthy one with one share of the traffic, of which nothing else is known.
    pub fn new(id: impl Into<Arc<str>>, address: SocketAddr) -> Self {
        Facts::new(id, address).into()
    }

    /// Takes what is equal from another one, so that it is there once.
    pub fn share(&mut self, other: &Self) {
        if self.policy == other.policy {
            self.policy = other.policy.clone();
        }
        if self.version == other.version {
            self.version = other.version.clone();
        }
        if self.zone == other.zone {
            self.zone = other.zone.clone();
        }
        if self.region == other.region {
            self.region = other.region.clone();
        }
        if self.node == other.node {
            self.node = other.node.clone();
        }
        if self.own.is_some() && self.own == other.own {
            self.own.clone_from(&other.own);
        }
    }

    /// Whether both are copies of one; two that are not may still be equal.
    #[must_use]
    pub fn is_copy_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Facts> for Instance {
    fn from(facts: Facts) -> Self {
        Self(Arc::new(facts))
    }
}

impl Deref for Instance {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        &self.0
    }
}

impl DerefMut for Instance {
    fn deref_mut(&mut self) -> &mut Facts {
        Arc::make_mut(&mut self.0)
    }
}

/// What an instance declares of itself, apart from what its registry says. Kept so that a key that becomes
/// unreadable can keep its last good value while the registry's own facts go on changing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its own keys.
    pub declared: InstanceKeys,
    /// The registry's own health.
    pub health: Health,
    /// The registry's own weight.
    pub registered_weight: u32,
    /// The registry's own zone.
    pub registered_zone: Arc<str>,
    /// The registry's own region.
    pub registered_region: Arc<str>,
}

/// Health as Envoy's EDS knows it (`envoy.config.core.v3.HealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Gets traffic.
    Healthy,
    /// Going down for a deploy or maintenance: no new requests, and not counted by panic rules.
    Draining,
    /// A failing check: no requests while any other is healthy.
    Unhealthy,
    /// Asked to be left out (`state = off`, weight 0): not in Envoy, but what it declares still counts.
    Off,
}

impl Health {
    /// Whether new requests should go there.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Healthy)
    }

    /// The word used in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
