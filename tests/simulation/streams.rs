//! The way between bridges and clients: connections that keep the order, bridges that publish and are polled, and what
//! is checked of each response.

use std::time::Duration;

use xds_bridge::catalog::probe::Answered;
use xds_bridge::model::Drains;
use xds_bridge::xds::{Kind, Limits, Request, Response};

use crate::checks::Drop;
use crate::client::WARMING;
use crate::contents::service_of;
use crate::faults::Fault;
use crate::rules::{Broken, EVIDENCE, GUARD, ROUTES, WARM};
use crate::serve::Served;
use crate::world::{Happens, World};

/// A client that is refused, or cut off, tries again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// A bridge serves what it has read after this time at most: settling, and a response that is outstanding.
const SERVED: Duration = Duration::from_secs(1);

impl World {
    /// A bridge does all that is due, and its streams are polled if something was published.
    pub(crate) fn pump(&mut self, bridge: u8) -> Result<(), Broken> {
        let base = tokio_now();
        let mut before = self
            .bridge(bridge)
            .fanout
            .current()
            .map(|generation| generation.number);
        let mut rounds = 0;
        let due = loop {
            let of = self.bridge_mut(bridge);
            let due = of.hub.due();
            if due.is_none_or(|due| due > base) {
                break due;
            }
            of.hub.work();
            rounds += 1;
            if rounds > 1_000 {
                return Err(Broken::new(
                    "what is due is done once",
                    format!("bridge {bridge} has always something to do"),
                ));
            }
        };
        self.events += rounds;
        let (now, of) = (self.now, self.bridge_mut(bridge));
        of.write(now);
        let at = due.map(|due| now + due.duration_since(base));
        let life = of.life;
        if of.armed != at {
            of.armed = at;
            if let Some(at) = at {
                self.at(at, Happens::Hub { bridge, life });
            }
        }
        for question in self.bridge_mut(bridge).questions() {
            let (after, answer) = self.connect_to(question.address);
            let answered = Answered { question, answer };
            self.after(
                after,
                Happens::Probed {
                    bridge,
                    life,
                    answered,
                },
            );
        }
        if self.bridge_mut(bridge).asked_news() && self.bridge(bridge).reader.watching.is_some() {
            self.bridge_mut(bridge).reader.list_again();
            self.begin(bridge);
        }
        let generation = self.bridge(bridge).fanout.current();
        let number = generation.as_ref().map(|generation| generation.number);
        if std::mem::replace(&mut before, number) != number {
            self.note(number.unwrap_or(0));
            if let Some(generation) = generation {
                let withheld = self.bridge_mut(bridge).was_withheld(now);
                let steady = !withheld && now > self.drained_until;
                let shadow = &self.bridges[usize::from(bridge)].reader.shadow;
                let there = |service: &str| shadow.has(service);
                self.routes
                    .look((bridge, life, now), &generation, &mut self.library, steady, there)?;
            }
            let streams: Vec<u64> = self.bridge(bridge).streams.keys().copied().collect();
            for stream in streams {
                if self.fault != Some(Fault::NotWoken) || stream % 2 == 0 {
                    self.poll(bridge, stream)?;
                }
            }
        }
        Ok(())
    }

    /// A stream sends what it has to send, as far as its client has room.
    pub(crate) fn poll(&mut self, bridge: u8, stream: u64) -> Result<(), Broken> {
        let now = self.now;
        loop {
            let of = self.bridge_mut(bridge);
            let Some(served) = of.streams.get_mut(&stream) else {
                return Ok(());
            };
            let Some(mut response) = served.next(&of.fanout, now) else {
                break;
            };
            served.check()?;
            let client = served.client;
            if self.fault == Some(Fault::NotFollowed) && response.kind == Kind::Endpoints {
                let held = self.peers[usize::from(client)].client.held.get(Kind::Endpoints);
                response
                    .resources
                    .retain(|r| held.get(&r.name).is_none_or(|held| held.version != r.version));
            }
            self.say(|| format!("bridge {bridge} → client {client}: {}", words(&response)));
            let at = self.arrival(client, false);
            let response = Box::new(response);
            self.at(
                at,
                Happens::Response {
                    bridge,
                    stream,
                    sent: now,
                    response,
                },
            );
        }
        let of = self.bridge_mut(bridge);
        let life = of.life;
        let Some(served) = of.streams.get_mut(&stream) else {
            return Ok(());
        };
        let due = served.due();
        if served.armed != due {
            served.armed = due;
            if let Some(at) = due {
                self.at(at, Happens::Stream { bridge, life, stream });
            }
        }
        Ok(())
    }

