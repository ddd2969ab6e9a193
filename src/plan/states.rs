//! Services in some state, and what became of them since somebody asked. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Services in some state.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) now: BTreeSet<Arc<str>>,
    /// Those that came into it, or are in it no longer, since this was last asked.
    pub(super) news: Vec<(Arc<str>, bool)>,
}

impl Services {
    pub(super) fn note(&mut self, name: &Arc<str>, is: bool) {
        let changed = if is {
            self.now.insert(name.clone())
        } else {
            self.now.remove(name)
        };
        if changed {
            self.news.push((name.clone(), is));
        }
    }
}
