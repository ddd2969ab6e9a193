//! What is known about an instance that its source no longer lists. Pure.

/// What is known about a withheld instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not probed yet.
    Pending,
    /// Accepts connections, and was withheld a moment ago.
    Recent,
    /// Accepts connections: serves as if it were still registered.
    Alive,
    /// Has just refused a connection.
    Doubtful,
    /// Cannot be reached from here, or is not probed at all.
    Unknown,
}

impl Standing {
    pub(crate) const fn accepts(self) -> bool {
        matches!(self, Self::Recent | Self::Alive)
    }
}
