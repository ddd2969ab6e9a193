//! The task of rollouts: follows the records and gives the hub their shares, counts what is judged, and decides where this
//! bridge leads. Each pass is: shares, counts, decisions, and the shares that follow from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::work::{Cause, Pilot, Work};
use crate::clock;
use crate::hub::Versions;
use crate::rollout::Record;
use crate::state::{Snapshot, Status};

/// From one pass because of reports to the next: a thousand clients report one by one.
const REPORTS: Duration = Duration::from_millis(100);
/// While a rollout is under way it is looked at this often, whether anybody reports or not.
const TICK: Duration = Duration::from_secs(1);
/// How long shared state that is away, and of which nothing is remembered, is waited for before clients are admitted.
const PATIENCE: Duration = Duration::from_secs(5);

impl Pilot {
    /// Works until `stop`. `applied` becomes true once the hub has the shares, or nobody can say them.
    pub async fn run(self, applied: watch::Sender<bool>, stop: CancellationToken) {
        if let Some(why) = self.desk.state().off().map(str::to_owned) {
            applied.send_replace(true);
            return self.without_state(&why, stop).await;
        }
        let state = self.desk.state().clone();
        if stop.run_until_cancelled(state.settled()).await.is_none() {
            return;
        }
        let mut work = Work::new(self);
        stop.run_until_cancelled(Box::pin(work.follow(&applied))).await;
        work.leading.end().await;
    }

    /// Says that somebody wants what cannot be had.
    async fn without_state(mut self, why: &str, stop: CancellationToken) {
        let wanted = self
            .versions
            .wait_for(|versions| versions.services.values().any(|service| service.auto));
        if let Some(Ok(_)) = stop.run_until_cancelled(wanted).await {
            tracing::warn!(
                "services want rollouts, and these need shared state, which is off: {why}; declared shares decide alone"
            );
        }
        stop.cancelled().await;
    }
}

