//! What the prefixes of one source share: the way to the cluster, and how long things take.

use super::timing::Timing;
use crate::config::EtcdSource;
use crate::registry::budget::Budget;
use crate::registry::etcd::{Access, Login, Members, Tls};

/// The way to one cluster.
pub(super) struct Link {
    /// For each session.
    pub(super) timing: Timing,
    pub(super) members: Members,
}

impl Link {
    pub(super) fn new(config: &EtcdSource, timing: Timing, budget: Budget) -> Self {
        Self {
            timing,
            members: Members::new(&config.endpoints, access(config), budget),
        }
    }
}

/// What each connection to this cluster is made with.
#[must_use]
pub fn access(config: &EtcdSource) -> Access {
    Access {
        login: config.login.as_ref().map(|login| Login {
            user: login.user.clone(),
            password_file: login.password_file.clone(),
        }),
        tls: config.tls.as_ref().map_or_else(Tls::default, |tls| Tls {
            ca: tls.ca.clone(),
            identity: tls.identity.clone(),
            server_name: tls.server_name.clone(),
        }),
    }
}
