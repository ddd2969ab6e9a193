//! The teams' servers: which run, and what each declares. A server may run and not be registered.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::declare::address;
use crate::history::Declaration;

#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// By service and number.
    pub(crate) running: BTreeMap<(u8, u8), Declaration>,
}

impl Servers {
    /// Whether somebody accepts connections there.
    pub(crate) fn listens(&self, at: SocketAddr) -> bool {
        self.running.values().any(|how| address(how.place) == at)
    }
}
