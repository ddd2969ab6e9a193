//! The owner of a Consul source's state: starts and stops watches, and is the only one
//! that delivers. Believes news of the epoch that holds, and drops the rest: whoever
//! told it confirms it again in the next epoch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::circuit::Phase;
use super::follow::{Belief, Next, follow, step};
use super::ledger::Ledger;
use super::link::{Fact, Link, News};
use super::slots::Slots;
use super::subject::{DocumentsSubject, HealthSubject, NamesSubject};
use super::sweep::{Swept, sweep};
use super::{gate, slots};
use crate::model::Status;
use crate::source::{HubGone, Sink};

/// Name of a watch that has ended; `None`: any other task.
type Ended = Option<Arc<str>>;

pub(super) struct Keeper {
    link: Arc<Link>,
    sink: Sink,
    ledger: Ledger,
    tasks: JoinSet<Ended>,
    watches: HashMap<Arc<str>, Watch>,
    slots: Slots,
    swept: watch::Sender<Swept>,
    status: Status,
    warned: bool,
    /// Asked to verify what is held, for the so-many-th time, in this epoch.
    verifying: Option<(u64, u64)>,
}

struct Watch {
    /// Asked between reads: a blocking read is never cancelled, Consul would go on with it.
    wanted: Arc<AtomicBool>,
    slot: usize,
}

impl Keeper {
    pub(super) fn new(link: Arc<Link>, sink: Sink) -> Self {
        let slots = Slots::new(link.client.clone());
        Self {
            link,
            sink,
            ledger: Ledger::default(),
            tasks: JoinSet::new(),
            watches: HashMap::new(),
            slots,
            swept: watch::Sender::default(),
            status: Status::Connecting,
            warned: false,
            verifying: None,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(
        mut self,
        mut news: mpsc::Receiver<News>,
        stop: &CancellationToken,
    ) -> Result<(), HubGone> {
        self.start_fixed();
        let mut circuit = self.link.circuit.subscribe();
        let mut asked = self.sink.asked();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(news_item) = news.recv() => self.hear(news_item),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Ok(()) = circuit.changed() => {}
                Ok(()) = asked.changed() => {
                    self.verifying = Some((*asked.borrow_and_update(), self.link.circuit.state().epoch));
                    self.link.verify.notify_one();
                }
            }
            while let Ok(more) = news.try_recv() {
                self.hear(more);
            }
            circuit.mark_unchanged();
            tokio::select! {
                () = stop.cancelled() => break, // the hub may be busy, or not listen any more
                delivered = self.deliver() => delivered?,
            }
        }
        self.tasks.shutdown().await;
        Ok(())
    }

    fn start_fixed(&mut self) {
        let link = self.link.clone();
        self.tasks.spawn(async move {
            gate::keep(&link).await;
            None
        });
        let link = self.link.clone();
        self.tasks.spawn(async move {
            follow(&link, &link.client, NamesSubject::new(&link), || true).await;
            None
        });
        let link = self.link.clone();
        self.tasks.spawn(async move {
            follow(&link, &link.client, DocumentsSubject::new(&link), || true).await;
            None
        });
        let (link, swept) = (self.link.clone(), self.swept.subscribe());
        self.tasks.spawn(async move {
            sweep(&link, swept).await;
            None
        });
    }

    fn hear(&mut self, news: News) {
        if !self.link.circuit.holds(news.epoch) {
            return;
        }
        match news.fact {
            Fact::Names(names) => {
                let diff = self.ledger.names(news.epoch, names);
                for name in diff.started {
                    self.watch(name);
                }
                for name in diff.doubtful {
                    self.look(name);
                }
            }
            Fact::Service { name, found } => self.ledger.service(news.epoch, news.index, &name, found),
            Fact::Documents(documents) => self.ledger.documents(news.epoch, documents),
        }
    }

