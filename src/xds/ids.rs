//! Numbers of names, and sets of them.

use roaring::RoaringBitmap;

/// The number of a name.
pub type NameId = u32;

/// A set of them, from a list in any order. At once: name by name costs a hundred times as much.
pub(super) fn set(mut ids: Vec<NameId>) -> RoaringBitmap {
    ids.sort_unstable();
    ids.dedup();
    // Sorted and unique: this cannot fail.
    RoaringBitmap::from_sorted_iter(ids).unwrap_or_default()
}
