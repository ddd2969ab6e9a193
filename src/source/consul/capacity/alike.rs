//! When two blocking reads lasted equally long, as far as that can be seen. Pure.

use std::time::Duration;

/// Lengths that differ by less have the same cause; Consul adds up to 1/16 to a wait.
const SAME: Duration = Duration::from_secs(1);
const SHARE: u32 = 10;

/// By how much lengths may differ from this one and count as the same.
pub(crate) fn about(length: Duration) -> Duration {
    SAME.max(length / SHARE)
}

/// Whether two reads ended for the same reason, as far as their lengths show it.
pub(crate) fn alike(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= about(one.min(other))
}
