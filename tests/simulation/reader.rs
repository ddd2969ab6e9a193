//! A bridge's source on the model of etcd: lists, watches from the next revision, and begins again after each break, as
//! `source/etcd/session.rs` does with sockets. What it reads is judged by the project's own pure parts: the decoder
//! ([`State`]), which events count ([`news`]), and whether a store is the one it was ([`Origin::continues`]).

use std::time::Duration;

use xds_bridge::config::EtcdPrefix;
use xds_bridge::model::change::What;
use xds_bridge::model::{Change, Status};
use xds_bridge::registry::etcd::{Event, Kv, Origin};
use xds_bridge::source::etcd::{State, news};

use crate::faults::Fault;
use crate::shadow::Shadow;

/// How long after a break it tries again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// How long until a silent watch is found out.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// What is asked of the registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    List,
    Watch(i64),
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Listed(i64, Origin, Vec<Kv>),
    Opened(Origin),
    Compacted,
    Events(Vec<Event>),
    /// Nobody answers.
    Lost,
}

/// What the reader does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// At once.
    Begin,
    /// After [`PAUSE`].
    Retry,
}

#[derive(Debug)]
pub(crate) struct Reader {
    fault: Option<Fault>,
    state: State,
    position: Option<(i64, Origin)>,
    delivered: bool,
    /// The verification request that the listing under way answers.
    asked: u64,
    verified: u64,
    /// Of what is under way; what comes for another one is late.
    pub(crate) attempt: u32,
    /// What the registry sends it next; `None`: nothing is watched.
    pub(crate) watching: Option<i64>,
    pub(crate) shadow: Shadow,
    /// When what was sent last arrives: a watch keeps the order.
    pub(crate) arrives: Duration,
}

impl Reader {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            state: Self::nothing(),
            position: None,
            delivered: false,
            asked: 0,
            verified: 0,
            attempt: 0,
            watching: None,
            shadow: Shadow::default(),
            arrives: Duration::ZERO,
        }
    }

    fn nothing() -> State {
        State::new(&EtcdPrefix::native("/services/"))
    }

    /// Events up to here count for nothing any more: what resuming by a header comes to.
    pub(crate) const fn skip_to(&mut self, revision: i64) {
        if let Some(position) = &mut self.position {
            position.0 = revision;
        }
    }

    /// Begins: what to ask. `asked`: the hub's newest verification request.
    pub(crate) fn begin(&mut self, asked: u64) -> Ask {
        self.attempt += 1;
        self.watching = None;
        match self.position {
            Some((revision, _)) => Ask::Watch(revision + 1),
            None => {
                self.asked = asked;
                Ask::List
            }
        }
    }

    /// Everything is to be read again.
    pub(crate) const fn list_again(&mut self) {
        self.position = None;
    }

    /// What is said to the hub of an answer.
    pub(crate) fn receive(&mut self, answer: Answer, now: Duration) -> (Vec<What>, Next) {
        match answer {
            Answer::Listed(revision, origin, keys) => {
                self.shadow.list(&keys, now);
                if self.fault == Some(Fault::LastGood) {
                    self.state = Self::nothing();
                }
                let mut relisting = self.state.relist(self.delivered);
                for kv in &keys {
                    relisting.put(&self.state, kv);
                }
                let change = relisting.finish(&mut self.state);
                self.delivered = true;
                self.position = Some((revision, origin));
                let mut said = vec![What::Change(change)];
                if std::mem::replace(&mut self.verified, self.asked) < self.asked {
                    said.push(What::Verified(self.asked));
                }
                (said, Next::Begin)
            }
            Answer::Opened(origin) => {
                let Some((revision, before)) = self.position else {
                    return (Vec::new(), Next::Begin);
                };
                if !origin.continues(before) && self.fault != Some(Fault::Restored) {
                    self.position = None;
                    return (Vec::new(), Next::Begin);
                }
                self.position = Some((revision, origin));
                (vec![What::Status(Status::Live)], Next::Nothing)
            }
            Answer::Compacted => {
                self.position = None;
                (Vec::new(), Next::Begin)
            }
            Answer::Events(events) => (self.take(events, now), Next::Nothing),
            Answer::Lost => {
                self.watching = None;
                let reason = "it does not answer".to_owned();
                let mut said = vec![What::Status(Status::Away { reason })];
                if self.fault == Some(Fault::Emptied) && self.delivered {
                    said.push(What::Change(Change::new(Vec::new(), true)));
                }
                (said, Next::Retry)
            }
        }
    }

    fn take(&mut self, events: Vec<Event>, now: Duration) -> Vec<What> {
        let known = self.position.map_or(0, |(revision, _)| revision);
        // The shadow judges by itself: what is older than what is known was there before.
        let fresh: Vec<Event> = events
            .iter()
            .filter(|e| e.mod_revision() > known)
            .cloned()
            .collect();
        self.shadow.apply(&fresh, now);
        let events = if self.fault == Some(Fault::SetBack) {
            events
        } else {
            news(known, events)
        };
        if let (Some(position), Some(last)) =
            (&mut self.position, events.iter().map(Event::mod_revision).max())
        {
            position.0 = position.0.max(last);
        }
        let change: Change = self.state.apply(events);
        if change.services.is_empty() && change.stray.is_none() {
            return Vec::new();
        }
        vec![What::Change(change)]
    }
}
