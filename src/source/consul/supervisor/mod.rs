//! The owner of a Consul source's state: starts and stops watches, and is the only one that delivers. Uses news of the
//! epoch that holds, and drops the rest: its reader confirms it again in the next epoch.

mod audits;
mod confirmations;
mod parts;
mod report;
mod side_reads;
mod watches;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::confirmations::Confirmations;
use self::parts::{Audits, HiddenReads, Reported, Watch};
use super::context::Context;
use super::ledger::Ledger;
use super::news::{Fact, News};
use super::timing::Clock;
use super::trust::circuit::Phase;
use super::trust::{gate, peering};
use super::watch::documents::DocumentsSubject;
use super::watch::health::HealthSubject;
use super::watch::names::NamesSubject;
use super::watch::sweep::{Swept, sweep};
use super::watch::tree::TreeSubject;
use super::watch::{End, follow};
use crate::registry::budget::Known;
use crate::registry::weight::SERVICE;
use crate::source::{HubGone, Sink};

/// A task that has ended.
enum Ended {
    Watch(Arc<str>, End),
    /// A read that confirms a service.
    Confirmed(Arc<str>),
    Audit,
    Other,
}

pub(super) struct Supervisor {
    context: Arc<Context>,
    sink: Sink,
    ledger: Ledger,
    /// What the ledger weighs, beside what is known of other registries.
    weight: Known,
    tasks: JoinSet<Ended>,
    watches: HashMap<Arc<str>, Watch>,
    confirmations: Confirmations,
    /// The services that have no watch.
    swept: watch::Sender<Swept>,
    audits: Audits,
    /// The index of the names that were read last.
    names_index: u64,
    hidden: HiddenReads,
    peering: watch::Receiver<Option<String>>,
    clock: Clock,
    reported: Reported,
    /// The number of the hub's latest verification request, and the epoch in which it came.
    verifying: Option<(u64, u64)>,
}

impl Supervisor {
    pub(super) fn new(context: Arc<Context>, sink: Sink) -> Self {
        Self {
            sink,
            ledger: Ledger::new(&context.selection.import.keys),
            weight: context.capacity.client().known(),
            tasks: JoinSet::new(),
            watches: HashMap::new(),
            confirmations: Confirmations::default(),
            swept: watch::Sender::default(),
            audits: Audits::default(),
            names_index: 0,
            hidden: HiddenReads::default(),
            peering: context.trust.peering_note(),
            clock: Clock::start(),
            reported: Reported::default(),
            verifying: None,
            context,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<News>,
        stop: &CancellationToken,
    ) -> Result<(), HubGone> {
        self.start_fixed();
        let context = self.context.clone();
        let mut circuit = context.trust.circuit.subscribe();
        let mut overloads = context.capacity.overloads();
        let mut asked = self.sink.asked();
        let mut epoch = 0;
        loop {
            let due = self.due();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(news) = inbox.recv() => self.handle(news),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Ok(()) = overloads.changed() => self.turned_away(),
                () = context.capacity.was_cut_off() => {} // counted when everything is delivered
                Ok(()) = circuit.changed() => {}
                Ok(()) = self.peering.changed() => {}
                Ok(()) = asked.changed() => {
                    let request = *asked.borrow_and_update();
                    self.verifying = Some((request, context.trust.circuit.state().epoch));
                    context.trust.request_verification();
                }
                () = tokio::time::sleep_until(due) => {}
            }
            while let Ok(more) = inbox.try_recv() {
                self.handle(more);
            }
            let state = circuit.borrow_and_update().clone();
            if epoch != state.epoch {
                epoch = state.epoch;
                self.audits.clear();
            }
            if let Phase::Live { multiplexed } = state.phase {
                context.capacity.set_multiplexed(multiplexed);
            }
            self.tick(epoch);
            tokio::select! {
                () = stop.cancelled() => break, // the hub may be busy, or gone
                delivered = self.deliver() => delivered?,
            }
        }
        self.tasks.shutdown().await;
        Ok(())
    }

    /// When [`Self::tick`] has something to do.
    fn due(&self) -> Instant {
        let dues = [Some(self.audits.due()), self.hidden.due()];
        let due = dues.into_iter().flatten().min().unwrap_or_default();
        let due = self.clock.at(due);
        self.context.capacity.watches_due().map_or(due, |at| at.min(due))
    }

    /// Does what is due.
    fn tick(&mut self, epoch: u64) {
        let now = self.clock.now();
        self.count_missed(now);
        if self.context.capacity.may_add_watches() {
            self.fill();
        }
        self.read_hidden(now, epoch);
        self.audit(now, epoch);
    }

