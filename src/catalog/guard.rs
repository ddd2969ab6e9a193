//! The mass-removal guard: a registry that answers too little must not empty Envoy.
//!
//! A change that would take away more than a share of the instances of one service, or after which
//! more than that share of what the source had at some moment of the last [`WINDOW`] would be missing,
//! is withheld: what is new in it is served, what it takes away stays. An instance that came back is
//! not missing, and one that is new makes up for no other. One that drained before it left, beside others
//! that stay, leaves in order. While a registry fills again, each service stays withheld until nothing of it
//! is missing any more. It is let through when the source still says so after the hold time, or at once when
//! the operator accepts it; each instance also when nobody listens at its address ([`super::probe`]). Small,
//! honest removals pass at once. Pure: the time is given.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use super::history::WINDOW;
use super::history::{Gone, History};
use super::probe::{Answer, Meaning, Probing};
use crate::model::GuardRule;
use crate::model::Standing;
use crate::model::absent::absent;
use crate::model::instance::{Health, Instance};
use crate::model::service::ServiceRecord;
use crate::model::withheld::{kept_where, left_out};

/// What a source says of one service, while something else is served.
#[derive(Clone, Debug)]
pub struct Withheld {
    /// What it reports: `None` means gone.
    pub reported: Option<ServiceRecord>,
    /// How many instances that would take away.
    pub missing: usize,
    /// Since when; starts again when more would be removed.
    pub since: Duration,
    /// Since when anything of it is withheld.
    pub first: Duration,
}

/// The guard of one source.
#[derive(Debug)]
pub struct Guard {
    rule: GuardRule,
    history: History,
    withheld: BTreeMap<Arc<str>, Withheld>,
    /// Of all of them together.
    missing: usize,
    probing: Probing,
}

/// What a change would do to one service.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The service.
    pub name: Arc<str>,
    /// Instances that are served of it now.
    pub before: usize,
    /// Ids of instances that would go, but for those that leave in order.
    pub missing: Vec<Arc<str>>,
    /// Their addresses.
    pub addresses: Vec<SocketAddr>,
    /// Ids of instances that would come.
    pub coming: Vec<Arc<str>>,
}

impl Guard {
    /// The rule it judges by.
    #[must_use]
    pub const fn rule(&self) -> GuardRule {
        self.rule
    }

    /// A guard by this rule.
    #[must_use]
    pub fn new(rule: GuardRule) -> Self {
        Self {
            rule,
            history: History::default(),
            withheld: BTreeMap::new(),
            missing: 0,
            probing: Probing::new(rule.probe),
        }
    }

    /// Which of these losses are to be withheld. `total`: instances that are served of the source now.
    /// What passes, and what comes, is remembered.
    #[must_use]
    pub fn judge(&mut self, turns: &[Turn], total: usize, now: Duration) -> HashSet<Arc<str>> {
        let named: HashSet<&Arc<str>> = turns.iter().map(|t| &t.name).collect();
        let elsewhere = self.withheld.iter().filter(|(name, _)| !named.contains(name));
        let waiting: usize = elsewhere.map(|(_, w)| w.missing).sum();
        let going = || {
            turns
                .iter()
                .flat_map(|t| t.missing.iter().map(|id| (t.name.clone(), id.clone())))
        };
        if turns.iter().all(|t| t.missing.is_empty() && t.coming.is_empty()) {
            return HashSet::new();
        }
        self.history.begin(now, total);
        let (at_once, in_all) = (self.rule.at_once, self.rule.in_all);
        let together = going().count();
        let all = together > 0
            && (self.too_much(at_once, together, total)
                || self
                    .history
                    .missing(going())
                    .any(|Gone { of, missing }| self.too_much(in_all, missing + waiting, of)));
        let held: HashSet<Arc<str>> = turns
            .iter()
            .filter(|t| !t.missing.is_empty())
            .filter(|t| {
                all || self.too_much(at_once, t.missing.len(), t.before)
                    || self.withheld.contains_key(&t.name)
            })
            .map(|t| t.name.clone())
            .collect();
        for turn in turns {
            let passing = turn.missing.iter().filter(|_| !held.contains(&turn.name));
            for id in passing {
                self.history.went(&turn.name, id);
            }
            for id in &turn.coming {
                self.history.came(&turn.name, id);
            }
        }
        held
    }

    fn too_much(&self, few: u16, missing: usize, before: usize) -> bool {
        missing > usize::from(few) && missing * 100 > before * self.rule.share as usize
    }

