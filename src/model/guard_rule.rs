//! When the removal of instances is too large to be believed at once: the operator's settings of the guard. Pure.

use std::time::Duration;

/// When a removal is too large to be believed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardRule {
    /// More than this share of the instances, in percent; 100: never withheld.
    pub share: u32,
    /// And more than this number of instances, removed by one change.
    pub at_once: u16,
    /// And more than this number, removed by all changes within [`WINDOW`](crate::catalog::guard::WINDOW): somebody
    /// removes servers by hand, one after the other.
    pub in_all: u16,
    /// Let through after this, if the source still says so.
    pub hold: Duration,
    /// Withheld instances are probed with TCP connections.
    pub probe: bool,
}

impl Default for GuardRule {
    /// More than half, and more than 2 at once or 10 one after the other; let through after a minute.
    fn default() -> Self {
        Self {
            share: 50,
            at_once: 2,
            in_all: 10,
            hold: Duration::from_secs(60),
            probe: true,
        }
    }
}
