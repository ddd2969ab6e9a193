//! The way between the registry and the bridges: questions, answers, watches, and what the network does to them.

use std::time::Duration;

use xds_bridge::catalog::probe::{Answer as Probe, Answered};
use xds_bridge::registry::etcd::Event;

use crate::faults::Fault;
use crate::reader::{Answer, Ask, Next, PAUSE, SILENCE};
use crate::rules::Broken;
use crate::world::{Happens, World};

/// A question that nobody answers is given up after this time.
const DEADLINE: Duration = Duration::from_secs(5);

impl World {
    /// A reader begins, or begins again.
    pub(crate) fn begin(&mut self, bridge: u8) {
        let hop = self.hop();
        let asked = self.bridge_mut(bridge).asked();
        let of = self.bridge_mut(bridge);
        let ask = of.reader.begin(asked);
        let (attempt, life) = (of.reader.attempt, of.life);
        self.after(
            hop,
            Happens::Asked {
                bridge,
                life,
                attempt,
                ask,
            },
        );
    }

    /// The registry gets a question.
    pub(crate) fn registry_asked(&mut self, bridge: u8, attempt: u32, ask: Ask) {
        let hop = self.hop();
        let now = self.now;
        let of = self.bridge(bridge);
        let life = of.life;
        if now < of.away_until || now < of.mute_until {
            let answer = Box::new(Answer::Lost);
            return self.after(
                DEADLINE,
                Happens::Answered {
                    bridge,
                    life,
                    attempt,
                    answer,
                },
            );
        }
        let answer = match ask {
            Ask::List => {
                let (revision, keys) = self.etcd.list();
                Answer::Listed(revision, self.etcd.origin(), keys)
            }
            Ask::Watch(from) => match self.etcd.since(from) {
                None if self.fault == Some(Fault::Compacted) => {
                    self.bridge_mut(bridge).reader.watching = Some(self.etcd.revision() + 1);
                    Answer::Opened(self.etcd.origin())
                }
                None => Answer::Compacted,
                Some(_) => {
                    self.bridge_mut(bridge).reader.watching = Some(from);
                    Answer::Opened(self.etcd.origin())
                }
            },
        };
        let opened = matches!(answer, Answer::Opened(_));
        if opened && self.fault == Some(Fault::Header) {
            let revision = self.etcd.revision();
            self.bridge_mut(bridge).reader.skip_to(revision);
        }
        self.answer(bridge, hop, answer);
        if opened {
            self.send_events(bridge);
        }
    }

    fn answer(&mut self, bridge: u8, hop: Duration, answer: Answer) {
        let of = self.bridge(bridge);
        let (life, attempt) = (of.life, of.reader.attempt);
        // A watch keeps the order.
        let at = (self.now + hop).max(of.reader.arrives);
        self.bridge_mut(bridge).reader.arrives = at;
        let answer = Box::new(answer);
        self.at(
            at,
            Happens::Answered {
                bridge,
                life,
                attempt,
                answer,
            },
        );
    }

    /// The registry has changed: watches are sent what they miss.
    pub(crate) fn changed(&mut self) {
        for bridge in self.all_bridges() {
            self.send_events(bridge);
        }
    }

    fn send_events(&mut self, bridge: u8) {
        let of = self.bridge(bridge);
        let Some(from) = of.reader.watching else { return };
        if self.now < of.away_until || self.now < of.mute_until {
            return; // it catches up once its watch is opened again
        }
        let Some(events) = self.etcd.since(from) else {
            // A watch that lags behind a compaction is ended by etcd.
            self.bridge_mut(bridge).reader.watching = None;
            let hop = self.hop();
            return self.answer(bridge, hop, Answer::Compacted);
        };
        if events.is_empty() {
            return;
        }
        let last = events.iter().map(Event::mod_revision).max().unwrap_or(from);
        self.bridge_mut(bridge).reader.watching = Some(last + 1);
        let hop = self.hop();
        // As etcd may cut them: each transaction is whole.
        let mut part: Vec<Event> = Vec::new();
        for event in events {
            let is_next = part
                .last()
                .is_some_and(|before| before.mod_revision() != event.mod_revision());
            if is_next && self.dice.is(30) {
                let sent = Answer::Events(std::mem::take(&mut part));
                self.answer(bridge, hop, sent);
            }
            part.push(event);
        }
        self.answer(bridge, hop, Answer::Events(part));
    }

