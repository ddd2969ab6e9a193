//! The scheduler: one queue of what is to happen, by virtual time and then in the order in which it was caused. It moves
//! the clock (tokio's, paused), hands each event to whom it concerns, and checks the rules after it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::catalog::probe::Answered;
use xds_bridge::model::{Drains, Network};
use xds_bridge::xds::{Request, Response};

use crate::bridge::{Bridge, Disk, network};
use crate::client::Client;
use crate::contents::Library;
use crate::dice::Dice;
use crate::etcd::Etcd;
use crate::faults::Fault;
use crate::history::{History, Setup};
use crate::reader::{Answer, Ask};
use crate::rules::Broken;
use crate::servers::Servers;

/// What is to happen.
#[derive(Debug)]
pub(crate) enum Happens {
    /// The timer of a bridge's hub.
    Hub { bridge: u8, life: u32 },
    /// The timer of a stream.
    Stream { bridge: u8, life: u32, stream: u64 },
    /// A request arrives at a bridge.
    Request {
        bridge: u8,
        life: u32,
        stream: u64,
        request: Box<Request>,
    },
    /// A response arrives at a client.
    Response {
        bridge: u8,
        stream: u64,
        sent: Duration,
        response: Box<Response>,
    },
    /// A client connects.
    Connect { client: u8 },
    /// A bridge notices that a stream is over.
    Ended { bridge: u8, life: u32, stream: u64 },
    /// A client has waited for endpoints or routes for long.
    Impatient { client: u8, stream: u64 },
    /// A reader begins.
    Begin { bridge: u8, life: u32 },
    /// The registry gets a question.
    Asked {
        bridge: u8,
        life: u32,
        attempt: u32,
        ask: Ask,
    },
    /// A reader gets an answer.
    Answered {
        bridge: u8,
        life: u32,
        attempt: u32,
        answer: Box<Answer>,
    },
    /// A reader finds out that its watch is dead.
    Silent { bridge: u8, life: u32, attempt: u32 },
    /// A probe is over.
    Probed {
        bridge: u8,
        life: u32,
        answered: Answered,
    },
    /// The operator's word reaches a bridge.
    Drains { bridge: u8 },
}

/// One entry of the queue.
struct Entry {
    at: Duration,
    nth: u64,
    what: Happens,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.nth) == (other.at, other.nth)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.nth).cmp(&(other.at, other.nth))
    }
}

/// A client and its connection.
pub(crate) struct Peer {
    pub(crate) client: Client,
    /// Where it connects to.
    pub(crate) bridge: u8,
    /// The stream that it has; `None`: it is not connected.
    pub(crate) stream: Option<u64>,
    pub(crate) frozen_until: Duration,
    pub(crate) slow_until: Duration,
    /// Since when nothing has disturbed it.
    pub(crate) calm_since: Duration,
    /// When what was sent last arrives, each way: a connection keeps the order.
    pub(crate) arrives: (Duration, Duration),
}

pub(crate) struct World {
    pub(crate) now: Duration,
    queue: BinaryHeap<Reverse<Entry>>,
    nth: u64,
    pub(crate) events: u64,
    pub(crate) dice: Dice,
    pub(crate) setup: Setup,
    pub(crate) network: Arc<Network>,
    pub(crate) etcd: Etcd,
    pub(crate) servers: Servers,
    pub(crate) bridges: Vec<Bridge>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) drains: Drains,
    pub(crate) library: Library,
    pub(crate) last_stream: u64,
    /// Services whose routes are compared with what was before.
    pub(crate) routes: crate::others::Others,
    /// Until then instances may be without requests since an operator said so.
    pub(crate) drained_until: Duration,
    /// A sum over all that happened: equal runs have equal ones.
    pub(crate) sum: u64,
    pub(crate) trace: bool,
    /// What is broken on purpose.
    pub(crate) fault: Option<Fault>,
}

/// What came of a run without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) events: u64,
    pub(crate) sum: u64,
    pub(crate) time: Duration,
}

impl World {
    pub(crate) fn new(setup: &Setup, trace: bool, fault: Option<Fault>) -> Self {
        let network = Arc::new(network());
        let mut world = Self {
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            nth: 0,
            events: 0,
            dice: Dice::new(setup.dice),
            setup: setup.clone(),
            network: network.clone(),
            etcd: Etcd::new(),
            servers: Servers::default(),
            bridges: Vec::new(),
            peers: Vec::new(),
            drains: Drains::default(),
            library: Library::default(),
            last_stream: 0,
            routes: crate::others::Others::default(),
            drained_until: Duration::ZERO,
            sum: 0,
            trace,
            fault,
        };
        for bridge in 0..setup.bridges {
            world.bridges.push(Bridge::start(
                &network,
                Disk::default(),
                fault,
                (0, Duration::ZERO),
            ));
            world.after(Duration::ZERO, Happens::Begin { bridge, life: 0 });
        }
        for (number, manner) in (0_u8..).zip(&setup.clients) {
            let mut client = Client::new(number, *manner);
            // Orders, or users.
            let target = if number % 2 == 0 { 1 } else { 4 };
            client.targets.insert(crate::declare::service(target).into());
            world.peers.push(Peer {
                client,
                bridge: number % setup.bridges.max(1),
                stream: None,
                frozen_until: Duration::ZERO,
                slow_until: Duration::ZERO,
                calm_since: Duration::ZERO,
                arrives: (Duration::ZERO, Duration::ZERO),
            });
            world.after(Duration::from_millis(1), Happens::Connect { client: number });
        }
        world
    }

