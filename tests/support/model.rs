//! Clients that behave like Envoy and like gRPC's own, on a simulated connection to the
//! stream core, and what must hold at each step. One sequence of bytes is one history,
//! so that property tests and the fuzzer share it.
//!
//! Names and contents are few, so that histories meet often. Content decides what a
//! resource needs, who sees it and who refuses it: equal bytes mean the same.

#![allow(unreachable_pub, dead_code, reason = "compiled into each test on its own")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise ends the history"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xds_bridge::xds::{
    Changed, DeltaRequest, Generation, Handled, Index, Kind, Limits, Names, Node, PerKind, Reach, Refusal,
    Response, SotwRequest, Stream, Update, Variant,
};

use super::client::{Client, Habit};
pub use super::contents::{NAMES, content, draft, is_bad, needs};

/// What a quiet client waits for at most.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Nobody says so much about so little.
const TALKATIVE: usize = 3_000;

/// The server, its clients, and the time.
pub struct World {
    pub names: Names,
    pub index: Index,
    pub generation: Generation,
    pub now: Duration,
    pub limits: Limits,
    clients: Vec<Client>,
    /// While names are being forgotten: clients whose streams were not asked yet.
    asking: Option<BTreeSet<usize>>,
    trace: bool,
}

/// What one step of a history says, taken from bytes.
struct Tape<'b>(&'b [u8]);

impl Tape<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn kind(&mut self) -> Kind {
        Kind::ALL[usize::from(self.byte()) % 4]
    }

    fn name(&mut self) -> &'static str {
        NAMES[usize::from(self.byte()) % NAMES.len()]
    }

    /// Some names; `z` never exists.
    fn list(&mut self) -> Vec<String> {
        let bits = self.byte();
        let mut list: Vec<String> = Vec::new();
        for (at, name) in ["a", "b", "c", "d", "z", "*"].iter().enumerate() {
            if bits & (1 << at) != 0 {
                list.push((*name).to_owned());
            }
        }
        list
    }
}

/// Plays a history to its end and checks every promise.
pub fn play(bytes: &[u8]) {
    let mut tape = Tape(bytes);
    let setup = tape.byte();
    let limits = Limits {
        response_bytes: if setup & 1 == 0 { 3_500_000 } else { 250 },
        ..Limits::default()
    };
    let mut world = World::new(limits, setup >> 1);
    while !tape.0.is_empty() {
        world.step(&mut tape);
        world.listen();
    }
    world.settle();
    world.end();
}

impl World {
    pub fn new(limits: Limits, setup: u8) -> Self {
        let habits = [
            Habit::EnvoyDelta,
            Habit::EnvoySotw,
            Habit::GrpcSotw,
            Habit::GrpcDelta,
        ];
        let mut world = Self {
            names: Names::default(),
            index: Index::default(),
            generation: Generation::default(),
            now: Duration::ZERO,
            limits,
            clients: Vec::new(),
            asking: None,
            trace: std::env::var_os("XDS_TRACE").is_some(),
        };
        for id in 0..2 {
            let habit = habits[usize::from(setup >> (2 * id)) % 4];
            world.clients.push(Client::new(id, habit, limits));
        }
        world
    }

    fn step(&mut self, tape: &mut Tape) {
        let op = tape.byte();
        let who = usize::from(op >> 4) % self.clients.len();
        match op & 15 {
            0..=3 => self.publish(tape),
            4 | 5 => drop(self.read(who)),
            6 => {
                while self.read(who) {
                    self.listen();
                }
            }
            7 | 8 => {
                let (kind, list) = (tape.kind(), tape.list());
                self.say(&format!("{who} subscribes {} {list:?}", kind.short()));
                self.with(who, |c| c.subscribe(kind, list));
            }
            9 => {
                let (kind, list) = (tape.kind(), tape.list());
                self.say(&format!("{who} unsubscribes {} {list:?}", kind.short()));
                self.with(who, |c| c.unsubscribe(kind, &list));
            }
            10 => {
                let kind = tape.kind();
                self.say(&format!("{who} stale {}", kind.short()));
                self.with(who, |c| c.stale(kind));
            }
            11 => {
                self.say(&format!("{who} will refuse"));
                self.clients[who].refuse_next = true;
            }
            12 => {
                let how = tape.byte();
                self.say(&format!("{who} reconnects {how}"));
                self.leave(who);
                let limits = self.limits;
                let now = self.now;
                let requests = self.clients[who].reconnect(how, limits, now);
                for request in requests {
                    self.hear(who, request);
                    self.listen();
                }
            }
            13 => {
                let seconds = [1, 4, 11, 30][usize::from(tape.byte()) % 4];
                self.say(&format!("{seconds} s go by"));
                self.now += Duration::from_secs(seconds);
                for client in &mut self.clients {
                    client.hurried = true; // a gate may have opened by time alone
                }
            }
            14 => {
                let (kind, list) = (tape.kind(), tape.list());
                self.say(&format!("{who} subscribes anew {} {list:?}", kind.short()));
                self.with(who, |c| c.anew(kind, list));
            }
            _ => {
                // The usual beginning of an Envoy.
                self.say(&format!("{who} asks for everything"));
                for kind in Kind::ALL {
                    let wildcard = kind.legacy_wildcard();
                    let list = if wildcard { vec!["*"] } else { NAMES.to_vec() };
                    let list = list.into_iter().map(str::to_owned).collect();
                    self.with(who, |c| c.subscribe(kind, list));
                    self.listen();
                }
            }
        }
    }