    /// When something that a client sends, or is sent, arrives.
    fn arrival(&mut self, client: u8, sends: bool) -> Duration {
        let hop = self.hop();
        let now = self.now;
        let peer = self.peer(client);
        let hop = if now < peer.slow_until { hop * 200 } else { hop };
        let (to, from) = &mut peer.arrives;
        let last = if sends { from } else { to };
        *last = (now + hop).max(*last);
        *last
    }

    fn send(&mut self, client: u8, requests: Vec<Request>) {
        let peer = self.peer(client);
        let (Some(stream), bridge) = (peer.stream, peer.bridge) else {
            return;
        };
        let life = self.bridge(bridge).life;
        for request in requests {
            let at = self.arrival(client, true);
            let request = Box::new(request);
            self.at(
                at,
                Happens::Request {
                    bridge,
                    life,
                    stream,
                    request,
                },
            );
        }
    }

    /// A request arrives.
    pub(crate) fn request(&mut self, bridge: u8, stream: u64, request: Request) -> Result<(), Broken> {
        let of = self.bridge_mut(bridge);
        let Some(served) = of.streams.get_mut(&stream) else {
            return Ok(());
        };
        served.handle(&of.fanout, request)?;
        self.poll(bridge, stream)
    }

    /// A client reads a response.
    pub(crate) fn response(
        &mut self,
        bridge: u8,
        stream: u64,
        sent: Duration,
        response: Box<Response>,
    ) -> Result<(), Broken> {
        let now = self.now;
        let Some(client) = self.client_of(stream) else {
            return Ok(()); // it was cut off meanwhile
        };
        let frozen = self.peer(client).frozen_until;
        if now < frozen {
            self.at(
                frozen,
                Happens::Response {
                    bridge,
                    stream,
                    sent,
                    response,
                },
            );
            return Ok(());
        }
        if let Some(served) = self.bridge_mut(bridge).streams.get_mut(&stream) {
            served.under_way = served.under_way.saturating_sub(1);
        }
        let mut library = std::mem::take(&mut self.library);
        let read = self.peer(client).client.read(&response, &mut library, now);
        self.library = library;
        let (requests, drops) = read?;
        for drop in drops {
            self.has_evidence(client, bridge, sent, &drop)?;
        }
        let peer = self.peer(client);
        if !peer.client.warming.is_empty() || peer.client.without_routes().is_some() {
            self.after(WARMING, Happens::Impatient { client, stream });
        }
        self.send(client, requests);
        self.poll(bridge, stream)
    }

    pub(crate) fn client_of(&self, stream: u64) -> Option<u8> {
        let at = self.peers.iter().position(|peer| peer.stream == Some(stream))?;
        u8::try_from(at).ok()
    }

    /// What a bridge has known for long to want requests is not taken away from clients.
    fn has_evidence(&self, client: u8, bridge: u8, sent: Duration, drop: &Drop) -> Result<(), Broken> {
        let service = service_of(&drop.cluster);
        let of = self.bridge(bridge);
        if self.drains != Drains::default() || sent <= self.drained_until {
            return Ok(());
        }
        let elsewhere = |(cluster, held): (&std::sync::Arc<str>, &crate::client::Held)| {
            service_of(cluster) == service && held.content.endpoints.get(&drop.address) == Some(&true)
        };
        let peer = &self.peers[usize::from(client)];
        // Who refused the cluster that has it now is left with nothing, and that is not ours.
        let refuses = peer.client.refuses_something() || peer.client.refuses_next;
        if refuses || peer.client.held.get(Kind::Endpoints).iter().any(elsewhere) {
            return Ok(());
        }
        let at = drop.address;
        if let Some(since) = of.reader.shadow.up_since(service, at)
            && since + SERVED <= sent
        {
            let text = format!(
                "client {client} has {at} of {} no longer by what bridge {bridge} sent at {sent:?}; it is there since {since:?}",
                drop.cluster
            );
            return Err(Broken::new(EVIDENCE, text));
        }
        let place = (service.to_owned(), at);
        if let Some((until, _)) = of.guarded.get(&place).filter(|(until, _)| sent < *until) {
            let text = format!(
                "client {client} has {at} of {} no longer by what bridge {bridge} sent at {sent:?}, before {until:?}",
                drop.cluster
            );
            return Err(Broken::new(GUARD, text));
        }
        Ok(())
    }

