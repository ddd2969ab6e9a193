//! The owner of a Consul source's state: starts and stops watches, and is the only one
//! that delivers. Believes news of the epoch that holds, and drops the rest: whoever
//! told it confirms it again in the next epoch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::audit::{self, Audit, Thing};
use super::budget::Budget;
use super::circuit::Phase;
use super::follow::{Belief, End, Next, follow, step};
use super::gate;
use super::ledger::Ledger;
use super::link::{Audited, Fact, Link, News};
use super::peering;
use super::slots::Slots;
use super::subject::{DocumentsSubject, HealthSubject, NamesSubject};
use super::sweep::{Swept, sweep};
use super::verdict::Subject;
use crate::model::Status;
use crate::registry::budget::Known;
use crate::registry::weight::SERVICE;
use crate::source::{HubGone, Sink};

#[path = "room.rs"]
mod room;

/// Reads of the audit at once: an agent that is slow is audited more slowly.
const AUDITS: usize = 2;
/// A service that is read in turns may be so many times later than a watched one.
const SWEPT_GRACE: u32 = 6;

/// A task that has ended.
enum Ended {
    Watch(Arc<str>, End),
    Audit,
    Other,
}

pub(super) struct Keeper {
    link: Arc<Link>,
    sink: Sink,
    ledger: Ledger,
    /// What it weighs, beside what is known of other registries.
    known: Known,
    tasks: JoinSet<Ended>,
    watches: HashMap<Arc<str>, Watch>,
    slots: Slots,
    budget: Budget,
    swept: watch::Sender<Swept>,
    audit: Audit,
    audits: usize,
    /// When the next read of the audit is due.
    audit_at: Duration,
    names_index: u64,
    /// What is hidden from the token: what was read last of it, and when the next read is due.
    hidden: Option<(Thing, Duration)>,
    /// What to know of the peering.
    peering: watch::Receiver<Option<String>>,
    /// Changes that watches have missed, to be told.
    missed: u64,
    began: Instant,
    told: Told,
    /// Asked to verify what is held, for the so-many-th time, in this epoch.
    verifying: Option<(u64, u64)>,
}

/// What the hub knows of how the source is.
struct Told {
    status: Status,
    note: Option<String>,
    swept: usize,
}

struct Watch {
    /// Asked between reads: a blocking read is never cancelled, Consul would go on with it.
    wanted: Arc<AtomicBool>,
    slot: usize,
}

impl Watch {
    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

impl Keeper {
    pub(super) fn new(link: Arc<Link>, sink: Sink, max_watches: usize) -> Self {
        let slots = Slots::new(&link.client);
        let budget = Budget::new(max_watches, link.timing.grow);
        let peering = link.peering_note.subscribe();
        let known = link.client.known();
        Self {
            link,
            sink,
            ledger: Ledger::default(),
            known,
            tasks: JoinSet::new(),
            watches: HashMap::new(),
            slots,
            budget,
            swept: watch::Sender::default(),
            audit: Audit::default(),
            audits: 0,
            audit_at: Duration::ZERO,
            names_index: 0,
            hidden: None,
            peering,
            missed: 0,
            began: now(),
            told: Told {
                status: Status::Connecting,
                note: None,
                swept: 0,
            },
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
        let link = self.link.clone();
        let mut turned_away = link.turned_away.subscribe();
        let mut epoch = 0;
        loop {
            let due = self.due();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(news_item) = news.recv() => self.hear(news_item),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Ok(()) = turned_away.changed() => self.turned_away(),
                () = link.was_cut.notified() => {} // counted when all is delivered
                Ok(()) = circuit.changed() => {}
                Ok(()) = self.peering.changed() => {}
                Ok(()) = asked.changed() => {
                    self.verifying = Some((*asked.borrow_and_update(), self.link.circuit.state().epoch));
                    self.link.verify.notify_one();
                }
                () = tokio::time::sleep_until(due) => {}
            }
            while let Ok(more) = news.try_recv() {
                self.hear(more);
            }
            let state = circuit.borrow_and_update().clone();
            if epoch != state.epoch {
                epoch = state.epoch;
                self.audit.forget();
            }
            if let Phase::Live { multiplexed } = state.phase {
                self.budget.transport(multiplexed);
            }
            self.tick(epoch);
            tokio::select! {
                () = stop.cancelled() => break, // the hub may be busy, or not listen any more
                delivered = self.deliver() => delivered?,
            }
        }
        self.tasks.shutdown().await;
        Ok(())
    }