    /// Plays a history to its end.
    pub(crate) async fn play(mut self, history: &History) -> Result<Played, Broken> {
        for (nth, step) in history.steps.iter().enumerate() {
            self.until(self.now + Duration::from_millis(u64::from(step.after)))
                .await?;
            self.say(|| format!("#{nth}: {}", step.what));
            self.events += 1;
            self.act(&step.what).await?;
        }
        Ok(Played {
            events: self.events,
            sum: self.sum,
            time: self.now,
        })
    }

    /// Plays everything that is due by then.
    pub(crate) async fn until(&mut self, then: Duration) -> Result<(), Broken> {
        while let Some(Reverse(entry)) = self.queue.peek() {
            if entry.at > then {
                break;
            }
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            self.pass(entry.at).await;
            self.events += 1;
            self.note(entry.nth ^ u64::from(entry.at.subsec_nanos()));
            self.handle(entry.what)?;
        }
        self.pass(then).await;
        Ok(())
    }

    async fn pass(&mut self, at: Duration) {
        if at > self.now {
            tokio::time::advance(at.saturating_sub(self.now)).await;
            self.now = at;
        }
    }

    pub(crate) fn note(&mut self, what: u64) {
        self.sum = (self.sum.rotate_left(5) ^ what).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12.6} {}", self.now.as_secs_f64(), what());
        }
    }

    /// Something happens after this time.
    pub(crate) fn after(&mut self, delay: Duration, what: Happens) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn at(&mut self, at: Duration, what: Happens) {
        self.nth += 1;
        let (at, nth) = (at.max(self.now), self.nth);
        self.queue.push(Reverse(Entry { at, nth, what }));
    }

    /// A short way through the network.
    pub(crate) fn hop(&mut self) -> Duration {
        Duration::from_micros(100 + self.dice.below(2_000))
    }

    fn handle(&mut self, what: Happens) -> Result<(), Broken> {
        match what {
            Happens::Hub { bridge, life } => {
                let is_meant =
                    self.lives(bridge, life) && self.bridge(bridge).armed.is_some_and(|at| at <= self.now);
                if is_meant { self.pump(bridge) } else { Ok(()) }
            }
            Happens::Stream { bridge, life, stream } => {
                if self.lives(bridge, life) {
                    self.poll(bridge, stream)?;
                }
                Ok(())
            }
            Happens::Request {
                bridge,
                life,
                stream,
                request,
            } => {
                if self.lives(bridge, life) {
                    self.request(bridge, stream, *request)?;
                }
                Ok(())
            }
            Happens::Response {
                bridge,
                stream,
                sent,
                response,
            } => self.response(bridge, stream, sent, response),
            Happens::Connect { client } => {
                self.connect(client);
                Ok(())
            }
            Happens::Ended { bridge, life, stream } => {
                if self.lives(bridge, life) {
                    self.ended(bridge, stream);
                }
                Ok(())
            }
            Happens::Impatient { client, stream } => self.impatient(client, stream),
            Happens::Begin { bridge, life } => {
                if self.lives(bridge, life) {
                    self.begin(bridge);
                }
                Ok(())
            }
            Happens::Asked {
                bridge,
                life,
                attempt,
                ask,
            } => {
                if self.attempts(bridge, life, attempt) {
                    self.registry_asked(bridge, attempt, ask);
                }
                Ok(())
            }
            Happens::Answered {
                bridge,
                life,
                attempt,
                answer,
            } => {
                if self.attempts(bridge, life, attempt) {
                    self.registry_answered(bridge, *answer)?;
                }
                Ok(())
            }
            Happens::Silent {
                bridge,
                life,
                attempt,
            } => {
                if self.attempts(bridge, life, attempt) {
                    self.say(|| format!("bridge {bridge}: its watch is dead"));
                    self.begin(bridge);
                }
                Ok(())
            }
            Happens::Probed {
                bridge,
                life,
                answered,
            } => {
                if self.lives(bridge, life) {
                    self.probed(bridge, &answered)?;
                }
                Ok(())
            }
            Happens::Drains { bridge } if self.fault == Some(Fault::DrainLost) && bridge > 0 => Ok(()),
            Happens::Drains { bridge } => {
                let drains = self.drains.clone();
                self.bridge_mut(bridge).drain(drains);
                self.pump(bridge)
            }
        }
    }

    pub(crate) fn bridge(&self, bridge: u8) -> &Bridge {
        &self.bridges[usize::from(bridge)]
    }

    pub(crate) fn bridge_mut(&mut self, bridge: u8) -> &mut Bridge {
        &mut self.bridges[usize::from(bridge)]
    }

    pub(crate) fn peer(&mut self, client: u8) -> &mut Peer {
        &mut self.peers[usize::from(client)]
    }

    fn lives(&self, bridge: u8, life: u32) -> bool {
        self.bridge(bridge).life == life
    }

    fn attempts(&self, bridge: u8, life: u32, attempt: u32) -> bool {
        self.lives(bridge, life) && self.bridge(bridge).reader.attempt == attempt
    }

    /// All numbers of bridges that there are.
    pub(crate) fn all_bridges(&self) -> std::ops::Range<u8> {
        0..self.setup.bridges
    }

    /// Services of which a bridge has read something since it was asked last.
    pub(crate) fn touched(&mut self, bridge: u8) -> BTreeSet<String> {
        std::mem::take(&mut self.bridge_mut(bridge).reader.shadow.touched)
    }
}
