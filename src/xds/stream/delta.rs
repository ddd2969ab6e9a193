//! How a delta request changes a stream: ACKs, subscriptions, claims of a reconnecting client.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::hints::{Hint, Hints};
use super::super::ids::{MAX_NAME, is_name};
use super::super::ids::{NameId, set};
use super::super::kind::Kind;
use super::super::names::Names;
use super::super::request::{Claim, DeltaRequest, Error};
use super::Stream;
use super::handled::Handled;
use super::limits::{Refusal, TOO_LONG, short};
use super::subscribe::Dropped;

pub(super) fn handle(
    stream: &mut Stream,
    request: &mut DeltaRequest,
    hints: &Hints,
    names: &mut Names,
    generation: &Generation,
) -> Result<Handled, Refusal> {
    let mut handled = Handled::default();
    let Some(kind) = stream.admit(request.node.take(), &request.type_url, names, generation)? else {
        handled.unknown_type = Some(std::mem::take(&mut request.type_url));
        return Ok(handled);
    };
    short("a name", &request.subscribe)?;
    handled.kind = Some(kind);

    acknowledge(
        stream,
        kind,
        &request.nonce,
        request.error.as_ref(),
        names,
        &mut handled,
    );

    // Subscription changes count in every request, also in an ACK, a NACK or a stale one (rule 26).
    let limit = stream.limits.names;
    let first = !stream.types.get(kind).requested;
    if first {
        stream.first_request(kind);
    }
    // The client will take what is in flight for part of a new subscription, also if it is gone by now.
    let coming: RoaringBitmap = if request.subscribe.is_empty() {
        RoaringBitmap::new()
    } else {
        let flight = &stream.types.get(kind).waiting.flight;
        set(flight.iter().flat_map(|f| &f.names).map(|(id, _)| *id).collect())
    };
    let legacy = first && request.subscribe.is_empty() && kind.legacy_wildcard();
    if legacy || request.subscribe.iter().any(|n| n == "*") {
        let viewer = stream.viewer.clone();
        let sub = stream.types.get_mut(kind);
        if !sub.wanted.wildcard {
            sub.wanted.wildcard = true;
            sub.pending.owed = true; // rule 32: answered even if there is nothing
            sub.pending.dirty |= generation.in_wildcard(kind, &viewer);
            for id in &coming {
                if names.is_served(id) || sub.wanted.names.contains(id) {
                    sub.held.ids.insert(id);
                    sub.pending.dirty.insert(id);
                } else {
                    sub.owe_removal(id, names);
                }
            }
            handled.wildcard = Some(true);
        }
    }
    if !request.subscribe.is_empty() {
        bounded(stream, kind, &request.subscribe, hints, names)?;
        let (all, new) = {
            let list = request.subscribe.iter().enumerate();
            let list = list.map(|(at, name)| (name.as_str(), hints.at(at)));
            stream.subscribe(kind, list.filter(|(name, _)| is_name(name)), names, &mut handled)
        };
        let sub = stream.types.get_mut(kind);
        sub.held.ids |= new & coming;
        let mut bytes: usize = sub.pending.too_long.iter().map(|name| name.len()).sum();
        for name in request.subscribe.iter().filter(|name| name.len() > MAX_NAME) {
            bytes = bytes.saturating_add(name.len());
            if bytes <= TOO_LONG {
                sub.pending.too_long.insert(name.as_str().into()); // there is none of these
            }
        }
        if first {
            sub.pending.dirty |= &all;
            sub.held.absent -= &all;
        } else {
            sub.send_all_again(&all); // rule 24; not in the first message (rule 40)
        }
    }
    let (subscribed, claimed) = (request.subscribe.len(), request.initial_versions.len());
    for (at, name) in request.unsubscribe.iter().enumerate() {
        let hint = hints.at(subscribed + claimed + at);
        if name.is_empty() {
            continue;
        }
        if name == "*" {
            drop_wildcard(stream, kind, generation, &mut handled);
        } else if let Some(id) = names.find_hinted(name, hint) {
            let dropped = stream.unsubscribe(kind, id, names, &mut handled);
            let sub = stream.types.get_mut(kind);
            match dropped {
                // Rule 22: the client dropped its copy, and the wildcard holds it or does not.
                Dropped::UnderWildcard => {
                    sub.held.ids.insert(id);
                    sub.send_again(id);
                }
                // It keeps the room in the table that it had.
                Dropped::Unknown if sub.pending.unknown.len() < limit as u64 => {
                    sub.owe_removal(id, names);
                }
                // Rule 23; and a client that floods us with unknown names is not sent the removal of each.
                Dropped::WasNone | Dropped::Gone | Dropped::Unknown => {}
            }
        }
    }
    if first && !request.initial_versions.is_empty() {
        let hints = |at: usize| hints.at(subscribed + at);
        claims(stream, kind, &request.initial_versions, hints, names, generation);
    }
    Ok(handled)
}

fn named(list: &[String]) -> impl Iterator<Item = &str> + Clone {
    list.iter().map(String::as_str).filter(|name| is_name(name))
}

