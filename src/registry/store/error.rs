//! What can go wrong with a key that bridges share, by what must be done about it. Never holds a value.

use super::entry::{MAX_KEY, MAX_VALUE};

/// Why something was not read, or not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The compare was lost: the key is another one by now. Nothing was written.
    #[error("{key} has changed meanwhile")]
    Changed {
        /// Below the root.
        key: String,
    },
    /// What was to fence the write is lost. Nothing was written.
    #[error("{key} is not held any more")]
    NotHeld {
        /// What was held, below the root.
        key: String,
    },
    /// No key.
    #[error(
        "`{key}` cannot be a key: 1 to {MAX_KEY} bytes in parts between slashes, none of them empty, `.` or `..`"
    )]
    Key {
        /// As given.
        key: String,
    },
    /// A value beyond the bound.
    #[error("the value of {key} has {size} bytes; at most {MAX_VALUE} can be shared")]
    TooLarge {
        /// Below the root.
        key: String,
        /// In bytes.
        size: usize,
    },
    /// The rights are missing. Nothing was written.
    #[error("{reason}; what is missing: {grant}")]
    Denied {
        /// Who refused what.
        reason: String,
        /// As it must be written for it.
        grant: String,
    },
    /// No answer.
    #[error("{reason}{}", if *uncertain { "; whether it was written is unknown" } else { "" })]
    Away {
        /// Why, and where.
        reason: String,
        /// A write that may have been applied, or may be applied yet.
        uncertain: bool,
    },
}

impl StoreError {
    pub(super) const fn away(reason: String) -> Self {
        let uncertain = false;
        Self::Away { reason, uncertain }
    }

    /// Whether the compare was lost.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        matches!(self, Self::Changed { .. })
    }
}
