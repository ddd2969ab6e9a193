//! Who had a name that may be a service's or that of a version's cluster, before the bridge began: whoever had it keeps it
//! over a restart. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// After a start: records of rollouts, by which services are split by version, may come later than instances.
const KEPT: Duration = Duration::from_secs(60);

/// What is remembered, for a while.
#[derive(Debug, Default)]
pub(super) struct Called(BTreeMap<Arc<str>, Owner>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A version of this service.
    VersionOf(Arc<str>),
    /// The service of that name.
    Itself,
}

impl Called {
    /// `names`: clusters of versions, and whose these are; `services`: all that were there.
    pub(super) fn new<'a>(
        names: BTreeMap<Arc<str>, Arc<str>>,
        services: impl Iterator<Item = &'a Arc<str>>,
    ) -> Self {
        let themselves = services.filter(|name| name.contains('@'));
        let mut all: BTreeMap<Arc<str>, Owner> =
            themselves.map(|name| (name.clone(), Owner::Itself)).collect();
        all.extend(names.into_iter().map(|(name, of)| (name, Owner::VersionOf(of))));
        Self(all)
    }

    pub(super) fn owner(&self, name: &str) -> Option<&Owner> {
        self.0.get(name)
    }

    /// Those of versions.
    pub(super) fn versions(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
        self.0.iter().filter_map(|(name, owner)| match owner {
            Owner::VersionOf(of) => Some((name.clone(), of.clone())),
            Owner::Itself => None,
        })
    }

    /// A service is split by version: what it has is known by itself.
    pub(super) fn settle(&mut self, service: &str) {
        self.0
            .retain(|_, owner| !matches!(owner, Owner::VersionOf(of) if **of == *service));
    }

    /// When it ends.
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.0.is_empty()).then_some(KEPT)
    }

    /// The names of which nobody says any more who had them.
    pub(super) fn take_due(&mut self, now: Duration) -> BTreeSet<Arc<str>> {
        if now < KEPT {
            return BTreeSet::new();
        }
        std::mem::take(&mut self.0).into_keys().collect()
    }
}
