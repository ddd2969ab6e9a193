//! What the port demands and allows, while that may change: what begins goes by what is in force then, and what is open
//! goes on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Options;

/// The options in force, shared by all that begins.
#[derive(Clone, Debug)]
pub struct Demands(Arc<ArcSwap<Options>>);

impl From<Options> for Demands {
    fn from(options: Options) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(options)))
    }
}

impl Demands {
    /// What is in force.
    #[must_use]
    pub fn now(&self) -> Arc<Options> {
        self.0.load_full()
    }

    /// Others, from now on. What the whole port and each connection go by is looked at when these begin; the rate of
    /// requests of a stream, its age, and whose certificate may be whom, for each stream.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        let mut options = (*self.now()).clone();
        change(&mut options);
        self.0.store(Arc::new(options));
    }
}
