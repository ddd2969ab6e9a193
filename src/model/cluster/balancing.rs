//! `lb`: how requests are shared out among the instances.

/// A load balancing policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balancing {
    /// In turn, the default.
    #[default]
    RoundRobin,
    /// The less busy one of two that are drawn.
    LeastRequest,
    /// By chance.
    Random,
    /// By a hash of the request, on a ring.
    RingHash,
    /// By a hash of the request, in a table.
    Maglev,
    /// By weights that the client makes of the load that servers report (ORCA).
    Wrr,
}

impl Balancing {
    /// All of its words, for messages.
    pub const WORDS: &str = "round_robin, least_request, random, ring_hash, maglev or wrr";

    const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::LeastRequest,
        Self::Random,
        Self::RingHash,
        Self::Maglev,
        Self::Wrr,
    ];

    /// Reads the declared word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }

    /// The declared word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Random => "random",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
            Self::Wrr => "wrr",
        }
    }
}
