//! A script language for conversations with the stream core, so that a rule of
//! the protocol is a few words and survives any refactoring of the engine.
//!
//! A script is commands separated by `;` or line ends. After each command the
//! core is asked until it says nothing more; what it said is the transcript.
//!
//! | command | meaning |
//! |---|---|
//! | `put cds a=1 b=2` | publish resources; `r=1(a,b)`: with the clusters they need |
//! | `del cds a` | publish their removal; `put cds b=1 + del cds a`: one publication |
//! | `sub cds * a`, `unsub cds a` | delta: a request with these changes (none: an empty one) |
//! | `sub cds a & unsub *` | both in one request |
//! | `claim cds a=1 b=old` | delta: a first request that claims these contents (subscribing as `& a b` says) |
//! | `ack 3`, `nack 3` | answer the response with this nonce, with unchanged names |
//! | `ack 3 & a unsub b`, `ack 3 & a b` | with changed ones: delta, state of the world |
//! | `auto` | from now on ACK each response at once |
//! | `want cds * a` | state of the world: a request with this list, answering the last response of the type |
//! | `want cds! a`, `want cds? a` | the same with an empty nonce; with an old one, as when a response crossed it |
//! | `resume cds a` | state of the world: a first request of a client that accepted something before |
//! | `vary java eds a=2`, `unvary java eds a` | what one of gRPC's own clients gets in place of the others' content |
//! | `wait 10s` | time goes by |
//!
//! Transcript: `cds#1 +a=1 -b` is a response of type cds with nonce 1; `+a=∅` an empty resource,
//! `!a` an error that there is no a.

#![allow(
    unreachable_pub,
    dead_code,
    reason = "compiled into each test on its own, which uses its part"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a script that makes no sense is a bug of the test"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::xds::request::Error;
use xds_bridge::xds::{
    Claim, Client, DeltaRequest, Draft, Generation, Handled, Kind, Limits, Names, Node, Reach, Refusal,
    Response, SotwRequest, Stream, Update, Variant, Version,
};

pub struct Script {
    names: Names,
    generation: Generation,
    pub stream: Stream,
    variant: Variant,
    node: Option<Node>,
    now: Duration,
    auto: bool,
    /// Nonce → what it answered.
    sent: HashMap<String, Response>,
    /// State of the world: per type the last nonce and list of names.
    last: HashMap<Kind, String>,
    lists: HashMap<Kind, Vec<String>>,
    out: String,
}

/// Runs a script against a fresh stream of an Envoy and returns the transcript, one response a line.
pub fn run(variant: Variant, script: &str) -> String {
    Script::new(variant, None, "envoy").play(script)
}

impl Script {
    pub fn new(variant: Variant, only: Option<Kind>, agent: &str) -> Self {
        Self::with_limits(variant, only, agent, Limits::default())
    }

    /// gRPC's own clients get `gone` in place of endpoints and listeners that are gone.
    pub fn for_grpc(agent: &str) -> Self {
        let mut script = Self::new(Variant::Sotw, None, agent);
        script.generation = Generation::default().with_gone(|_, kind, _| {
            matches!(kind, Kind::Endpoints | Kind::Listener).then(|| b"gone".to_vec())
        });
        script
    }

    pub fn with_limits(variant: Variant, only: Option<Kind>, agent: &str, limits: Limits) -> Self {
        let node = Node {
            id: "n1".into(),
            cluster: "edge".into(),
            user_agent: agent.into(),
            ..Node::default()
        };
        Self {
            names: Names::default(),
            generation: Generation::default(),
            stream: Stream::new(variant, only, limits),
            variant,
            node: Some(node),
            now: Duration::ZERO,
            auto: false,
            sent: HashMap::new(),
            last: HashMap::new(),
            lists: HashMap::new(),
            out: String::new(),
        }
    }

    /// Plays a script to its end; after it the server says nothing more, and where each
    /// response was answered, time changes nothing either.
    pub fn play(mut self, script: &str) -> String {
        self.steps(script);
        let said = self.out.len();
        if self.stream.outstanding() == 0 && self.auto {
            self.now += Duration::from_secs(3600);
        }
        self.listen();
        assert_eq!(self.out.len(), said, "and the server says nothing more");
        self.out
    }

