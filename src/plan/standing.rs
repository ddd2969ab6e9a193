//! What is known of each service beside its instances: what they declared, and what stays of it after the last
//! one left. Pure; times are given, as the catalog counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Remembered;
use crate::model::{Policy, Service};

/// For this time after its last instance left, the requests of a service are not taken over by one that did not
/// claim them before: it may only be on its way to a restart.
const HANDOVER: Duration = Duration::from_secs(60);

/// Routes of no more services are kept at once; those that left first end first.
const MAX_KEPT: usize = 10_000;

/// All services, by name.
#[derive(Debug)]
pub(super) struct Standing {
    keep: Duration,
    services: BTreeMap<Arc<str>, Known>,
    /// Those without instances.
    kept: BTreeMap<Arc<str>, Kept>,
    news: Vec<(Arc<str>, News)>,
    changed: bool,
}

/// One service while it has instances, as it was then afterwards.
#[derive(Clone, Debug)]
struct Known {
    /// What its instances declare together: a tie keeps it.
    elected: Arc<Policy>,
    /// The same below its policy documents.
    policy: Arc<Policy>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    /// How long ago, when the bridge began; else it left this long after that.
    left: Left,
    /// Others may take its requests over from then on.
    handover: Duration,
    handed: bool,
    /// Its routes end.
    ends: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Before(Duration),
    At(Duration),
}

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Its last instance left, and its routes stay.
    Kept,
    /// It has instances again.
    Back,
    /// Its routes have ended.
    Ended,
}

impl Standing {
    pub(super) const fn new(keep: Duration) -> Self {
        Self {
            keep,
            services: BTreeMap::new(),
            kept: BTreeMap::new(),
            news: Vec::new(),
            changed: false,
        }
    }

    /// Routes stay for this time from now on, also those of services that have left already.
    pub(super) fn set_keep(&mut self, keep: Duration) {
        if std::mem::replace(&mut self.keep, keep) == keep {
            return;
        }
        for kept in self.kept.values_mut() {
            kept.ends = match kept.left {
                Left::Before(ago) => keep.saturating_sub(ago),
                Left::At(at) => at + keep,
            };
        }
    }

    /// The operator has taken a service away: nothing of it is kept.
    pub(super) fn dismiss(&mut self, name: &str) {
        self.end(name);
    }

    /// What was known before the bridge began: by name, with the time since its last instance left.
    pub(super) fn remember(&mut self, known: BTreeMap<Arc<str>, Remembered>) {
        for (name, known) in known {
            let policy = known.policy.unwrap_or_else(|| known.elected.clone());
            if let Some(ago) = known.left_ago {
                let keep = self.keep.saturating_sub(ago);
                let kept = Kept {
                    left: Left::Before(ago),
                    handover: HANDOVER.saturating_sub(ago),
                    handed: false,
                    ends: keep,
                };
                self.kept.insert(name.clone(), kept);
            }
            let elected = known.elected;
            self.services.insert(name, Known { elected, policy });
        }
    }

