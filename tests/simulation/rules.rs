//! What must always hold, and what is said when it does not.

use std::fmt;

/// A rule that does not hold, and how that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The rule; what is made smaller breaks the same one.
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

impl Broken {
    pub(crate) fn new(rule: &'static str, text: impl Into<String>) -> Self {
        Self {
            rule,
            text: text.into(),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" does not hold: {}", self.rule, self.text)
    }
}

/// ARCHITECTURE.md, invariant 7.
pub(crate) const CLUSTER_FIRST: &str = "no client is sent a route to a cluster that it was not sent";
/// ARCHITECTURE.md, invariant 7; docs/xds-rules.md, 44.
pub(crate) const CLUSTER_LAST: &str = "a cluster goes after the routes that need it";
/// ARCHITECTURE.md, invariant 2.
pub(crate) const EVIDENCE: &str = "nothing is removed without evidence from the registry";
/// docs/removals.md.
pub(crate) const GUARD: &str = "a wipe is not believed before its hold is over";
/// ARCHITECTURE.md, invariant 3.
pub(crate) const OTHERS: &str = "what one service declares changes no other's routes";
/// docs/xds-rules.md, 6, 9, 37, 42.
pub(crate) const RESPONSE: &str = "a response is one that Envoy takes";
/// docs/xds-rules.md, 27, 45.
pub(crate) const WARM: &str = "each cluster that is sent is followed by its endpoints";
/// docs/xds-rules.md, 32, 34.
pub(crate) const ROUTES: &str = "each listener that is sent gets its routes";
/// README: whoever connects again, and whoever stayed, hold the same.
pub(crate) const CONVERGED: &str = "after quiet each client holds what a first reading of the registry gives";
/// ARCHITECTURE.md, invariant 5.
pub(crate) const SAME: &str = "bridges of one registry serve the same bytes";
/// ARCHITECTURE.md, invariant 9.
pub(crate) const SILENT: &str = "after quiet nobody has anything to say";
/// docs/limits.md.
pub(crate) const BOUNDED: &str = "names that nobody serves or wants are forgotten";