    fn publish(&mut self, tape: &mut Tape) {
        let how = tape.byte();
        let mut updates = Vec::new();
        for _ in 0..=(how & 3) {
            let (kind, name, content) = (tape.kind(), tape.name(), tape.byte());
            if content & 0xc0 == 0xc0 {
                updates.push(Update::Remove(kind, name.into()));
            } else {
                updates.push(Update::Put(draft(kind, name, content & 15)));
            }
        }
        for update in &updates {
            match update {
                Update::Put(d) => {
                    if d.reach != Reach::All {
                        self.vanishes(d.kind, &d.name);
                    }
                    self.say(&format!(
                        "put {} {}",
                        d.kind.short(),
                        std::str::from_utf8(&d.body).unwrap()
                    ));
                }
                Update::Remove(kind, name) => {
                    self.say(&format!("del {} {name}", kind.short()));
                    self.vanishes(*kind, name);
                }
                Update::PutFor(..) | Update::RemoveFor(..) => {}
            }
        }
        self.forget(how >> 2);
        self.change(&updates);
    }

    /// As the fan-out does it, but each time, and not with all streams at once. `free`: bits of the clients
    /// that are not busy.
    fn forget(&mut self, free: u8) {
        if self.asking.is_none() {
            let index = &self.index;
            self.names
                .begin_sweep(&self.generation.used(), |id| index.is_named(id));
            self.asking = Some((0..self.clients.len()).collect());
        }
        for who in (0..self.clients.len()).filter(|who| free & (1 << who) != 0) {
            if !self.asking.as_ref().unwrap().contains(&who) {
                continue;
            }
            let client = &mut self.clients[who];
            let kept = client.stream.still_needs(self.names.leaving());
            let over = self.names.leaving() - &kept;
            for kind in Kind::ALL {
                *client.mail.get_mut(kind) -= &over;
            }
            self.names.keep(&kept);
            self.asking.as_mut().unwrap().remove(&who);
        }
        self.end_sweep();
    }

    fn end_sweep(&mut self) {
        if self.asking.as_ref().is_some_and(BTreeSet::is_empty) {
            self.asking = None;
            let forgotten = self.names.end_sweep();
            self.say(&format!("{forgotten} names forgotten"));
        }
    }

    fn change(&mut self, updates: &[Update]) {
        let (next, changed) = self.generation.next(&mut self.names, updates);
        self.generation = next;
        self.note_moved();
        // As the fan-out does it: by the index.
        for (kind, ids) in changed.iter() {
            for id in ids {
                for client in &mut self.clients {
                    let named = self.index.named(kind, id).contains(client.id);
                    if named || self.index.wildcards(kind).contains(client.id) {
                        client.mail.get_mut(kind).insert(id);
                    }
                }
            }
        }
    }

    /// What was refused, and has another content by then or later, may be tried again.
    fn note_moved(&mut self) {
        for client in &mut self.clients {
            for kind in Kind::ALL {
                for (name, version) in client.refused.get(kind) {
                    let present = self.names.find(name).and_then(|id| self.generation.get(kind, id));
                    if present.is_none_or(|resource| resource.version.to_string() != *version) {
                        client.moved.get_mut(kind).insert(name.clone());
                    }
                }
            }
        }
    }

    /// What comes again is new to clients, also when nobody was told that it was gone.
    fn vanishes(&mut self, kind: Kind, name: &str) {
        for client in &mut self.clients {
            client.suspect.get_mut(kind).remove(name);
            client.deleted.get_mut(kind).insert(name.to_owned());
        }
    }

    fn with(&mut self, who: usize, make: impl FnOnce(&mut Client) -> Option<Request>) {
        if let Some(request) = make(&mut self.clients[who]) {
            self.hear(who, request);
        }
    }

    fn hear(&mut self, who: usize, request: Request) {
        let client = &mut self.clients[who];
        let heard = match request {
            Request::Delta(r) => client.stream.handle_request(r, &mut self.names, &self.generation),
            Request::Sotw(r) => client.stream.handle_request(r, &mut self.names, &self.generation),
        };
        let heard: Handled = heard.unwrap_or_else(|e: Refusal| panic!("refused: {e}"));
        let kind = heard.kind.unwrap();
        *client.asked.get_mut(kind) = true;
        for id in &heard.unsubscribed {
            self.index.remove(kind, client.id, id);
        }
        self.index.add(kind, client.id, &heard.subscribed);
        if let Some(on) = heard.wildcard {
            self.index.wildcard(kind, client.id, on);
        }
    }

