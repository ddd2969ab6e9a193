//! What one source said, how it is, and what of it is served: the same, but for
//! removals that its guard withholds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::guard::{Guard, Turn, Withheld, held_back, turn};
use super::last_good::{self, Exposures, Place};
use super::linger::left;
use super::touched::{Left, Touched};
use crate::model::GuardRule;
use crate::model::change::{Change, Condition, Status};
use crate::model::issue::Issue;
use crate::model::key::Key;
use crate::model::service::ServiceRecord;

mod probed;
mod renewed;

/// What the catalog has to know of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Its guard against mass removal, if any.
    pub guard: Option<GuardRule>,
    /// It answers verification requests.
    pub verifies: bool,
    /// 0: the first choice; its instances stand behind those of sources with a lower one.
    pub priority: u32,
}

/// One source in the catalog.
#[derive(Debug)]
pub struct SourceState {
    /// What is served of it.
    services: HashMap<Arc<str>, Arc<ServiceRecord>>,
    stray: Vec<Issue>,
    status: Status,
    /// Since when it is connecting, live or away.
    since: Duration,
    last_delivery: Option<Duration>,
    note: Option<String>,
    delivered: bool,
    /// It has delivered its whole state itself: what was known before a restart of the bridge is over.
    spoke: bool,
    instances: usize,
    guard: Option<Guard>,
    /// The rule of its guard once it has delivered from another registry than before.
    guard_after: Option<GuardRule>,
    verify: Verify,
    /// Records that name exposures which are not defined, as the source delivered them.
    unfilled: HashMap<Arc<str>, ServiceRecord>,
    /// The operator's; empty: any may be named.
    pub(super) exposures: Exposures,
}

/// Whether the source reads its registry again before a removal is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    /// It cannot: what it says last counts.
    Never,
    /// The number of requests so far.
    Idle(u64),
    /// The number of the request that it has not answered, and when it was sent.
    Asked(u64, Duration),
}

impl SourceState {
    pub(super) fn new(rule: Option<GuardRule>) -> Self {
        Self {
            services: HashMap::new(),
            stray: Vec::new(),
            status: Status::Connecting,
            since: Duration::ZERO,
            last_delivery: None,
            note: None,
            delivered: false,
            spoke: false,
            instances: 0,
            guard: rule.map(Guard::new),
            guard_after: None,
            verify: Verify::Never,
            unfilled: HashMap::new(),
            exposures: Exposures::new(),
        }
    }

    pub(super) const fn can_verify(&mut self) {
        self.verify = Verify::Idle(0);
    }

    /// How the source is.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Since when it is connecting, live or away, whatever the reason.
    #[must_use]
    pub const fn since(&self) -> Duration {
        self.since
    }

    /// When facts came from it last.
    #[must_use]
    pub const fn last_delivery(&self) -> Option<Duration> {
        self.last_delivery
    }

