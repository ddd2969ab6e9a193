//! What is wrong with one registry entry, for its owner to fix. Pure.

use super::code::Code;

/// Something about one registry entry that its owner should fix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issue {
    /// The registry's own name of it: an etcd key, a Consul service id, a file and table.
    pub entry: String,
    /// Whether the entry is left out or served with a default.
    pub severity: Severity,
    /// What is wrong and what would be right, one sentence. Never holds a whole value.
    pub reason: String,
    /// What kind of thing it is.
    pub code: Code,
}

/// How bad an [`Issue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The entry is not served.
    Rejected,
    /// The entry is served; one of its keys is ignored or defaulted.
    Warning,
}

impl Issue {
    /// An entry that is left out.
    pub fn rejected(entry: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            entry: entry.into(),
            severity: Severity::Rejected,
            reason: reason.into(),
            code: Code::EntryRejected,
        }
    }

    /// An entry that is served although something in it is wrong.
    pub fn warning(entry: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            entry: entry.into(),
            severity: Severity::Warning,
            reason: reason.into(),
            code: Code::EntryWarning,
        }
    }

    /// Of this kind; an issue that says nothing is of the kind of its severity.
    #[must_use]
    pub fn of_kind(mut self, code: Code) -> Self {
        self.code = code;
        self
    }
}

impl Severity {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Warning => "warning",
        }
    }
}