    /// A client connects.
    pub(crate) fn connect(&mut self, client: u8) {
        let now = self.now;
        let peer = self.peer(client);
        if peer.stream.is_some() {
            return;
        }
        if now < peer.frozen_until {
            let at = peer.frozen_until;
            self.at(at, Happens::Connect { client });
            return;
        }
        let (bridge, variant) = (peer.bridge, peer.client.variant());
        let gate = match self.fault {
            Some(Fault::NoGate) => Duration::ZERO,
            _ => Limits::default().gate,
        };
        let of = self.bridge_mut(bridge);
        let Ok(served) = Served::open(&of.fanout, (variant, gate), client, now) else {
            self.after(AGAIN, Happens::Connect { client });
            return;
        };
        self.last_stream += 1;
        let stream = self.last_stream;
        self.bridge_mut(bridge).streams.insert(stream, served);
        let peer = self.peer(client);
        peer.stream = Some(stream);
        peer.calm_since = now;
        peer.arrives = (now, now);
        let requests = peer.client.open(now);
        if !peer.client.warming.is_empty() {
            self.after(WARMING, Happens::Impatient { client, stream });
        }
        self.say(|| format!("client {client} connects to bridge {bridge}"));
        self.send(client, requests);
    }

    /// A connection breaks: the client notices that at once, its bridge after some time.
    pub(crate) fn cut(&mut self, client: u8, noticed_after: Duration) {
        let peer = self.peer(client);
        let bridge = peer.bridge;
        if let Some(stream) = peer.stream.take() {
            let life = self.bridge(bridge).life;
            if let Some(served) = self.bridge_mut(bridge).streams.get_mut(&stream) {
                served.is_stuck = true;
            }
            self.after(noticed_after, Happens::Ended { bridge, life, stream });
            self.after(AGAIN, Happens::Connect { client });
        }
    }

    /// A bridge notices that a stream is over.
    pub(crate) fn ended(&mut self, bridge: u8, stream: u64) {
        let of = self.bridge_mut(bridge);
        if let Some(served) = of.streams.remove(&stream) {
            served.close(&of.fanout);
        }
    }

    /// A client has waited for endpoints or routes for as long as it does.
    pub(crate) fn impatient(&mut self, client: u8, stream: u64) -> Result<(), Broken> {
        let now = self.now;
        let peer = self.peer(client);
        if peer.stream != Some(stream) {
            return Ok(());
        }
        let (bridge, calm) = (
            peer.bridge,
            peer.calm_since + WARMING <= now && peer.client.is_envoy(),
        );
        let over = peer
            .client
            .warming
            .iter()
            .filter(|(_, since)| **since + WARMING <= now);
        let over: Vec<_> = over.map(|(name, since)| (name.clone(), *since)).collect();
        // Endpoints that are gone are removed, which Envoy ignores: docs/testing.md, what was found and is left.
        let generation = self.bridge(bridge).fanout.current().unwrap_or_default();
        let is_served = |name: &str| {
            generation
                .all(Kind::Endpoints)
                .any(|(_, resource)| *resource.name == *name)
        };
        if let Some((name, since)) = over.iter().find(|(name, _)| calm && is_served(name)) {
            let text = format!("client {client} waits for the endpoints of {name} since {since:?}");
            return Err(Broken::new(WARM, text));
        }
        let peer = self.peer(client);
        for (name, _) in over {
            peer.client.warming.remove(&name);
        }
        let requests = peer.client.warm();
        let long = calm && peer.client.asked_routes + WARMING <= now;
        if let Some(name) = peer.client.without_routes().filter(|_| long)
            && !peer.client.is_refused(Kind::Route, name)
        {
            let text = format!("client {client} waits for the routes `{name}`");
            return Err(Broken::new(ROUTES, text));
        }
        self.send(client, requests);
        Ok(())
    }

    /// A gRPC client dials another service, or no longer.
    pub(crate) fn dial(&mut self, client: u8, service: u8, on: bool) {
        let peer = self.peer(client);
        let requests = peer.client.dial(crate::declare::service(service), on);
        if peer.stream.is_some() {
            self.send(client, requests);
        }
    }
}

/// Now, on the clock that the hub reads.
fn tokio_now() -> tokio::time::Instant {
    xds_bridge::clock::now()
}

fn words(response: &Response) -> String {
    let resources = response
        .resources
        .iter()
        .map(|r| format!("+{}={}", r.name, r.version));
    let removed = response.removed.iter().map(|name| format!("-{name}"));
    let missing = response.missing.iter().map(|missing| format!("?{missing}"));
    let all: Vec<String> = resources.chain(removed).chain(missing).collect();
    format!("{}#{} {}", response.kind.short(), response.nonce, all.join(" "))
}
