//! How a delta request changes a stream: answers, subscriptions, claims of a reconnect.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::{NameId, Names};
use super::super::request::DeltaRequest;
use super::{Dropped, Heard, Refusal, Stream, everything, short};

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
        flight.iter().flat_map(|f| &f.names).map(|(id, _)| *id).collect()
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
    for name in request.subscribe.iter().filter(|n| !n.is_empty() && *n != "*") {
        let (id, new) = stream.subscribe(kind, name, names, &mut heard);
        let sub = stream.types.get(kind);
        stream.within_limits(usize::try_from(sub.names.len()).unwrap_or(usize::MAX))?;
        let sub = stream.types.get_mut(kind);
        if new && coming.contains(id) {
            sub.held.insert(id);
        }
        if first || new {
            sub.dirty.insert(id);
            sub.absent.remove(id);
        }
        if !first {
            sub.ask_again(id); // rule 24; not in the first message (rule 40)
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
                Dropped::Unknown if sub.strangers.len() < limit => {
                    sub.strangers.insert(name.as_str().into());
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
    sub.strangers.clear();
    let mut others = everything(generation, kind, &fleet);
    others |= &sub.held;
    others -= &sub.names;
    for id in others {
        sub.forget(id);
    }
}

/// Rules 40 and 41: what the client says it holds from before.
fn claims(
    stream: &mut Stream,
    kind: Kind,
    claims: &HashMap<String, String>,
    names: &Names,
    generation: &Generation,
) {
    let fleet = stream.fleet().to_owned();
    // An Envoy that asks for endpoints before clusters is in the middle of warming: it must hear them again.
    let trusted = kind != Kind::Endpoints || stream.clusters_first;
    for (name, version) in claims {
        let sub = stream.types.get_mut(kind);
        // A number that only other streams ask for may come to mean another name.
        let known = |id: &NameId| sub.names.contains(*id) || names.is_published(*id);
        let Some(id) = names.find(name).filter(known) else {
            if sub.wildcard {
                sub.strangers.insert(name.as_str().into());
            }
            continue;
        };
        match sub.visible(generation, kind, id, &fleet) {
            Some(resource) => {
                sub.held.insert(id);
                if trusted && resource.version.to_string() == *version {
                    sub.dirty.remove(id);
                }
            }
            None if sub.wildcard || sub.names.contains(id) => {
                sub.held.insert(id);
                sub.dirty.insert(id);
            }
            None => {}
        }
    }
}
