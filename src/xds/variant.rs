//! The two variants of the protocol: incremental, and state of the world.

/// The two variants of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Incremental.
    Delta,
    /// State of the world.
    Sotw,
}
