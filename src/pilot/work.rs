//! What the task of rollouts works with, and its parts: which records are in force, what is seen of a service, and what is
//! decided and written of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::counts::Counts;
use super::desk::{Desk, Sight};
use super::facts::{self, Arrivals};
use super::gates::Gates;
use super::leading::Leading;
use super::records::{Kept, Records, rollouts};
use super::settings;
use super::unsaid::Unsaid;
use crate::clock;
use crate::config;
use crate::hub::{Order, Versioned, Versions};
use crate::intake::Loads;
use crate::model::Rollouts;
use crate::rollout::{Decision, Facts, Record, decide};
use crate::state::{Documents, Revision, Snapshot, Status};

/// Follows, counts and decides.
#[derive(Debug)]
pub struct Pilot {
    /// The handle that others have.
    pub desk: Desk,
    /// What clients report.
    pub loads: Arc<Loads>,
    /// What the hub knows of versions.
    pub versions: watch::Receiver<Arc<Versions>>,
    /// The way to the hub.
    pub orders: mpsc::Sender<Order>,
}

/// Why a pass is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    /// Something was reported.
    pub(super) reports: bool,
    /// This holds for each service.
    pub(super) all: bool,
    /// These have to be looked at.
    pub(super) services: BTreeSet<Arc<str>>,
}

/// What a service was looked at with last.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) versioned: Option<Arc<Versioned>>,
    pub(super) revision: Option<Revision>,
    pub(super) data: Option<u32>,
    /// When to look again.
    pub(super) due: Option<Instant>,
}

/// All records of one moment.
pub(super) type All = Arc<BTreeMap<Arc<str>, Kept>>;

pub(super) struct Work {
    pub(super) pilot: Pilot,
    pub(super) records: Records,
    /// All records, of this snapshot and what was written here.
    pub(super) all: Option<(Arc<Snapshot>, All)>,
    /// What the last pass looked at.
    pub(super) last: Option<(Arc<Snapshot>, Arc<Versions>)>,
    /// This bridge decides, and can write.
    pub(super) moves: bool,
    /// There is something to decide.
    pub(super) wanted: bool,
    /// What the hub was given last.
    pub(super) given: Option<(All, Arc<Versions>, Rollouts)>,
    pub(super) counts: Counts,
    pub(super) arrivals: Arrivals,
    pub(super) first_seen: BTreeMap<Arc<str>, BTreeMap<Arc<str>, u64>>,
    pub(super) looked: BTreeMap<Arc<str>, Looked>,
    pub(super) gates: Gates,
    pub(super) leading: Leading,
    pub(super) unsaid: Unsaid,
    /// Services with a record: the hub shows their versions.
    pub(super) watched: BTreeSet<Arc<str>>,
    /// What clients were last expected to log of.
    pub(super) expected: Option<(All, Arc<Versions>)>,
    /// It was logged that nothing moves.
    pub(super) is_halted: bool,
}

impl Work {
    pub(super) fn new(pilot: Pilot) -> Self {
        let state = pilot.desk.state().clone();
        Self {
            records: Records::default(),
            all: None,
            last: None,
            moves: false,
            wanted: false,
            given: None,
            counts: Counts::new(pilot.loads.clone(), state.replica()),
            arrivals: Arrivals::default(),
            first_seen: BTreeMap::new(),
            looked: BTreeMap::new(),
            gates: Gates::default(),
            leading: Leading::new(state),
            unsaid: Unsaid::default(),
            watched: BTreeSet::new(),
            expected: None,
            is_halted: false,
            pilot,
        }
    }

    /// All records, with what was written here.
    pub(super) fn records_of(&mut self, snapshot: &Arc<Snapshot>, config: &config::Rollouts) -> All {
        if !config.enabled {
            return All::default();
        }
        if let Some((of, all)) = &self.all
            && Arc::ptr_eq(of, snapshot)
        {
            return all.clone();
        }
        let all = Arc::new(self.records.all(&snapshot.documents));
        self.all = Some((snapshot.clone(), all.clone()));
        all
    }

