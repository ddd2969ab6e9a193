//! The resource types, and what the engine has to know of each, as one row. A further type is a row
//! here, its steps in `order.rs`, rows in `removal.rs` if Envoy does not understand its removal, and
//! a generator; `render.rs` prints it.

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
    /// SDS
    Secret,
}

/// One value per [`Kind`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerKind<T>([T; Kind::ALL.len()]);

/// What is different about a type.
struct Row {
    kind: Kind,
    type_url: &'static str,
    short: &'static str,
    service: (&'static str, &'static str),
    legacy_wildcard: bool,
    full_state: bool,
    waits_for: Option<Kind>,
    followed_by: Option<Kind>,
    removed_after: &'static [Kind],
}

static ROWS: [Row; Kind::ALL.len()] = [
    Row {
        kind: Kind::Cluster,
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        short: "cds",
        service: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
        legacy_wildcard: true,
        full_state: true,
        waits_for: None,
        followed_by: Some(Kind::Endpoints),
        removed_after: &[Kind::Listener, Kind::Route],
    },
    Row {
        kind: Kind::Endpoints,
        type_url: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        short: "eds",
        service: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
        legacy_wildcard: false,
        full_state: false,
        waits_for: None,
        followed_by: None,
        removed_after: &[Kind::Listener, Kind::Route],
    },
    Row {
        kind: Kind::Listener,
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener",
        short: "lds",
        service: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
        legacy_wildcard: true,
        full_state: true,
        waits_for: Some(Kind::Cluster),
        followed_by: None,
        removed_after: &[],
    },
    Row {
        kind: Kind::Route,
        type_url: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        short: "rds",
        service: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
        legacy_wildcard: false,
        full_state: false,
        waits_for: Some(Kind::Cluster),
        followed_by: None,
        removed_after: &[],
    },
    Row {
        kind: Kind::Secret,
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        short: "sds",
        service: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
        legacy_wildcard: false,
        full_state: false,
        waits_for: None,
        followed_by: None,
        removed_after: &[Kind::Cluster, Kind::Listener],
    },
];

impl Kind {
    /// All of them, in the order of the rows.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Endpoints,
        Self::Listener,
        Self::Route,
        Self::Secret,
    ];

    const fn row(self) -> &'static Row {
        &ROWS[self.index()]
    }

    /// The `type_url` on the wire.
    #[must_use]
    pub const fn type_url(self) -> &'static str {
        self.row().type_url
    }

    /// The type with this `type_url`.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.type_url == url).map(|row| row.kind)
    }

    /// `cds`, `eds`, `lds`, `rds`, `sds`: in logs and metrics.
    #[must_use]
    pub const fn short(self) -> &'static str {
        self.row().short
    }

    /// The per-type service of this type, and the stem of its methods (`StreamX`, `DeltaX`).
    #[must_use]
    pub const fn service(self) -> (&'static str, &'static str) {
        self.row().service
    }

    /// A first request without names means everything (specification: LDS and CDS only).
    #[must_use]
    pub const fn legacy_wildcard(self) -> bool {
        self.row().legacy_wildcard
    }

    /// A state-of-the-world response carries the whole subscribed set, and absence means removal.
    #[must_use]
    pub const fn full_state(self) -> bool {
        self.row().full_state
    }

    /// A resource of this type is sent only after those of that type which it needs are acknowledged
    /// (rule 47), if the client asks for that type.
    #[must_use]
    pub const fn waits_for(self) -> Option<Self> {
        self.row().waits_for
    }

    /// Each resource of this type that is sent is followed by those of that type which it needs, changed
    /// or not (rule 45).
    #[must_use]
    pub const fn followed_by(self) -> Option<Self> {
        self.row().followed_by
    }

    /// Resources of these types may refer to one of this type: it is removed after their changes (rule 44).
    #[must_use]
    pub const fn removed_after(self) -> &'static [Self] {
        self.row().removed_after
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
    fn each_type_has_its_own_row_and_type_url() {
        for (kind, row) in Kind::ALL.into_iter().zip(&ROWS) {
            assert_eq!(kind, row.kind);
            assert_eq!(Kind::parse(kind.type_url()), Some(kind));
        }
        assert_eq!(Kind::parse("type.googleapis.com/nope"), None);
    }
}