    pub fn steps(&mut self, script: &str) -> &str {
        for line in script
            .split([';', '\n'])
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            self.command(command, rest.trim());
            self.listen();
        }
        &self.out
    }

    fn command(&mut self, command: &str, rest: &str) {
        match command {
            "put" | "del" => self.publish(command, rest),
            "auto" => self.auto = true,
            "wait" => self.now += Duration::from_secs(rest.trim_end_matches('s').parse().expect("seconds")),
            "ack" | "nack" => self.answer(rest, command == "nack"),
            "sub" | "unsub" | "claim" => self.delta(command, rest),
            "want" => self.want(rest),
            "resume" => self.resume(rest),
            "vary" | "unvary" => self.vary(command, rest),
            other => panic!("no such command: {other}"),
        }
    }

    fn publish(&mut self, command: &str, rest: &str) {
        let all = format!("{command} {rest}");
        let updates: Vec<Update> = all.split(" + ").flat_map(Self::updates).collect();
        let (next, changed) = self.generation.next(&mut self.names, &updates);
        self.generation = next;
        self.stream.handle_changes(&changed);
    }

    fn updates(text: &str) -> Vec<Update> {
        let (command, rest) = text.split_once(' ').expect("put or del");
        let put = command == "put";
        let (kind, items) = kind(rest);
        items
            .split_whitespace()
            .map(|item| {
                if !put {
                    return Update::Remove(kind, item.into());
                }
                let (name, content) = item.split_once('=').expect("name=content");
                let (content, needs) = content.split_once('(').unwrap_or((content, ""));
                let needs = needs.trim_end_matches(')').split(',').filter(|n| !n.is_empty());
                let mut needs: Vec<Arc<str>> = needs.map(Arc::from).collect();
                if kind == Kind::Cluster {
                    needs.push(name.into());
                }
                let reach = match content.split_once('@') {
                    Some((_, "name")) => Reach::ByName,
                    Some((_, fleet)) => Reach::Fleets([Arc::from(fleet)].into()),
                    None => Reach::All,
                };
                Update::Put(Draft {
                    kind,
                    name: name.into(),
                    body: content.into(),
                    needs,
                    reach,
                    local: None,
                })
            })
            .collect()
    }

    fn delta(&mut self, command: &str, rest: &str) {
        let (kind, rest) = kind(rest);
        let (first, second) = rest.split_once('&').unwrap_or((rest, ""));
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let mut request = DeltaRequest {
            type_url: kind.type_url().into(),
            ..DeltaRequest::default()
        };
        match command {
            "sub" => {
                request.subscribe = words(first);
                request.unsubscribe = words(second.trim().trim_start_matches("unsub"));
            }
            "unsub" => request.unsubscribe = words(first),
            _ => {
                let claim = |item: &str| {
                    let (name, content) = item.split_once('=').expect("name=content");
                    let version = Version::of(content.as_bytes()).to_string();
                    Claim {
                        name: name.to_owned(),
                        version,
                    }
                };
                request.initial_versions = first.split_whitespace().map(claim).collect();
                request.subscribe = words(second);
            }
        }
        self.send_delta(request);
    }

    fn send_delta(&mut self, mut request: DeltaRequest) {
        request.node = self.node.take();
        let heard = self
            .stream
            .handle_request(request, &mut self.names, &self.generation);
        self.note(heard);
    }

    fn want(&mut self, rest: &str) {
        let first = rest.split_whitespace().next().unwrap_or_default();
        let (fresh, crossed) = (first.ends_with('!'), first.ends_with('?'));
        let rest = rest.replacen(['!', '?'], "", 1);
        let (kind, list) = kind(&rest);
        let list: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
        self.lists.insert(kind, list);
        let nonce = if fresh {
            String::new()
        } else if crossed {
            "0".to_owned()
        } else {
            self.last.get(&kind).cloned().unwrap_or_default()
        };
        self.send_sotw(kind, nonce, None);
    }

    fn resume(&mut self, rest: &str) {
        let (kind, list) = kind(rest);
        let list: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
        self.lists.insert(kind, list.clone());
        let request = SotwRequest {
            version: "of an earlier stream".into(),
            node: self.node.take(),
            names: list,
            type_url: kind.type_url().into(),
            ..SotwRequest::default()
        };
        let heard = self
            .stream
            .handle_request(request, &mut self.names, &self.generation);
        self.note(heard);
    }

    fn vary(&mut self, command: &str, rest: &str) {
        let (client, rest) = rest.split_once(' ').expect("a client");
        let client = Client::of(&format!("gRPC {client}"));
        let command = if command == "vary" { "put" } else { "del" };
        let updates = Self::updates(&format!("{command} {rest}")).into_iter();
        let updates: Vec<Update> = updates
            .map(|update| match update {
                Update::Put(draft) => Update::PutFor(client, draft),
                Update::Remove(kind, name) => Update::RemoveFor(client, kind, name),
                other => other,
            })
            .collect();
        let (next, changed) = self.generation.next(&mut self.names, &updates);
        self.generation = next;
        self.stream.handle_changes(&changed);
    }

    fn send_sotw(&mut self, kind: Kind, nonce: String, error: Option<Error>) {
        let request = SotwRequest {
            version: self
                .sent
                .get(&nonce)
                .map(|r| r.version.clone())
                .unwrap_or_default(),
            node: self.node.take(),
            names: self.lists.get(&kind).cloned().unwrap_or_default(),
            type_url: kind.type_url().into(),
            nonce,
            error,
        };
        let heard = self
            .stream
            .handle_request(request, &mut self.names, &self.generation);
        self.note(heard);
    }

    fn answer(&mut self, rest: &str, nack: bool) {
        let (nonce, names) = rest
            .split_once(" &")
            .map_or((rest, None), |(n, names)| (n, Some(names)));
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let (more, less) = names
            .unwrap_or("")
            .split_once("unsub")
            .unwrap_or((names.unwrap_or(""), ""));
        let kind = self
            .sent
            .get(nonce)
            .unwrap_or_else(|| panic!("nonce {nonce} was not sent"))
            .kind;
        let error = nack.then(|| Error {
            code: 13,
            message: "bad".into(),
        });
        match self.variant {
            Variant::Sotw => {
                if let Some(names) = names {
                    self.lists.insert(kind, words(names));
                }
                self.send_sotw(kind, nonce.to_owned(), error);
            }
            Variant::Delta => self.send_delta(DeltaRequest {
                type_url: kind.type_url().into(),
                nonce: nonce.to_owned(),
                error,
                subscribe: words(more),
                unsubscribe: words(less),
                ..DeltaRequest::default()
            }),
        }
    }

    fn note(&mut self, heard: Result<Handled, Refusal>) {
        match heard {
            Ok(heard) => {
                if let Some(nack) = heard.nack {
                    let _ = writeln!(self.out, "refused {}", nack.resources);
                }
            }
            Err(refusal) => drop(writeln!(self.out, "ended: {refusal}")),
        }
    }

    /// Asks the core until it is silent.
    fn listen(&mut self) {
        for _ in 0..10_000 {
            let names = &self.names;
            let Some(response) = self.stream.poll_response(&self.generation, names, self.now) else {
                let deadline = self.stream.poll_timeout();
                assert!(deadline.is_none_or(|at| at > self.now), "a deadline that is over");
                return;
            };
            self.say(&response);
            let nonce = response.nonce.clone();
            assert!(!nonce.is_empty(), "rule 9");
            self.last.insert(response.kind, nonce.clone());
            assert!(
                self.sent.insert(nonce.clone(), response).is_none(),
                "rule 9: nonce {nonce} twice"
            );
            if self.auto {
                self.answer(&nonce, false);
            }
        }
        panic!("the server does not fall silent:\n{}", self.out);
    }

    fn say(&mut self, response: &Response) {
        let mut items: Vec<String> = response
            .resources
            .iter()
            .map(|r| {
                let body = r.body().expect("a body");
                let text = std::str::from_utf8(&body)
                    .ok()
                    .filter(|t| !t.starts_with('\n'))
                    .unwrap_or("∅");
                format!("+{}={text}", r.name)
            })
            .collect();
        items.sort();
        items.extend(response.removed.iter().map(|n| format!("-{n}")));
        items.extend(response.missing.iter().map(|n| format!("!{n}")));
        let _ = writeln!(
            self.out,
            "{}#{} {}",
            response.kind.short(),
            response.nonce,
            items.join(" ")
        );
    }
}

fn kind(text: &str) -> (Kind, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let kind = Kind::ALL
        .into_iter()
        .find(|k| k.short() == word)
        .unwrap_or_else(|| panic!("no such type: {word}"));
    (kind, rest.trim())
}
