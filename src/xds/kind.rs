//! The resource types, and all in which they differ, as data. A further type is
//! one line in each table here, plus a generator.

/// A resource type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS
    Cluster,
    /// EDS
    Endpoints,
    /// LDS
    Listener,
    /// RDS
    Route,
}

/// One value per [`Kind`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerKind<T>([T; Kind::ALL.len()]);

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Endpoints, Self::Listener, Self::Route];

    /// The `type_url` on the wire.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }

    /// The type with this `type_url`.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// `cds`, `eds`, `lds`, `rds`: in logs and metrics.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Cluster => "cds",
            Self::Endpoints => "eds",
            Self::Listener => "lds",
            Self::Route => "rds",
        }
    }

    /// The per-type service of this type, and the stem of its methods (`StreamX`, `DeltaX`).
    #[must_use]
    pub const fn service(self) -> (&'static str, &'static str) {
        match self {
            Self::Cluster => ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
            Self::Endpoints => ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
            Self::Listener => ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
            Self::Route => ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
        }
    }

    /// A first request without names means everything (specification: LDS and CDS only).
    #[must_use]
    pub const fn legacy_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// A state-of-the-world response carries the whole subscribed set, and absence means removal.
    #[must_use]
    pub const fn full_state(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// Envoy ignores the removal of this type, or waits for one that is missing: it is told
    /// by an empty resource that holds just its name (field 1 in each of these types).
    #[must_use]
    pub const fn empty_when_gone(self) -> bool {
        matches!(self, Self::Endpoints | Self::Route)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl<T> PerKind<T> {
    /// The value of one type.
    pub const fn get(&self, kind: Kind) -> &T {
        &self.0[kind.index()]
    }

    /// The value of one type, to change.
    pub const fn get_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind.index()]
    }

    /// Each type with its value.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &T)> {
        Kind::ALL.into_iter().zip(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_urls_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.type_url()), Some(kind));
        }
        assert_eq!(Kind::parse("type.googleapis.com/nope"), None);
    }
}