/// Refuses too many names before any of them is taken.
fn bounded(
    stream: &Stream,
    kind: Kind,
    list: &[String],
    hints: &Hints,
    names: &Names,
) -> Result<(), Refusal> {
    let sub = stream.types.get(kind);
    let have = usize::try_from(sub.wanted.names.len()).unwrap_or(usize::MAX);
    let lengths = || named(list).map(str::len);
    let within = |count: usize, bytes: usize| {
        stream.within_limits(have.saturating_add(count))?;
        stream.within_bytes(kind, sub.wanted.bytes.saturating_add(bytes))
    };
    let at_most = lengths().map(Names::cost).sum();
    if within(list.len(), lengths().sum()).is_ok() && names.admits(at_most, || usize::MAX) {
        return Ok(());
    }
    // Only now is it worth finding out which of them are new.
    let (mut known, mut unknown): (Vec<NameId>, HashSet<&str>) = (Vec::new(), HashSet::new());
    for (at, name) in list.iter().enumerate().filter(|(_, name)| is_name(name)) {
        match names.find_hinted(name, hints.at(at)) {
            Some(id) => known.push(id),
            None => drop(unknown.insert(name)),
        }
    }
    let known = set(known) - &sub.wanted.names;
    let lengths = known.iter().map(|id| names.len_of(id));
    let bytes = lengths.chain(unknown.iter().map(|name| name.len())).sum();
    let count = usize::try_from(known.len()).unwrap_or(usize::MAX);
    within(count.saturating_add(unknown.len()), bytes)?;
    let cost = unknown.iter().map(|name| Names::cost(name.len())).sum();
    let known = || known.iter().map(|id| names.cost_of(id)).sum();
    stream.within_share(names, |_| true, cost, known)
}

fn acknowledge(
    stream: &mut Stream,
    kind: Kind,
    nonce: &str,
    error: Option<&Error>,
    names: &Names,
    handled: &mut Handled,
) {
    let Ok(nonce) = nonce.parse::<u64>() else { return };
    let sub = stream.types.get_mut(kind);
    let Some(at) = sub.waiting.flight.iter().position(|f| f.nonce == nonce) else {
        return;
    };
    let Some(flight) = sub.waiting.flight.remove(at) else {
        return;
    };
    sub.waiting.answered();
    match error {
        Some(error) => {
            handled.nack = Some(Stream::nack(error, &flight, names));
            sub.refuse(flight);
        }
        None => {
            handled.ack = true;
            sub.accept(&flight);
            handled.accepted = flight.names;
        }
    }
}

/// Unsubscribes from `*`.
fn drop_wildcard(stream: &mut Stream, kind: Kind, generation: &Generation, handled: &mut Handled) {
    let viewer = stream.viewer.clone();
    let sub = stream.types.get_mut(kind);
    if !std::mem::take(&mut sub.wanted.wildcard) {
        return;
    }
    handled.wildcard = Some(false);
    sub.pending.owed = false;
    sub.waiting.given_up |= std::mem::take(&mut sub.pending.unknown);
    sub.pending.too_long.clear();
    sub.forget_unnamed(generation.in_wildcard(kind, &viewer));
}

/// Rules 40 and 41: what the client claims to hold from an earlier stream.
fn claims(
    stream: &mut Stream,
    kind: Kind,
    claims: &[Claim],
    hints: impl Fn(usize) -> Hint,
    names: &mut Names,
    generation: &Generation,
) {
    let viewer = stream.viewer.clone();
    // An Envoy that asks for endpoints before clusters is in the middle of warming: they must be sent again.
    let trusted = kind != Kind::Endpoints || stream.clusters_first;
    let followers = followers(stream, kind, generation);
    let mut room = Room::new(stream, kind, names, claims);
    let sub = stream.types.get_mut(kind);
    let (mut held, mut equal, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for (at, Claim { name, version }) in claims.iter().enumerate() {
        let known = names.find_hinted(name, hints(at));
        // A number that only other streams ask for may come to mean another name.
        let Some(id) = known.filter(|id| sub.wanted.names.contains(*id) || names.claim(*id)) else {
            if sub.wanted.wildcard && room.take(name, known.is_none(), names) {
                let id = names.ask_hinted(name, hints(at));
                sub.give_up(id, names);
                sub.owe_removal(id, names); // once, if it is claimed twice
            }
            continue;
        };
        match sub.visible(generation, kind, id, &viewer) {
            Some(resource) => {
                held.push(id);
                if trusted && resource.version.is(version) {
                    equal.push(id);
                }
            }
            None if sub.wanted.wildcard || sub.wanted.names.contains(id) => {
                held.push(id);
                gone.push(id);
            }
            None => {}
        }
    }
    sub.held.ids |= set(held);
    sub.held.ids.optimize();
    // What it has unsubscribed under the wildcard is sent again whatever it claims.
    sub.pending.dirty -= set(equal) - &sub.pending.again - followers;
    sub.pending.dirty |= set(gone);
}

/// Rule 45: what follows the resources that were sent before this type was asked for on the stream. An Envoy that
/// connects again asks for clusters first; one of those that has changed meanwhile is sent before it asks for endpoints,
/// and warms until they come, although they are the ones that it claims.
fn followers(stream: &Stream, kind: Kind, generation: &Generation) -> RoaringBitmap {
    let above = Kind::ALL
        .into_iter()
        .filter(|above| above.followed_by() == Some(kind));
    let sent = above.flat_map(|above| {
        let flight = stream.types.get(above).waiting.flight.iter();
        let names = flight.flat_map(|flight| flight.names.iter().map(|(id, _)| *id));
        names.filter_map(move |id| generation.get(above, id))
    });
    sent.flat_map(|resource| resource.needs.iter().copied()).collect()
}

/// Claimed names that are not served are remembered only so that the client drops them: within the bounds of the
/// stream and those of all streams together. What is beyond stays at the client.
struct Room {
    names: usize,
    bytes: usize,
    /// Bytes that the stream's unserved names take in the table; only counted when that is nearly full.
    own: usize,
}

impl Room {
    fn new(stream: &Stream, kind: Kind, names: &Names, claims: &[Claim]) -> Self {
        let unknown = usize::try_from(stream.types.get(kind).pending.unknown.len()).unwrap_or(usize::MAX);
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
