//! What to do after a step.

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something was sent.
    Sent,
    /// The same again, now.
    Again,
    /// Nothing new.
    Rest,
    /// Useless now; again after a growing pause.
    Later,
    /// The agent has no room for this read; nothing was sent.
    Overloaded,
    /// The connection has no room for it; another one may.
    Full,
    /// Requests are limited per second; nothing was sent.
    RateLimited,
    /// Something is hidden from the token.
    Hidden,
}
