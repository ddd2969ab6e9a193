//! What the hub tells of itself: to the metrics, to `/readyz` and `/sources`. Changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Hub;
use super::view::{Detail, Held, Kept, LastGood, Overview, SourceDetail, SourceView};
use crate::clock;
use crate::metrics::{ByEntry, ByService, BySource, ByState, MAX_ENTRIES, SourceKind, count};
use crate::model::guard::Withheld;
use crate::model::{Condition, Issue, Key, Severity, SourceState, Status};

impl Hub {
    /// Tells the rest of the program how the sources are.
    pub(super) fn report(&self) {
        let overview = self.overview();
        for view in &overview.sources {
            self.measure(view);
        }
        self.metrics
            .services_all_unhealthy
            .set(count(overview.all_unhealthy));
        self.metrics.services_all_off.set(count(overview.all_off.0));
        let unused = overview
            .unused
            .as_ref()
            .map_or(0, |unused| unused.listeners.len());
        self.metrics.listeners_unused.set(count(unused));
        self.overview.send_replace(overview);
    }

    fn overview(&self) -> Overview {
        let sick = self.planner.all_unhealthy();
        Overview {
            ready: self.ready,
            sources: self
                .catalog
                .sources()
                .map(|(name, state)| self.view(name, state))
                .collect(),
            all_unhealthy: sick.len(),
            all_unhealthy_names: sick.iter().take(MAX_ENTRIES).cloned().collect(),
            declared: self.seen_issues.len(),
            all_off: (
                self.planner.all_off().len(),
                self.planner.all_off().iter().take(MAX_ENTRIES).cloned().collect(),
            ),
            kept: (self.planner.kept().len(), self.kept().collect()),
            unused: self.fleets.unused(),
        }
    }

    fn kept(&self) -> impl Iterator<Item = Kept> {
        let kept = |(service, ends): (&Arc<str>, Duration)| Kept {
            service: service.clone(),
            ends: self.instant(ends),
        };
        self.planner.kept().take(MAX_ENTRIES).map(kept)
    }

    fn view(&self, name: &Arc<str>, state: &SourceState) -> SourceView {
        let info = self.sources.get(name);
        SourceView {
            name: name.clone(),
            kind: info.map_or("", |info| info.kind),
            priority: info.map_or(0, |info| info.priority),
            condition: state.condition(),
            reason: match state.status() {
                Status::Away { reason } => Some(reason.clone()),
                Status::Connecting | Status::Live => None,
            },
            since: self.instant(state.since()),
            note: state.note().map(str::to_owned),
            delivered: state.delivered(),
            services: state.services(),
            instances: state.instances(),
            entries: self.wrong.get(name).copied().unwrap_or_default(),
            withheld: state.withheld_instances(),
            alive: state.withheld_alive(),
            believed_at: state.due().map(|due| self.instant(due)),
            verifying: state.is_verifying(),
            stale: self.memory.stale(name, clock::now()),
        }
    }

    /// Time of the catalog as time of the process.
    fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    fn measure(&self, view: &SourceView) {
        let (m, source) = (&self.metrics, view.name.to_string());
        let labels = SourceKind {
            source: source.clone(),
            kind: view.kind.to_owned(),
        };
        let by_source = BySource {
            source: source.clone(),
        };
        m.source_services
            .get_or_create(&by_source)
            .set(count(view.services));
        m.source_instances
            .get_or_create(&by_source)
            .set(count(view.instances));
        m.withheld.get_or_create(&by_source).set(count(view.withheld));
        m.withheld_alive.get_or_create(&by_source).set(count(view.alive));
        drop(m.probed_gone.get_or_create(&by_source));
        let age = view.stale.map_or(0, |age| age.as_secs().max(1));
        m.stale
            .get_or_create(&by_source)
            .set(i64::try_from(age).unwrap_or(i64::MAX));
        for state in Condition::ALL {
            let by_state = ByState {
                source: source.clone(),
                state: state.as_str(),
            };
            m.source_state
                .get_or_create(&by_state)
                .set(i64::from(state == view.condition));
        }
        // There from the start: an alert needs the step from 0.
        drop(m.swept.get_or_create(&by_source));
        drop(m.missed.get_or_create(&by_source));
        drop(m.cut.get_or_create(&by_source));
        let up = i64::from(matches!(view.condition, Condition::Live | Condition::Empty));
        if m.source_up.get_or_create(&labels).set(up) != up {
            tracing::info!(source = %view.name, kind = view.kind, state = view.condition.as_str(), "source");
        }
    }