    /// A watch repeats its last events: its member took a snapshot from the leader.
    pub(crate) fn set_back(&mut self, bridge: u8, events: usize) {
        let of = self.bridge(bridge);
        let has_all = of.reader.watching == Some(self.etcd.revision() + 1);
        if !has_all || self.now < of.away_until || self.now < of.mute_until {
            return;
        }
        let again = self.etcd.last(events);
        if !again.is_empty() {
            let hop = self.hop();
            self.answer(bridge, hop, Answer::Events(again));
        }
    }

    /// All watches are of a store that is no more: silent, until that is noticed.
    pub(crate) fn restored(&mut self) {
        for bridge in self.all_bridges() {
            self.bridge_mut(bridge).reader.watching = None;
            self.silence(bridge, SILENCE / 2);
        }
    }

    /// A watch that brings nothing is found out after this time.
    pub(crate) fn silence(&mut self, bridge: u8, after: Duration) {
        let of = self.bridge(bridge);
        let (life, attempt) = (of.life, of.reader.attempt);
        self.after(
            after,
            Happens::Silent {
                bridge,
                life,
                attempt,
            },
        );
    }

    /// The connection breaks, and is noticed.
    pub(crate) fn lose(&mut self, bridge: u8) {
        self.bridge_mut(bridge).reader.watching = None;
        let hop = self.hop();
        self.answer(bridge, hop, Answer::Lost);
    }

    /// A reader gets an answer.
    pub(crate) fn registry_answered(&mut self, bridge: u8, answer: Answer) -> Result<(), Broken> {
        let now = self.now;
        let of = self.bridge(bridge);
        if now < of.mute_until && !matches!(answer, Answer::Lost) {
            // TCP brings it later, in its order, unless the silence is noticed before.
            let (at, life, attempt) = (of.mute_until, of.life, of.reader.attempt);
            let answer = Box::new(answer);
            self.at(
                at,
                Happens::Answered {
                    bridge,
                    life,
                    attempt,
                    answer,
                },
            );
            return Ok(());
        }
        self.say(|| format!("bridge {bridge} reads {}", words(&answer)));
        let (said, next) = self.bridge_mut(bridge).reader.receive(answer, now);
        let touched = self.touched(bridge);
        let of = self.bridge_mut(bridge);
        let shadow = &of.reader.shadow;
        // Who has it now, or moved, is no longer withheld.
        of.guarded.retain(|place, (_, id)| {
            let moved = id.as_ref().is_some_and(|id| shadow.has_id(&place.0, id));
            !moved && !shadow.knows(place)
        });
        self.routes.touched(bridge, touched, now);
        for what in said {
            self.bridge_mut(bridge).tell(what);
        }
        match next {
            Next::Nothing => {}
            Next::Begin => self.begin(bridge),
            Next::Retry => {
                let life = self.bridge(bridge).life;
                self.after(PAUSE, Happens::Begin { bridge, life });
            }
        }
        self.pump(bridge)
    }

    /// A probe of a withheld instance is over.
    pub(crate) fn probed(&mut self, bridge: u8, answered: &Answered) -> Result<(), Broken> {
        if answered.answer == Probe::Refused {
            let at = answered.question.address;
            self.bridge_mut(bridge)
                .guarded
                .retain(|(_, place), _| *place != at);
        }
        self.bridge_mut(bridge).answer(answered);
        self.pump(bridge)
    }

    /// What comes of connecting to a server.
    pub(crate) fn connect_to(&mut self, at: std::net::SocketAddr) -> (Duration, Probe) {
        let hop = self.hop();
        if self.dice.is(3) {
            (Duration::from_secs(1), Probe::Silent)
        } else if self.servers.listens(at) {
            (hop, Probe::Accepted)
        } else {
            (hop, Probe::Refused)
        }
    }
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Listed(revision, _, keys) => format!("{} keys at {revision}", keys.len()),
        Answer::Opened(_) => "that its watch stands".to_owned(),
        Answer::Compacted => "that what it asks for is compacted".to_owned(),
        Answer::Events(events) => {
            let one = |event: &Event| match event {
                Event::Put(kv) => format!("{} +{}", kv.mod_revision, String::from_utf8_lossy(&kv.key)),
                Event::Delete { key, mod_revision } => {
                    format!("{mod_revision} -{}", String::from_utf8_lossy(key))
                }
            };
            events.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Answer::Lost => "nothing: it is away".to_owned(),
    }
}
