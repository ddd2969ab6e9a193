//! Either registry, so that one proof runs against both.

use std::time::Duration;

use super::consul::{self, Check, Consul};
use super::etcd::{self, Etcd};
use super::servers::Server;

/// Short, so that a silent server is out soon: etcd grants nothing below two seconds.
const TTL: Duration = Duration::from_secs(2);

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Etcd,
    Consul,
}

/// A running one.
#[allow(clippy::large_enum_variant, reason = "a test holds one or two of them")]
pub(crate) enum Registry {
    Etcd(Etcd),
    Consul(Consul),
}

/// A registered server.
pub(crate) enum Registered {
    Etcd(etcd::Lease),
    Consul(consul::Registration),
}

impl Registry {
    /// Starts one, and waits until it serves.
    pub(crate) async fn start(kind: Kind) -> Self {
        match kind {
            Kind::Etcd => Self::Etcd(Etcd::start().await),
            Kind::Consul => Self::Consul(Consul::start().await),
        }
    }

    /// The section of `bridge.toml` that watches it.
    pub(crate) fn source(&self, name: &str) -> String {
        match self {
            Self::Etcd(etcd) => {
                format!(
                    "[sources.{name}]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
                    etcd.url()
                )
            }
            Self::Consul(consul) => {
                format!(
                    "[sources.{name}]\nkind = \"consul\"\naddress = \"{}\"\n",
                    consul.url()
                )
            }
        }
    }

    /// A server registers itself: under a short lease in etcd; in Consul with a check that
    /// asks it (HTTP servers) or that it reports to (gRPC servers).
    pub(crate) async fn register(&self, service: &str, server: &Server, keys: &[(&str, &str)]) -> Registered {
        self.register_for(service, server, keys, TTL).await
    }

    /// The same with a lease (or check) of this length.
    pub(crate) async fn register_for(
        &self,
        service: &str,
        server: &Server,
        keys: &[(&str, &str)],
        ttl: Duration,
    ) -> Registered {
        match self {
            Self::Etcd(etcd) => Registered::Etcd(etcd.register(service, server, keys, ttl).await),
            Self::Consul(consul) => {
                let check = if server.http { Check::Http } else { Check::Ttl(ttl) };
                Registered::Consul(consul.register(service, server, keys, check).await)
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Etcd(etcd) => etcd.kill(),
            Self::Consul(consul) => consul.kill(),
        }
    }

    /// Starts it again with its data on its ports, and waits until it serves.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Etcd(etcd) => etcd.restart().await,
            Self::Consul(consul) => consul.restart().await,
        }
    }
}

impl Registered {
    /// The server falls ill without a word: its lease runs out, its check fails. (It still
    /// answers, so that a request which reaches it is seen, and is no failure.)
    pub(crate) fn fall_ill(&self, server: &Server) {
        server.set_well(false);
        match self {
            Self::Etcd(lease) => lease.fall_silent(),
            Self::Consul(registration) => registration.fall_silent(),
        }
    }

    /// The server leaves in order.
    pub(crate) async fn remove(self) {
        match self {
            Self::Etcd(lease) => lease.revoke().await,
            Self::Consul(registration) => registration.remove().await,
        }
    }
}
