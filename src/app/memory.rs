//! A limit of address space (`ulimit -v`) that may be too low. An allocation that the system refuses ends any program
//! at once; all that can be done is to warn before. Changes nothing.

use rustix::process::{Resource, getrlimit};

/// What the bridge takes beside what registries may: the program, its threads, clients, and a large dump.
const REST: usize = 256 << 20;

/// Warns where the limit may be met.
pub(super) fn warn_of_little(source_memory: usize) {
    let limit = getrlimit(Resource::As).current;
    if let Some(limit) = limit.filter(|limit| is_little(*limit, source_memory)) {
        tracing::warn!(
            limit_mib = limit >> 20,
            safe_mib = (source_memory + REST) >> 20,
            "the address space is limited (ulimit -v) to less than limits.source_memory and 256 MiB: memory that the \
             system refuses ends the bridge"
        );
    }
}

fn is_little(limit: u64, source_memory: usize) -> bool {
    limit < source_memory.saturating_add(REST) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_may_take_and_a_rest_are_enough() {
        let mib = 1 << 20;
        assert!(is_little(511 * mib, 256 << 20) && !is_little(512 * mib, 256 << 20));
        assert!(!is_little(400 * mib, 128 << 20) && !is_little(u64::MAX, 256 << 20));
    }
}
