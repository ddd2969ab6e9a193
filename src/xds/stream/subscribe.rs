//! Subscribing and unsubscribing by name, within the bounds of the stream and of all streams together.

use roaring::RoaringBitmap;

use super::super::hints::Hint;
use super::super::ids::{NameId, set};
use super::super::kind::Kind;
use super::super::names::Names;
use super::Stream;
use super::handled::Handled;
use super::limits::Refusal;

/// What became of a name that was unsubscribed.
pub(super) enum Dropped {
    /// It was not subscribed to.
    WasNone,
    /// The client no longer wants it.
    Gone,
    /// The wildcard may still hold it.
    UnderWildcard,
    /// The wildcard is still there, and there is no such resource. It was given up.
    Unknown,
}

impl Stream {
    /// Subscribes to names; returns all of them, and those that are new.
    pub(super) fn subscribe<'a>(
        &mut self,
        kind: Kind,
        list: impl Iterator<Item = (&'a str, Hint)>,
        names: &mut Names,
        handled: &mut Handled,
    ) -> (RoaringBitmap, RoaringBitmap) {
        let mut ids: Vec<NameId> = list.map(|(name, hint)| names.ask_hinted(name, hint)).collect();
        ids.sort_unstable();
        let sub = self.types.get_mut(kind);
        let mut before = None;
        for id in &ids {
            if before.replace(*id) == Some(*id) || sub.wanted.names.contains(*id) {
                let _ = names.release(*id); // counted once per stream and type
            }
        }
        let all = set(ids);
        let new = &all - &sub.wanted.names;
        sub.wanted.bytes += new.iter().map(|id| names.len_of(id)).sum::<usize>();
        sub.wanted.names |= &new;
        sub.wanted.names.optimize();
        handled.subscribed |= &new;
        sub.known(&all);
        (all, new)
    }

    /// Drops a subscription by name.
    pub(super) fn unsubscribe(
        &mut self,
        kind: Kind,
        id: NameId,
        names: &mut Names,
        handled: &mut Handled,
    ) -> Dropped {
        let sub = self.types.get_mut(kind);
        if !sub.wanted.names.remove(id) {
            return Dropped::WasNone;
        }
        if !handled.subscribed.remove(id) {
            handled.unsubscribed.insert(id);
        }
        sub.wanted.bytes = sub.wanted.bytes.saturating_sub(names.len_of(id));
        let is_served = names.is_served(id);
        if !is_served || !sub.wanted.wildcard {
            sub.forget(id);
        }
        if !is_served {
            sub.give_up(id, names);
        }
        if !sub.wanted.wildcard {
            Dropped::Gone
        } else if !is_served {
            Dropped::Unknown
        } else {
            Dropped::UnderWildcard
        }
    }

    pub(super) fn within_limits(&self, names: usize) -> Result<(), Refusal> {
        if names > self.limits.names {
            return Err(Refusal::TooManyNames {
                limit: self.limits.names,
            });
        }
        Ok(())
    }

    /// Whether this number of bytes of names of a type, beside those of the others, are within the bound.
    pub(super) fn within_bytes(&self, kind: Kind, bytes: usize) -> Result<(), Refusal> {
        let others = self.types.iter().filter(|(other, _)| *other != kind);
        let others: usize = others.map(|(_, sub)| sub.wanted.bytes).sum();
        let limit = self.limits.name_bytes;
        if others.saturating_add(bytes) > limit {
            return Err(Refusal::TooManyBytes { limit });
        }
        Ok(())
    }

    /// Refuses names when the table of names is full and this stream has had its share of it. `new`: the
    /// cost of those that are not in the table; `known`: of those that are; `besides`: the types whose
    /// present names stay beside them.
    pub(super) fn within_share(
        &self,
        names: &Names,
        besides: impl Fn(Kind) -> bool,
        new: usize,
        known: impl FnOnce() -> usize,
    ) -> Result<(), Refusal> {
        let own = || {
            let present = Kind::ALL.into_iter().filter(|kind| besides(*kind));
            present
                .map(|kind| self.unserved(kind, names))
                .fold(new + known(), usize::saturating_add)
        };
        if names.admits(new, own) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Bytes that the unserved names of a type take in the table of names.
    pub(super) fn unserved(&self, kind: Kind, names: &Names) -> usize {
        let sub = self.types.get(kind);
        let others = &sub.pending.unknown | &sub.waiting.given_up;
        let others = others - &sub.wanted.names;
        let all = sub.wanted.names.iter().chain(&others);
        all.map(|id| names.cost_of(id)).sum()
    }
}
