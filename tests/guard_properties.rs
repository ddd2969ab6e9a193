//! The guard against mass removal, over random histories of a source: what it withholds, what it lets
//! through, and that what is served is what was told in the end.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use xds_bridge::catalog::Catalog;
use xds_bridge::catalog::guard::WINDOW;
use xds_bridge::catalog::probe::{Answer, Answered};
use xds_bridge::model::GuardRule;
use xds_bridge::model::change::What;
use xds_bridge::model::{Change, Event, Instance, ServiceRecord, Status};

/// Service and number of each instance.
type Told = BTreeSet<(u8, u16)>;

/// One change: at most so many instances go (chosen by a number), so many come, after so long.
#[derive(Clone, Debug)]
struct Step {
    after: Duration,
    go: usize,
    from: usize,
    come: usize,
    /// Instances that come are old ones again, where there are any.
    again: bool,
    complete: bool,
}

fn record(numbers: impl Iterator<Item = u16>) -> ServiceRecord {
    let instance = |n: u16| Instance::new(format!("{n:05}"), ([127, 0, 0, 1], n + 1).into());
    ServiceRecord {
        instances: numbers.map(instance).collect(),
        ..ServiceRecord::default()
    }
}

fn change(told: &Told, services: &BTreeSet<u8>, complete: bool) -> Event {
    let one = |service: &u8| {
        let numbers: Vec<u16> = told
            .iter()
            .filter(|(s, _)| s == service)
            .map(|(_, n)| *n)
            .collect();
        let record = (!numbers.is_empty()).then(|| record(numbers.into_iter()));
        (format!("s{service}").into(), record)
    };
    let services = services
        .iter()
        .map(one)
        .filter(|(_, r)| !complete || r.is_some())
        .collect();
    event(What::Change(Change::new(services, complete)))
}

fn event(what: What) -> Event {
    Event {
        source: "s".into(),
        what,
    }
}

/// What is served, as it would be told.
fn served(catalog: &Catalog) -> Told {
    let all = catalog.source("s").unwrap().snapshot();
    let one = |(name, record): (Arc<str>, Arc<ServiceRecord>)| {
        let service: u8 = name[1..].parse().unwrap();
        let numbers: Vec<u16> = record.instances.iter().map(|i| i.id.parse().unwrap()).collect();
        numbers.into_iter().map(move |n| (service, n))
    };
    all.into_iter().flat_map(one).collect()
}

fn withheld(catalog: &Catalog) -> usize {
    catalog
        .source("s")
        .unwrap()
        .withheld()
        .map(|(_, w)| w.missing)
        .sum()
}

struct World {
    catalog: Catalog,
    told: Told,
    /// All that ever was.
    known: Told,
    now: Duration,
    /// What was served before each change, and when.
    moments: Vec<(Duration, Told)>,
}

