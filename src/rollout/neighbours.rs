//! Other services while one is rolled out: which of them began to fail after a step. They are named, and nothing is done
//! to them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::beta::{above, float};
use super::facts::{Neighbours, Sum};
use super::settings::Step;
use super::verdict::Affected;

/// Services that are watched: those with the most requests.
pub(super) const MAX_WATCHED: usize = 64;
/// That are named.
pub(super) const MAX_AFFECTED: usize = 8;

/// Errors after a step, at least.
const ERRORS: u64 = 5;
/// Requests before it, at least.
const KNOWN: u64 = 50;
/// It is as sure as this that the rate is more than twice what it was. Many services are looked at many times.
const SURE: f64 = 1.0 - 1e-6;

/// What other services had before the present step, and have since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// Whose counts these are.
    pub run: Arc<str>,
    /// By service.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<Arc<str>, Neighbour>,
    /// Services that began to fail after a step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<Affected>,
}

/// Another service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// Counted before the present step.
    pub before: Sum,
    /// The counts when the present step began.
    pub from: Sum,
}

impl Watched {
    /// At the start of a rollout.
    pub(super) fn begin(seen: &Neighbours) -> Self {
        let mut watched = Self::default();
        watched.follow(seen);
        watched.add(seen);
        watched
    }

    /// A step begins: what was since the last one is what was before this one.
    pub(super) fn step(&mut self, seen: &Neighbours) {
        self.follow(seen);
        self.add(seen);
        for (name, service) in &mut self.services {
            if let Some(now) = seen.services.get(name) {
                service.before = service.before.plus(now.minus(service.from));
                service.from = *now;
            }
        }
    }

    /// Returns those that began to fail after this step, each once in a rollout.
    pub(super) fn look(&mut self, seen: &Neighbours, step: Option<Step>, at: u64) -> Vec<Affected> {
        self.follow(seen);
        let mut found = Vec::new();
        for (name, service) in &self.services {
            let after = seen
                .services
                .get(name)
                .map_or_else(Sum::default, |now| now.minus(service.from));
            let is_named = self.affected.iter().any(|affected| affected.service == *name);
            if is_named || self.affected.len() + found.len() >= MAX_AFFECTED || !began(service.before, after)
            {
                continue;
            }
            found.push(Affected {
                service: name.clone(),
                at,
                step,
                before: service.before,
                after,
            });
        }
        self.affected.extend(found.iter().cloned());
        found
    }

    /// A new observer, and counts that shrank.
    fn follow(&mut self, seen: &Neighbours) {
        if self.run != seen.run {
            self.run = seen.run.clone();
            for (name, service) in &mut self.services {
                service.from = seen.services.get(name).copied().unwrap_or_default();
            }
        }
        for (name, service) in &mut self.services {
            if let Some(now) = seen.services.get(name)
                && (now.n < service.from.n || now.k < service.from.k)
            {
                service.from = *now;
            }
        }
    }

    /// Services that are not watched yet, as far as there is room.
    fn add(&mut self, seen: &Neighbours) {
        let room = MAX_WATCHED.saturating_sub(self.services.len());
        if room == 0 {
            return;
        }
        let mut new: Vec<(&Arc<str>, &Sum)> = seen
            .services
            .iter()
            .filter(|(name, _)| !self.services.contains_key(*name))
            .collect();
        new.sort_by_key(|(name, sum)| (std::cmp::Reverse(sum.n), *name));
        let new = new.into_iter().take(room);
        self.services.extend(new.map(|(name, sum)| {
            (
                name.clone(),
                Neighbour {
                    before: *sum,
                    from: *sum,
                },
            )
        }));
    }
}

fn began(before: Sum, after: Sum) -> bool {
    if after.k < ERRORS || before.n < KNOWN {
        return false;
    }
    let rate = float(before.k) / float(before.n);
    above(after, (2.0 * rate).max(rate + 0.005)) >= SURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(run: &str, all: &[(&str, u64, u64)]) -> Neighbours {
        let services = all
            .iter()
            .map(|(name, n, k)| ((*name).into(), Sum { n: *n, k: *k }));
        Neighbours {
            run: run.into(),
            services: services.collect(),
        }
    }

    #[test]
    fn errors_that_begin_after_a_step_are_named_once() {
        let mut watched = Watched::begin(&neighbours(
            "1",
            &[("cart", 1_000, 1), ("mail", 1_000, 100), ("new", 2, 0)],
        ));
        let later = neighbours("1", &[("cart", 1_100, 21), ("mail", 1_100, 110), ("new", 30, 20)]);
        let step = Some(Step::Share(1_000));
        let found = watched.look(&later, step, 7);
        assert_eq!(
            found,
            [Affected {
                service: "cart".into(),
                at: 7,
                step,
                before: Sum { n: 1_000, k: 1 },
                after: Sum { n: 100, k: 20 }
            }]
        );
        assert_eq!(watched.look(&later, step, 8), []);
        assert_eq!(watched.affected.len(), 1);
    }

    #[test]
    fn another_observer_and_lost_counts_are_no_errors() {
        let mut watched = Watched::begin(&neighbours("1", &[("cart", 1_000, 1)]));
        assert_eq!(
            watched.look(&neighbours("2", &[("cart", 5_000, 900)]), None, 1),
            []
        );
        assert_eq!(
            watched.look(&neighbours("2", &[("cart", 5_010, 900)]), None, 1),
            []
        );
        assert_eq!(watched.look(&neighbours("2", &[("cart", 10, 9)]), None, 1), []);
        assert_eq!(
            watched.look(&neighbours("2", &[("cart", 20, 19)]), None, 1).len(),
            1
        );
    }

    #[test]
    fn what_failed_in_the_step_before_is_known_in_the_next() {
        let mut watched = Watched::begin(&neighbours("1", &[("cart", 100, 0)]));
        watched.step(&neighbours("1", &[("cart", 200, 30)]));
        assert_eq!(watched.services["cart"].before, Sum { n: 200, k: 30 });
        assert_eq!(watched.look(&neighbours("1", &[("cart", 300, 50)]), None, 1), []);
    }

    #[test]
    fn those_with_the_most_requests_are_watched() {
        let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
        let all: Vec<(&str, u64, u64)> = (0..).zip(&names).map(|(n, name)| (name.as_str(), n, 0)).collect();
        let watched = Watched::begin(&neighbours("1", &all));
        assert_eq!(watched.services.len(), MAX_WATCHED);
        assert!(watched.services.contains_key("s99") && !watched.services.contains_key("s9"));
    }
}
