//! How a delta request changes a stream: answers, subscriptions, claims of a reconnect.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::ids::set;
use super::super::kind::Kind;
use super::super::names::Names;
use super::super::request::{Claim, DeltaRequest};
use super::{Dropped, Heard, MAX_NAME, Refusal, Stream, TOO_LONG, everything, short};

pub(super) fn hear(
    stream: &mut Stream,
    request: DeltaRequest,
    names: &mut Names,
    generation: &Generation,
) -> Result<Heard, Refusal> {
    let mut heard = Heard::default();
    let Some(kind) = stream.admit(request.node, &request.type_url)? else {
        heard.unknown_type = Some(request.type_url);
        return Ok(heard);
    };
    short("a name", &request.subscribe)?;
    heard.kind = Some(kind);

    answer(stream, kind, &request.nonce, request.error.as_ref(), &mut heard);

    // Subscription changes count in every request, also in an ACK, a NACK or a stale one (rule 26).
    let limit = stream.limits.names;
    let first = !stream.types.get(kind).requested;
    if first {
        stream.first_request(kind);
    }
    // What is on its way will be taken for part of a new subscription, also if it is gone by now.
    let coming: RoaringBitmap = if request.subscribe.is_empty() {
        RoaringBitmap::new()
    } else {
        let flight = &stream.types.get(kind).flight;
        set(flight.iter().flat_map(|f| &f.names).map(|(id, _)| *id).collect())
    };
    let legacy = first && request.subscribe.is_empty() && kind.legacy_wildcard();
    if legacy || request.subscribe.iter().any(|n| n == "*") {
        let fleet = stream.fleet().to_owned();
        let sub = stream.types.get_mut(kind);
        if !sub.wildcard {
            sub.wildcard = true;
            sub.owed = true; // rule 32: answered even if there is nothing
            sub.dirty |= everything(generation, kind, &fleet);
            sub.held |= &coming;
            sub.dirty |= &coming;
            heard.wildcard = Some(true);
        }
    }
    if !request.subscribe.is_empty() {
        bounded(stream, kind, &request.subscribe, names)?;
        let (all, new) = stream.subscribe(kind, named(&request.subscribe), names, &mut heard);
        let sub = stream.types.get_mut(kind);
        sub.held |= new & coming;
        let mut bytes: usize = sub.too_long.iter().map(|name| name.len()).sum();
        for name in request.subscribe.iter().filter(|name| name.len() > MAX_NAME) {
            bytes = bytes.saturating_add(name.len());
            if bytes <= TOO_LONG {
                sub.too_long.insert(name.as_str().into()); // there is none of these
            }
        }
        if first {
            sub.dirty |= &all;
            sub.absent -= &all;
        } else {
            sub.ask_all_again(&all); // rule 24; not in the first message (rule 40)
        }
    }
    for name in request.unsubscribe.iter().filter(|n| !n.is_empty()) {
        if name == "*" {
            give_up_wildcard(stream, kind, generation, &mut heard);
        } else if let Some(id) = names.find(name) {
            let dropped = stream.unsubscribe(kind, id, names, &mut heard);
            let sub = stream.types.get_mut(kind);
            match dropped {
                // Rule 22: the client dropped its copy, and the wildcard holds it or does not.
                Dropped::UnderWildcard => {
                    sub.held.insert(id);
                    sub.ask_again(id);
                }
                // The room in the table that it just gave back.
                Dropped::Unknown if sub.unknown.len() < limit as u64 => {
                    sub.unknown.insert(names.ask(name));
                }
                // Rule 23; and who floods us with unknown names is not told of each.
                Dropped::WasNone | Dropped::Gone | Dropped::Unknown => {}
            }
        }
    }
    if first && !request.initial_versions.is_empty() {
        claims(stream, kind, &request.initial_versions, names, generation);
    }
    Ok(heard)
}

fn named(list: &[String]) -> impl Iterator<Item = &str> + Clone {
    list.iter()
        .map(String::as_str)
        .filter(|n| !n.is_empty() && *n != "*" && n.len() <= MAX_NAME)
}

/// Refuses too many names before any of them is taken.
fn bounded(stream: &Stream, kind: Kind, list: &[String], names: &Names) -> Result<(), Refusal> {
    let sub = stream.types.get(kind);
    let have = usize::try_from(sub.names.len()).unwrap_or(usize::MAX);
    let lengths = || named(list).map(str::len);
    let within = |count: usize, bytes: usize| {
        stream.within_limits(have.saturating_add(count))?;
        stream.within_bytes(kind, sub.name_bytes.saturating_add(bytes))
    };
    let at_most = lengths().map(Names::cost).sum();
    if within(list.len(), lengths().sum()).is_ok() && names.admits(at_most, || usize::MAX) {
        return Ok(());
    }
    // Only now is it worth finding out which of them are new.
    let is_new = |name: &&str| !names.find(name).is_some_and(|id| sub.names.contains(id));
    let new: HashSet<&str> = named(list).filter(is_new).collect();
    within(new.len(), new.iter().map(|name| name.len()).sum())?;
    stream.within_share(names, |_| true, new.iter().copied())
}