impl World {
    fn new(services: u8, each: u16) -> Self {
        let told: Told = (0..services)
            .flat_map(|s| (0..each).map(move |n| (s, n)))
            .collect();
        let mut catalog = Catalog::new([("s".into(), Some(GuardRule::default()))]);
        catalog.apply(event(What::Status(Status::Live)), Duration::ZERO);
        catalog.apply(change(&told, &(0..services).collect(), true), Duration::ZERO);
        assert_eq!(served(&catalog), told);
        Self {
            catalog,
            known: told.clone(),
            told,
            now: Duration::ZERO,
            moments: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        self.step_only(step);
        self.check();
    }

    fn step_only(&mut self, step: &Step) {
        self.now += step.after;
        if !self.catalog.release(self.now).services.is_empty() {
            self.moments.clear(); // what was held long enough may fall
        }
        let before = self.told.clone();
        self.moments.push((self.now, served(&self.catalog)));
        let going: Vec<(u8, u16)> = self.told.iter().copied().collect();
        if !going.is_empty() {
            let go = going
                .iter()
                .cycle()
                .skip(step.from % going.len())
                .take(step.go.min(going.len()));
            for one in go {
                self.told.remove(one);
            }
        }
        let absent: Vec<(u8, u16)> = self.known.difference(&before).copied().collect();
        for n in 0..step.come {
            let old = absent
                .get((step.from + n) % absent.len().max(1))
                .filter(|_| step.again);
            let new = (200, u16::try_from(self.known.len()).unwrap());
            let one = old.copied().unwrap_or(new);
            self.told.insert(one);
            self.known.insert(one);
        }
        let touched = before.symmetric_difference(&self.told).map(|(s, _)| *s);
        let all = before.iter().chain(&self.told).map(|(s, _)| *s);
        let services = if step.complete {
            all.collect()
        } else {
            touched.collect()
        };
        let change = change(&self.told, &services, step.complete);
        self.catalog.apply(change, self.now);
    }

    fn check(&self) {
        let served = served(&self.catalog);
        assert!(self.told.is_subset(&served), "what the source names is served");
        assert_eq!(served.len() - self.told.len(), withheld(&self.catalog));
        let (_, before) = self.moments.last().unwrap();
        let gone = before.difference(&served).count();
        assert!(
            gone <= usize::from(GuardRule::default().at_once) || gone * 100 <= before.len() * 50,
            "{gone} of {} at once",
            before.len()
        );
        // Compared with any moment of the window, the number never falls by more than the share.
        for (at, then) in self.moments.iter().filter(|(at, _)| *at + WINDOW >= self.now) {
            let fallen = then.len().saturating_sub(served.len());
            assert!(
                fallen <= usize::from(GuardRule::default().in_all) || fallen * 100 <= then.len() * 50,
                "from {} at {at:?} to {} at {:?}",
                then.len(),
                served.len(),
                self.now
            );
        }
    }
}

fn steps(after: std::ops::Range<u64>, go: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    let one = (
        after,
        go,
        0..10_000_usize,
        0..6_usize,
        any::<bool>(),
        any::<bool>(),
    );
    let step = |(after, go, from, come, again, complete)| Step {
        after: Duration::from_millis(after),
        go,
        from,
        come,
        again,
        complete,
    };
    prop::collection::vec(one.prop_map(step), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No hold ends in these histories, and nobody accepts.
    #[test]
    fn within_the_window_the_number_never_falls_by_more_than_the_share(
        services in 1..30_u8,
        each in 1..8_u16,
        steps in steps(0..1_400, 0..30),
    ) {
        let mut world = World::new(services, each);
        for step in &steps {
            world.step(step);
        }
    }

    #[test]
    fn honest_small_removals_pass_at_once(
        services in 5..30_u8,
        each in 1..8_u16,
        steps in steps(3_000..20_000, 0..2),
    ) {
        let mut world = World::new(services, each);
        for step in &steps {
            world.step(step);
            prop_assert_eq!(withheld(&world.catalog), 0);
        }
    }

    #[test]
    fn flapping_is_no_removal(services in 2..12_u8, flaps in 1..60_usize, after in 0..50_u64) {
        let mut world = World::new(services, 1);
        for n in 0..2 * flaps {
            let go = usize::from(n % 2 == 0);
            let after = Duration::from_millis(after);
            world.step(&Step { after, go, from: 0, come: 1 - go, again: true, complete: false });
            prop_assert_eq!(withheld(&world.catalog), 0);
        }
    }

    /// Whatever becomes of servers: those that the source names stay, those that refuse leave, and others
    /// stay as long as they are withheld.
    #[test]
    fn probes_take_away_only_what_is_withheld_and_dead(
        services in 1..12_u8,
        each in 1..8_u16,
        steps in steps(0..1_400, 0..30),
        dead in prop::collection::vec(any::<bool>(), 16),
    ) {
        let mut world = World::new(services, each);
        let is_dead = |port: u16| dead[usize::from(port) % dead.len()];
        for step in &steps {
            world.step_only(step);
            let (before, was_withheld) = (served(&world.catalog), withheld(&world.catalog));
            let mut gone = 0;
            for _ in 0..8 {
                let Some(due) = world.catalog.probe_due() else { break };
                for question in world.catalog.questions(due) {
                    let refused = is_dead(question.address.port());
                    let answer = if refused { Answer::Refused } else { Answer::Accepted };
                    gone += world.catalog.answered(&Answered { question, answer }, due).gone;
                }
            }
            let after = served(&world.catalog);
            prop_assert!(world.told.is_subset(&after));
            prop_assert_eq!(before.len() - after.len(), gone);
            prop_assert_eq!(was_withheld - withheld(&world.catalog), gone);
            prop_assert_eq!(after.len() - world.told.len(), withheld(&world.catalog));
            prop_assert!(before.difference(&after).all(|(_, n)| is_dead(n + 1)));
        }
    }

    /// By time, or by the operator's word.
    #[test]
    fn in_the_end_what_is_served_is_what_was_told(
        services in 1..30_u8,
        each in 1..8_u16,
        steps in steps(0..3_000, 0..60),
        accepted: bool,
    ) {
        let mut world = World::new(services, each);
        for step in &steps {
            world.step(step);
        }
        if accepted {
            world.catalog.accept("s").unwrap();
        } else {
            while let Some(due) = world.catalog.due() {
                world.catalog.release(due);
            }
        }
        prop_assert_eq!(served(&world.catalog), world.told.clone());
        prop_assert_eq!(world.catalog.source("s").unwrap().instances(), world.told.len());
    }
}
