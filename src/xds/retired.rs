//! Numbers of names that are not served any more, until they may mean other names.
//!
//! A publication only notes the numbers that it may have put out of use. Once enough have gathered,
//! the owner of the streams sweeps: what neither the generation uses nor any stream subscribes to is
//! leaving; each open stream is asked once which of these it still needs; the rest is forgotten. A
//! name that is published, subscribed to or claimed meanwhile stays.

use roaring::RoaringBitmap;

use super::ids::NameId;

/// Fewer numbers than this are not worth a sweep.
const FEW: u64 = 4_096;

/// What a sweep begins with, and what it is about to forget.
#[derive(Debug, Default)]
pub(super) struct Retired {
    /// Put out of use since the last sweep, and what that had to leave.
    noted: RoaringBitmap,
    /// A part of `noted`.
    leaving: RoaringBitmap,
    /// How many the last sweep left.
    left: u64,
}

impl Retired {
    pub(super) fn note(&mut self, id: NameId) {
        self.noted.insert(id);
    }

    /// A resource of this name is published.
    pub(super) fn served(&mut self, id: NameId) {
        if !self.noted.is_empty() {
            self.noted.remove(id);
            self.leaving.remove(id);
        }
    }

    /// A stream has this number from now on, whether it was asked already or not.
    pub(super) fn needed(&mut self, id: NameId) {
        if !self.leaving.is_empty() {
            self.leaving.remove(id);
        }
    }

    /// `of`: the size of the table. What a sweep looks at is in proportion to that.
    pub(super) fn is_due(&self, of: usize) -> bool {
        self.noted.len() >= FEW + 2 * self.left + of as u64 / 8
    }

    pub(super) fn begin(&mut self, used: &RoaringBitmap, subscribed: impl Fn(NameId) -> bool) {
        // What is used is noted again when that ends.
        self.noted -= used;
        self.leaving = self.noted.iter().filter(|id| !subscribed(*id)).collect();
    }

    pub(super) const fn leaving(&self) -> &RoaringBitmap {
        &self.leaving
    }

    pub(super) fn keep(&mut self, ids: &RoaringBitmap) {
        self.leaving -= ids;
    }

    /// What is to be forgotten.
    pub(super) fn end(&mut self) -> RoaringBitmap {
        let leaving = std::mem::take(&mut self.leaving);
        self.noted -= &leaving;
        self.left = self.noted.len();
        leaving
    }
}
