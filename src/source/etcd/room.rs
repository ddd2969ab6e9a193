//! How much may be known of one prefix. Pure; the budget behind it is the session's matter.

use std::fmt;

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
    /// One thing is replaced by another. False, and nothing changes, when that is more and does not fit.
    pub(super) const fn change(&mut self, before: usize, after: usize) -> bool {
        let weight = self.weight.saturating_sub(before).saturating_add(after);
        if after > before && weight > self.most {
            return false;
        }
        self.weight = weight;
        true
    }
}

/// For people: why something is left out.
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&beyond(self.most))
    }
}
