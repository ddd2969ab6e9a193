//! The owner of the catalog: one task that applies what sources deliver, waits a
//! moment, and publishes what changed. Nothing here talks to a registry or to Envoy.
//!
//! This file is its loop. What each branch does has its own file: `events` (messages of sources), `publish`,
//! `orders` (what an operator or a new configuration asks for), `recall` and `saving` (the last known state),
//! `probes` (withheld removals). The parts it is made of have types of their own: `Memory`, `Log`, `Gauges`,
//! `Settle`.

mod drains;
mod events;
mod fleets;
mod gauges;
mod journal;
mod list;
mod log;
mod memory;
mod orders;
mod probes;
mod publish;
mod quota;
mod recall;
mod saving;
mod settle;
mod sources;
mod versions;
mod view;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use drains::Draining;
pub use drains::{Ended, Served};
use fleets::FleetWatch;
use gauges::Gauges;
pub use list::{Listed, ServicePage, ServiceRow};
use log::Log;
use memory::Memory;
pub use orders::{Forgotten, Order};
use probes::Probes;
use settle::Settle;
pub use sources::SourceInfo;
use versions::Rolled;
pub use versions::{Version, Versioned, Versions};
pub use view::{Delivered, Detail, Explanation, Held, Kept, LastGood, Overview, SourceDetail, SourceView};

use crate::cache::{LastKnown, Writer};
use crate::catalog::Catalog;
use crate::catalog::probe::{Answered, Question};
use crate::clock;
use crate::fanout::Fanout;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::model::{Event, Network};
use crate::overlay::Overlays;
use crate::plan::views::rules;
use crate::plan::{Decisions, Planner};
use crate::translate::Translator;
use crate::xds::ViewRules;

/// Events of sources that wait for the hub; a source that is faster waits itself. One: a change may hold a hundred
/// thousand instances.
pub const INBOX: usize = 1;

/// The task's state.
#[derive(Debug)]
pub struct Hub {
    /// The catalog and the planner count time from here.
    began: Instant,
    catalog: Catalog,
    sources: BTreeMap<Arc<str>, SourceInfo>,
    planner: Planner,
    translator: Translator,
    overlays: Overlays,
    fanout: Arc<Fanout>,
    settle: Settle,
    /// Services to plan at the next publication.
    pending: BTreeSet<Arc<str>>,
    /// The first generation was published: from then on nothing waits for a source.
    ready: bool,
    /// Issues came or went since they were counted.
    uncounted: bool,
    memory: Memory,
    log: Log,
    gauges: Gauges,
    fleets: FleetWatch,
    /// Which fleets have which view of the services.
    views: Arc<ViewRules>,
    probes: Probes,
    draining: Draining,
    rolled: Rolled,
    overview: watch::Sender<Overview>,
    journal: Arc<Journal>,
}

