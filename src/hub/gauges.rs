//! The metrics that the hub keeps. Changes nothing that is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::view::{Overview, SourceView};
use crate::catalog::Catalog;
use crate::metrics::{
    ByEntry, ByService, BySource, ByState, ByType, MAX_ENTRIES, Metrics, SourceKind, count,
};
use crate::model::{Condition, Issue, Measured, Severity};
use crate::plan::Planner;
use crate::xds::{Generation, Kind, PerKind};

/// The metrics, and what was counted last.
#[derive(Debug)]
pub(super) struct Gauges {
    metrics: Arc<Metrics>,
    /// Of each source: entries that are not served, and entries with something else wrong.
    wrong: BTreeMap<Arc<str>, (usize, usize)>,
}

fn by_source(source: &str) -> BySource {
    BySource {
        source: source.to_owned(),
    }
}

fn by_service(service: &str) -> ByService {
    ByService {
        service: service.to_owned(),
    }
}

impl Gauges {
    pub(super) const fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            wrong: BTreeMap::new(),
        }
    }

    /// Entries of a source that are not served, and entries with something else wrong.
    pub(super) fn entries(&self, source: &str) -> (usize, usize) {
        self.wrong.get(source).copied().unwrap_or_default()
    }

    /// A source has delivered facts.
    pub(super) fn changed(&self, source: &str) {
        self.metrics
            .source_changes
            .get_or_create(&by_source(source))
            .inc();
    }

    /// A source has counted something.
    pub(super) fn measured(&self, source: &str, measured: Measured) {
        let (m, source) = (&self.metrics, by_source(source));
        match measured {
            Measured::Swept(n) => {
                m.swept.get_or_create(&source).set(count(n));
            }
            Measured::Missed(n) => {
                m.missed.get_or_create(&source).inc_by(n);
            }
            Measured::Cut(n) => {
                m.cut.get_or_create(&source).inc_by(n);
            }
        }
    }

    /// Withheld instances of a source were found gone.
    pub(super) fn probed_gone(&self, source: &str, instances: usize) {
        let gone = self.metrics.probed_gone.get_or_create(&by_source(source));
        gone.inc_by(instances as u64);
    }

    /// A source is gone, or of another kind.
    pub(super) fn forget(&mut self, source: &str, kind: &str) {
        self.wrong.remove(source);
        self.metrics.forget_source(source, kind);
    }

    /// What the operator sees in short.
    pub(super) fn overview(&self, overview: &Overview) {
        for view in &overview.sources {
            self.source(view);
        }
        let m = &self.metrics;
        m.services_all_unhealthy.set(count(overview.all_unhealthy));
        m.services_all_off.set(count(overview.all_off.0));
        let unused = overview.unused.as_ref();
        m.listeners_unused
            .set(count(unused.map_or(0, |unused| unused.listeners.len())));
    }

    fn source(&self, view: &SourceView) {
        let (m, source) = (&self.metrics, view.name.to_string());
        let labels = SourceKind {
            source: source.clone(),
            kind: view.kind.to_owned(),
        };
        let by_source = by_source(&view.name);
        m.source_services
            .get_or_create(&by_source)
            .set(count(view.services));
        m.source_instances
            .get_or_create(&by_source)
            .set(count(view.instances));
        m.withheld.get_or_create(&by_source).set(count(view.withheld));
        m.withheld_alive.get_or_create(&by_source).set(count(view.alive));
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
        drop(m.probed_gone.get_or_create(&by_source));
        drop(m.swept.get_or_create(&by_source));
        drop(m.missed.get_or_create(&by_source));
        drop(m.cut.get_or_create(&by_source));
        let up = i64::from(matches!(view.condition, Condition::Live | Condition::Empty));
        if m.source_up.get_or_create(&labels).set(up) != up {
            tracing::info!(source = %view.name, kind = view.kind, state = view.condition.as_str(), "source");
        }
    }

    /// What the plan holds.
    pub(super) fn planned(&self, planner: &Planner) {
        self.metrics.services.set(count(planner.services()));
        self.metrics.conflicts.set(count(planner.conflicts()));
        self.metrics.contested.set(count(planner.contested()));
    }

    /// What the newest generation holds, and how many of its versions are refused.
    pub(super) fn published(&self, generation: &Generation, rejected: &PerKind<usize>) {
        // A refused version may be gone with what it was replaced by.
        self.metrics.count_rejected(rejected);
        self.metrics
            .generation
            .set(i64::try_from(generation.number).unwrap_or(i64::MAX));
        for kind in Kind::ALL {
            let by_type = ByType { r#type: kind.short() };
            self.metrics
                .resources
                .get_or_create(&by_type)
                .set(count(generation.len(kind)));
        }
    }

    /// Names the services that are all unhealthy now.
    pub(super) fn name_all_unhealthy(&self, services: &BTreeSet<Arc<str>>) {
        let family = &self.metrics.service_all_unhealthy;
        family.clear();
        for service in services.iter().take(MAX_ENTRIES) {
            family.get_or_create(&by_service(service)).set(1);
        }
    }

    /// Names the services all of whose instances are off now.
    pub(super) fn name_all_off(&self, services: &BTreeSet<Arc<str>>) {
        let family = &self.metrics.service_all_off;
        family.clear();
        for service in services.iter().take(MAX_ENTRIES) {
            family.get_or_create(&by_service(service)).set(1);
        }
    }

    /// Counts the services whose routes are kept now, and names the first.
    pub(super) fn name_kept(&self, all: usize, first: &[Arc<str>]) {
        let family = &self.metrics.service_kept;
        self.metrics.services_kept.set(count(all));
        family.clear();
        for service in first {
            family.get_or_create(&by_service(service)).set(1);
        }
    }

    /// Counts and names what is wrong: with entries of sources, and with what services
    /// declare together (source `catalog`).
    pub(super) fn count_issues(&mut self, catalog: &Catalog, declared: &BTreeSet<Issue>) {
        self.metrics.entry_issue.clear();
        let mut named = 0;
        for (source, state) in catalog.sources() {
            let (mut rejected, mut warnings) = (0, 0);
            for issue in state.issues() {
                match issue.severity {
                    Severity::Rejected => rejected += 1,
                    Severity::Warning => warnings += 1,
                }
                self.name_issue(source, issue, &mut named);
            }
            self.wrong.insert(source.clone(), (rejected, warnings));
            let by_source = by_source(source);
            self.metrics
                .entries_rejected
                .get_or_create(&by_source)
                .set(count(rejected));
            let kept = state.last_good().count();
            self.metrics.last_good.get_or_create(&by_source).set(count(kept));
        }
        for issue in declared {
            self.name_issue("catalog", issue, &mut named);
        }
    }

    fn name_issue(&self, source: &str, issue: &Issue, named: &mut usize) {
        if *named < MAX_ENTRIES {
            *named += 1;
            let labels = ByEntry {
                source: source.to_owned(),
                entry: issue.entry.clone(),
                severity: issue.severity.as_str().to_owned(),
            };
            self.metrics.entry_issue.get_or_create(&labels).set(1);
        }
    }
}
