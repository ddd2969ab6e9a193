//! Which implementation of xDS a client is, as far as what it gets depends on it.

/// An implementation, known by the user agent that the client names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// Envoy, and each client that does not name another.
    #[default]
    Envoy,
    /// gRPC's own clients that drop calls by an assignment's `drop_overloads`, and put its category into
    /// the error of the call: Java, the C core (Python, C++, Ruby, …), Node.
    GrpcDrops,
    /// `tonic-xds` (Rust), which neither drops calls nor knows priorities.
    Tonic,
    /// Other clients of gRPC, Go above all: it drops calls without a word.
    Grpc,
}

impl Client {
    /// gRPC's own clients, for which a resource may have another content.
    pub const GRPC: [Self; 3] = [Self::GrpcDrops, Self::Tonic, Self::Grpc];

    /// The implementation of this `node.user_agent_name`: `gRPC Java`, `gRPC C-core linux Python`,
    /// `gRPC Node Pure JS`, `gRPC Go`, `gRPC Rust tonic-xds`.
    #[must_use]
    pub fn of(user_agent: &str) -> Self {
        let agent = user_agent.to_ascii_lowercase();
        let Some(language) = agent.strip_prefix("grpc") else {
            return Self::Envoy;
        };
        let language = language.trim_start();
        if ["java", "c-core", "node"].iter().any(|l| language.starts_with(l)) {
            Self::GrpcDrops
        } else if language.contains("tonic") {
            Self::Tonic
        } else {
            Self::Grpc
        }
    }

    /// Which variant of resources it gets; `None`: Envoy has no variant of its own.
    pub(super) const fn variant(self) -> Option<usize> {
        match self {
            Self::Envoy => None,
            Self::GrpcDrops => Some(0),
            Self::Tonic => Some(1),
            Self::Grpc => Some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Client::{self, Envoy, Grpc, GrpcDrops, Tonic};

    #[test]
    fn clients_are_known_by_their_user_agent() {
        for (agent, client) in [
            ("envoy", Envoy),
            ("", Envoy),
            ("gRPC Java", GrpcDrops),
            ("gRPC C-core linux Python", GrpcDrops),
            ("gRPC Node Pure JS", GrpcDrops),
            ("gRPC Go", Grpc),
            ("grpc-go", Grpc),
            ("gRPC Rust tonic-xds", Tonic),
            ("gRPC Swift", Grpc),
        ] {
            assert_eq!(Client::of(agent), client, "{agent}");
        }
    }
}
