//! How far a client is with each resource that it asks for: what an operator sees of it.

use roaring::RoaringBitmap;

use super::Stream;
use crate::xds::generation::Generation;
use crate::xds::ids::NameId;
use crate::xds::kind::Kind;
use crate::xds::resource::Version;

/// How far a client is with one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    /// It refuses the present content.
    Refused,
    /// It was sent it and has not answered, or goes on with older content.
    Behind,
    /// It is still to be sent it.
    NotSent,
    /// It asks for it, and nothing of the name is served to it.
    Missing,
    /// It has accepted the present content.
    Synced,
}

impl Stream {
    /// Each resource of a type that the client asks for or has, with its present version. `changed`: names that
    /// [`Self::handle_changes`] was not given yet.
    #[must_use]
    pub fn given(
        &self,
        generation: &Generation,
        kind: Kind,
        changed: &RoaringBitmap,
    ) -> Vec<(NameId, Given, Option<Version>)> {
        let sub = self.types.get(kind);
        let mut all = &sub.held.ids | &sub.wanted.names;
        if sub.wanted.wildcard {
            all |= generation.in_wildcard(kind, &self.viewer);
        }
        let one = |id: NameId| {
            let (given, version) = self.given_of(generation, kind, id, changed.contains(id));
            (id, given, version)
        };
        all.into_iter().map(one).collect()
    }

    /// The same of one name.
    #[must_use]
    pub fn given_of(
        &self,
        generation: &Generation,
        kind: Kind,
        id: NameId,
        is_changed: bool,
    ) -> (Given, Option<Version>) {
        let held = &self.types.get(kind).held;
        let version = generation
            .get_as(&self.viewer, kind, id)
            .map(|resource| resource.version);
        let given = if held.refused.contains_key(&id) {
            Given::Refused
        } else if !is_changed && self.has_acked(generation, kind, id) {
            // Who has acknowledged that there is none has nothing.
            if version.is_some() {
                Given::Synced
            } else {
                Given::Missing
            }
        } else if held.ids.contains(id) || self.is_under_way(kind, id) {
            Given::Behind
        } else if version.is_some() {
            Given::NotSent
        } else {
            Given::Missing
        };
        (given, version)
    }

    fn is_under_way(&self, kind: Kind, id: NameId) -> bool {
        let flight = &self.types.get(kind).waiting.flight;
        flight.iter().any(|f| f.names.iter().any(|(name, _)| *name == id))
    }
}
