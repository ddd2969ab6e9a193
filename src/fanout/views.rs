//! Which of the changed names concern a stream, by the view of its fleet: a change outside of it wakes no stream.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Shared;
use crate::xds::{Kind, StreamId};

/// The changed names of one type, as the fleets see them.
pub(super) struct Concerned<'a> {
    shared: &'a Shared,
    kind: Kind,
    names: &'a RoaringBitmap,
    has_views: bool,
    /// Found once for each fleet.
    by_fleet: HashMap<&'a Arc<str>, RoaringBitmap>,
}

impl<'a> Concerned<'a> {
    pub(super) fn new(shared: &'a Shared, kind: Kind, names: &'a RoaringBitmap) -> Self {
        Self {
            shared,
            kind,
            names,
            has_views: !shared.generation.rules().is_empty(),
            by_fleet: HashMap::new(),
        }
    }

    /// Those that concern a stream. A stream that is in no fleet yet may be of any.
    pub(super) fn by(&mut self, stream: StreamId) -> &RoaringBitmap {
        let fleet = self.shared.fleet_of.get(&stream).filter(|_| self.has_views);
        let Some(fleet) = fleet else { return self.names };
        let (generation, kind, names) = (&self.shared.generation, self.kind, self.names);
        self.by_fleet.entry(fleet).or_insert_with(|| {
            let view = generation.rules().of(fleet);
            generation.concerning(kind, names, view.as_ref(), fleet)
        })
    }
}

#[cfg(test)]
#[path = "views_tests.rs"]
mod tests;
