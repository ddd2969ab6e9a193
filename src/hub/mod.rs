//! The owner of the catalog: one task that applies what sources say, waits a
//! moment, and publishes what changed. Nothing here talks to a registry or to Envoy.

mod fleets;
mod last_known;
mod log;
mod orders;
mod quota;
mod report;
mod saving;
mod settle;
mod view;
mod withheld;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use fleets::FleetWatch;
use last_known::{Memory, Part};
use log::{Quotas, log_note};
use settle::Settle;
pub use view::{
    Detail, Forgotten, Held, Kept, LastGood, Order, Overview, SourceDetail, SourceInfo, SourceView,
};

use crate::cache::{LastKnown, Writer};
use crate::clock;
use crate::fanout::Fanout;
use crate::metrics::{BySource, ByType, Metrics, count};
use crate::model::change::What;
use crate::model::probe::{Answered, Question};
use crate::model::{Catalog, Change, Event, Issue, Measured, Network, Status, Touched};
use crate::plan::{Decisions, Planner};
use crate::translate::Translator;
use crate::xds::Kind;

/// Events of sources that wait for the hub; a source that is faster waits itself.
pub const INBOX: usize = 256;

/// The task's state.
#[derive(Debug)]
pub struct Hub {
    catalog: Catalog,
    sources: BTreeMap<Arc<str>, SourceInfo>,
    began: Instant,
    planner: Planner,
    translator: Translator,
    settle: Settle,
    pending: BTreeSet<Arc<str>>,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    overview: watch::Sender<Overview>,
    ready: bool,
    seen_issues: BTreeSet<Issue>,
    /// Issues came or went since they were counted.
    uncounted: bool,
    quotas: Quotas,
    /// Of each source: entries that are not served, and entries with something else wrong.
    wrong: BTreeMap<Arc<str>, (usize, usize)>,
    fleets: FleetWatch,
    memory: Memory,
    /// Where states are saved, if they are.
    writer: Option<Writer>,
    /// Who probes withheld instances, if somebody does.
    prober: Option<mpsc::Sender<Question>>,
    /// Withheld instances that were found gone since that was logged.
    gone: usize,
    /// Withheld instances of all sources: they take memory that no source knows of.
    withheld: watch::Sender<usize>,
}

impl Hub {
    /// A hub for these sources; `settle`: quiet time and its bound.
    #[must_use]
    pub fn new(
        sources: BTreeMap<Arc<str>, SourceInfo>,
        network: Network,
        settle: (Duration, Duration),
        fanout: Arc<Fanout>,
        metrics: Arc<Metrics>,
    ) -> (Self, watch::Receiver<Overview>) {
        let (overview, seen) = watch::channel(Overview::default());
        fanout.when_gone(crate::translate::grpc::gone);
        let began = clock::now();
        let network = Arc::new(network);
        let narrow = network.listeners.iter().filter(|(_, l)| !l.fleets.is_empty());
        fanout.expect_fleets(narrow.map(|(name, l)| (name.clone(), l.fleets.clone())).collect());
        let fleets = FleetWatch::new(fanout.unused_listeners());
        let mut hub = Self {
            catalog: Catalog::new(sources.iter().map(|(name, info)| (name.clone(), info.guard)))
                .with_verifying(
                    sources
                        .iter()
                        .filter(|(_, info)| info.ask.is_some())
                        .map(|(name, _)| name.clone()),
                )
                .with_exposures(&network.exposures.keys().cloned().collect())
                .with_priorities(
                    sources
                        .iter()
                        .map(|(name, info)| (name.clone(), info.priority))
                        .collect(),
                ),
            sources,
            began,
            memory: Memory::new(began, BTreeMap::new()),
            writer: None,
            prober: None,
            gone: 0,
            withheld: watch::Sender::new(0),
            planner: Planner::new(network.clone()),
            translator: Translator::new(network),
            settle: Settle::new(settle.0, settle.1),
            pending: BTreeSet::new(),
            fanout,
            metrics,
            overview,
            ready: false,
            seen_issues: BTreeSet::new(),
            uncounted: false,
            quotas: Quotas::default(),
            wrong: BTreeMap::new(),
            fleets,
        };
        hub.report();
        hub.count_issues(); // each source's gauge is there from the start
        (hub, seen)
    }

