//! One key, decoded, and how those of instances are kept. Pure.
//!
//! A hundred thousand keys are in memory, and most of them say no more than the instance that the catalog holds
//! already: of those nothing else is kept.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::foreign::Bad;
use crate::model::{Code, Instance, Issue};
use crate::registry::etcd::Kv;
use crate::registry::weight::INSTANCE;
use crate::source::entry::{self, Decoded};

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<T> {
    /// Tells a rewritten key from one that was deleted and registered again.
    pub(super) create_revision: i64,
    /// The last good reading.
    pub(super) good: Option<Decoded<T>>,
    /// Why the present value is not the good one, or not all of it.
    bad: Vec<Issue>,
}

/// What is known of one key; known by the id in it.
#[derive(Debug)]
pub(super) enum Kept {
    /// One instance that has the id of its key and the time of its registration, and nothing wrong with it.
    Plain(Instance),
    /// All others.
    Odd(Box<(Arc<str>, Entry<Vec<Instance>>)>),
}

impl Kept {
    /// `entry`, of the key with this id. [`Self::entry`] gives the same back.
    pub(super) fn new(id: &str, entry: Entry<Vec<Instance>>) -> Self {
        let same = entry.instances().iter().find(|instance| &*instance.id == id);
        if let Some(instance) = same
            && plain(instance) == entry
        {
            return Self::Plain(instance.clone());
        }
        let id = same.map_or_else(|| id.into(), |instance| instance.id.clone());
        Self::Odd(Box::new((id, entry)))
    }

    /// The id in the key.
    pub(super) fn id(&self) -> &Arc<str> {
        match self {
            Self::Plain(instance) => &instance.id,
            Self::Odd(odd) => &odd.0,
        }
    }

    pub(super) fn instances(&self) -> &[Instance] {
        match self {
            Self::Plain(instance) => std::slice::from_ref(instance),
            Self::Odd(odd) => odd.1.instances(),
        }
    }

    /// What it counts.
    pub(super) fn weight(&self) -> usize {
        weight(self.instances())
    }

    /// Its id and what it says, if that is more than an instance.
    pub(super) fn odd(&self) -> Option<(&Arc<str>, &Entry<Vec<Instance>>)> {
        match self {
            Self::Plain(_) => None,
            Self::Odd(odd) => Some((&odd.0, &odd.1)),
        }
    }

    /// All that it says.
    pub(super) fn entry(&self) -> Entry<Vec<Instance>> {
        match self {
            Self::Plain(instance) => plain(instance),
            Self::Odd(odd) => odd.1.clone(),
        }
    }
}

/// The entry of a key with this instance and no more.
fn plain(instance: &Instance) -> Entry<Vec<Instance>> {
    Entry {
        create_revision: i64::try_from(instance.created).unwrap_or_default(),
        good: Some(Decoded {
            content: vec![instance.clone()],
            issues: Vec::new(),
        }),
        bad: Vec::new(),
    }
}

impl Borrow<str> for Kept {
    fn borrow(&self) -> &str {
        self.id()
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Kept {}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kept {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id().cmp(other.id())
    }
}

/// What a key with these instances counts: one at least, which a value that cannot be read may become.
fn weight(instances: &[Instance]) -> usize {
    instances.len().max(1).saturating_mul(INSTANCE)
}

impl Entry<Vec<Instance>> {
    /// What it counts.
    pub(super) fn weight(&self) -> usize {
        weight(self.instances())
    }

    pub(super) fn instances(&self) -> &[Instance] {
        self.good.as_ref().map_or(&[], |good| &good.content)
    }

    /// Of the instances in one value some may be wrong: each of those keeps its own last good reading.
    pub(super) fn partly(
        name: &str,
        kv: &Kv,
        mut decoded: Decoded<Vec<Instance>>,
        bad: Vec<Bad>,
        last: Option<&Self>,
    ) -> Self {
        let last = last.filter(|l| l.create_revision == kv.create_revision);
        let last = last
            .and_then(|l| l.good.as_ref())
            .map_or(&[][..], |good| &good.content);
        let mut issues = Vec::new();
        if decoded.content.is_empty() && !bad.is_empty() && !last.is_empty() {
            // Nothing of it is good: as if it could not be read at all.
            decoded.content = last.to_vec();
            issues.extend(
                bad.iter()
                    .map(|bad| stale(format!("{name}: {}", bad.place), &bad.reason)),
            );
            return Self {
                bad: entry::bounded(name, issues),
                ..Self::good(kv, decoded)
            };
        }
        for Bad { id, place, reason } in bad {
            let name = format!("{name}: {place}");
            let kept = last.iter().find(|instance| *instance.id == *id);
            // It may only have moved to another place in its list.
            let fresh = |kept: &&Instance| {
                let same = |other: &Instance| other.id == kept.id || other.address == kept.address;
                !decoded.content.iter().any(same)
            };
            issues.push(match kept.filter(fresh) {
                Some(kept) => {
                    decoded.content.push(kept.clone());
                    stale(name, &reason)
                }
                None => Issue::rejected(name, reason),
            });
        }
        Self {
            bad: entry::bounded(name, issues),
            ..Self::good(kv, decoded)
        }
    }
}

impl<T: Clone> Entry<T> {
    pub(super) const fn good(kv: &Kv, decoded: Decoded<T>) -> Self {
        Self {
            create_revision: kv.create_revision,
            good: Some(decoded),
            bad: Vec::new(),
        }
    }

    pub(super) fn bad(name: &str, kv: &Kv, reason: &str, last: Option<&Self>) -> Self {
        let same_key = last.filter(|l| l.create_revision == kv.create_revision);
        let good = same_key.and_then(|l| l.good.clone());
        let bad = match &good {
            Some(_) => stale(name, reason),
            None => Issue::rejected(name, reason),
        };
        Self {
            create_revision: kv.create_revision,
            good,
            bad: vec![bad],
        }
    }

    /// All that its record has of it.
    pub(super) const fn says(&self) -> (Option<&Decoded<T>>, &Vec<Issue>) {
        (self.good.as_ref(), &self.bad)
    }

    pub(super) fn tell(&self, issues: &mut Vec<Issue>) {
        if let Some(good) = &self.good {
            issues.extend_from_slice(&good.issues);
        }
        issues.extend_from_slice(&self.bad);
    }
}

fn stale(name: impl Into<String>, reason: &str) -> Issue {
    Issue::warning(name, format!("{reason}; the last good value is still served")).of_kind(Code::ValueKept)
}
