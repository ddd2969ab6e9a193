//! What a test asks of a hub that hears a Consul source of the fake agent. Never answers a request, and never sleeps.

use std::sync::atomic::Ordering;
use std::time::Duration;

use xds_bridge::config::ConsulSource;
use xds_bridge::source::consul::{ConsulWatcher, Timing};

use super::source_hub::Hub;
use super::{DEADLINE, Fake};

/// Short times; audits only where a test asks for them.
pub fn timing() -> Timing {
    Timing {
        slack: Duration::from_millis(1500),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(20),
        pace: Duration::from_millis(1),
        sweep: Duration::from_millis(20),
        look: Duration::from_millis(10),
        settle: Duration::from_millis(100),
        peering: Duration::from_millis(20),
        audit_pace: (Duration::from_secs(3600), Duration::from_secs(3600)),
        ..Timing::default()
    }
}

impl Hub {
    pub fn watch(address: &str, token_file: Option<std::path::PathBuf>) -> Self {
        Self::of(&ConsulSource {
            token_file,
            ..ConsulSource::new(address.to_owned())
        })
    }

    /// With a whole configuration.
    pub fn of(config: &ConsulSource) -> Self {
        Self::with(config, &timing())
    }

    pub fn with(config: &ConsulSource, timing: &Timing) -> Self {
        Self::hearing(ConsulWatcher::new(config).with_timing(*timing))
    }

    /// Waits until so many reads block and nothing else is asked.
    pub async fn until_quiet(&mut self, fake: &Fake, blocked: usize) {
        let mut asked = fake.asked.subscribe();
        let wait = async {
            while fake.blocked() < blocked || fake.reads.load(Ordering::SeqCst) > 0 {
                asked.changed().await.unwrap();
            }
        };
        let quiet = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        assert!(quiet, "{} reads block, not {blocked}", fake.blocked());
    }
}
