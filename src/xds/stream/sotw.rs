//! How a state-of-the-world request changes a stream. Its list of names is the
//! whole subscription, each time.

use std::collections::HashSet;

use roaring::RoaringBitmap;

use super::super::generation::Generation;
use super::super::hints::{Hint, Hints};
use super::super::ids::is_name;
use super::super::ids::{NameId, set};
use super::super::kind::Kind;
use super::super::names::Names;
use super::super::request::{Error, SotwRequest};
use super::Stream;
use super::handled::Handled;
use super::limits::{Refusal, short};
use super::subscribe::Dropped;

/// The list of names of a request.
struct List<'r> {
    names: &'r [String],
    hints: &'r Hints,
    hash: Option<u128>,
}

pub(super) fn handle(
    stream: &mut Stream,
    request: &mut SotwRequest,
    hints: &Hints,
    hash: Option<u128>,
    names: &mut Names,
    generation: &Generation,
) -> Result<Handled, Refusal> {
    let mut handled = Handled::default();
    let Some(kind) = stream.admit(request.node.take(), &request.type_url, names, generation)? else {
        handled.unknown_type = Some(std::mem::take(&mut request.type_url));
        return Ok(handled);
    };
    short("a name", &request.names)?;
    handled.kind = Some(kind);
    let first = !stream.types.get(kind).requested;
    if first {
        stream.first_request(kind);
    }
    acknowledge(
        stream,
        kind,
        &request.nonce,
        request.error.as_ref(),
        names,
        &mut handled,
    );

    let list = List {
        names: &request.names,
        hints,
        hash,
    };
    let (added, removed) = adopt(stream, kind, &list, first, names, generation, &mut handled)?;
    let sub = stream.types.get_mut(kind);
    if first && !request.version.is_empty() {
        sub.sotw.claimed.clone_from(&sub.wanted.names);
    }
    if request.nonce.is_empty() && !first {
        // Rule 11: a (re)subscription on a known type. Only additions, if it only adds; else all that is named.
        if removed || added.is_empty() {
            let all = sub.wanted.names.clone();
            sub.send_all_again(&all);
            if sub.wanted.wildcard {
                sub.pending.again |= &sub.held.ids;
                sub.pending.dirty |= &sub.held.ids;
                sub.pending.owed = true;
            }
        }
        // The client may never have received what is in flight, so that holds nothing back any more. But
        // gRPC's clients also add names like this before their first ACK, and send that afterwards.
        sub.sotw.lapsed = sub.waiting.flight.pop_back().or(sub.sotw.lapsed.take());
        sub.waiting.flight.clear();
        sub.sotw.bisection.lapse();
    }
    Ok(handled)
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
    let viewer = stream.viewer.clone();
    let sub = stream.types.get_mut(kind);
    if nonce != sub.sotw.last_nonce {
        return; // rule 10: stale; its names count all the same
    }
    // Rule 14: only the newest is acknowledged, for all before it.
    let lapsed = sub.sotw.lapsed.take();
    let Some(flight) = sub
        .waiting
        .flight
        .pop_back()
        .or(lapsed)
        .filter(|f| f.nonce == nonce)
    else {
        return;
    };
    sub.waiting.flight.clear();
    sub.waiting.answered();
    match error {
        None => {
            handled.ack = true;
            if kind.full_state() {
                sub.accept_whole(&flight);
            } else {
                sub.accept(&flight);
            }
            handled.accepted = flight.names;
        }
        Some(error) => {
            handled.nack = Some(Stream::nack(error, &flight, names));
            if kind.full_state() {
                sub.refuse_whole(&flight, &error.message, (kind, &viewer));
            } else {
                sub.refuse(flight);
            }
        }
    }
}