    /// Says whose errors are to come, before clients are asked for them.
    fn expect(&mut self, records: &All, versions: &Arc<Versions>) {
        let same =
            |(of, seen): &(All, Arc<Versions>)| Arc::ptr_eq(of, records) && Arc::ptr_eq(seen, versions);
        if self.expected.as_ref().is_some_and(same) {
            return;
        }
        self.expected = Some((records.clone(), versions.clone()));
        let running = records.iter().filter_map(|(service, (record, _))| {
            let rollout = record.rollout.as_deref().filter(|rollout| rollout.is_running())?;
            let seen = versions
                .get(service)
                .into_iter()
                .flat_map(|seen| seen.versions.keys());
            let of_record = record.stable.iter().chain([&rollout.candidate]);
            let of_versions = seen
                .chain(of_record)
                .map(|version| format!("{service}@{version}").into());
            let clusters: BTreeSet<Arc<str>> = of_versions.chain([service.clone()]).collect();
            Some((service.clone(), (rollout.started, clusters)))
        });
        self.pilot.loads.errors().expect(running.collect());
    }

    /// Gives the hub its shares, if they are others. False: it has ended.
    pub(super) async fn give(
        &mut self,
        records: &All,
        versions: &Arc<Versions>,
        documents: &Documents,
    ) -> bool {
        if let Some((of, seen, _)) = &self.given
            && Arc::ptr_eq(of, records)
            && Arc::ptr_eq(seen, versions)
        {
            return true;
        }
        self.expect(records, versions);
        let names: BTreeSet<Arc<str>> = records.keys().cloned().collect();
        if self.watched != names {
            self.watched.clone_from(&names);
            let watch = Order::WatchVersions { services: names };
            if self.pilot.orders.send(watch).await.is_err() {
                return false;
            }
        }
        let rollouts = rollouts(records, versions, documents);
        let given = (records.clone(), versions.clone(), rollouts.clone());
        let before = self.given.replace(given);
        if before.is_some_and(|(.., before)| before == rollouts) {
            return true;
        }
        self.pilot.orders.send(Order::Rollouts { rollouts }).await.is_ok()
    }

    /// Says, once, that nothing moves while shared state is away, and that it goes on.
    pub(super) fn halt(&mut self, is_away: bool, is_running: bool, status: &Status) {
        let is_halted = is_away && (is_running || self.is_halted);
        if is_halted && !self.is_halted {
            tracing::warn!(
                "rollouts stay as they are, and nothing is taken back: shared state is away: {status}"
            );
        } else if self.is_halted && !is_halted {
            tracing::info!("rollouts go on: shared state is back");
        }
        self.is_halted = is_halted;
    }

    /// Forgets services that are not rolled out any more.
    pub(super) fn forget(&mut self, names: &[Arc<str>]) {
        let is_known = |name: &Arc<str>| names.binary_search(name).is_ok();
        let gone: Vec<Arc<str>> = self
            .looked
            .keys()
            .filter(|name| !is_known(name))
            .cloned()
            .collect();
        for name in gone {
            self.looked.remove(&name);
            self.first_seen.remove(&name);
            self.gates.want(&name, Vec::new());
            self.pilot.desk.show(&name, None);
        }
    }