impl Work {
    /// Without end.
    async fn follow(&mut self, applied: &watch::Sender<bool>) {
        let mut snapshots = self.pilot.desk.state().follow();
        let mut versions = self.pilot.versions.clone();
        let mut config = self.pilot.desk.follow_config();
        let mut reports = self.pilot.loads.reports();
        let patience = clock::now() + PATIENCE;
        let mut cause = Cause::default();
        let mut quiet = clock::now();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let known = versions.borrow_and_update().clone();
            if !self.pass(&snapshot, &known, std::mem::take(&mut cause)).await {
                return;
            }
            let is_known = snapshot.status == Status::Live || !snapshot.documents.rollouts.is_empty();
            if is_known || clock::now() >= patience {
                applied.send_replace(true);
            }
            let due = self.due((!*applied.borrow()).then_some(patience));
            // The next reports, once a moment has passed since those before.
            let is_counting = self.counts.is_counting();
            let reported = async {
                clock::until(Some(quiet)).await;
                reports.changed().await
            };
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = versions.changed() => if changed.is_err() { return },
                changed = config.changed() => {
                    if changed.is_err() { return }
                    cause.all = true;
                }
                changed = reported, if is_counting => {
                    if changed.is_err() { return }
                    reports.mark_unchanged();
                    quiet = clock::now() + REPORTS;
                    cause.reports = true;
                }
                services = self.gates.answered() => cause.services.extend(services),
                () = self.leading.changed() => cause.all = true,
                () = clock::until(due) => cause.reports = true,
            }
        }
    }

    /// When to make a pass although nothing happens.
    fn due(&mut self, patience: Option<Instant>) -> Option<Instant> {
        let now = clock::now();
        let wanted = self.wanted;
        let tick = self.counts.is_counting().then_some(now + TICK);
        let (flush, blocked) = (self.leading.flush_due(), self.leading.blocked_until());
        let looked = self.looked.values().filter_map(|looked| looked.due).min();
        let retry = self
            .leading
            .retry()
            .filter(|_| wanted)
            .map(|at| at.max(now + TICK));
        let all = [
            tick,
            looked,
            retry,
            patience,
            self.gates.ask(now),
            flush.filter(|_| self.moves),
            blocked.filter(|_| self.moves),
        ];
        // A pass that had nothing to do must not be made again at once.
        let floor = now + Duration::from_millis(20);
        all.into_iter().flatten().min().map(|at| at.max(floor))
    }

    /// False: the hub has ended.
    async fn pass(&mut self, snapshot: &Arc<Snapshot>, versions: &Arc<Versions>, mut cause: Cause) -> bool {
        let config = self.pilot.desk.config();
        let records = self.records_of(snapshot, &config);
        self.say_what_was_written(&records);
        if !self.give(&records, versions, &snapshot.documents).await {
            return false;
        }
        let running: Vec<(&Arc<str>, &Record)> = records
            .iter()
            .filter(|(_, (record, _))| record.is_running())
            .map(|(service, (record, _))| (service, &**record))
            .collect();
        let metric = |service: &Arc<str>| {
            let seen = self.pilot.desk.one(service);
            seen.and_then(|seen| seen.settings.metric.clone())
        };
        self.counts.update(running.iter().copied(), versions, metric);
        self.arrivals.retain(&snapshot.documents);
        let is_leading = self.leading.is_leading();
        self.pilot.desk.set_leads(is_leading);
        let others = snapshot.documents.replicas.len() > 1;
        self.counts.share(self.pilot.desk.state(), others && !is_leading);
        self.wanted =
            config.enabled && (versions.services.values().any(|seen| seen.auto) || !records.is_empty());
        self.leading.attend(self.wanted);
        let is_live = snapshot.status == Status::Live;
        self.halt(!is_live, !running.is_empty(), &snapshot.status);
        let moved = std::mem::replace(&mut self.moves, is_leading && is_live);
        // What was only looked at meanwhile is decided now.
        cause.all |= self.moves && !moved;
        if !is_leading {
            self.gates.clear();
        }
        cause.services.extend(self.leading.unblocked());
        let seen_before = self.last.replace((snapshot.clone(), versions.clone()));
        let is_same = seen_before
            .is_some_and(|(before, known)| Arc::ptr_eq(&before, snapshot) && Arc::ptr_eq(&known, versions));
        let names = if is_same && !cause.all {
            let now = clock::now();
            let due = self
                .looked
                .iter()
                .filter(|(_, looked)| looked.due.is_some_and(|due| due <= now));
            let due = due.map(|(service, _)| service);
            let few = running.iter().map(|(service, _)| *service);
            let names: BTreeSet<&Arc<str>> = few.chain(due).chain(&cause.services).collect();
            names.into_iter().cloned().collect()
        } else {
            let auto = versions
                .services
                .iter()
                .filter(|(_, seen)| seen.auto)
                .map(|(service, _)| service);
            let names: BTreeSet<&Arc<str>> = auto.chain(records.keys()).collect();
            let names: Vec<Arc<str>> = names.into_iter().cloned().collect();
            self.forget(&names);
            names
        };
        for service in &names {
            let kept = records.get(service);
            if !self.is_due(service, kept, versions, snapshot, &cause) {
                continue;
            }
            let Some(seen) = self.look(service, kept, versions, snapshot, &config) else {
                continue;
            };
            self.pilot.desk.show(service, Some(seen.clone()));
            // Who is not seen yet is not gone.
            let is_known = versions.ready && (kept.is_none() || versions.asked.contains(service));
            if !is_known {
                self.looked.remove(service);
            } else if self.moves && self.leading.is_leading() {
                self.judge(service, kept, &seen).await;
            }
        }
        if self.moves {
            for (service, base, record) in self.leading.unwritten() {
                self.write(&service, base, record).await;
            }
        }
        let records = self.records_of(snapshot, &config);
        self.give(&records, versions, &snapshot.documents).await
    }
}