    /// All that are known.
    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }

    /// What the instances of a service declared until now.
    pub(super) fn elected(&self, name: &str) -> Option<&Policy> {
        self.services.get(name).map(|known| &*known.elected)
    }

    /// A service as the sources have it now; answers what is served of it.
    pub(super) fn follow(
        &mut self,
        name: &Arc<str>,
        found: Option<Service>,
        now: Duration,
    ) -> Option<Service> {
        match found {
            Some(service) if !service.instances.is_empty() => {
                self.lives(&service);
                Some(service)
            }
            found => self.left(name, found, now),
        }
    }

    fn lives(&mut self, service: &Service) {
        let name = &service.name;
        if self.kept.remove(name).is_some() {
            self.news.push((name.clone(), News::Back));
            self.changed = true;
        }
        let same = |known: &Known| *known.elected == service.elected && *known.policy == service.policy;
        if self.services.get(name).is_some_and(same) {
            return;
        }
        let elected = Arc::new(service.elected.clone());
        let policy = if service.policy == service.elected {
            elected.clone()
        } else {
            Arc::new(service.policy.clone())
        };
        self.services.insert(name.clone(), Known { elected, policy });
        self.changed = true;
    }

    fn left(&mut self, name: &Arc<str>, found: Option<Service>, now: Duration) -> Option<Service> {
        let Some(known) = self.services.get(name) else {
            return found; // a policy document whose instances never came
        };
        let fresh = Kept {
            left: Left::At(now),
            handover: now + HANDOVER,
            handed: false,
            ends: now + self.keep,
        };
        let kept = *self.kept.get(name).unwrap_or(&fresh);
        if kept.ends <= now {
            self.end(name);
            return found;
        }
        let mut service = found.unwrap_or_else(|| Service {
            name: name.clone(),
            ..Service::default()
        });
        service.policy = service.policy.over(&known.policy);
        service.elected = (*known.elected).clone();
        service.kept = Some(kept.handover);
        if self.kept.insert(name.clone(), kept).is_none() {
            self.news.push((name.clone(), News::Kept));
            self.changed = true;
        }
        Some(service)
    }

    fn end(&mut self, name: &str) {
        let known = self.services.remove_entry(name);
        self.changed |= known.is_some();
        if self.kept.remove(name).is_some()
            && let Some((name, _)) = known
        {
            self.news.push((name, News::Ended));
        }
    }

    /// Ends what is kept of a service at once. False: nothing is.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        let kept = self.kept.contains_key(name);
        if kept {
            self.end(name);
        }
        kept
    }

    /// When [`Self::take_due`] has something.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.kept.len() > MAX_KEPT {
            return Some(Duration::ZERO);
        }
        let next = |kept: &Kept| {
            if kept.handed {
                kept.ends
            } else {
                kept.handover.min(kept.ends)
            }
        };
        self.kept.values().map(next).min()
    }

    /// The services whose requests others may take over now, and those whose routes end, to be looked at again.
    pub(super) fn take_due(&mut self, now: Duration) -> BTreeSet<Arc<str>> {
        let mut due = BTreeSet::new();
        for (name, kept) in &mut self.kept {
            let handed = kept.handover <= now && !std::mem::replace(&mut kept.handed, kept.handover <= now);
            if handed || kept.ends <= now {
                due.insert(name.clone());
            }
        }
        if let Some(too_many) = self.kept.len().checked_sub(MAX_KEPT).filter(|n| *n > 0) {
            let mut first: Vec<(Duration, Arc<str>)> = self
                .kept
                .iter()
                .map(|(name, kept)| (kept.ends, name.clone()))
                .collect();
            first.sort();
            for (_, name) in first.into_iter().take(too_many) {
                self.end(&name);
                due.insert(name);
            }
        }
        due
    }

    /// Services without instances, with the time that their routes end.
    pub(super) fn kept(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, Duration)> {
        self.kept.iter().map(|(name, kept)| (name, kept.ends))
    }

    /// What became of services since this was last asked.
    pub(super) fn take_news(&mut self) -> Vec<(Arc<str>, News)> {
        std::mem::take(&mut self.news)
    }

    /// Whether what is to be remembered has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is to be known by the bridge that begins after this one.
    pub(super) fn snapshot(&self, now: Duration) -> BTreeMap<Arc<str>, Remembered> {
        let one = |(name, known): (&Arc<str>, &Known)| {
            let ago = |kept: &Kept| match kept.left {
                Left::Before(ago) => ago + now,
                Left::At(at) => now.saturating_sub(at),
            };
            let remembered = Remembered {
                elected: known.elected.clone(),
                policy: (known.policy != known.elected).then(|| known.policy.clone()),
                left_ago: self.kept.get(name).map(ago),
            };
            (name.clone(), remembered)
        };
        self.services.iter().map(one).collect()
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