    /// Names the services that are all unhealthy now.
    pub(super) fn name_all_unhealthy(&self) {
        self.metrics.service_all_unhealthy.clear();
        for name in self.planner.all_unhealthy().iter().take(MAX_ENTRIES) {
            let labels = ByService {
                service: name.to_string(),
            };
            self.metrics.service_all_unhealthy.get_or_create(&labels).set(1);
        }
    }

    /// Names the services all of whose instances are off now.
    pub(super) fn name_all_off(&self) {
        self.metrics.service_all_off.clear();
        for name in self.planner.all_off().iter().take(MAX_ENTRIES) {
            let labels = ByService {
                service: name.to_string(),
            };
            self.metrics.service_all_off.get_or_create(&labels).set(1);
        }
    }

    /// Names the services whose routes are kept now.
    pub(super) fn name_kept(&self) {
        self.metrics.services_kept.set(count(self.planner.kept().len()));
        self.metrics.service_kept.clear();
        for Kept { service, .. } in self.kept() {
            let labels = ByService {
                service: service.to_string(),
            };
            self.metrics.service_kept.get_or_create(&labels).set(1);
        }
    }

    /// Counts and names what is wrong: with entries of sources, and with what services
    /// declare together (source `catalog`).
    pub(super) fn count_issues(&mut self) {
        self.metrics.entry_issue.clear();
        let mut named = 0;
        let mut name = |source: &str, issue: &Issue| {
            if named < MAX_ENTRIES {
                named += 1;
                let labels = ByEntry {
                    source: source.to_owned(),
                    entry: issue.entry.clone(),
                    severity: issue.severity.as_str().to_owned(),
                };
                self.metrics.entry_issue.get_or_create(&labels).set(1);
            }
        };
        for (source, state) in self.catalog.sources() {
            let (mut rejected, mut warnings) = (0, 0);
            for issue in state.issues() {
                match issue.severity {
                    Severity::Rejected => rejected += 1,
                    Severity::Warning => warnings += 1,
                }
                name(source, issue);
            }
            self.wrong.insert(source.clone(), (rejected, warnings));
            let by_source = BySource {
                source: source.to_string(),
            };
            self.metrics
                .entries_rejected
                .get_or_create(&by_source)
                .set(count(rejected));
            let kept = state.last_good().count();
            self.metrics.last_good.get_or_create(&by_source).set(count(kept));
        }
        for issue in &self.seen_issues {
            name("catalog", issue);
        }
    }

    /// Everything; costs a look at each service, so only when somebody asks.
    pub(super) fn detail(&self) -> Detail {
        let source = |(name, state): (&Arc<str>, &SourceState)| {
            let held = |(service, w): (&Arc<str>, &Withheld)| Held {
                service: service.clone(),
                instances: w.missing,
                since: self.instant(w.first),
                believed_at: state.believed_at(w).map(|at| self.instant(at)),
            };
            let last_good = |(service, instance, key): (&Arc<str>, &Arc<str>, Option<Key>)| LastGood {
                service: service.clone(),
                instance: instance.clone(),
                key,
            };
            let rejected = |issue: &&Issue| issue.severity == Severity::Rejected;
            let rejected = state.issues().filter(rejected).count();
            SourceDetail {
                view: self.view(name, state),
                heard: state.heard().map(|at| self.instant(at)),
                held: (
                    state.withheld().count(),
                    state.withheld().take(MAX_ENTRIES).map(held).collect(),
                ),
                rejected,
                warnings: state.issues().count() - rejected,
                issues: state.issues().take(MAX_ENTRIES).cloned().collect(),
                last_good: (
                    state.last_good().count(),
                    state.last_good().take(MAX_ENTRIES).map(last_good).collect(),
                ),
            }
        };
        Detail {
            overview: self.overview(),
            sources: self.catalog.sources().map(source).collect(),
            declared: (
                self.seen_issues.len(),
                self.seen_issues.iter().take(MAX_ENTRIES).cloned().collect(),
            ),
        }
    }
}
