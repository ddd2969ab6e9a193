//! What counts how much of what may be known of registries: weights that stand for all that the bridge makes of an
//! instance and of a service. Pure.

/// One instance.
pub const INSTANCE: usize = 1 << 10;

/// One service beside its instances: its watch, its cluster, its routes.
pub const SERVICE: usize = 8 << 10;

/// For people: why something is left out where at most this number of bytes may be known, and what it takes.
#[must_use]
pub fn beyond(most: usize) -> String {
    format!(
        "more than limits.source_memory allows to be known (an instance counts 1 KiB and a service 8 KiB; of {} MiB \
         that are left for it)",
        most >> 20
    )
}