    fn leave(&mut self, who: usize) {
        let client = &mut self.clients[who];
        self.index.leave(client.id, client.stream.subscriptions());
        client.stream.close(&mut self.names);
        client.mail = Changed::default();
        if let Some(asking) = &mut self.asking {
            asking.remove(&who);
            self.end_sweep();
        }
    }

    /// One response is read and answered.
    fn read(&mut self, who: usize) -> bool {
        let Some(response) = self.clients[who].inbox.pop_front() else {
            return false;
        };
        let request = self.clients[who].read(&response);
        self.note_moved();
        self.say(&format!(
            "{who} answers {}#{}",
            response.kind.short(),
            response.nonce
        ));
        self.hear(who, request);
        true
    }

    /// Asks each stream until it is silent, and checks all that it says.
    fn listen(&mut self) -> usize {
        let mut said = 0;
        for who in 0..self.clients.len() {
            let mail = std::mem::take(&mut self.clients[who].mail);
            self.clients[who].stream.handle_changes(&mail);
            loop {
                let (names, client) = (&self.names, &mut self.clients[who]);
                let now = self.now.saturating_sub(client.began);
                let Some(response) = client.stream.poll_response(&self.generation, names, now) else {
                    break;
                };
                said += 1;
                assert!(said < TALKATIVE, "the server does not fall silent");
                if self.trace {
                    eprintln!("    {who} <- {}", describe(&response));
                }
                let view = View {
                    generation: &self.generation,
                    names: &self.names,
                    limits: &self.limits,
                };
                self.clients[who].receive(response, &view);
            }
            let client = &mut self.clients[who];
            let stray = client.stream.stray(&self.names);
            assert!(stray.is_empty(), "numbers that may mean other names: {stray:?}");
            let now = self.now.saturating_sub(client.began);
            assert!(
                client.stream.poll_timeout().is_none_or(|at| at > now),
                "a deadline that is over keeps a task busy"
            );
            if client.stream.poll_timeout().is_none() && client.stream.outstanding() == 0 {
                client.hurried = false;
            }
        }
        said
    }

    /// Everybody reads and answers until nobody has anything to say, and time changes nothing.
    fn settle(&mut self) {
        self.say("settling");
        let mut rounds = 0;
        for _ in 0..2 {
            loop {
                let mut busy = self.listen();
                for who in 0..self.clients.len() {
                    self.clients[who].refuse_next = false;
                    busy += usize::from(self.read(who));
                }
                if busy == 0 {
                    break;
                }
                rounds += 1;
                assert!(rounds < TALKATIVE, "the conversation does not end");
            }
            self.now += PATIENCE;
            self.clients.iter_mut().for_each(|c| c.hurried = true);
        }
        let view = View {
            generation: &self.generation,
            names: &self.names,
            limits: &self.limits,
        };
        for client in &self.clients {
            client.converged(&view);
            assert_eq!(client.stream.outstanding(), 0);
        }
    }

    fn end(&mut self) {
        for who in 0..self.clients.len() {
            self.leave(who);
        }
        let all = |kind| {
            NAMES
                .into_iter()
                .map(move |name| Update::Remove(kind, name.into()))
        };
        let all: Vec<Update> = Kind::ALL.into_iter().flat_map(all).collect();
        self.change(&all);
        self.clients.clear();
        self.forget(0);
        assert_eq!(self.names.len(), 0, "names that nobody serves or wants are kept");
        for kind in Kind::ALL {
            assert!(self.index.wildcards(kind).is_empty());
        }
    }

    fn say(&self, what: &str) {
        if self.trace {
            eprintln!("{what}");
        }
    }
}

/// What the server knows, for the checks.
pub struct View<'w> {
    pub generation: &'w Generation,
    pub names: &'w Names,
    pub limits: &'w Limits,
}

/// A request of either variant.
pub enum Request {
    Delta(DeltaRequest),
    Sotw(SotwRequest),
}

pub fn node(agent: &str) -> Node {
    Node {
        id: "n".into(),
        cluster: "edge".into(),
        user_agent: agent.into(),
        ..Node::default()
    }
}

pub type Held = PerKind<BTreeMap<String, String>>;

fn describe(response: &Response) -> String {
    let puts: Vec<String> = response
        .resources
        .iter()
        .map(|r| content(r).map_or_else(|| format!("{}=empty", r.name), |c| format!("{}={c}", r.name)))
        .collect();
    format!(
        "{}#{} +{puts:?} -{:?} !{:?}",
        response.kind.short(),
        response.nonce,
        response.removed,
        response.missing
    )
}

/// Whether a stream of this variant exists for the type of habit.
pub fn variant(habit: Habit) -> Variant {
    match habit {
        Habit::EnvoyDelta | Habit::GrpcDelta => Variant::Delta,
        Habit::EnvoySotw | Habit::GrpcSotw => Variant::Sotw,
    }
}

pub fn stream(habit: Habit, limits: Limits) -> Stream {
    Stream::new(variant(habit), None, limits)
}
