//! The handle to rollouts, for whoever looks at them, waits for what happens, or gives an order. Orders go to the shared
//! record with a compare, so that any bridge takes them; the one that leads goes on from there.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{facts, settings};
use crate::clock;
use crate::config::Rollouts;
use crate::hub::{self, Versioned};
use crate::intake::Loads;
use crate::rollout::{self, Decision, Event, Facts, Order, Person, Record, Report, Settings};
use crate::state::{Data, If, Leader, Path, State, StateError, Status, StoreError, Unreadable};

/// What has happened lately, for whoever begins to look.
const PAST: usize = 200;
/// What a listener may be behind; it misses the oldest then.
const BEHIND: usize = 256;
/// Kinds of errors that a report has.
const ERRORS: usize = 50;
/// Tries against others that write the same record.
const TRIES: usize = 8;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: State,
    orders: mpsc::Sender<hub::Order>,
    config: watch::Receiver<Arc<Rollouts>>,
    board: Mutex<BTreeMap<Arc<str>, Sight>>,
    notices: broadcast::Sender<Arc<Notice>>,
    past: Mutex<VecDeque<Arc<Notice>>>,
    leads: watch::Sender<bool>,
}

/// One service, as this bridge sees it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What is remembered, on the bridge that leads with what it has decided since it wrote it last.
    pub record: Arc<Record>,
    /// What is seen.
    pub facts: Arc<Facts>,
    /// What holds.
    pub settings: Arc<Settings>,
    /// What is wrong with what the service declares about it.
    pub wrong: Arc<[String]>,
    /// Its versions and their addresses.
    pub versioned: Arc<Versioned>,
}

impl Sight {
    /// The report, with the errors that this bridge's own clients name; `None`: there was no rollout.
    #[must_use]
    pub fn report(&self, service: &Arc<str>, loads: &Loads) -> Option<Report> {
        let version_of = |at: SocketAddr| self.versioned.addresses.get(&at).cloned();
        let errors = loads.errors().lines(service, version_of, ERRORS);
        Report::of(service, &self.record, &self.settings, &self.facts, errors)
    }
}

