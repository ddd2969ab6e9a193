//! How long things take with etcd. Never a bound of a request that lists or opens a watch: those are the client's.

use std::time::Duration;

/// The default is right for real clusters; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How often etcd is asked where it is, beside the watch.
    pub probe: Duration,
    /// How long an answer to that may take, progress that was asked for, and an event that is known to exist.
    pub answer: Duration,
    /// After this time without a message, or a proof that there is none to come, the member is frozen or cut off,
    /// or the watch is dead.
    pub silence: Duration,
    /// The longest first pause after a break; each is drawn evenly from zero on.
    pub backoff_min: Duration,
    /// The longest pause after a try that listed: what breaks again and again is not read as a whole each time.
    pub backoff_max: Duration,
    /// The longest pause after any other try: etcd may be back for this time before it is used.
    pub away_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(6),
            answer: Duration::from_secs(3),
            silence: Duration::from_secs(20),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            away_max: Duration::from_secs(5),
        }
    }
}
