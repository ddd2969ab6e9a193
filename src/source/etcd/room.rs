//! How much may be known of one prefix. Pure; the budget behind it is the session's matter.

use std::collections::HashMap;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::registry::weight::beyond;

/// What is known, and may be.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) weight: usize,
    pub(super) most: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            weight: 0,
            most: usize::MAX,
        }
    }
}

impl Room {
    /// One thing is replaced by another. An error, and nothing changes, when that is more and does not fit.
    pub(super) fn change(&mut self, before: usize, after: usize) -> Result<(), NoRoom> {
        let weight = self.weight.saturating_sub(before).saturating_add(after);
        if after > before && weight > self.most {
            return Err(NoRoom(after - before));
        }
        self.weight = weight;
        Ok(())
    }

    /// One thing is gone.
    pub(super) const fn give_back(&mut self, weight: usize) {
        self.weight = self.weight.saturating_sub(weight);
    }
}

/// There is no room for this much more.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRoom(usize);

/// The number of keys that are remembered one by one.
const MAX_REMEMBERED: usize = 10_000;

/// Keys whose values there is no room for. Each is remembered by a hash, so that it can be read again once there is.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// What each takes.
    keys: HashMap<u64, usize>,
    sum: usize,
    /// Beside those that are remembered.
    more: usize,
}

impl LeftOut {
    /// What has become of a key.
    pub(super) fn note(&mut self, key: &[u8], fits: Result<(), NoRoom>) {
        let key = xxh3_64(key);
        if let Some(weight) = self.keys.remove(&key) {
            self.sum -= weight;
        }
        if let Err(NoRoom(weight)) = fits {
            if self.keys.len() < MAX_REMEMBERED {
                self.keys.insert(key, weight);
                self.sum = self.sum.saturating_add(weight);
            } else {
                self.more = self.more.saturating_add(1);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len() + self.more
    }

    /// Whether there are any, and those that are remembered fit into this room.
    pub(super) fn fits(&self, room: usize) -> bool {
        self.count() > 0 && self.sum <= room
    }
}

/// For people: why something is left out.
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&beyond(self.most))
    }
}