    /// How many instances of all sources are withheld.
    #[must_use]
    pub fn withheld_in_all(&self) -> watch::Receiver<usize> {
        self.withheld.subscribe()
    }

    /// What was known of sources before, and where their present state is saved.
    #[must_use]
    pub fn remembering(
        mut self,
        loaded: BTreeMap<Arc<str>, LastKnown>,
        decisions: Decisions,
        writer: Writer,
    ) -> Self {
        self.memory = Memory::new(self.began, loaded);
        self.planner.remember(decisions);
        self.writer = Some(writer);
        self
    }

    /// Works until `stop`. `prober`: where questions about withheld instances go, and their answers come from.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut orders: mpsc::Receiver<Order>,
        prober: (mpsc::Sender<Question>, mpsc::Receiver<Answered>),
        stop: CancellationToken,
    ) {
        let (prober, mut answers) = prober;
        self.prober = Some(prober);
        loop {
            let probe = self.catalog.probe_due().map(|due| self.began + due);
            let (due, release) = (self.settle.due(), self.catalog.due().map(|due| self.began + due));
            // Not while a publication is on its way: that one looks at all that is due.
            let departed = self.planner.due().filter(|_| self.settle.due().is_none());
            let departed = departed.map(|due| self.began + due);
            let save = self.writer.as_ref();
            let save = save.and_then(|writer| self.memory.save_at(clock::now(), writer.rest()));
            let patience = self.memory.patience();
            let ageing = self.memory.ageing(clock::now());
            let unsaid = self.quotas.due();
            let renewal = Some(self.memory.renewal()).filter(|_| self.writer.is_some());
            tokio::select! {
                () = stop.cancelled() => {
                    self.renew();
                    return self.save_all().await;
                }
                () = clock::until(renewal), if renewal.is_some() => self.renew(),
                () = clock::until(save), if save.is_some() => self.save(),
                () = clock::until(patience), if patience.is_some() => {
                    for source in self.memory.waiting() {
                        self.recall(&source);
                    }
                }
                () = clock::until(ageing), if ageing.is_some() => self.report(),
                () = clock::until(unsaid), if unsaid.is_some() => self.quotas.report(clock::now()),
                () = clock::until(due), if due.is_some() => self.publish(),
                () = self.fleets.changed() => self.report(),
                () = clock::until(departed), if departed.is_some() => {
                    let due = self.planner.take_due(self.now());
                    self.pending.extend(due);
                    self.settle.note(clock::now());
                }
                () = clock::until(probe), if probe.is_some() => self.probe(),
                Some(answered) = answers.recv() => self.probed(&answered),
                () = clock::until(release), if release.is_some() => {
                    let touched = self.catalog.release(self.now());
                    self.ask(&touched.ask);
                    self.believed(&touched);
                    self.follow(touched);
                }
                Some(order) = orders.recv() => self.obey(order),
                event = inbox.recv() => match event {
                    Some(event) => self.apply(event),
                    None => return,
                },
            }
        }
    }

    /// Time as the catalog counts it.
    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// Serves the last known state of a source that is away, if there is one.
    fn recall(&mut self, source: &Arc<str>) {
        let Some(state) = self.memory.away(source) else {
            return;
        };
        tracing::warn!(
            source = %source,
            services = state.services.len(),
            age = ?state.age,
            "the source is away: its last known state is served"
        );
        let mut touched = self.tell(source, state, true);
        touched.status = true;
        self.follow(touched);
    }

    /// What a source says first is measured against what was known of it last: a registry that
    /// was wiped while nobody looked is withheld like one that is wiped before our eyes.
    fn compare_with_memory(&mut self, source: &Arc<str>) {
        if let Some(state) = self.memory.delivered(source) {
            let touched = self.tell(source, state, false);
            self.pending.extend(touched.services);
        }
    }

    /// Tells the catalog what was known last, in the source's place.
    fn tell(&mut self, source: &Arc<str>, state: LastKnown, complete: bool) -> Touched {
        let services = state
            .services
            .into_iter()
            .map(|(name, record)| (name, Some(record)))
            .collect();
        let change = Change {
            services,
            complete,
            stray: None,
        };
        let now = self.now();
        self.catalog.recall(source, change, now)
    }

    fn apply(&mut self, event: Event) {
        let source = event.source.clone();
        let complete = matches!(&event.what, What::Change(change) if change.complete);
        let was_stale = self.memory.stale(&source, clock::now()).is_some();
        if complete {
            self.compare_with_memory(&source);
        }
        let away = matches!(event.what, What::Status(Status::Away { .. }));
        if away
            && self
                .catalog
                .source(&source)
                .is_some_and(|state| *state.status() == Status::Live)
        {
            self.memory.changed(&Part::Source(source.clone())); // until now it was true
        }
        let by_source = BySource {
            source: source.to_string(),
        };
        match &event.what {
            What::Change(_) => {
                self.metrics.source_changes.get_or_create(&by_source).inc();
            }
            What::Measured(Measured::Swept(n)) => {
                self.metrics.swept.get_or_create(&by_source).set(count(*n));
            }
            What::Measured(Measured::Missed(n)) => {
                self.metrics.missed.get_or_create(&by_source).inc_by(*n);
            }
            What::Measured(Measured::Cut(n)) => {
                self.metrics.cut.get_or_create(&by_source).inc_by(*n);
            }
            What::Note(note) => log_note(&source, note.as_deref()),
            What::Status(_) | What::Verified(_) => {}
        }
        let verified = matches!(event.what, What::Verified(_));
        let before = self.withheld(&source);
        let mut touched = self.catalog.apply(event, self.now());
        touched.status |= complete && was_stale;
        if !touched.services.is_empty() || complete {
            self.memory.changed(&Part::Source(source.clone()));
        }
        if verified {
            self.believed(&touched);
        }
        let withheld = self.withheld(&source);
        if withheld > before {
            tracing::warn!(
                source = %source,
                instances = withheld,
                "the source no longer knows these instances: too many at once, withheld until that is certain \
                 (let them go at once: xds-bridge accept {source})"
            );
        }
        if touched.issues {
            self.uncounted = true;
        }
        self.log_entries(&source, &touched);
        self.follow(touched);
        if away {
            self.recall(&source);
        }
    }

    /// What follows from a change of the catalog, whoever made it.
    fn follow(&mut self, touched: Touched) {
        let withheld: usize = self.sources.keys().map(|source| self.withheld(source)).sum();
        self.withheld
            .send_if_modified(|known| std::mem::replace(known, withheld) != withheld);
        let ready = self.catalog.ready();
        if !ready {
            self.recount();
        }
        if touched.status || !ready {
            self.report();
        }
        self.pending.extend(touched.services);
        // Until all sources have delivered nothing is served; the last delivery releases everything.
        if !ready {
            return;
        }
        if !self.pending.is_empty() || !self.ready || self.uncounted {
            self.settle.note(clock::now());
        }
    }

    fn publish(&mut self) {
        let since = self.settle.take().unwrap_or_else(clock::now);
        let touched = std::mem::take(&mut self.pending);
        let steps = self.planner.plan(&self.catalog, &touched, self.now());
        let updates = self.translator.updates(&steps);
        let (generation, changed) = self.fanout.publish(&updates, since);
        if !std::mem::replace(&mut self.ready, true) {
            tracing::info!(
                services = self.planner.services(),
                "ready: all sources have delivered"
            );
            self.name_kept(); // of the bridge before this one, too
        }
        self.log_all_unhealthy();
        self.log_departures();
        if self.planner.take_unsaved() {
            self.memory.changed(&Part::Decisions);
        }
        self.log_gone();
        self.metrics.services.set(count(self.planner.services()));
        self.metrics.conflicts.set(count(self.planner.conflicts()));
        self.metrics.contested.set(count(self.planner.contested()));
        if self.planner.take_news() {
            self.log_declared();
        }
        self.recount();
        self.report();
        if !changed {
            return;
        }
        // A refused version may be gone with what it was replaced by.
        self.metrics.count_rejected(&self.fanout.rejected_by_type());
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
        tracing::debug!(
            generation = generation.number,
            services = touched.len(),
            "published"
        );
    }

    /// Counting looks at each service: once for all that settles together.
    fn recount(&mut self) {
        if std::mem::take(&mut self.uncounted) {
            self.count_issues();
        }
    }
}

#[cfg(test)]
mod publish_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