    /// How the source is, by what it says and not by what is served: a registry that says nothing is
    /// empty, also while its guard withholds that.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let gone = || self.withheld().filter(|(_, w)| w.reported.is_none()).count();
        match self.status {
            Status::Connecting => Condition::Connecting,
            Status::Away { .. } => Condition::Away,
            Status::Live if self.delivered && self.services.len() == gone() => Condition::Empty,
            Status::Live => Condition::Live,
        }
    }

    /// What its operator should know of it beside that.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether it has delivered its whole state at least once.
    #[must_use]
    pub const fn delivered(&self) -> bool {
        self.delivered
    }

    /// How many services are served of it.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// How many instances are served of it.
    #[must_use]
    pub const fn instances(&self) -> usize {
        self.instances
    }

    /// Keys that keep their last good value, since what is registered now cannot be read: the service, the
    /// instance (`""`: the policy document) and the key (`None`: the whole entry).
    pub fn last_good(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, Option<Key>)> {
        let services = self.services.iter();
        services.flat_map(|(name, record)| record.stale.iter().map(move |(id, key)| (name, id, *key)))
    }

    /// The services that are served of it.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.keys()
    }

    /// What is served of one service.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&ServiceRecord> {
        self.services.get(name).map(|record| &**record)
    }

    /// All that is served of it.
    pub fn records(&self) -> impl Iterator<Item = (&Arc<str>, &ServiceRecord)> {
        self.services.iter().map(|(name, record)| (name, &**record))
    }

    /// All that is served of it, without a copy.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(Arc<str>, Arc<ServiceRecord>)> {
        self.services
            .iter()
            .map(|(name, record)| (name.clone(), record.clone()))
            .collect()
    }

    /// All that is wrong with its entries.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.stray
            .iter()
            .chain(self.services.values().flat_map(|r| &r.issues))
    }

    /// Removals that are withheld, by service.
    pub fn withheld(&self) -> impl Iterator<Item = (&Arc<str>, &Withheld)> {
        self.guard.iter().flat_map(Guard::withheld)
    }

    /// When one of them is believed, if the source still says so; `None`: it cannot stand by it now.
    #[must_use]
    pub fn believed_at(&self, withheld: &Withheld) -> Option<Duration> {
        let live = self.guard.as_ref().filter(|_| self.status == Status::Live);
        live.map(|guard| guard.end(withheld))
    }

    /// When a withheld removal is to be let through. A source that is not live cannot stand by it.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let waits = self.status != Status::Live || self.is_verifying();
        self.guard.as_ref().filter(|_| !waits)?.due()
    }

    /// Whether it was asked to read its registry again, and has not answered.
    #[must_use]
    pub const fn is_verifying(&self) -> bool {
        matches!(self.verify, Verify::Asked(..))
    }

    /// The number of the request, when the source is to be asked whether it stands by what it said.
    pub(super) fn ask(&mut self, now: Duration) -> Option<u64> {
        let Verify::Idle(before) = self.verify else {
            return None;
        };
        self.due().filter(|due| *due <= now)?;
        self.verify = Verify::Asked(before + 1, now);
        Some(before + 1)
    }

    /// It has read its registry again: what was due then is believed where it still reports so.
    pub(super) fn verified(&mut self, answered: u64) -> Touched {
        let Verify::Asked(nth, at) = self.verify else {
            return Touched::default();
        };
        if answered < nth {
            return Touched::default(); // it began before it was asked
        }
        self.verify = Verify::Idle(nth);
        let mut touched = self.let_go(Some(at));
        touched.status = true;
        touched
    }

    pub(super) fn set_status(&mut self, status: Status, now: Duration) -> Touched {
        let changed = self.status != status;
        if std::mem::discriminant(&self.status) != std::mem::discriminant(&status) {
            self.since = now;
            // A question from before is forgotten: it is asked again when it is reachable.
            if let Verify::Asked(nth, _) = self.verify {
                self.verify = Verify::Idle(nth);
            }
        }
        self.status = status;
        Touched {
            status: changed,
            ..Touched::default()
        }
    }

    pub(super) fn set_note(&mut self, note: Option<String>) -> Touched {
        let changed = self.note != note;
        self.note = note;
        Touched {
            status: changed,
            ..Touched::default()
        }
    }

    /// `None`: whatever is withheld, now, by the operator's word.
    pub(super) fn release(&mut self, now: Option<Duration>) -> Touched {
        if now.is_some() && self.verify != Verify::Never {
            return Touched::default();
        }
        self.let_go(now)
    }

    fn let_go(&mut self, now: Option<Duration>) -> Touched {
        let mut touched = Touched::default();
        let live = self.status == Status::Live;
        let Some(guard) = self.guard.as_mut().filter(|_| live || now.is_none()) else {
            return touched;
        };
        for (name, reported) in guard.release(now) {
            self.replace(name, reported, &mut touched);
        }
        touched.status |= !touched.services.is_empty();
        touched
    }

    /// What the source says.
    pub(super) fn apply(&mut self, change: Change, now: Duration) -> Touched {
        let complete = change.complete;
        let touched = self.take(change, now);
        self.spoke |= complete;
        touched
    }

    /// What is known of the source from before a restart of the bridge.
    pub(super) fn recall(&mut self, change: Change, now: Duration) -> Touched {
        self.take(change, now)
    }

    fn take(&mut self, change: Change, now: Duration) -> Touched {
        let complete = change.complete;
        let mut touched = Touched {
            status: !self.delivered && complete,
            ..Touched::default()
        };
        self.delivered |= complete;
        self.last_delivery = Some(now);
        let mut reported = change.services;
        if complete {
            let named: BTreeSet<&Arc<str>> = reported.iter().map(|(name, _)| name).collect();
            let gone: Vec<Arc<str>> = self
                .services
                .keys()
                .filter(|n| !named.contains(n))
                .cloned()
                .collect();
            reported.extend(gone.into_iter().map(|name| (name, None)));
        }
        for (name, record) in &mut reported {
            self.unfilled.remove(name);
            if let Some(record) = record {
                if last_good::names_unknown(record, &self.exposures) {
                    self.unfilled.insert(name.clone(), record.clone());
                }
                let place = Place {
                    service: name,
                    exposures: &self.exposures,
                    first: !self.spoke,
                };
                last_good::fill(record, self.services.get(name).map(|served| &**served), place);
            }
        }
        for (name, record) in self.guarded(reported, now, &mut touched) {
            if self.record(&name) != record.as_ref() {
                self.replace(name, record, &mut touched);
            }
        }
        if let Some(stray) = change.stray.filter(|stray| *stray != self.stray) {
            touched.note_issues(None, &self.stray, &stray);
            self.stray = stray;
        }
        if complete && let Some(rule) = self.guard_after.take() {
            self.guard = Some(Guard::new(rule));
        }
        touched
    }

    /// What is to be served of what is reported.
    fn guarded(
        &mut self,
        mut reported: Vec<(Arc<str>, Option<ServiceRecord>)>,
        now: Duration,
        touched: &mut Touched,
    ) -> Vec<(Arc<str>, Option<ServiceRecord>)> {
        let Some(guard) = &mut self.guard else {
            return reported;
        };
        let turns: Vec<Turn> = reported
            .iter()
            .map(|(name, record)| turn(name, self.services.get(name).map(|r| &**r), record.as_ref()))
            .collect();
        let held = guard.judge(&turns, self.instances, now);
        let before = (guard.withheld().len(), guard.missing());
        let mut settled = false;
        for ((name, record), turn) in reported.iter_mut().zip(turns) {
            let Some(served) = self.services.get(name).filter(|_| held.contains(name)) else {
                settled |= guard.withheld().contains_key(name);
                guard.settle(name);
                continue;
            };
            let serve = held_back(served, record.as_ref());
            let withheld = record.replace(serve);
            let standings = guard.withhold(name.clone(), withheld, &turn.addresses, now);
            if let Some(serve) = record {
                serve.withheld = standings;
            }
        }
        touched.status |= settled || (guard.withheld().len(), guard.missing()) != before;
        reported
    }

    fn replace(&mut self, name: Arc<str>, record: Option<ServiceRecord>, touched: &mut Touched) {
        let old = match record {
            Some(record) => {
                let old = self.services.get(&name);
                let known = old.map_or(&[][..], |old| &old.issues);
                touched.note_issues(Some(&name), known, &record.issues);
                let repaired = old.map(|old| old.repaired(&record)).unwrap_or_default();
                touched
                    .repaired
                    .extend(repaired.into_iter().map(|id| (name.clone(), id)));
                self.instances += record.instances.len();
                self.services.insert(name.clone(), Arc::new(record))
            }
            None => self
                .services
                .remove(&name)
                .inspect(|old| touched.note_issues(None, &old.issues, &[])),
        };
        if let Some(old) = old {
            let now = self
                .services
                .get(&name)
                .map_or(&[][..], |record| &record.instances);
            let left = left(&old.instances, now).into_iter().map(|instance| Left {
                service: name.clone(),
                instance: instance.clone(),
            });
            touched.left.extend(left);
            self.instances -= old.instances.len();
        }
        touched.services.insert(name);
    }
}

#[cfg(test)]
#[path = "source_state_tests.rs"]
mod tests;
