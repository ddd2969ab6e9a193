//! Watches where the agent has room for them, sweeps where not. A watch is never stopped within a read: Consul would go
//! on with it. So it is only marked as unwanted, and keeps its connection until its read ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::parts::Watch;
use super::{Ended, HealthSubject, Supervisor};
use crate::source::consul::watch::{End, follow};

impl Supervisor {
    /// A watch where there is room for one, else a place in the sweep.
    pub(super) fn watch(&mut self, name: Arc<str>) {
        if let Some(watch) = self.watches.get(&name) {
            // Still in its last read; what it sent since it was not wanted has been ignored.
            watch.set_wanted(true);
            self.confirm(name);
        } else if self.context.capacity.has_room(self.watches.len()) {
            self.start_watch(name);
        } else {
            self.sweep(name);
        }
    }

    fn sweep(&self, name: Arc<str>) {
        self.swept.send_if_modified(|swept| swept.insert(name));
    }

    fn start_watch(&mut self, name: Arc<str>) {
        let multiplexed = self.context.trust.is_multiplexed();
        let (slot, client) = self.context.capacity.assign(multiplexed);
        let wanted = Arc::new(AtomicBool::new(true));
        let watch = Watch {
            wanted: wanted.clone(),
            slot,
        };
        self.watches.insert(name.clone(), watch);
        let context = self.context.clone();
        self.spawn(async move {
            let subject = HealthSubject::new(&context, name.clone());
            let end = follow(&context, &client, subject, || wanted.load(Ordering::Acquire)).await;
            Ended::Watch(name, end)
        });
    }

    pub(super) fn watch_ended(&mut self, name: Arc<str>, end: End) {
        if let Some(watch) = self.watches.remove(&name) {
            self.context.capacity.release(watch.slot, end == End::Full);
        }
        if !self.ledger.knows(&name) {
            return;
        }
        if end == End::Overloaded {
            self.sweep(name);
        } else if !self.swept.borrow().contains(&name) {
            self.watch(name); // listed again between the task's last check and now
        }
    }

    /// The agent has no room for some request. Watches beyond what it allows go over to the sweep.
    pub(super) fn turned_away(&mut self) {
        if !self.context.capacity.turned_away(self.watches.len()) {
            return;
        }
        let wanted = || self.watches.iter().filter(|(_, watch)| watch.is_wanted());
        let excess = wanted()
            .count()
            .saturating_sub(self.context.capacity.max_watches());
        let moved = wanted().take(excess).map(|(name, watch)| {
            watch.set_wanted(false);
            name.clone()
        });
        let moved: Vec<Arc<str>> = moved.collect();
        self.swept.send_modify(|swept| swept.extend(moved));
    }

    /// Gives watches to swept services, where there is room: first to those whose last read still has its connection.
    pub(super) fn fill(&mut self) {
        if self.swept.borrow().is_empty() {
            return;
        }
        let max = self.context.capacity.max_watches();
        let mut wanted = self.watches.values().filter(|watch| watch.is_wanted()).count();
        let all: Vec<Arc<str>> = self.swept.borrow().iter().cloned().collect();
        let (connected, other): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|name| self.watches.contains_key(name));
        let mut filled = Vec::new();
        for name in connected.into_iter().take(max.saturating_sub(wanted)) {
            if let Some(watch) = self.watches.get(&name) {
                watch.set_wanted(true);
            }
            wanted += 1;
            filled.push(name);
        }
        for name in other {
            if wanted >= max || self.watches.len() >= max {
                break;
            }
            self.start_watch(name.clone());
            wanted += 1;
            filled.push(name);
        }
        if !filled.is_empty() {
            self.swept
                .send_modify(|swept| swept.retain(|name| !filled.contains(name)));
        }
    }

    /// Lets the watches end of services that the ledger no longer knows.
    pub(super) fn forget(&mut self) {
        for name in self.ledger.forgotten() {
            self.context.last_found.set(&name, None);
            self.confirmations.forget(&name);
            if let Some(watch) = self.watches.get(&name) {
                watch.set_wanted(false);
            }
            self.swept.send_if_modified(|swept| swept.remove(&name));
        }
    }
}
