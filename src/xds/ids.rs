//! Numbers of names, and sets of them.

use roaring::RoaringBitmap;

/// The number of a name.
pub type NameId = u32;

/// Names that are served have 200 bytes at most: nothing is stored of a longer name.
pub const MAX_NAME: usize = 512;

/// Whether a text in a list of names is the name of a resource that may exist.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text != "*" && text.len() <= MAX_NAME
}

/// A set of them, from a list in any order. At once: name by name costs a hundred times as much.
pub(super) fn set(mut ids: Vec<NameId>) -> RoaringBitmap {
    ids.sort_unstable();
    ids.dedup();
    // Sorted and unique: this cannot fail.
    RoaringBitmap::from_sorted_iter(ids).unwrap_or_default()
}
