//! All sources merged into one. Owned by one task, the hub; says which services
//! an event really touched, so that everything behind it works for those only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::last_good::Exposures;
use super::linger::Lingering;
use super::probe::{Answered, Question};
use super::source_state::{Settings, SourceState};
use super::touched::Touched;
use crate::model::change::{Change, Event, What};
use crate::model::holder::Seniority;
use crate::model::policy::Policy;
use crate::model::service::{Service, ServiceRecord};
use crate::model::{Drains, GuardRule};

/// The merged state of all sources.
#[derive(Debug, Default)]
pub struct Catalog {
    sources: BTreeMap<Arc<str>, SourceState>,
    /// Of those that are not the first choice, above 0.
    priorities: BTreeMap<Arc<str>, u32>,
    /// Defined by the operator; empty: any may be named.
    exposures: Exposures,
    /// Instances that left a moment ago.
    lingering: Lingering,
    /// What an operator drains.
    pub(super) drains: Drains,
    /// Of these drains the instances were here.
    pub(super) drained: BTreeSet<(Arc<str>, Arc<str>, u64)>,
}

impl Catalog {
    /// A catalog that waits for these sources; each with its guard against mass removal, if any.
    pub fn new(sources: impl IntoIterator<Item = (Arc<str>, Option<GuardRule>)>) -> Self {
        let fresh = |(name, rule)| (name, SourceState::new(rule));
        Self {
            sources: sources.into_iter().map(fresh).collect(),
            ..Self::default()
        }
    }

    /// Adds a source, from which nothing has come yet.
    pub fn add(&mut self, name: Arc<str>, settings: &Settings) -> Touched {
        let mut state = SourceState::new(settings.guard);
        if settings.verifies {
            state.can_verify();
        }
        state.exposures.clone_from(&self.exposures);
        self.set_priority(&name, settings.priority);
        self.sources.insert(name, state);
        Touched {
            status: true,
            ..Touched::default()
        }
    }

    /// Another run of a source begins, with these settings. What is served of it stays until that run has delivered.
    /// `same`: it reads the same registry.
    pub fn replace(&mut self, name: &Arc<str>, settings: &Settings, same: bool, now: Duration) -> Touched {
        let moved = self.set_priority(name, settings.priority);
        let Some(state) = self.sources.get_mut(name) else {
            return self.add(name.clone(), settings);
        };
        let mut touched = state.replaced(settings, same, now);
        if moved {
            touched.merge(state.all());
        }
        touched
    }

    /// Takes a source away with all that came from it, also what its guard withholds: the operator means it. A
    /// service that another source has, too, keeps the instances of that one. `None`: there is no such source.
    pub fn remove(&mut self, name: &str) -> Option<Touched> {
        let state = self.sources.remove(name)?;
        self.priorities.remove(name);
        Some(state.all())
    }

    /// The exposures that the operator defines now.
    pub fn set_exposures(&mut self, exposures: Exposures, now: Duration) -> Touched {
        let mut all = Touched::default();
        for state in self.sources.values_mut() {
            all.merge(state.set_exposures(&exposures, now));
        }
        self.exposures = exposures;
        all
    }

    /// Of a source; 0: the first choice.
    #[must_use]
    pub fn priority(&self, name: &str) -> u32 {
        self.priorities.get(name).copied().unwrap_or(0)
    }

    /// Whether that is another one than before.
    fn set_priority(&mut self, name: &Arc<str>, priority: u32) -> bool {
        let before = match priority {
            0 => self.priorities.remove(name),
            above => self.priorities.insert(name.clone(), above),
        };
        before.unwrap_or(0) != priority
    }

    /// Applies one event at this time. What changes nothing touches nothing.
    pub fn apply(&mut self, event: Event, now: Duration) -> Touched {
        let Some(state) = self.sources.get_mut(&event.source) else {
            return Touched::default(); // a source that is not configured says nothing
        };
        let touched = match event.what {
            What::Status(status) => state.set_status(status, now),
            What::Change(change) => state.apply(change, now),
            What::Note(note) => state.set_note(note),
            What::Verified(nth) => state.verified(nth),
            What::Measured(_) => Touched::default(),
        };
        self.follow(&event.source, touched, now)
    }

    /// What left this source lingers.
    fn follow(&mut self, source: &str, mut touched: Touched, now: Duration) -> Touched {
        self.lingering.take(&mut touched, self.priority(source), now);
        touched
    }

    /// How long an instance stays, as draining, after it left; zero: it goes at once.
    pub fn set_linger(&mut self, time: Duration) {
        self.lingering.set_time(time);
    }