    /// Starts the tasks that are always there.
    fn start_fixed(&mut self) {
        let context = self.context.clone();
        self.spawn(async move {
            gate::run(&context.trust).await;
            Ended::Other
        });
        let context = self.context.clone();
        self.spawn(async move {
            peering::run(&context.trust).await;
            Ended::Other
        });
        let (context, client) = (self.context.clone(), self.context.capacity.fixed_client());
        self.spawn(async move {
            let subject = NamesSubject::new(&context);
            follow(&context, &client, subject, || true).await;
            Ended::Other
        });
        let (context, client) = (self.context.clone(), self.context.capacity.fixed_client());
        self.spawn(async move {
            let subject = DocumentsSubject::new(&context);
            follow(&context, &client, subject, || true).await;
            Ended::Other
        });
        for (nth, keys) in self.context.clone().selection.import.keys.iter().enumerate() {
            let subject = TreeSubject::new(nth, keys.root().to_owned());
            let (context, client) = (self.context.clone(), self.context.capacity.fixed_client());
            self.spawn(async move {
                follow(&context, &client, subject, || true).await;
                Ended::Other
            });
        }
        let (context, client) = (self.context.clone(), self.context.capacity.fixed_client());
        let swept = self.swept.subscribe();
        self.spawn(async move {
            sweep(&context, &client, swept).await;
            Ended::Other
        });
    }

    /// Starts a task of this source.
    fn spawn(&mut self, task: impl Future<Output = Ended> + Send + 'static) {
        self.tasks.spawn(task.in_current_span());
    }

    fn handle(&mut self, news: News) {
        if !self.context.trust.circuit.holds(news.epoch) {
            return;
        }
        if let Some(audited) = news.audit {
            if audited.epoch != news.epoch {
                return;
            }
            self.compare(&news, audited.index);
        }
        let watched = news.audit.is_none();
        let (epoch, index) = (news.epoch, news.index);
        let max = self.weight.most();
        let instances = max.saturating_sub(self.services_weight());
        self.context.last_found.bound(instances);
        match news.fact {
            Fact::Names(names) => {
                if index < self.names_index && !watched {
                    return;
                }
                self.names_index = index;
                if watched {
                    self.audits.watch_sent(&None, index);
                }
                // Names alone must not take the room of instances: an eighth is kept for these.
                let taken = self.context.last_found.weight() + max / 8;
                let services = max.saturating_sub(taken) / SERVICE;
                let diff = self.ledger.names(epoch, names, services);
                for name in diff.started {
                    self.watch(name);
                }
                for name in diff.doubtful {
                    self.confirm(name);
                }
            }
            Fact::Service(name, finding) => {
                if self.ledger.finding(epoch, index, &name, finding) {
                    let found = self.ledger.found(&name);
                    self.context.last_found.set(&name, found);
                } else {
                    self.confirm(name.clone());
                }
                if watched {
                    self.audits.watch_sent(&Some(name), index);
                }
            }
            Fact::Documents(documents) => self.ledger.documents(epoch, documents),
            Fact::Keys(nth, pairs) => {
                let others = self.services_weight().saturating_sub(self.ledger.keys_weight());
                let taken = self.context.last_found.weight() + others;
                self.ledger
                    .keys(nth, epoch, pairs.as_ref(), max.saturating_sub(taken));
            }
        }
        self.weigh();
    }

    fn services_weight(&self) -> usize {
        let services = self.ledger.services().saturating_mul(SERVICE);
        services.saturating_add(self.ledger.keys_weight())
    }

    /// Reports what is known of this Consul now.
    fn weigh(&mut self) {
        let instances = self.context.last_found.weight();
        self.weight.set(self.services_weight().saturating_add(instances));
    }

    /// Reads a service once, to confirm what it is, when its turn comes.
    fn confirm(&mut self, name: Arc<str>) {
        self.confirmations.add(name);
        self.go_on_confirming();
    }

    fn go_on_confirming(&mut self) {
        while let Some(name) = self.confirmations.next() {
            let subject = HealthSubject::new(&self.context, name.clone());
            self.read_once(subject, None, Ended::Confirmed(name));
        }
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended::Watch(name, end)) => self.watch_ended(name, end),
            Ok(Ended::Audit) => self.audits.ended(),
            Ok(Ended::Confirmed(name)) => {
                self.confirmations.ended(&name);
                self.go_on_confirming();
            }
            Ok(Ended::Other) => {}
            Err(error) => {
                self.confirmations.failed(); // it may have been one of these
                self.go_on_confirming();
                tracing::error!(%error, "a task of the consul source failed");
            }
        }
    }
}