    fn now(&self) -> Duration {
        now() - self.began
    }

    /// When [`Self::tick`] has something to do.
    fn due(&self) -> Instant {
        let hidden = self.hidden.as_ref().map(|(_, at)| *at);
        let dues = [Some(self.audit_at), self.audit.due(), self.budget.due(), hidden];
        self.began + dues.into_iter().flatten().min().unwrap_or(self.audit_at)
    }

    /// What is done because of the time.
    fn tick(&mut self, epoch: u64) {
        let now = self.now();
        for thing in self.audit.missed(now) {
            let what = thing.as_deref().unwrap_or("the names of services");
            tracing::warn!(source = %self.link.source, what, "a watch has missed a change; it is known now");
            self.missed += 1;
        }
        if self.budget.may_add(now) {
            self.fill();
        }
        self.look_at_hidden(now, epoch);
        if now >= self.audit_at {
            let timing = self.link.timing;
            self.audit_at = now + audit::pace(self.ledger.services(), timing.audit, timing.audit_pace);
            if self.link.circuit.holds(epoch) && self.ledger.current(epoch) && self.audits < AUDITS {
                self.audits += 1;
                let ledger = &self.ledger;
                match self.audit.next(|last| ledger.after(last)) {
                    Some(name) => {
                        let index = self.ledger.index(epoch, &name);
                        self.read_once(
                            HealthSubject::new(&self.link, name),
                            Some(Audited { epoch, index }),
                        );
                    }
                    None => {
                        let index = self.names_index;
                        self.read_once(NamesSubject::new(&self.link), Some(Audited { epoch, index }));
                    }
                }
            }
        }
    }

    fn start_fixed(&mut self) {
        let link = self.link.clone();
        self.tasks.spawn(async move {
            gate::keep(&link).await;
            Ended::Other
        });
        let link = self.link.clone();
        self.tasks.spawn(async move {
            peering::keep(&link).await;
            Ended::Other
        });
        let (link, client) = (self.link.clone(), self.slots.fixed());
        self.tasks.spawn(async move {
            follow(&link, &client, NamesSubject::new(&link), || true).await;
            Ended::Other
        });
        let (link, client) = (self.link.clone(), self.slots.fixed());
        self.tasks.spawn(async move {
            follow(&link, &client, DocumentsSubject::new(&link), || true).await;
            Ended::Other
        });
        let (link, client, swept) = (self.link.clone(), self.slots.fixed(), self.swept.subscribe());
        self.tasks.spawn(async move {
            sweep(&link, &client, swept).await;
            Ended::Other
        });
    }

    fn hear(&mut self, news: News) {
        if !self.link.circuit.holds(news.epoch) {
            return;
        }
        if let Some(known) = news.audit {
            if known.epoch != news.epoch {
                return;
            }
            self.compare(&news, known.index);
        }
        let watched = news.audit.is_none();
        let most = self.known.most();
        let room = |weight: usize| most.saturating_sub(weight);
        self.link
            .known
            .bound(room(self.ledger.services().saturating_mul(SERVICE)));
        match news.fact {
            Fact::Names(names) => {
                if news.index < self.names_index && !watched {
                    return;
                }
                self.names_index = news.index;
                if watched {
                    self.audit.heard(&None, news.index);
                }
                let services = room(self.link.known.weight()) / SERVICE;
                let diff = self.ledger.names(news.epoch, names, services);
                for name in diff.started {
                    self.watch(name);
                }
                for name in diff.doubtful {
                    self.read_once(HealthSubject::new(&self.link, name), None);
                }
            }
            Fact::Service { name, found, hidden } => {
                let (epoch, index) = (news.epoch, news.index);
                match hidden {
                    Some(hidden) => self.ledger.hidden(epoch, index, &name, found, hidden),
                    None => self.ledger.service(epoch, index, &name, found),
                }
                if !self.ledger.knows(&name) {
                    self.link.known.forget(&name); // a last read of a service that is forgotten
                }
                if watched {
                    self.audit.heard(&Some(name), news.index);
                }
            }
            Fact::Documents(documents) => self.ledger.documents(news.epoch, documents),
        }
        self.weigh();
    }

    /// What is known of this Consul now.
    fn weigh(&mut self) {
        let services = self.ledger.services().saturating_mul(SERVICE);
        self.known.set(services.saturating_add(self.link.known.weight()));
    }

