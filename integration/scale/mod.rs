//! Thousands of services in the real Consul and etcd: every change arrives, and what the bridge
//! asks of the registry stays within bounds. Counted, never timed.

mod consul;
mod etcd;
mod multiplexed;
mod outage;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::consul::Consul;
use crate::support::many::{Catalog, PORT};

/// Services in Consul, and instances of each.
const SERVICES: usize = 2_000;
const INSTANCES: usize = 5;

/// What this many services may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two changes.
const PACE: Duration = Duration::from_millis(100);

/// A Consul that is full.
struct Full {
    consul: Consul,
    catalog: Catalog,
}

impl Full {
    /// With these keys in its configuration too.
    async fn start(more: &Value) -> Self {
        let consul = Consul::start_as(more).await;
        let catalog = Catalog::of(consul.url());
        catalog.fill(SERVICES, INSTANCES).await;
        Self { consul, catalog }
    }

    /// Ten changes a second of four kinds, each to another service: a port, a check that fails, an
    /// instance that goes, one that comes.
    async fn change(&self, changes: usize) {
        let mut ticks = tokio::time::interval(PACE);
        for n in 0..changes {
            ticks.tick().await;
            let service = (n * 7 + 3) % SERVICES;
            let port = PORT + u16::try_from(n).unwrap();
            match n % 4 {
                0 => self.catalog.register(service, 0, port, true).await,
                1 => self.catalog.register(service, 1, PORT, false).await,
                2 => self.catalog.deregister(service, 2).await,
                _ => self.catalog.register(service, INSTANCES, port, true).await,
            }
        }
    }
}

/// The section that watches a Consul at this address.
fn source(address: &str) -> String {
    format!("[sources.agents]\nkind = \"consul\"\naddress = \"{address}\"\n")
}

#[expect(clippy::disallowed_methods, reason = "a rate is requests by time")]
fn now() -> Instant {
    Instant::now()
}