/// Makes the list the subscription. Returns what was added, and whether anything was dropped.
fn adopt(
    stream: &mut Stream,
    kind: Kind,
    list: &List<'_>,
    first: bool,
    names: &mut Names,
    generation: &Generation,
    handled: &mut Handled,
) -> Result<(RoaringBitmap, bool), Refusal> {
    let viewer = stream.viewer.clone();
    // Each ACK repeats the names: usually there is nothing to do for them.
    let repeated = list.hash.is_some() && list.hash == stream.types.get(kind).sotw.last_list;
    let (keep, same) = if repeated {
        (RoaringBitmap::new(), true)
    } else {
        let mut unknown: HashSet<&str> = HashSet::new();
        let mut known: Vec<NameId> = Vec::with_capacity(list.names.len());
        for (name, hint) in list.listed() {
            match names.find_hinted(name, hint) {
                Some(id) => known.push(id),
                None => drop(unknown.insert(name)),
            }
        }
        let keep = set(known);
        let same = unknown.is_empty() && keep == stream.types.get(kind).wanted.names;
        if !same {
            // Before anything is dropped: the index would keep what a refused request dropped.
            within_bounds(stream, kind, &keep, &unknown, names)?;
        }
        (keep, same)
    };
    stream.types.get_mut(kind).sotw.last_list = list.hash;
    let sub = stream.types.get_mut(kind);
    let star = list.names.iter().any(|n| n == "*");
    // Rule 19: an empty list means everything until names were given once.
    let legacy = list.names.is_empty()
        && kind.legacy_wildcard()
        && !sub.sotw.named_once
        && (first || sub.wanted.wildcard);
    sub.sotw.named_once |= !list.names.is_empty();
    let wildcard = star || legacy;
    let mut removed = false;
    if wildcard != sub.wanted.wildcard {
        sub.wanted.wildcard = wildcard;
        handled.wildcard = Some(wildcard);
        if wildcard {
            sub.pending.owed = true; // rule 32
            sub.pending.dirty |= generation.in_wildcard(kind, &viewer);
        } else {
            removed = true;
            sub.forget_unnamed(generation.in_wildcard(kind, &viewer));
        }
    }
    if same {
        return Ok((RoaringBitmap::new(), removed));
    }
    let dropped = &stream.types.get(kind).wanted.names - &keep;
    for id in dropped {
        removed = true;
        if matches!(
            stream.unsubscribe(kind, id, names, handled),
            Dropped::UnderWildcard
        ) {
            let sub = stream.types.get_mut(kind);
            if sub.visible(generation, kind, id, &viewer).is_none() {
                sub.pending.dirty.insert(id); // it was visible by its name alone
            }
        }
    }
    let (_, added) = stream.subscribe(kind, list.listed(), names, handled);
    stream.types.get_mut(kind).send_all_again(&added); // rule 25
    Ok((added, removed))
}

impl<'r> List<'r> {
    fn listed(&self) -> impl Iterator<Item = (&'r str, Hint)> {
        let hints = self.hints;
        let names = self.names.iter().enumerate();
        names
            .map(move |(at, name)| (name.as_str(), hints.at(at)))
            .filter(|(name, _)| is_name(name))
    }
}

/// Refuses too many names: `known` are in the table of names, `unknown` are not.
fn within_bounds(
    stream: &Stream,
    kind: Kind,
    known: &RoaringBitmap,
    unknown: &HashSet<&str>,
    names: &Names,
) -> Result<(), Refusal> {
    let count = usize::try_from(known.len()).unwrap_or(usize::MAX);
    stream.within_limits(count.saturating_add(unknown.len()))?;
    let lengths = known.iter().map(|id| names.len_of(id));
    let bytes = lengths.chain(unknown.iter().map(|name| name.len())).sum();
    stream.within_bytes(kind, bytes)?;
    let new = unknown.iter().map(|name| Names::cost(name.len())).sum();
    let known = || known.iter().map(|id| names.cost_of(id)).sum();
    stream.within_share(names, |other| other != kind, new, known)
}
