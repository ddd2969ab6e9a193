//! All sources merged into one. Owned by one task, the hub; says which services
//! an event really touched, so that everything behind it works for those only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::change::{Change, Event, Issue, Status, What};
use super::service::{Service, ServiceRecord};

/// The merged state of all sources.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Strongest first: the order of their names.
    sources: BTreeMap<Arc<str>, SourceState>,
}

/// What one source said, and how it is.
#[derive(Debug)]
pub struct SourceState {
    services: HashMap<Arc<str>, ServiceRecord>,
    stray: Vec<Issue>,
    status: Status,
    delivered: bool,
    instances: usize,
}

impl SourceState {
    /// How the source is.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Whether it has delivered its whole state at least once.
    #[must_use]
    pub const fn delivered(&self) -> bool {
        self.delivered
    }

    /// How many services it knows.
    #[must_use]
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// How many instances it knows.
    #[must_use]
    pub const fn instances(&self) -> usize {
        self.instances
    }

    /// All that is wrong with its entries.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.stray
            .iter()
            .chain(self.services.values().flat_map(|r| &r.issues))
    }
}

/// What an event changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services to be merged and translated anew.
    pub services: BTreeSet<Arc<str>>,
    /// Issues that were not there before.
    pub new_issues: Vec<Issue>,
    /// Some issue came or went.
    pub issues: bool,
    /// The source's status or first delivery changed.
    pub status: bool,
}

impl Catalog {
    /// A catalog that waits for these sources.
    pub fn new(sources: impl IntoIterator<Item = Arc<str>>) -> Self {
        let fresh = |name| {
            (
                name,
                SourceState {
                    services: HashMap::new(),
                    stray: Vec::new(),
                    status: Status::Connecting,
                    delivered: false,
                    instances: 0,
                },
            )
        };
        Self {
            sources: sources.into_iter().map(fresh).collect(),
        }
    }

    /// Applies one event. What changes nothing touches nothing.
    pub fn apply(&mut self, event: Event) -> Touched {
        let Some(state) = self.sources.get_mut(&event.source) else {
            return Touched::default(); // a source that is not configured says nothing
        };
        match event.what {
            What::Status(status) => {
                let changed = state.status != status;
                state.status = status;
                Touched {
                    status: changed,
                    ..Touched::default()
                }
            }
            What::Change(change) => state.apply(change),
        }
    }

    /// Whether each source has delivered.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.sources.values().all(SourceState::delivered)
    }

    /// The sources by name, strongest first.
    pub fn sources(&self) -> impl Iterator<Item = (&Arc<str>, &SourceState)> {
        self.sources.iter()
    }

    /// One service as the union of what all sources say; `None` when no source knows it.
    /// A record that holds only rejected entries does not make a service.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Option<Service> {
        let records: Vec<&ServiceRecord> = self
            .sources
            .values()
            .filter_map(|s| s.services.get(name))
            .filter(|r| !(r.instances.is_empty() && r.policy.is_none()) || r.issues.is_empty())
            .collect();
        (!records.is_empty()).then(|| Service::merge(name, &records))
    }
}

impl SourceState {
    fn apply(&mut self, change: Change) -> Touched {
        let mut touched = Touched {
            status: !self.delivered && change.complete,
            ..Touched::default()
        };
        self.delivered |= change.complete;
        if change.complete {
            let named: BTreeSet<&Arc<str>> = change.services.iter().map(|(name, _)| name).collect();
            let gone: Vec<Arc<str>> = self
                .services
                .keys()
                .filter(|n| !named.contains(n))
                .cloned()
                .collect();
            for name in gone {
                self.replace(name, None, &mut touched);
            }
        }
        for (name, record) in change.services {
            if self.services.get(&name) != record.as_ref() {
                self.replace(name, record, &mut touched);
            }
        }
        if let Some(stray) = change.stray.filter(|stray| *stray != self.stray) {
            touched.note_issues(&self.stray, &stray);
            self.stray = stray;
        }
        touched
    }