fn answer(stream: &mut Stream, kind: Kind, nonce: &str, error: Option<&super::Error>, heard: &mut Heard) {
    let Ok(nonce) = nonce.parse::<u64>() else { return };
    let sub = stream.types.get_mut(kind);
    let Some(at) = sub.flight.iter().position(|f| f.nonce == nonce) else {
        return;
    };
    let Some(flight) = sub.flight.remove(at) else {
        return;
    };
    match error {
        Some(error) => {
            heard.nack = Some(Stream::nack(error, &flight));
            sub.refuse(flight);
        }
        None => {
            heard.ack = true;
            sub.accepted(&flight);
            heard.accepted = flight.names;
        }
    }
}

/// `*` goes: what is not named besides is no longer this client's.
fn give_up_wildcard(stream: &mut Stream, kind: Kind, generation: &Generation, heard: &mut Heard) {
    let fleet = stream.fleet().to_owned();
    let sub = stream.types.get_mut(kind);
    if !std::mem::take(&mut sub.wildcard) {
        return;
    }
    heard.wildcard = Some(false);
    sub.owed = false;
    sub.given_up.extend(std::mem::take(&mut sub.unknown));
    sub.too_long.clear();
    let mut others = everything(generation, kind, &fleet);
    others |= &sub.held;
    others -= &sub.names;
    for id in others {
        sub.forget(id);
    }
}

/// Rules 40 and 41: what the client says it holds from before.
fn claims(stream: &mut Stream, kind: Kind, claims: &[Claim], names: &mut Names, generation: &Generation) {
    let (client, fleet) = (stream.client, stream.fleet().to_owned());
    // An Envoy that asks for endpoints before clusters is in the middle of warming: it must hear them again.
    let trusted = kind != Kind::Endpoints || stream.clusters_first;
    let mut room = Room::new(stream, kind, names, claims);
    let sub = stream.types.get_mut(kind);
    let (mut held, mut equal, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for Claim { name, version } in claims {
        let known = names.find(name);
        // A number that only other streams ask for may come to mean another name.
        let Some(id) = known.filter(|id| sub.names.contains(*id) || names.claim(*id)) else {
            if sub.wildcard && room.take(name, known.is_none(), names) {
                let id = names.ask(name);
                if !sub.unknown.insert(id) {
                    let _ = names.release(id); // claimed twice
                }
            }
            continue;
        };
        match sub.visible(generation, kind, id, (client, &fleet)) {
            Some(resource) => {
                held.push(id);
                if trusted && resource.version.is(version) {
                    equal.push(id);
                }
            }
            None if sub.wildcard || sub.names.contains(id) => {
                held.push(id);
                gone.push(id);
            }
            None => {}
        }
    }
    sub.held |= set(held);
    sub.held.optimize();
    sub.dirty -= set(equal);
    sub.dirty |= set(gone);
}

/// Claimed names that nobody serves are only remembered so that the client drops them: within the bounds of the
/// stream and those of all streams together. What is beyond stays at the client.
struct Room {
    names: usize,
    bytes: usize,
    /// What the stream's names that nobody serves take in the table; only counted when that is nearly full.
    own: usize,
}

impl Room {
    fn new(stream: &Stream, kind: Kind, names: &Names, claims: &[Claim]) -> Self {
        let unknown = usize::try_from(stream.types.get(kind).unknown.len()).unwrap_or(usize::MAX);
        let at_most = claims.iter().map(|claim| Names::cost(claim.name.len())).sum();
        let own = if names.admits(at_most, || usize::MAX) {
            0
        } else {
            Kind::ALL
                .into_iter()
                .map(|kind| stream.unserved(kind, names))
                .sum()
        };
        Self {
            names: stream.limits.names.saturating_sub(unknown),
            bytes: stream.limits.name_bytes / Kind::ALL.len(),
            own,
        }
    }

    fn take(&mut self, name: &str, is_new: bool, names: &Names) -> bool {
        let cost = Names::cost(name.len());
        let own = self.own.saturating_add(cost);
        let fits = name.len() <= MAX_NAME && name.len() <= self.bytes && self.names > 0;
        if !fits || !names.admits(if is_new { cost } else { 0 }, || own) {
            return false;
        }
        self.names -= 1;
        self.bytes -= name.len();
        self.own = own;
        true
    }
}