/// Something that happened, by a decision or an order of this bridge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// Counted by this bridge, from 1.
    pub number: u64,
    /// To which service.
    pub service: Arc<str>,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What has become of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    /// What is remembered now.
    pub record: Arc<Record>,
    /// What happened, a sentence each.
    pub said: Vec<String>,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such service.
    #[error("no service is called `{0}`")]
    Unknown(Arc<str>),
    /// `[rollouts]` says so.
    #[error("rollouts are off on this bridge: set rollouts.enabled = true in bridge.toml")]
    Disabled,
    /// It cannot be carried out now.
    #[error("{0}")]
    Not(String),
    /// Shared state cannot be read now.
    #[error("shared state is away, so nobody knows: {0}; try again")]
    Away(String),
    /// Others changed it again and again.
    #[error("the rollout of `{0}` changes all the time; try again")]
    Busy(Arc<str>),
    /// The way to it.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Desk {
    /// Of these. `orders`: the way to the hub.
    #[must_use]
    pub fn new(
        state: State,
        orders: mpsc::Sender<hub::Order>,
        config: watch::Receiver<Arc<Rollouts>>,
    ) -> Self {
        Self(Arc::new(Inner {
            state,
            orders,
            config,
            board: Mutex::default(),
            notices: broadcast::Sender::new(BEHIND),
            past: Mutex::default(),
            leads: watch::Sender::new(false),
        }))
    }

    /// What happens from now on by this bridge: events of each service are in their order. Who is too slow misses the
    /// oldest.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.notices.subscribe()
    }

    /// What has happened lately, the last of it last.
    #[must_use]
    pub fn past(&self) -> Vec<Arc<Notice>> {
        let past = self.0.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.iter().cloned().collect()
    }

    /// All services that are rolled out.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Arc<str>, Sight> {
        self.board().clone()
    }

    /// One of them.
    #[must_use]
    pub fn one(&self, service: &str) -> Option<Sight> {
        self.board().get(service).cloned()
    }

    /// Why nothing is rolled out on this bridge, and how to change that.
    #[must_use]
    pub fn off(&self) -> Option<Refused> {
        if !self.config().enabled {
            return Some(Refused::Disabled);
        }
        let off = self.state().off().map(str::to_owned);
        off.map(|why| Refused::State(StateError::Off(why)))
    }

    /// Why nothing moves of a service: its record cannot be read.
    #[must_use]
    pub fn unreadable(&self, service: &str) -> Option<Unreadable> {
        self.state()
            .snapshot()
            .documents
            .unreadable_rollout(service)
            .cloned()
    }

    /// Services of which nothing moves because their records cannot be read, and why.
    #[must_use]
    pub fn all_unreadable(&self) -> BTreeMap<Arc<str>, String> {
        let snapshot = self.state().snapshot();
        let services = snapshot.documents.unreadable.iter().filter_map(|document| {
            let Some(Path::Rollout(service)) = Path::parse(&document.key) else {
                return None;
            };
            Some((service, format!("{} {}", document.key, document.why)))
        });
        services.collect()
    }

    /// Which schema each service's data have.
    #[must_use]
    pub fn data(&self) -> BTreeMap<Arc<str>, Data> {
        self.state().snapshot().documents.data.clone()
    }

    /// Whether a service has this name, rolled out or not.
    pub async fn is_known(&self, name: &Arc<str>) -> bool {
        self.one(name).is_some() || self.look(name).await.is_ok()
    }

    /// What is not in shared state is nowhere: it was read, and can be.
    ///
    /// # Errors
    /// Why it may be there nevertheless.
    pub fn is_current(&self) -> Result<(), Refused> {
        if let Some(why) = self.state().off() {
            return Err(Refused::State(StateError::Off(why.to_owned())));
        }
        match &self.state().snapshot().status {
            Status::Live => Ok(()),
            status => Err(Refused::Away(status.to_string())),
        }
    }

    /// Says which schema is stored; answers whether a service has this name. `force`: also when no version of it can read
    /// that, and nobody would get its requests any more.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn set_data(
        &self,
        name: &Arc<str>,
        number: u32,
        by: &str,
        force: bool,
    ) -> Result<bool, Refused> {
        let seen = match self.one(name) {
            Some(seen) => Some(seen),
            None => self.look(name).await.ok(),
        };
        if let Some(seen) = &seen
            && !force
            && !seen.facts.versions.is_empty()
            && !seen
                .facts
                .versions
                .values()
                .any(|version| version.healthy > 0 && version.can_read(number))
        {
            return Err(Refused::Not(format!(
                "no version of `{name}` reads data {number} and has a healthy instance, so nobody would get its requests: \
                 deploy one that does, or say it nevertheless with --force (force=true)"
            )));
        }
        let data = Data {
            number,
            since: clock::unix_millis(),
            by: by.to_owned(),
        };
        self.state().put_data(name, &data).await?;
        tracing::warn!(%name, number, by, "the stored data have another number now");
        Ok(seen.is_some())
    }

    /// The bridge that decides.
    #[must_use]
    pub fn leader(&self) -> Option<Leader> {
        self.state().snapshot().documents.leader.clone()
    }

    /// This bridge decides.
    #[must_use]
    pub fn leads(&self) -> bool {
        *self.0.leads.borrow()
    }

    /// Where records are.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// Carries an order of this person out. `dry_run`: what it starts is judged only.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn order(
        &self,
        service: &Arc<str>,
        order: &Order,
        dry_run: bool,
        by: impl Into<Person>,
    ) -> Result<Carried, Refused> {
        let by = by.into();
        if let Some(off) = self.off() {
            return Err(off);
        }
        for _ in 0..TRIES {
            let stored = self.state().fresh_rollout(service).await?;
            let seen = match self.one(service) {
                Some(seen) => seen,
                None => self.look(service).await?,
            };
            let (before, when) = match &stored {
                Some((record, revision)) => (record.clone(), If::Revision(*revision)),
                None => (Arc::default(), If::Absent),
            };
            let facts = facts::uncounted(&seen.facts, clock::unix_millis());
            // Who serves, of a service that nothing is remembered of.
            let (before, mut events) = if stored.is_none() {
                let first = rollout::decide(&before, &seen.settings, &facts);
                (Arc::new(first.record), first.events)
            } else {
                (before, Vec::new())
            };
            let settings = settings::for_order((*seen.settings).clone(), &before, order, dry_run);
            let decided = rollout::order(&before, &settings, &facts, order, &by);
            let Decision {
                record, events: more, ..
            } = decided.map_err(Refused::Not)?;
            events.extend(more);
            let record = Arc::new(record);
            match self.state().put_rollout(service, &record, when).await {
                Ok(_) => {
                    // Who is notified looks here.
                    let shown = Sight {
                        record: record.clone(),
                        ..seen
                    };
                    self.show(service, Some(shown));
                    let said = events.iter().map(|event| event.text.clone()).collect();
                    self.note(service, events);
                    return Ok(Carried { record, said });
                }
                Err(StateError::Store(StoreError::Changed { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Busy(service.clone()))
    }

    /// A service that nobody wanted rolled out until now.
    async fn look(&self, service: &Arc<str>) -> Result<Sight, Refused> {
        let (reply, answer) = oneshot::channel();
        let name = service.clone();
        let sent = self
            .0
            .orders
            .send(hub::Order::Versions { service: name, reply })
            .await;
        let found: Option<Versioned> = answer.await.ok().filter(|_| sent.is_ok()).flatten();
        let Some(versioned) = found.filter(|found| !found.versions.is_empty()) else {
            return Err(Refused::Unknown(service.clone()));
        };
        let (settings, wrong) = settings::of(&self.config(), service, &versioned, None);
        let now = clock::unix_millis();
        let data = self.data().get(service).map(|data| data.number);
        let facts = Facts {
            now,
            versions: facts::versions(&versioned, &mut BTreeMap::new(), now),
            data,
            ..Facts::default()
        };
        Ok(Sight {
            record: Arc::default(),
            facts: Arc::new(facts),
            settings: Arc::new(settings),
            wrong: wrong.into(),
            versioned: Arc::new(versioned),
        })
    }

    pub(super) fn config(&self) -> Arc<Rollouts> {
        self.0.config.borrow().clone()
    }

    pub(super) fn follow_config(&self) -> watch::Receiver<Arc<Rollouts>> {
        self.0.config.clone()
    }

    pub(super) fn set_leads(&self, leads: bool) {
        self.0.leads.send_replace(leads);
    }

    /// What this bridge sees of a service now; `None`: it is not rolled out any more.
    pub(super) fn show(&self, service: &Arc<str>, seen: Option<Sight>) {
        match seen {
            Some(seen) => drop(self.board().insert(service.clone(), seen)),
            None => drop(self.board().remove(service)),
        }
    }

    /// Logs what happened, and hands it on.
    pub(super) fn note(&self, service: &Arc<str>, events: Vec<Event>) {
        let mut past = self.0.past.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            tracing::info!(%service, version = &*event.version, dry_run = event.dry_run, "rollout: {}", event.text);
            let number = past.back().map_or(0, |last| last.number) + 1;
            let notice = Arc::new(Notice {
                number,
                service: service.clone(),
                event,
            });
            if past.len() >= PAST {
                past.pop_front();
            }
            past.push_back(notice.clone());
            // Nobody may listen.
            let _ = self.0.notices.send(notice);
        }
    }

    fn board(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Sight>> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
