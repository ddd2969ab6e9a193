//! How long things take with etcd. Never a bound of a single request: those are the client's.

use std::time::Duration;

/// The default is right for real clusters; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How often etcd is asked for a sign of life.
    pub probe: Duration,
    /// Two unanswered probes: the member is frozen or cut off.
    pub silence: Duration,
    /// After so long without a break the next one is a first one.
    pub healthy: Duration,
    /// The longest first pause after a break; each is drawn evenly from zero on.
    pub backoff_min: Duration,
    /// The longest pause of all.
    pub backoff_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            healthy: Duration::from_secs(60),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
        }
    }
}
