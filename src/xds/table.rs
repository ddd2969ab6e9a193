//! Resources by name number, in blocks that generations share: a change copies one block.
//! A block that is sent whole is joined once, into one piece of bytes for all streams.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use roaring::RoaringBitmap;

use super::names::NameId;
use super::resource::{Reach, Resource};
use super::variant::Variant;
use super::viewer::Viewer;

const BLOCK: usize = 64;

/// Joining fewer resources than this is not worth keeping.
const WORTH: usize = 8;

/// All resources of a type.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    blocks: Vec<Option<Arc<Block>>>,
    len: usize,
    /// What `*` holds for each fleet.
    open: Arc<RoaringBitmap>,
    /// What `*` holds for some fleets only.
    narrow: Arc<RoaringBitmap>,
    /// What `*` holds for some views only, and for clients without one.
    in_views: Arc<RoaringBitmap>,
}

#[derive(Debug)]
struct Block {
    slots: [Option<Arc<Resource>>; BLOCK],
    /// All frames in a row, delta and state of the world, made when first needed. A thread may wait here for
    /// another that is joining the same block: that takes microseconds, and saves each the work.
    joined: [OnceLock<Bytes>; 2],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            slots: [const { None }; BLOCK],
            joined: [const { OnceLock::new() }; 2],
        }
    }
}

/// The copy is about to change: nothing of it is joined yet.
impl Clone for Block {
    fn clone(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            ..Self::default()
        }
    }
}

impl Block {
    /// The shared piece, if these are exactly the resources of this block.
    fn whole(&self, variant: Variant, resources: &[(NameId, Arc<Resource>)]) -> Option<Bytes> {
        let mut mine = self.slots.iter().flatten();
        let same = resources
            .iter()
            .all(|(_, r)| mine.next().is_some_and(|own| Arc::ptr_eq(own, r)));
        if !same || mine.next().is_some() || resources.len() < WORTH {
            return None;
        }
        let joined = self.joined[usize::from(variant == Variant::Sotw)].get_or_init(|| {
            let mut all = BytesMut::new();
            for resource in self.slots.iter().flatten() {
                all.extend_from_slice(&resource.frame(variant));
            }
            all.freeze()
        });
        Some(joined.clone())
    }
}

/// Copies a shared set only if it changes.
fn mark(set: &mut Arc<RoaringBitmap>, id: NameId, is_in: bool) {
    if set.contains(id) != is_in {
        let set = Arc::make_mut(set);
        if is_in {
            set.insert(id);
        } else {
            set.remove(id);
        }
    }
}

impl Table {
    pub(super) fn get(&self, id: NameId) -> Option<&Arc<Resource>> {
        let id = id as usize;
        self.blocks.get(id / BLOCK)?.as_ref()?.slots[id % BLOCK].as_ref()
    }

    pub(super) fn set(&mut self, id: NameId, resource: Option<Arc<Resource>>) {
        let reach = resource.as_ref().map(|resource| &resource.reach);
        mark(&mut self.open, id, matches!(reach, Some(Reach::All)));
        mark(&mut self.narrow, id, matches!(reach, Some(Reach::Fleets(_))));
        mark(&mut self.in_views, id, matches!(reach, Some(Reach::Views(_))));
        let id = id as usize;
        if self.blocks.len() <= id / BLOCK {
            self.blocks.resize(id / BLOCK + 1, None);
        }
        let block = Arc::make_mut(self.blocks[id / BLOCK].get_or_insert_default());
        block.joined = Default::default();
        let slot = &mut block.slots[id % BLOCK];
        self.len = self.len + usize::from(resource.is_some()) - usize::from(slot.is_some());
        *slot = resource;
    }

    /// Everything that `*` holds and this client may see.
    pub(super) fn in_wildcard(&self, viewer: &Viewer) -> RoaringBitmap {
        let mut all = (*self.open).clone();
        let admitted = |id: &NameId| {
            self.get(*id)
                .is_some_and(|resource| resource.reach.admits(viewer))
        };
        all.extend(self.narrow.iter().filter(admitted));
        if viewer.view.is_none() {
            all |= &*self.in_views;
        } else {
            all.extend(self.in_views.iter().filter(admitted));
        }
        all
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NameId, &Arc<Resource>)> {
        self.blocks
            .iter()
            .enumerate()
            .filter_map(|(at, block)| Some((at, block.as_ref()?)))
            .flat_map(|(at, block)| {
                block
                    .slots
                    .iter()
                    .enumerate()
                    .filter_map(move |(slot, resource)| {
                        Some((NameId::try_from(at * BLOCK + slot).ok()?, resource.as_ref()?))
                    })
            })
    }

    /// The frames of these resources, which are in the order of their numbers.
    pub(super) fn pieces(&self, variant: Variant, resources: &[(NameId, Arc<Resource>)]) -> Vec<Bytes> {
        let block_of = |id: NameId| id as usize / BLOCK;
        let mut pieces = Vec::new();
        for group in resources.chunk_by(|(a, _), (b, _)| block_of(*a) == block_of(*b)) {
            let block = group.first().and_then(|(id, _)| self.blocks.get(block_of(*id)));
            match block.and_then(|b| b.as_ref()?.whole(variant, group)) {
                Some(piece) => pieces.push(piece),
                None => pieces.extend(group.iter().map(|(_, r)| r.frame(variant))),
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::{Draft, Kind, Reach};

    fn resource(name: &str) -> Arc<Resource> {
        let draft = Draft {
            kind: Kind::Cluster,
            name: name.into(),
            body: name.as_bytes().to_vec(),
            needs: Vec::new(),
            reach: Reach::All,
            local: None,
        };
        Arc::new(Resource::new(&draft, Box::default()))
    }

    #[test]
    fn whole_blocks_are_shared_and_the_bytes_are_the_same() {
        let mut table = Table::default();
        for id in 0..130 {
            table.set(id, Some(resource(&format!("r{id}"))));
        }
        let all: Vec<_> = table.iter().map(|(id, r)| (id, r.clone())).collect();
        let frames = |all: &[(NameId, Arc<Resource>)], variant| -> Vec<u8> {
            all.iter().flat_map(|(_, r)| r.frame(variant)).collect()
        };
        for variant in [Variant::Delta, Variant::Sotw] {
            let pieces = table.pieces(variant, &all);
            assert_eq!(pieces.len(), 2 + 2, "two blocks, and two resources of a third");
            assert_eq!(pieces.concat(), frames(&all, variant));
            assert_eq!(pieces[0].as_ptr(), table.pieces(variant, &all)[0].as_ptr());
            let some = [&all[..3], &all[4..]].concat();
            assert_eq!(table.pieces(variant, &some).concat(), frames(&some, variant));
        }
        table.set(5, Some(resource("other")));
        let all: Vec<_> = table.iter().map(|(id, r)| (id, r.clone())).collect();
        assert_eq!(
            table.pieces(Variant::Delta, &all).concat(),
            frames(&all, Variant::Delta)
        );
    }
}