    /// Whether there is something new about a service, or it is time.
    pub(super) fn is_due(
        &self,
        service: &Arc<str>,
        kept: Option<&Kept>,
        versions: &Versions,
        snapshot: &Snapshot,
        cause: &Cause,
    ) -> bool {
        let is_running = kept.is_some_and(|(record, _)| record.is_running());
        let Some(looked) = self.looked.get(service) else {
            return true;
        };
        let same = match (&looked.versioned, versions.get(service)) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() == now.is_none(),
        };
        cause.all
            || cause.services.contains(service)
            || (cause.reports && is_running)
            // Another bridge may have counted something.
            || (is_running && !snapshot.documents.counts.is_empty())
            || !same
            || looked.revision != kept.map(|(_, revision)| *revision)
            || looked.data != data(service, snapshot)
            || looked.due.is_some_and(|due| due <= clock::now())
    }

    /// What is to be known of a service. `None`: its record is one of a later version of the bridge.
    pub(super) fn look(
        &mut self,
        service: &Arc<str>,
        kept: Option<&Kept>,
        versions: &Versions,
        snapshot: &Snapshot,
        config: &config::Rollouts,
    ) -> Option<Sight> {
        let versioned = versions.get(service).cloned();
        let looked = Looked {
            versioned: versioned.clone(),
            revision: kept.map(|(_, revision)| *revision),
            data: data(service, snapshot),
            due: None,
        };
        self.looked.insert(service.clone(), looked);
        let documents = &snapshot.documents;
        if documents.unreadable_rollout(service).is_some() {
            return None;
        }
        let versioned = versioned.unwrap_or_default();
        let stable = kept.and_then(|(record, _)| record.stable.as_ref());
        let (settings, wrong) = settings::of(config, service, &versioned, stable);
        let now = clock::unix_millis();
        let first_seen = self.first_seen.entry(service.clone()).or_default();
        let versions = facts::versions(&versioned, first_seen, now);
        let record = kept.map_or_else(Arc::default, |(record, _)| record.clone());
        let mut facts = Facts {
            now,
            versions,
            gates: self.gates.answers(service),
            data: data(service, snapshot),
            ..Facts::default()
        };
        if record.is_running() {
            let replica = self.pilot.desk.state().replica();
            let here = (replica, &self.counts.here(service));
            (facts.runs, facts.clients) = facts::counted(service, here, documents, &mut self.arrivals, now);
            facts.rows = self.counts.rows(service);
            if self.leading.is_leading() {
                facts.neighbours = self.counts.beside(service);
            }
        }
        Some(Sight {
            record,
            facts: Arc::new(facts),
            settings: Arc::new(settings),
            wrong: wrong.into(),
            versioned,
        })
    }

    /// Decides about a service, and writes what has to be written.
    pub(super) async fn judge(&mut self, service: &Arc<str>, kept: Option<&Kept>, seen: &Sight) {
        let revision = kept.map(|(_, revision)| *revision);
        let Some(before) = self.leading.base(service, kept) else {
            return;
        };
        if kept.is_none() && seen.facts.versions.is_empty() {
            return;
        }
        let settings = settings::with_dry_run((*seen.settings).clone(), &before);
        let decision = decide(&before, &settings, &seen.facts);
        let Decision {
            record,
            events,
            next_at,
            gates,
            urgent,
        } = decision;
        self.gates.want(service, gates);
        let wait = next_at.map(|at| Duration::from_millis(at.saturating_sub(seen.facts.now)));
        if let Some(looked) = self.looked.get_mut(service) {
            looked.due = wait.map(|wait| clock::now() + wait);
        }
        let record = Arc::new(record);
        if record == before {
            self.show(service, seen, before);
        } else if urgent || !events.is_empty() {
            if self.write(service, revision, record.clone()).await {
                self.unsaid.forget(service);
                self.pilot.desk.note(service, events);
            } else {
                self.unsaid.keep(service, revision, record, events);
            }
        } else {
            self.leading.remember(service, revision, record.clone());
            self.show(service, seen, record);
        }
    }

    /// Says what a write has done whose answer was lost: the watch shows its record.
    pub(super) fn say_what_was_written(&mut self, records: &All) {
        for (service, events) in self.unsaid.applied(records) {
            self.pilot.desk.note(&service, events);
        }
    }

    /// False: it is not written.
    pub(super) async fn write(
        &mut self,
        service: &Arc<str>,
        base: Option<Revision>,
        record: Arc<Record>,
    ) -> bool {
        let Some(revision) = self.leading.write(service, base, &record).await else {
            return false;
        };
        self.records.wrote(service, base, (record.clone(), revision));
        self.all = None;
        if let Some(looked) = self.looked.get_mut(service) {
            looked.revision = Some(revision);
        }
        if let Some(seen) = self.pilot.desk.one(service) {
            self.show(service, &seen, record);
        }
        true
    }

    fn show(&self, service: &Arc<str>, seen: &Sight, record: Arc<Record>) {
        let seen = Sight {
            record,
            ..seen.clone()
        };
        self.pilot.desk.show(service, Some(seen));
    }
}

/// Which schema is stored.
fn data(service: &Arc<str>, snapshot: &Snapshot) -> Option<u32> {
    snapshot.documents.data.get(service).map(|data| data.number)
}