    /// When [`Self::end_lingering`] has something to do.
    #[must_use]
    pub fn linger_due(&self) -> Option<Duration> {
        self.lingering.due()
    }

    /// Lets those go that have lingered long enough.
    pub fn end_lingering(&mut self, now: Duration) -> Touched {
        Touched {
            services: self.lingering.release(now).into_iter().collect(),
            ..Touched::default()
        }
    }

    /// Takes what is known of a source from before a restart of the bridge.
    pub fn recall(&mut self, source: &str, change: Change, now: Duration) -> Touched {
        let state = self.sources.get_mut(source);
        let touched = state.map_or_else(Touched::default, |state| state.recall(change, now));
        self.follow(source, touched, now)
    }

    /// When [`Self::release`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.sources.values().filter_map(SourceState::due).min()
    }

    /// When [`Self::questions`] has something to ask.
    #[must_use]
    pub fn probe_due(&self) -> Option<Duration> {
        self.sources.values().filter_map(SourceState::probe_due).min()
    }

    /// Withheld instances to be probed now; each question is to be answered by [`Self::answered`].
    pub fn questions(&mut self, now: Duration) -> Vec<Question> {
        let mut all = Vec::new();
        for (source, state) in &mut self.sources {
            let question = |address| Question {
                source: source.clone(),
                address,
            };
            all.extend(state.questions(now).into_iter().map(question));
        }
        all
    }

    /// What became of a probe.
    pub fn answered(&mut self, answered: &Answered, now: Duration) -> Touched {
        let Answered { question, answer } = answered;
        let state = self.sources.get_mut(&question.source);
        state.map_or_else(Touched::default, |state| {
            state.probed(question.address, *answer, now)
        })
    }

    /// Lets removals through that were withheld long enough and that a live source still stands by,
    /// or says which sources are to be asked whether they do.
    pub fn release(&mut self, now: Duration) -> Touched {
        let mut all = Touched::default();
        for (name, state) in &mut self.sources {
            match state.ask(now) {
                Some(nth) => all.ask.push((name.clone(), nth)),
                None => {
                    let mut touched = state.release(Some(now));
                    let priority = self.priorities.get(name).copied().unwrap_or(0);
                    self.lingering.take(&mut touched, priority, now);
                    all.merge(touched);
                }
            }
        }
        all.status |= !all.ask.is_empty();
        all
    }

    /// Lets all removals of a source through that are withheld; `None`: there is no such source.
    pub fn accept(&mut self, source: &str) -> Option<Touched> {
        let mut touched = self.sources.get_mut(source)?.release(None);
        touched.left.clear(); // by the operator's word nobody is there
        Some(touched)
    }

    /// Whether each source has delivered.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.sources.values().all(SourceState::delivered)
    }

    /// One source.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&SourceState> {
        self.sources.get(name)
    }

    /// The sources by name.
    pub fn sources(&self) -> impl Iterator<Item = (&Arc<str>, &SourceState)> {
        self.sources.iter()
    }

    /// One service as the union of what all sources say; `None` when no source knows it.
    /// A record that holds only rejected entries does not make a service. Where sources disagree the
    /// one with the lower priority number is right, then the one whose name comes first.
    #[must_use]
    pub fn service(&self, name: &Arc<str>) -> Option<Service> {
        self.service_after(name, None)
    }

    /// The same; `before`: what its instances declared until now ([`Service::elected`]), which a tie keeps.
    #[must_use]
    pub fn service_after(&self, name: &Arc<str>, before: Option<&Policy>) -> Option<Service> {
        let priority = |source| self.priorities.get(source).copied().unwrap_or(0);
        let mut records: Vec<(u32, &ServiceRecord)> = self
            .sources
            .iter()
            .filter_map(|(source, state)| Some((priority(source), state.record(name)?)))
            .filter(|(_, r)| !(r.instances.is_empty() && r.policy.is_none()) || r.issues.is_empty())
            .collect();
        records.sort_by_key(|(priority, _)| *priority); // stable: names stay in their order
        let mut service = (!records.is_empty()).then(|| Service::merge(name, &records, before))?;
        self.drain(&mut service);
        self.lingering.join(&mut service);
        Some(service)
    }
}