    /// Withholds what a source says of a service. The time starts again when more would go
    /// than before: what was reported a second ago is not certain because something else is.
    /// Returns what is known about the instances at these addresses, which would go.
    pub fn withhold(
        &mut self,
        name: Arc<str>,
        reported: Option<ServiceRecord>,
        addresses: &[SocketAddr],
        now: Duration,
    ) -> BTreeMap<SocketAddr, Standing> {
        let missing = addresses.len();
        let others = reported
            .iter()
            .flat_map(|r| &r.instances)
            .any(|i| i.health.serves());
        let standings = self.probing.follow(&name, addresses.iter().copied(), others, now);
        let old = self.withheld.get(&name);
        let since = old.filter(|w| missing <= w.missing).map_or(now, |w| w.since);
        let first = old.map_or(now, |w| w.first);
        let new = Withheld {
            reported,
            missing,
            since,
            first,
        };
        let old = self.withheld.insert(name, new);
        self.missing = self.missing + missing - old.map_or(0, |w| w.missing);
        standings
    }

    /// The source says something else of this service now.
    pub fn settle(&mut self, name: &Arc<str>) {
        self.take(name);
    }

    fn take(&mut self, name: &Arc<str>) -> Option<Withheld> {
        let old = self.withheld.remove(name)?;
        self.missing -= old.missing;
        self.probing.follow(name, [], false, Duration::ZERO);
        Some(old)
    }

    /// This number of withheld instances of a service are gone for certain. When they were the last ones: what was
    /// withheld, which is in force now.
    pub(super) fn gone(&mut self, name: &Arc<str>, instances: usize) -> Option<Withheld> {
        let withheld = self.withheld.get_mut(name)?;
        let instances = instances.min(withheld.missing);
        withheld.missing -= instances;
        self.missing -= instances;
        (withheld.missing == 0).then(|| self.take(name))?
    }

    /// What became of a probe, and for which services it means what; `None`: nothing new.
    pub(super) fn probed(
        &mut self,
        address: SocketAddr,
        answer: Answer,
        now: Duration,
    ) -> Option<(Meaning, BTreeSet<Arc<str>>)> {
        self.probing.answered(address, answer, now)
    }

    /// When the next probes start.
    #[must_use]
    pub fn probe_due(&self) -> Option<Duration> {
        self.probing.due()
    }

    /// Addresses to be probed now.
    pub(super) fn questions(&mut self, now: Duration) -> Vec<SocketAddr> {
        self.probing.questions(now)
    }

    /// How many instances are withheld.
    #[must_use]
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// At how many of their addresses connections are accepted.
    #[must_use]
    pub const fn alive(&self) -> usize {
        self.probing.alive()
    }

    /// What is withheld.
    #[must_use]
    pub const fn withheld(&self) -> &BTreeMap<Arc<str>, Withheld> {
        &self.withheld
    }

    /// When this is to be let through.
    #[must_use]
    pub fn end(&self, withheld: &Withheld) -> Duration {
        end(&self.rule, withheld)
    }

    /// When the oldest is to be let through.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.withheld.values().map(|w| end(&self.rule, w)).min()
    }

    /// Takes out what has been withheld long enough by now; `None`: everything.
    #[must_use]
    pub fn release(&mut self, now: Option<Duration>) -> Vec<(Arc<str>, Option<ServiceRecord>)> {
        let over = |w: &Withheld| now.is_none_or(|now| end(&self.rule, w) <= now);
        let names: Vec<Arc<str>> = self
            .withheld
            .iter()
            .filter(|(_, w)| over(w))
            .map(|(name, _)| name.clone())
            .collect();
        let taken = |name: Arc<str>| self.take(&name).map(|w| (name, w.reported));
        names.into_iter().filter_map(taken).collect()
    }
}

/// When a removal is believed; a registry that loses a little more each moment delays it by at most three times the
/// hold.
fn end(rule: &GuardRule, withheld: &Withheld) -> Duration {
    (withheld.since + rule.hold).min(withheld.first + 3 * rule.hold)
}

/// What is served while a loss is withheld: all that it leaves out, but what leaves in order.
#[must_use]
pub(super) fn held_back(served: &ServiceRecord, reported: Option<&ServiceRecord>) -> ServiceRecord {
    let last = reported.is_none_or(|reported| reported.instances.is_empty());
    kept_where(served, reported, |instance| last || !leaves(instance))
}

/// It got no new requests before it was removed.
fn leaves(instance: &Instance) -> bool {
    instance.health == Health::Draining
}

/// What this report would do to a service that is served like that.
#[must_use]
pub fn turn(name: &Arc<str>, served: Option<&ServiceRecord>, reported: Option<&ServiceRecord>) -> Turn {
    fn instances(record: Option<&ServiceRecord>) -> &[Instance] {
        record.map_or(&[], |r| &r.instances)
    }
    let (served, reported) = (instances(served), instances(reported));
    let mut missing = left_out(served, reported);
    // The last ones to go are missed, whether they drained or not.
    missing.retain(|i| reported.is_empty() || !leaves(i));
    Turn {
        name: name.clone(),
        before: served.len(),
        missing: missing.iter().map(|i| i.id.clone()).collect(),
        addresses: missing.iter().map(|i| i.address).collect(),
        coming: absent(reported, served).iter().map(|i| i.id.clone()).collect(),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
