//! What fabio's commands make of services that have tags for it. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::commands::{Command, Order};
use super::place::{Place, obey};
use super::share::shares;
use crate::import::entry::Placed;
use crate::model::{Code, Health, Issue, ServiceRecord};
use crate::text::clip;

/// `route del` and `route weight`, by the services that they are about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commands {
    root: String,
    all: Vec<Command>,
    /// By service, in their order; those under no name are about each.
    of: BTreeMap<Option<String>, BTreeSet<usize>>,
    /// Those that are about something that commands add.
    own: BTreeSet<usize>,
}

impl Commands {
    pub(super) fn new(root: &str, all: Vec<Command>, own: BTreeSet<usize>) -> Self {
        let mut of: BTreeMap<Option<String>, BTreeSet<usize>> = BTreeMap::new();
        for (n, command) in all.iter().enumerate() {
            if !matches!(command.order, Order::Add(_)) {
                let service = command.order.service().map(str::to_owned);
                of.entry(service).or_default().insert(n);
            }
        }
        Self {
            root: root.to_owned(),
            all,
            of,
            own,
        }
    }

    /// Whether any command is about this service.
    #[must_use]
    pub fn concerns(&self, service: &str) -> bool {
        self.of.contains_key(&None) || self.of.contains_key(&Some(service.to_owned()))
    }

    /// Does to a service what they say, and gives its instances their shares; which commands were about it.
    pub fn obey(
        &self,
        service: &str,
        record: &mut ServiceRecord,
        known: &BTreeMap<Arc<str>, Arc<Placed>>,
    ) -> BTreeSet<usize> {
        let instances = record.instances.iter().enumerate();
        let places = instances.flat_map(|(n, instance)| {
            let routes = known
                .get(&instance.id)
                .into_iter()
                .flat_map(|of| of.routes.iter().map(move |route| (&of.tags, route)));
            routes.map(move |(tags, route)| {
                let place = Place {
                    source: Cow::Borrowed(&*route.source),
                    server: instance.address.to_string(),
                    tags,
                    share: f64::from_bits(route.share),
                    counts: instance.health == Health::Healthy,
                    gone: false,
                };
                (n, place)
            })
        });
        let (owners, mut places): (Vec<usize>, Vec<Place<'_>>) = places.unzip();
        let none = BTreeSet::new();
        let named = self.of.get(&Some(service.to_owned())).unwrap_or(&none);
        let each = self.of.get(&None).unwrap_or(&none);
        let mut matched = BTreeSet::new();
        let mut weighed = None;
        for n in named.union(each) {
            let Some(command) = self.all.get(*n) else { continue };
            if obey(&command.order, &mut places) {
                matched.insert(*n);
                if let Order::Weight { source, .. } = &command.order {
                    weighed = Some(source.clone());
                }
            }
        }
        let outcome = Outcome::of(&owners, &places, weighed, known, record);
        self.take(record, outcome);
        matched
    }

    fn take(&self, record: &mut ServiceRecord, outcome: Outcome) {
        for (n, weight) in outcome.weights {
            if let Some(instance) = record.instances.get_mut(n) {
                instance.set_registered_weight(weight);
            }
        }
        for instance in &mut record.instances {
            if outcome
                .routes
                .iter()
                .any(|number| instance.policy.routes.contains_key(number))
            {
                let policy = Arc::make_mut(&mut instance.policy);
                policy.routes.retain(|number, _| !outcome.routes.contains(number));
            }
        }
        let notes = outcome.notes.into_iter();
        record
            .issues
            .extend(notes.map(|why| Issue::warning(&*self.root, why).of_kind(Code::ImportNotUnderstood)));
    }

    /// What no service fits.
    #[must_use]
    pub fn idle<'a>(&self, matched: impl IntoIterator<Item = &'a usize>) -> Vec<Issue> {
        let mut idle: BTreeSet<usize> = self.of.values().flatten().copied().collect();
        for n in &self.own {
            idle.remove(n);
        }
        for n in matched {
            idle.remove(n);
        }
        let issue = |n: usize| {
            let command = self.all.get(n)?;
            let is_weight = matches!(command.order, Order::Weight { .. });
            let why = format!("line `{}`: no route fits it", command.line);
            is_weight.then(|| Issue::warning(&*self.root, why).of_kind(Code::ImportNotUnderstood))
        };
        idle.into_iter().filter_map(issue).collect()
    }
}

/// What becomes of a service.
#[derive(Default)]
struct Outcome {
    /// By the number of the instance.
    weights: Vec<(usize, u32)>,
    /// Those that nobody has any more.
    routes: BTreeSet<u32>,
    notes: Vec<String>,
}

impl Outcome {
    fn of(
        owners: &[usize],
        places: &[Place<'_>],
        weighed: Option<String>,
        known: &BTreeMap<Arc<str>, Arc<Placed>>,
        record: &ServiceRecord,
    ) -> Self {
        let mut outcome = Self::default();
        let mut sources: BTreeMap<&str, BTreeMap<usize, f64>> = BTreeMap::new();
        let mut left: BTreeSet<usize> = BTreeSet::new();
        for (n, place) in owners.iter().zip(places).filter(|(_, place)| !place.gone) {
            sources.entry(&*place.source).or_default().insert(*n, place.share);
            left.insert(*n);
        }
        for (n, place) in owners.iter().zip(places).filter(|(_, place)| place.gone) {
            if !sources.contains_key(&*place.source) {
                let instance = record.instances.get(*n);
                let of = instance.and_then(|instance| known.get(&instance.id));
                let routes = of.into_iter().flat_map(|of| &of.routes);
                let of_source = routes.filter(|route| *route.source == *place.source);
                outcome.routes.extend(of_source.flat_map(|route| &route.numbers));
            } else if left.contains(n) {
                outcome.notes.push(format!(
                    "a server is deleted from `{}` and not from other routes, which one cluster cannot: it goes on \
                     getting requests of each",
                    clip(&place.source)
                ));
            } else {
                outcome.weights.push((*n, 0));
            }
        }
        outcome.weights.dedup();
        outcome.notes.dedup();
        let has_share = |source: &&str| sources[*source].values().any(|share| *share > 0.0);
        let weighed = weighed.filter(|source| sources.contains_key(source.as_str()));
        let Some(source) = weighed
            .as_deref()
            .or_else(|| sources.keys().copied().find(has_share))
        else {
            return outcome;
        };
        let shares_of = &sources[source];
        let counts = |n: &&usize| {
            record
                .instances
                .get(**n)
                .is_some_and(|i| i.health == Health::Healthy)
        };
        let taking: Vec<usize> = left.iter().filter(counts).copied().collect();
        let declared: Vec<f64> = taking
            .iter()
            .map(|n| shares_of.get(n).copied().unwrap_or(0.0))
            .collect();
        outcome.weights.extend(taking.into_iter().zip(shares(&declared)));
        if sources.values().any(|other| other != shares_of) {
            outcome.notes.push(format!(
                "routes of one service have different weights, which one cluster cannot: those of `{}` count",
                clip(source)
            ));
        }
        outcome
    }
}

#[cfg(test)]
#[path = "obeyed_tests.rs"]
mod tests;
