//! What an operator may ask of the hub: to believe removals, to end routes, to say how everything is.

use super::last_known::Part;
use super::{Forgotten, Hub, Order};
use crate::clock;

impl Hub {
    pub(super) fn obey(&mut self, order: Order) {
        // Who asked may be gone.
        match order {
            Order::Accept { source, reply } => drop(reply.send(self.accept(&source))),
            Order::Forget { service, reply } => drop(reply.send(self.forget(&service))),
            Order::Tell { reply } => drop(reply.send(self.detail())),
        }
    }

    /// Lets removals through that are withheld: how many instances that are; `None`: there is no such source.
    fn accept(&mut self, source: &str) -> Option<usize> {
        let withheld = self.withheld(source);
        let touched = self.catalog.accept(source)?;
        if !touched.services.is_empty() {
            tracing::warn!(
                source,
                services = touched.services.len(),
                "the operator accepts what was withheld"
            );
            self.memory.changed(&Part::Source(source.into()));
            self.follow(touched);
        }
        Some(withheld)
    }

    /// Ends what is kept of a service without instances.
    fn forget(&mut self, service: &str) -> Forgotten {
        match self.planner.forget(service) {
            None => Forgotten::Unknown,
            Some(false) => Forgotten::HasInstances,
            Some(true) => {
                tracing::warn!(
                    service,
                    "the operator ends the routes of a service without instances"
                );
                self.pending.insert(service.into());
                self.settle.note(clock::now());
                Forgotten::Ended
            }
        }
    }
}
