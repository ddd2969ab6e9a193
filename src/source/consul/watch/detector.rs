//! What shows that some service has changed, without saying which.

use super::subject::{Rules, Subject, Verdict};
use crate::registry::consul::{Answer, Query};

/// The index of all checks, or of all nodes: together with that of the names, one of them moves whenever anything of a
/// service does. What moved is found out by reading the services.
pub(crate) struct Detector(Query);

impl Detector {
    pub(crate) const fn checks() -> Self {
        Self(Query::Checks)
    }

    pub(crate) const fn nodes() -> Self {
        Self(Query::Nodes)
    }
}

impl Subject for Detector {
    const RULES: Rules = Rules {
        may_be_refused: true,
        detects: true,
        unhurried: true,
        ..Rules::STRICT
    };

    fn query(&self) -> &Query {
        &self.0
    }

    fn read(&mut self, _: &Answer, _: bool) -> Verdict {
        Verdict::Moved
    }

    fn unusable(&mut self, _: String) -> Verdict {
        Verdict::Useless
    }
}