    fn replace(&mut self, name: Arc<str>, record: Option<ServiceRecord>, touched: &mut Touched) {
        let old = match record {
            Some(record) => {
                let known = self.services.get(&name).map_or(&[][..], |old| &old.issues);
                touched.note_issues(known, &record.issues);
                self.instances += record.instances.len();
                self.services.insert(name.clone(), record)
            }
            None => self
                .services
                .remove(&name)
                .inspect(|old| touched.note_issues(&old.issues, &[])),
        };
        self.instances -= old.map_or(0, |old| old.instances.len());
        touched.services.insert(name);
    }
}

impl Touched {
    fn note_issues(&mut self, old: &[Issue], new: &[Issue]) {
        if old == new {
            return;
        }
        self.issues = true;
        // One service may have thousands, and each of its changes comes through here.
        let known: HashSet<&Issue> = old.iter().collect();
        self.new_issues
            .extend(new.iter().filter(|i| !known.contains(i)).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Health, Instance, Policy};

    fn record(port: u16) -> ServiceRecord {
        let instance = Instance {
            id: "1".into(),
            address: ([127, 0, 0, 1], port).into(),
            health: Health::Healthy,
            weight: 1,
            zone: "".into(),
            version: "".into(),
            policy: Arc::new(Policy::default()),
        };
        ServiceRecord {
            instances: vec![instance],
            ..ServiceRecord::default()
        }
    }

    fn event(source: &str, services: Vec<(&str, Option<ServiceRecord>)>, complete: bool) -> Event {
        let services = services.into_iter().map(|(n, r)| (n.into(), r)).collect();
        Event {
            source: source.into(),
            what: What::Change(Change {
                services,
                complete,
                stray: None,
            }),
        }
    }

    fn names(touched: &Touched) -> Vec<&str> {
        touched.services.iter().map(|n| &**n).collect()
    }

    #[test]
    fn only_what_changed_is_touched() {
        let mut catalog = Catalog::new(["a".into(), "b".into()]);
        let all = vec![("x", Some(record(1))), ("y", Some(record(2)))];
        assert_eq!(names(&catalog.apply(event("a", all.clone(), true))), ["x", "y"]);
        assert!(!catalog.ready(), "b has not delivered");
        assert_eq!(names(&catalog.apply(event("a", all, true))), [""; 0]);
        assert_eq!(
            names(&catalog.apply(event("a", vec![("y", Some(record(3)))], false))),
            ["y"]
        );
        catalog.apply(event("b", vec![("x", Some(record(9)))], true));
        assert!(catalog.ready());
        assert_eq!(catalog.service(&"x".into()).unwrap().instances.len(), 2);
        assert_eq!(
            names(&catalog.apply(event("a", vec![("y", Some(record(3)))], true))),
            ["x"]
        );
        assert_eq!(catalog.service(&"x".into()).unwrap().instances.len(), 1);
        assert_eq!(
            names(&catalog.apply(event("a", vec![("z", None)], false))),
            [""; 0]
        );
    }

    #[test]
    fn an_away_source_keeps_its_facts() {
        let mut catalog = Catalog::new(["a".into()]);
        catalog.apply(event("a", vec![("x", Some(record(1)))], true));
        let away = Event {
            source: "a".into(),
            what: What::Status(Status::Away {
                reason: "gone".into(),
            }),
        };
        let touched = catalog.apply(away);
        assert!(touched.status && touched.services.is_empty());
        assert!(catalog.service(&"x".into()).is_some());
    }

    #[test]
    fn a_record_of_rejected_entries_only_makes_no_service() {
        let mut catalog = Catalog::new(["a".into()]);
        let bad = ServiceRecord {
            issues: vec![Issue::rejected("k", "broken")],
            ..ServiceRecord::default()
        };
        let touched = catalog.apply(event("a", vec![("x", Some(bad))], true));
        assert_eq!(touched.new_issues.len(), 1);
        assert!(catalog.service(&"x".into()).is_none());
    }
}