impl Catalog {
    /// How long a service has been registered.
    #[must_use]
    pub fn seniority(&self, name: &str) -> Seniority {
        let of = |(nth, (source, state)): (usize, (&Arc<str>, &SourceState))| {
            let created = state.record(name)?.instances.iter().map(|i| i.created).min()?;
            Some(Seniority {
                priority: self.priorities.get(source).copied().unwrap_or(0),
                source: nth,
                created,
            })
        };
        let all = self.sources.iter().enumerate().filter_map(of);
        all.min().unwrap_or(Seniority::LAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Instance, Issue, Status};

    fn record(port: u16) -> ServiceRecord {
        let instance = Instance::new("1", ([127, 0, 0, 1], port).into());
        ServiceRecord {
            instances: vec![instance],
            ..ServiceRecord::default()
        }
    }

    fn event(source: &str, services: Vec<(&str, Option<ServiceRecord>)>, complete: bool) -> Event {
        let services = services.into_iter().map(|(n, r)| (n.into(), r)).collect();
        Event {
            source: source.into(),
            what: What::Change(Change::new(services, complete)),
        }
    }

    impl Catalog {
        fn receive(&mut self, event: Event) -> Touched {
            self.apply(event, Duration::ZERO)
        }
    }

    fn names(touched: &Touched) -> Vec<&str> {
        touched.services.iter().map(|n| &**n).collect()
    }

    #[test]
    fn only_what_changed_is_touched() {
        let mut catalog = Catalog::new([("a".into(), None), ("b".into(), None)]);
        let all = vec![("x", Some(record(1))), ("y", Some(record(2)))];
        assert_eq!(names(&catalog.receive(event("a", all.clone(), true))), ["x", "y"]);
        assert!(!catalog.ready(), "b has not delivered");
        assert_eq!(names(&catalog.receive(event("a", all, true))), [""; 0]);
        assert_eq!(
            names(&catalog.receive(event("a", vec![("y", Some(record(3)))], false))),
            ["y"]
        );
        catalog.receive(event("b", vec![("x", Some(record(9)))], true));
        assert!(catalog.ready());
        assert_eq!(catalog.service(&"x".into()).unwrap().instances.len(), 2);
        assert_eq!(
            names(&catalog.receive(event("a", vec![("y", Some(record(3)))], true))),
            ["x"]
        );
        assert_eq!(catalog.service(&"x".into()).unwrap().instances.len(), 1);
        assert_eq!(
            names(&catalog.receive(event("a", vec![("z", None)], false))),
            [""; 0]
        );
    }

    #[test]
    fn a_lower_priority_number_is_stronger_than_an_earlier_name() {
        let mut catalog = Catalog::default();
        for (name, priority) in [("a", 1), ("b", 0)] {
            let settings = Settings {
                priority,
                ..Settings::default()
            };
            catalog.add(name.into(), &settings);
        }
        for (source, id) in [("a", "of-a"), ("b", "of-b")] {
            let mut record = record(1);
            record.instances[0].id = id.into();
            catalog.receive(event(source, vec![("x", Some(record))], true));
        }
        let service = catalog.service(&"x".into()).unwrap();
        assert_eq!((&*service.instances[0].id, service.behind.len()), ("of-b", 0));
    }

    #[test]
    fn an_away_source_keeps_its_facts() {
        let mut catalog = Catalog::new([("a".into(), None)]);
        catalog.receive(event("a", vec![("x", Some(record(1)))], true));
        let away = Event {
            source: "a".into(),
            what: What::Status(Status::Away {
                reason: "gone".into(),
            }),
        };
        let touched = catalog.receive(away);
        assert!(touched.status && touched.services.is_empty());
        assert!(catalog.service(&"x".into()).is_some());
    }

    #[test]
    fn a_note_stands_beside_the_status() {
        let mut catalog = Catalog::new([("a".into(), None)]);
        catalog.receive(event("a", vec![("x", Some(record(1)))], true));
        let note = |text: Option<&str>| Event {
            source: "a".into(),
            what: What::Note(text.map(str::to_owned)),
        };
        assert!(catalog.receive(note(Some("slow"))).status);
        assert_eq!(catalog.receive(note(Some("slow"))), Touched::default(), "known");
        let state = catalog.source("a").unwrap();
        assert_eq!(
            (state.note(), state.services(), state.status()),
            (Some("slow"), 1, &Status::Connecting)
        );
        assert!(catalog.receive(note(None)).status);
        assert_eq!(catalog.source("a").unwrap().note(), None);
    }

    #[test]
    fn a_record_of_rejected_entries_only_makes_no_service() {
        let mut catalog = Catalog::new([("a".into(), None)]);
        let bad = ServiceRecord {
            issues: vec![Issue::rejected("k", "broken")],
            ..ServiceRecord::default()
        };
        let touched = catalog.receive(event("a", vec![("x", Some(bad))], true));
        assert_eq!(touched.new_issues.len(), 1);
        assert!(catalog.service(&"x".into()).is_none());
    }
}
