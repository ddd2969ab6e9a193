//! What probes of withheld instances mean for what is served.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::SourceState;
use crate::catalog::guard::Guard;
use crate::catalog::probe::{Answer, Meaning};
use crate::catalog::touched::Touched;

impl SourceState {
    /// How many instances are withheld.
    #[must_use]
    pub fn withheld_instances(&self) -> usize {
        self.guard.as_ref().map_or(0, Guard::missing)
    }

    /// At how many of their addresses connections are accepted.
    #[must_use]
    pub fn withheld_alive(&self) -> usize {
        self.guard.as_ref().map_or(0, Guard::alive)
    }

    /// When the next probes start.
    #[must_use]
    pub fn probe_due(&self) -> Option<Duration> {
        self.guard.as_ref()?.probe_due()
    }

    /// Addresses to be probed now.
    pub(in crate::catalog) fn questions(&mut self, now: Duration) -> Vec<SocketAddr> {
        let guard = self.guard.as_mut();
        guard.map(|guard| guard.questions(now)).unwrap_or_default()
    }

    /// What became of a probe. An instance that is gone by the registry's word and by its own leaves, also
    /// while the registry cannot confirm it.
    pub(in crate::catalog) fn probed(
        &mut self,
        address: SocketAddr,
        answer: Answer,
        now: Duration,
    ) -> Touched {
        let mut touched = Touched::default();
        let news = self
            .guard
            .as_mut()
            .and_then(|guard| guard.probed(address, answer, now));
        let Some((meaning, services)) = news else {
            return touched;
        };
        for name in services {
            match meaning {
                Meaning::Gone => self.leaves(name, address, &mut touched),
                Meaning::Stands(standing) => {
                    if let Some(record) = self.services.get_mut(&name) {
                        Arc::make_mut(record).withheld.insert(address, standing);
                        touched.services.insert(name);
                    }
                }
            }
        }
        touched.status = true;
        touched
    }

    /// The withheld instances of a service at this address are gone.
    fn leaves(&mut self, name: Arc<str>, address: SocketAddr, touched: &mut Touched) {
        let Some((guard, record)) = self.guard.as_mut().zip(self.services.get_mut(&name)) else {
            return;
        };
        let there = record.instances.iter().filter(|i| i.address == address).count();
        touched.gone += there;
        if let Some(over) = guard.gone(&name, there) {
            let left = touched.left.len();
            self.replace(name, over.reported, touched);
            touched.left.truncate(left); // nobody is there any more
            return;
        }
        let record = Arc::make_mut(record);
        record.instances.retain(|i| i.address != address);
        record.withheld.remove(&address);
        self.instances -= there;
        touched.services.insert(name);
    }
}
