//! Who asks for requests of a host and does not get them, for whoever asks why.

use super::Planner;
use crate::model::Issue;

impl Planner {
    /// The sentences about claims that lost on this host, or on a pattern that holds it; lower case, without a port.
    pub fn contested_on<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Issue> {
        self.hosts.issues_on(host)
    }
}
