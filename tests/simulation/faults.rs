//! Faults that this project had, or that its documents say others had, put back by a switch where the models carry what
//! the real parts say. The simulation must notice each of them.

/// Histories in which each must be found.
pub(crate) const SEEDS: u64 = 37;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NoGuard,
    Emptied,
    Compacted,
    Restored,
    SetBack,
    Header,
    LastGood,
    NoGate,
    NotFollowed,
    NotWoken,
    DrainLost,
}

impl Fault {
    pub(crate) const ALL: [Self; 11] = [
        Self::NoGuard,
        Self::Emptied,
        Self::Compacted,
        Self::Restored,
        Self::SetBack,
        Self::Header,
        Self::LastGood,
        Self::NoGate,
        Self::NotFollowed,
        Self::NotWoken,
        Self::DrainLost,
    ];

    /// For the table in docs/testing.md.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::NoGuard => "a wiped registry is believed at once",
            Self::Emptied => "a registry that is away counts as empty",
            Self::Compacted => "after a compaction the watch goes on from the head, without a listing",
            Self::Restored => "a restored store is taken for the one before",
            Self::SetBack => "a watch that is set back is applied again",
            Self::Header => "a watch is resumed by the header's revision, not the last event's",
            Self::LastGood => "another listing forgets the last good values",
            Self::NoGate => "routes do not wait for their clusters",
            Self::NotFollowed => "a cluster is not followed by endpoints that did not change",
            Self::NotWoken => "a stream is not woken by a publication",
            Self::DrainLost => "a drain reaches one of several bridges only",
        }
    }
}
