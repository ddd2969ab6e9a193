//! What is published of what is touched.

mod externals;
mod requests;
mod resources;
mod versions;
mod views;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::Catalog;
use crate::model::change::What;
use crate::model::{
    Bind, Change, Clusters, DrainRule, Event, Facts, Health, Instance, Issue, Listener, Network, Policy,
    Protocol, ServiceRecord,
};
use crate::plan::{Decisions, Planned, Planner, Step};
use crate::translate::Translator;
use crate::xds::Update;

/// The two halves of a publication.
struct Builder {
    planner: Planner,
    translator: Translator,
}

impl Builder {
    fn new(network: Network) -> Self {
        let network = Arc::new(network);
        Self {
            planner: Planner::new(network.clone()),
            translator: Translator::new(network),
        }
    }

    fn build(&mut self, catalog: &Catalog, touched: &BTreeSet<Arc<str>>, now: Duration) -> Vec<Update> {
        let mut updates = Vec::new();
        let steps = self.planner.plan(catalog, touched, now);
        self.translator.translate(steps, |update| updates.push(update));
        updates
    }

    fn take_news(&mut self) -> bool {
        self.planner.take_news() | self.translator.take_news()
    }

    fn issues(&self) -> impl Iterator<Item = &Issue> {
        self.planner.issues().chain(self.translator.issues())
    }
}

fn event(name: &str, port: Option<u16>) -> Event {
    event_of(name, port, None)
}

fn event_of(name: &str, port: Option<u16>, protocol: Option<Protocol>) -> Event {
    let policy = Policy {
        protocol,
        ..Policy::default()
    };
    let record = port.map(|port| ServiceRecord {
        instances: vec![Instance::from(Facts {
            policy: Arc::new(policy),
            ..Facts::new("1", ([127, 0, 0, 1], port).into())
        })],
        ..ServiceRecord::default()
    });
    Event {
        source: "s".into(),
        what: What::Change(Change::new(vec![(name.into(), record)], false)),
    }
}

fn kinds(updates: &[Update]) -> Vec<String> {
    let one = |u: &Update| match u {
        Update::Put(d) => format!("+{} {}", d.kind.short(), d.name),
        Update::Remove(kind, name) => format!("-{} {name}", kind.short()),
        Update::PutFor(client, d) => format!("+{} {} for {client:?}", d.kind.short(), d.name),
        Update::RemoveFor(client, kind, name) => format!("-{} {name} for {client:?}", kind.short()),
    };
    updates.iter().map(one).collect()
}

fn network() -> Network {
    Network {
        clusters: Clusters {
            keep_routes: Duration::ZERO,
            ..Clusters::DEFAULT
        },
        drain: DrainRule::OFF,
        ..Network::default()
    }
}
