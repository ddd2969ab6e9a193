//! Services by name, a page at a time, for operators. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Hub;
use crate::model::Health;

/// One service in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRow {
    /// Its name.
    pub name: Arc<str>,
    /// Who delivers it.
    pub sources: Vec<Arc<str>>,
    /// Instances in each state.
    pub healthy: usize,
    /// See [`Health::Draining`].
    pub draining: usize,
    /// See [`Health::Unhealthy`].
    pub unhealthy: usize,
    /// See [`Health::Off`].
    pub off: usize,
    /// Instances of each version; `""`: none is declared.
    pub versions: BTreeMap<Arc<str>, usize>,
    /// Requests that it asks for.
    pub routes: usize,
    /// What is wrong with what it declares, and with its entries.
    pub issues: usize,
}

/// A part of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePage {
    /// All that fit.
    pub total: usize,
    /// In the order of their names.
    pub rows: Vec<ServiceRow>,
}

/// Which part.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// A part of the name.
    pub search: String,
    /// Names before it.
    pub offset: usize,
    /// Rows at most.
    pub most: usize,
}

impl Hub {
    /// Looks at the services of the page alone.
    pub(super) fn list(&self, listed: &Listed) -> ServicePage {
        let mut names: BTreeSet<&Arc<str>> = BTreeSet::new();
        for (_, state) in self.catalog.sources() {
            names.extend(state.names().filter(|name| name.contains(&*listed.search)));
        }
        let total = names.len();
        let page = names.into_iter().skip(listed.offset).take(listed.most);
        ServicePage {
            total,
            rows: page.map(|name| self.row(name)).collect(),
        }
    }

    fn row(&self, name: &Arc<str>) -> ServiceRow {
        let mut row = ServiceRow {
            name: name.clone(),
            ..ServiceRow::default()
        };
        for (source, state) in self.catalog.sources() {
            if let Some(record) = state.record(name) {
                row.sources.push(source.clone());
                row.issues += record.issues.len();
            }
        }
        let merged = self.catalog.service_after(name, self.planner.elected(name));
        for instance in merged.iter().flat_map(|service| &service.instances) {
            *match instance.health {
                Health::Healthy => &mut row.healthy,
                Health::Draining => &mut row.draining,
                Health::Unhealthy => &mut row.unhealthy,
                Health::Off => &mut row.off,
            } += 1;
            *row.versions.entry(instance.version.clone()).or_default() += 1;
        }
        if let Some(planned) = self.planner.explain(name) {
            row.routes = planned.claims.len();
            row.issues += planned.issues.len();
        }
        row
    }
}