    /// What the audit read, and what is held.
    fn compare(&mut self, news: &News, known: u64) {
        let (thing, differs, held, grace): (Thing, _, _, _) = match &news.fact {
            Fact::Names(names) => (None, self.ledger.names_differ(names), self.names_index, 1),
            Fact::Service {
                name,
                found: Ok(found),
                hidden: None,
            } => {
                let grace = if self.swept.borrow().contains(name) {
                    SWEPT_GRACE
                } else {
                    1
                };
                let held = self.ledger.index(news.epoch, name);
                (Some(name.clone()), self.ledger.differs(name, found), held, grace)
            }
            _ => return,
        };
        if news.index < known {
            self.link.audit_fell(news.epoch, thing.as_deref(), differs);
        } else if differs && news.index >= held {
            let until = self.now() + self.link.timing.grace * grace;
            self.audit.differed(thing, news.index, until);
        }
    }

    /// A watch where the connections allow for one, a place in the sweep where not.
    fn watch(&mut self, name: Arc<str>) {
        if let Some(watch) = self.watches.get(&name) {
            // Still in its last read; it may have told us already what we did not want to hear then.
            watch.wanted.store(true, Ordering::Release);
            self.read_once(HealthSubject::new(&self.link, name), None);
            return;
        }
        if self.watches.len() >= self.budget.limit() {
            self.swept.send_if_modified(|swept| swept.insert(name));
            return;
        }
        self.start_watch(name);
    }

    fn start_watch(&mut self, name: Arc<str>) {
        let multiplexed = matches!(self.link.circuit.state().phase, Phase::Live { multiplexed: true });
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
            let end = follow(&link, &client, subject, || wanted.load(Ordering::Acquire)).await;
            Ended::Watch(name, end)
        });
    }

    /// Reads something once, by `?consistent`; `audit`: beside its watch, which knows this.
    fn read_once(&mut self, mut subject: impl Subject + 'static, audit: Option<Audited>) {
        let link = self.link.clone();
        self.tasks.spawn(async move {
            let mut belief = Belief::of_audit(audit);
            let mut delays = link.timing.delays();
            loop {
                let permit = link.asides.acquire().await;
                let next = step(&link, None, &mut subject, &mut belief).await;
                drop(permit);
                match next {
                    Next::Again => {}
                    Next::Crowded | Next::Limited if audit.is_none() => {
                        tokio::time::sleep(link.timing.next(&mut delays)).await;
                    }
                    Next::Told
                    | Next::Rest
                    | Next::Later
                    | Next::Crowded
                    | Next::Full
                    | Next::Limited
                    | Next::Hidden => break,
                }
            }
            audit.map_or(Ended::Other, |_| Ended::Audit)
        });
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(Ended::Watch(name, end)) => {
                if let Some(watch) = self.watches.remove(&name) {
                    self.slots.give_back(watch.slot);
                    if end == End::Full {
                        self.slots.full(watch.slot);
                    }
                }
                if !self.ledger.knows(&name) {
                    return;
                }
                if end == End::Crowded {
                    self.swept.send_if_modified(|swept| swept.insert(name));
                } else if !self.swept.borrow().contains(&name) {
                    self.watch(name); // listed again between the task's last look at `wanted` and now
                }
            }
            Ok(Ended::Audit) => self.audits -= 1,
            Ok(Ended::Other) => {}
            Err(error) => {
                tracing::error!(source = %self.link.source, %error, "a task of the consul source failed");
            }
        }
    }

    async fn deliver(&mut self) -> Result<(), HubGone> {
        let change = self.ledger.take();
        self.forget();
        self.weigh();
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
        if status != self.told.status {
            match &status {
                Status::Away { reason } => {
                    tracing::warn!(source = %self.link.source, reason, "consul is away, or not to be trusted now");
                }
                _ => tracing::info!(source = %self.link.source, status = status.as_str(), "consul source"),
            }
            self.told.status = status.clone();
            self.sink.status(status).await?;
        }
        // Only an epoch that began after the question answers it.
        if let Some((nth, _)) = self
            .verifying
            .take_if(|(_, epoch)| confirmed && state.epoch > *epoch)
        {
            self.sink.verified(nth).await?;
        }
        self.deliver_mode().await
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

#[expect(
    clippy::disallowed_methods,
    reason = "the shell's clock: the pure parts are given the time"
)]
fn now() -> Instant {
    Instant::now()
}
