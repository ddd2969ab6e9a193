//! How a state-of-the-world request changes a stream. Its list of names is the
//! whole subscription, each time.

use std::collections::HashSet;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::Xxh3;

use super::super::generation::Generation;
use super::super::ids::{NameId, set};
use super::super::kind::Kind;
use super::super::names::Names;
use super::super::request::SotwRequest;
use super::{Dropped, Heard, MAX_NAME, Refusal, Stream, everything, short};

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
    if first && !request.version.is_empty() {
        sub.claimed.clone_from(&sub.names);
    }
    if request.nonce.is_empty() && !first {
        // Rule 11: a (re)subscription on a known type. Only additions, if it only adds; else all that is named.
        if removed || added.is_empty() {
            let all = sub.names.clone();
            sub.ask_all_again(&all);
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
        sub.doubts.lapse();
    }
    Ok(heard)
}

fn answer(stream: &mut Stream, kind: Kind, nonce: &str, error: Option<&super::Error>, heard: &mut Heard) {
    let Ok(nonce) = nonce.parse::<u64>() else { return };
    let (client, fleet) = (stream.client, stream.fleet().to_owned());
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
            if kind.full_state() {
                sub.accepted_whole(&flight);
            } else {
                sub.accepted(&flight);
            }
            heard.accepted = flight.names;
        }
        Some(error) => {
            heard.nack = Some(Stream::nack(error, &flight));
            if kind.full_state() {
                sub.refuse_whole(&flight, &error.message, (kind, client, &fleet));
            } else {
                sub.refuse(flight);
            }
        }
    }
}

fn hash(list: &[String]) -> u128 {
    let mut hasher = Xxh3::new();
    for name in list {
        hasher.update(&name.len().to_le_bytes());
        hasher.update(name.as_bytes());
    }
    hasher.digest128()
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
    let (client, fleet) = (stream.client, stream.fleet().to_owned());
    let listed = || {
        let names = list.iter().map(String::as_str);
        names.filter(|n| !n.is_empty() && *n != "*" && n.len() <= MAX_NAME)
    };
    // Each ACK repeats the names: mostly there is nothing to do for them. (Who makes two lists
    // of one hash deceives nobody but itself.)
    let hash = Some(hash(list));
    let repeated = hash == stream.types.get(kind).last_list;
    let (keep, same) = if repeated {
        (RoaringBitmap::new(), true)
    } else {
        let known: Vec<Option<NameId>> = listed().map(|name| names.find(name)).collect();
        let complete = known.iter().all(Option::is_some);
        let keep = set(known.into_iter().flatten().collect());
        let same = complete && keep == stream.types.get(kind).names;
        (keep, same)
    };
    if !same {
        // Before anything is dropped: who is refused is not told of, and the index would keep it for good.
        let different: HashSet<&str> = listed().collect();
        stream.within_limits(different.len())?;
        stream.within_bytes(kind, different.iter().map(|name| name.len()).sum())?;
        stream.within_share(names, |other| other != kind, different.iter().copied())?;
    }
    stream.types.get_mut(kind).last_list = hash;
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
    if same {
        return Ok((RoaringBitmap::new(), removed));
    }
    let dropped = &stream.types.get(kind).names - &keep;
    for id in dropped {
        removed = true;
        if matches!(stream.unsubscribe(kind, id, names, heard), Dropped::UnderWildcard) {
            let sub = stream.types.get_mut(kind);
            if sub.visible(generation, kind, id, (client, &fleet)).is_none() {
                sub.dirty.insert(id); // it had been there by its name alone
            }
        }
    }
    let (_, added) = stream.subscribe(kind, listed(), names, heard);
    stream.types.get_mut(kind).ask_all_again(&added); // rule 25
    Ok((added, removed))
}
