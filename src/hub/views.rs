//! What an operator sees of the hub: in short for `/readyz`, whole for `/sources`, and why one service is served as it
//! is. Changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Hub;
use super::view::{Delivered, Detail, Explanation, Held, Kept, LastGood, Overview, SourceDetail, SourceView};
use crate::catalog::SourceState;
use crate::catalog::guard::Withheld;
use crate::clock;
use crate::metrics::MAX_ENTRIES;
use crate::model::{Issue, Key, Severity, Status};

impl Hub {
    /// Shows the rest of the program how the sources are.
    pub(super) fn report(&self) {
        let overview = self.overview();
        self.gauges.overview(&overview);
        self.overview.send_replace(overview);
    }

    fn overview(&self) -> Overview {
        let unhealthy = self.planner.all_unhealthy();
        Overview {
            ready: self.ready,
            sources: self
                .catalog
                .sources()
                .map(|(name, state)| self.view(name, state))
                .collect(),
            all_unhealthy: unhealthy.len(),
            all_unhealthy_names: unhealthy.iter().take(MAX_ENTRIES).cloned().collect(),
            declared: self.log.declared_issues().len(),
            all_off: (
                self.planner.all_off().len(),
                self.planner.all_off().iter().take(MAX_ENTRIES).cloned().collect(),
            ),
            kept: (self.planner.kept().len(), self.kept().collect()),
            unused: self.fleets.unused(),
        }
    }

    /// The first hundred services without instances whose routes are kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = Kept> {
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
            entries: self.gauges.entries(name),
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

    /// Everything, of each kind `most` at most; costs a look at each service, so only when somebody asks.
    pub(super) fn detail(&self, most: usize) -> Detail {
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
                last_delivery: state.last_delivery().map(|at| self.instant(at)),
                held: (
                    state.withheld().count(),
                    state.withheld().take(most).map(held).collect(),
                ),
                rejected,
                warnings: state.issues().count() - rejected,
                issues: state.issues().take(most).cloned().collect(),
                last_good: (
                    state.last_good().count(),
                    state.last_good().take(most).map(last_good).collect(),
                ),
            }
        };
        Detail {
            overview: self.overview(),
            sources: self.catalog.sources().map(source).collect(),
            declared: (
                self.log.declared_issues().len(),
                self.log.declared_issues().iter().take(most).cloned().collect(),
            ),
        }
    }

    /// Why one service is served as it is: what each source delivers of it, what all of them make together, and what
    /// it is planned as. `None`: it is unknown.
    pub(super) fn explain(&self, service: &str) -> Option<Explanation> {
        let name: Arc<str> = service.into();
        let delivered = |(source, state): (&Arc<str>, &SourceState)| {
            let record = state.record(service)?;
            let withheld = state.withheld().find(|(name, _)| &***name == service);
            Some(Delivered {
                source: source.clone(),
                priority: self.sources.get(source).map_or(0, |info| info.priority),
                condition: state.condition(),
                record: record.clone(),
                withheld: withheld.map_or(0, |(_, withheld)| withheld.missing),
            })
        };
        let planned = self.planner.explain(service);
        let explanation = Explanation {
            sources: self.catalog.sources().filter_map(delivered).collect(),
            merged: self.catalog.service_after(&name, self.planner.elected(service)),
            kept_until: self
                .planner
                .kept()
                .find(|(kept, _)| &***kept == service)
                .map(|(_, ends)| self.instant(ends)),
            oversized: self
                .translator
                .issues()
                .find(|issue| issue.entry == service)
                .cloned(),
            planned,
        };
        let known = !explanation.sources.is_empty() || explanation.planned.is_some();
        known.then_some(explanation)
    }
}