/// What the hub does at a certain time.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// Make the next generation.
    Publish,
    /// Let removals go that were withheld long enough, or have the source verify them.
    Release,
    /// Probe withheld instances.
    Probe,
    /// Let instances go that left a while ago.
    Linger,
    /// Plan services again that left a while ago.
    Departed,
    /// Serve the last known state of sources that have not delivered.
    Recall,
    /// Hand one changed state to the writer.
    Save,
    /// Save all live states again, with their new age.
    Renew,
    /// Show the age of a last known state again.
    Age,
    /// Report how many log lines were left out.
    Quotas,
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
        fanout.when_gone(crate::translate::grpc::gone, crate::translate::grpc::missing);
        let began = clock::now();
        let network = Arc::new(network);
        fanout.expect_fleets(fleets::expected(&network));
        let fleets = FleetWatch::new(fanout.unused_listeners());
        let mut catalog = Catalog::default();
        catalog.set_exposures(network.exposures.keys().cloned().collect(), Duration::ZERO);
        catalog.set_linger(network.drain.linger);
        fanout.set_grace(network.drain.grace);
        for (name, info) in &sources {
            catalog.add(name.clone(), &info.settings());
        }
        let mut hub = Self {
            began,
            catalog,
            sources,
            views: Arc::new(rules(&network)),
            planner: Planner::new(network.clone()),
            overlays: Overlays::new(&network.overlays),
            translator: Translator::new(network),
            fanout,
            settle: Settle::new(settle.0, settle.1),
            pending: BTreeSet::new(),
            ready: false,
            uncounted: false,
            memory: Memory::new(began, BTreeMap::new(), None),
            log: Log::default(),
            gauges: Gauges::new(metrics),
            fleets,
            probes: Probes::default(),
            draining: Draining::default(),
            rolled: Rolled::default(),
            overview,
            journal: Arc::default(),
        };
        hub.report();
        hub.count_issues(); // each source's gauge is there from the start
        (hub, seen)
    }

    /// What changes from here on.
    #[must_use]
    pub fn journal(&self) -> Arc<Journal> {
        self.journal.clone()
    }

    /// How many instances of all sources are withheld.
    #[must_use]
    pub fn withheld_in_all(&self) -> watch::Receiver<usize> {
        self.probes.withheld.subscribe()
    }

    /// What was known of sources before, and where their present state is saved.
    #[must_use]
    pub fn remembering(
        mut self,
        loaded: BTreeMap<Arc<str>, LastKnown>,
        decisions: Decisions,
        writer: Writer,
    ) -> Self {
        self.memory = Memory::new(self.began, loaded, Some(writer));
        self.planner.remember(decisions);
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
        self.ask_by(prober);
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.renew();
                    return self.save_all().await;
                }
                () = clock::until(self.due()) => self.work(),
                () = self.fleets.changed() => self.report(),
                Some(answered) = answers.recv() => self.probed(&answered),
                Some(order) = orders.recv() => {
                    // What a source sent before it was stopped is older than the order that it goes.
                    for _ in 0..inbox.len() {
                        if let Ok(event) = inbox.try_recv() {
                            self.apply(event);
                        }
                    }
                    self.obey(order);
                }
                event = inbox.recv() => match event {
                    Some(event) => self.apply(event),
                    None => return,
                },
            }
        }
    }

    /// Where questions about withheld instances go from now on.
    pub fn ask_by(&mut self, prober: mpsc::Sender<Question>) {
        self.probes.prober = Some(prober);
    }

    /// When there is something to do without a message; with [`Self::work`], [`Self::apply`], [`Self::obey`] and
    /// [`Self::probed`] all that [`Self::run`] does.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.next_timer(clock::now()).map(|(due, _)| due)
    }

    /// Does what is due, one thing at a time.
    pub fn work(&mut self) {
        let now = clock::now();
        if let Some((_, timer)) = self.next_timer(now).filter(|(due, _)| *due <= now) {
            self.fire(timer);
        }
    }

    /// What is due next. Of what is due at the same time, what streams wait for comes first.
    fn next_timer(&self, now: Instant) -> Option<(Instant, Timer)> {
        let at = |due: Duration| self.began + due;
        let publish = self.settle.due();
        [
            (publish, Timer::Publish),
            (self.catalog.due().map(at), Timer::Release),
            (self.catalog.probe_due().map(at), Timer::Probe),
            (self.catalog.linger_due().map(at), Timer::Linger),
            // Not while a publication is on its way: that one looks at all that is due.
            (
                self.planner.due().filter(|_| publish.is_none()).map(at),
                Timer::Departed,
            ),
            (self.memory.patience(), Timer::Recall),
            (self.memory.save_at(now), Timer::Save),
            (self.memory.renewal(), Timer::Renew),
            (self.memory.ageing(now), Timer::Age),
            (self.log.due(), Timer::Quotas),
        ]
        .into_iter()
        .filter_map(|(due, timer)| Some((due?, timer)))
        .min_by_key(|(due, _)| *due)
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Publish => self.publish(),
            Timer::Release => self.release(),
            Timer::Probe => self.probe(),
            Timer::Linger => {
                let touched = self.catalog.end_lingering(self.now());
                self.follow(touched);
            }
            Timer::Departed => {
                let due = self.planner.take_due(self.now());
                self.pending.extend(due);
                self.settle.note(clock::now());
            }
            Timer::Recall => {
                for source in self.memory.waiting() {
                    self.recall(&source);
                }
            }
            Timer::Save => self.save(),
            Timer::Renew => self.renew(),
            Timer::Age => self.report(),
            Timer::Quotas => self.log.report_rest(clock::now()),
        }
    }

    /// Time as the catalog counts it.
    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }
}

#[cfg(test)]
mod publish_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod running_tests;
#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
