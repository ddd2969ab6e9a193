//! How a state-of-the-world request changes a stream. Its list of names is the
//! whole subscription, each time.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::kind::Kind;
use super::super::names::Names;
use super::super::request::SotwRequest;
use super::{Dropped, Heard, Refusal, Stream, everything, short};

pub(super) fn hear(
    stream: &mut Stream,
    request: SotwRequest,
    names: &mut Names,
    generation: &Generation,
) -> Result<Heard, Refusal> {
    let mut heard = Heard::default();
    let Some(kind) = stream.admit(request.node, &request.type_url)? else {
        heard.unknown_type = Some(request.type_url);
        return Ok(heard);
    };
    short("a name", &request.names)?;
    heard.kind = Some(kind);
    let first = !stream.types.get(kind).requested;
    if first {
        stream.first_request(kind);
    }
    answer(stream, kind, &request.nonce, request.error.as_ref(), &mut heard);

    let (added, removed) = adopt(stream, kind, &request.names, first, names, generation, &mut heard)?;
    let sub = stream.types.get_mut(kind);
    if request.nonce.is_empty() && !first {
        // Rule 11: a (re)subscription on a known type. Only additions, if it only adds; else all that is named.
        if removed || added.is_empty() {
            for id in sub.names.clone() {
                sub.ask_again(id);
            }
            if sub.wildcard {
                sub.again |= &sub.held;
                sub.dirty |= &sub.held;
                sub.owed = true;
            }
        }
        // What is outstanding holds nothing back any more: the client may never have seen it. But
        // gRPC's clients also ask like this for more names before their first answer, and then answer.
        sub.lapsed = sub.flight.pop_back().or(sub.lapsed.take());
        sub.flight.clear();
    }
    Ok(heard)
}

fn answer(stream: &mut Stream, kind: Kind, nonce: &str, error: Option<&super::Error>, heard: &mut Heard) {
    let Ok(nonce) = nonce.parse::<u64>() else { return };
    let sub = stream.types.get_mut(kind);
    if nonce != sub.last_nonce {
        return; // rule 10: stale; its names count all the same
    }
    // Rule 14: only the newest is answered, for all before it.
    let lapsed = sub.lapsed.take();
    let Some(flight) = sub.flight.pop_back().or(lapsed).filter(|f| f.nonce == nonce) else {
        return;
    };
    sub.flight.clear();
    match error {
        None => {
            heard.ack = true;
            sub.accepted(&flight);
            heard.accepted = flight.names;
        }
        Some(error) => {
            heard.nack = Some(Stream::nack(error, &flight));
            if kind.full_state() {
                sub.refused_set = Some(flight.set);
            } else {
                sub.refuse(flight);
            }
        }
    }
}

/// Takes the list of names over. Returns what was added, and whether anything was dropped.
fn adopt(
    stream: &mut Stream,
    kind: Kind,
    list: &[String],
    first: bool,
    names: &mut Names,
    generation: &Generation,
    heard: &mut Heard,
) -> Result<(RoaringBitmap, bool), Refusal> {
    let fleet = stream.fleet().to_owned();
    let listed: HashSet<&str> = list
        .iter()
        .map(String::as_str)
        .filter(|n| !n.is_empty() && *n != "*")
        .collect();
    // Before anything is dropped: who is refused is not told of, and the index would keep it for good.
    stream.within_limits(listed.len())?;
    let sub = stream.types.get_mut(kind);
    let star = list.iter().any(|n| n == "*");
    // Rule 19: an empty list means everything until names were given once.
    let legacy = list.is_empty() && kind.legacy_wildcard() && !sub.named_once && (first || sub.wildcard);
    sub.named_once |= !list.is_empty();
    let wildcard = star || legacy;
    let mut removed = false;
    if wildcard != sub.wildcard {
        sub.wildcard = wildcard;
        heard.wildcard = Some(wildcard);
        if wildcard {
            sub.owed = true; // rule 32
            sub.dirty |= everything(generation, kind, &fleet);
        } else {
            removed = true;
            let mut others = everything(generation, kind, &fleet);
            others |= &sub.held;
            others -= &sub.names;
            for id in others {
                sub.forget(id);
            }
        }
    }
    let keep: RoaringBitmap = listed.iter().filter_map(|n| names.find(n)).collect();
    let dropped = &stream.types.get(kind).names - &keep;
    for id in dropped {
        removed = true;
        if matches!(stream.unsubscribe(kind, id, names, heard), Dropped::UnderWildcard) {
            let sub = stream.types.get_mut(kind);
            if sub.visible(generation, kind, id, &fleet).is_none() {
                sub.dirty.insert(id); // it had been there by its name alone
            }
        }
    }
    let mut added = RoaringBitmap::new();
    for name in listed {
        let (id, new) = stream.subscribe(kind, name, names, heard);
        if new {
            added.insert(id);
            stream.types.get_mut(kind).ask_again(id); // rule 25
        }
    }
    Ok((added, removed))
}