    /// A watch where the connections allow for one, a place in the sweep where not.
    fn watch(&mut self, name: Arc<str>) {
        if let Some(watch) = self.watches.get(&name) {
            // Still in its last read; it may have told us already what we did not want to hear then.
            watch.wanted.store(true, Ordering::Release);
            self.look(name);
            return;
        }
        let multiplexed = matches!(self.link.circuit.state().phase, Phase::Live { multiplexed: true });
        if !multiplexed && self.watches.len() >= slots::PLAIN_WATCHES {
            if !std::mem::replace(&mut self.warned, true) {
                tracing::warn!(
                    source = %self.link.source,
                    watched = slots::PLAIN_WATCHES,
                    "more services than connections that the agent allows one client; the others are read in \
                     sweeps, seconds late: use https (HTTP/2 needs one connection for 200 services), or run \
                     fewer services per bridge"
                );
            }
            self.swept.send_if_modified(|swept| swept.insert(name.clone()));
            self.look(name);
            return;
        }
        let (slot, client) = self.slots.take(multiplexed);
        let wanted = Arc::new(AtomicBool::new(true));
        self.watches.insert(
            name.clone(),
            Watch {
                wanted: wanted.clone(),
                slot,
            },
        );
        let link = self.link.clone();
        self.tasks.spawn(async move {
            let subject = HealthSubject::new(&link, name.clone());
            follow(&link, &client, subject, || wanted.load(Ordering::Acquire)).await;
            Some(name)
        });
    }

    /// Reads one service once, by `?consistent`.
    fn look(&mut self, name: Arc<str>) {
        let link = self.link.clone();
        self.tasks.spawn(async move {
            let _permit = link.asides.acquire().await;
            let (mut subject, mut belief) = (HealthSubject::new(&link, name), Belief::default());
            while step(&link, &link.client, &mut subject, &mut belief, false).await == Next::Again {}
            None
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Some(name)) => {
                if let Some(watch) = self.watches.remove(&name) {
                    self.slots.give_back(watch.slot);
                }
                // Listed again between the task's last look at `wanted` and now; else a swept one moves up.
                let next = if self.ledger.knows(&name) {
                    Some(name)
                } else {
                    self.swept.borrow().first().cloned()
                };
                if let Some(next) = next {
                    self.swept.send_if_modified(|swept| swept.remove(&next));
                    self.watch(next);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(source = %self.link.source, %error, "a task of the consul source failed");
            }
        }
    }

    async fn deliver(&mut self) -> Result<(), HubGone> {
        let change = self.ledger.take();
        self.forget();
        if let Some(change) = change {
            for (name, record) in &change.services {
                tracing::debug!(source = %self.link.source, service = %name, gone = record.is_none(), "changed");
            }
            self.sink.change(change).await?;
        }
        let state = self.link.circuit.state();
        let confirmed = self.ledger.started() && self.ledger.current(state.epoch);
        let status = match state.phase {
            Phase::Suspect { reason } => Status::Away { reason },
            Phase::Live { .. } if confirmed => Status::Live,
            Phase::Starting | Phase::Live { .. } => return Ok(()),
        };
        if status != self.status {
            match &status {
                Status::Away { reason } => {
                    tracing::warn!(source = %self.link.source, reason, "consul is away, or not to be trusted now");
                }
                _ => tracing::info!(source = %self.link.source, status = status.as_str(), "consul source"),
            }
            self.status = status.clone();
            self.sink.status(status).await?;
        }
        // Only an epoch that began after the question answers it.
        if let Some((nth, _)) = self
            .verifying
            .take_if(|(_, epoch)| confirmed && state.epoch > *epoch)
        {
            self.sink.verified(nth).await?;
        }
        Ok(())
    }

    /// Lets the watches of services end that the ledger no longer knows.
    fn forget(&mut self) {
        for name in self.ledger.forgotten() {
            self.link.known.forget(&name);
            if let Some(watch) = self.watches.get(&name) {
                watch.wanted.store(false, Ordering::Release);
            }
            self.swept.send_if_modified(|swept| swept.remove(&name));
        }
    }
}
