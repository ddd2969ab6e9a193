//! What the keeper does about the limits of an agent and of a token: watches where there is room for them,
//! services that are read in turns where not, what is hidden read again, and what the operator should know of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{HealthSubject, HubGone, Keeper};
use crate::model::Measured;

impl Keeper {
    /// The agent has no room for some request. Watches beyond what it allows go over to the sweep; each
    /// keeps its connection until its read ends.
    pub(super) fn turned_away(&mut self) {
        let now = self.now();
        if !self.budget.turned_away(self.watches.len(), now) {
            return;
        }
        let all = self.watches.values().filter(|watch| watch.is_wanted()).count();
        let excess = all.saturating_sub(self.budget.limit());
        let moved = self
            .watches
            .iter()
            .filter(|(_, watch)| watch.is_wanted())
            .take(excess);
        let moved: Vec<Arc<str>> = moved
            .map(|(name, watch)| {
                watch.wanted.store(false, Ordering::Release);
                name.clone()
            })
            .collect();
        self.swept.send_modify(|swept| swept.extend(moved));
    }

    /// Gives watches to services that are swept, where there is room: first to those whose last read still
    /// has its connection.
    pub(super) fn fill(&mut self) {
        if self.swept.borrow().is_empty() {
            return;
        }
        let limit = self.budget.limit();
        let mut wanted = self.watches.values().filter(|watch| watch.is_wanted()).count();
        let all: Vec<Arc<str>> = self.swept.borrow().iter().cloned().collect();
        let (held, other): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|name| self.watches.contains_key(name));
        let mut filled = Vec::new();
        for name in held.into_iter().take(limit.saturating_sub(wanted)) {
            if let Some(watch) = self.watches.get(&name) {
                watch.wanted.store(true, Ordering::Release);
            }
            wanted += 1;
            filled.push(name);
        }
        for name in other {
            if wanted >= limit || self.watches.len() >= limit {
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

    /// Reads what is hidden from the token again, one service after the other: rights move no index, and a
    /// watch that waits for one does not notice.
    pub(super) fn look_at_hidden(&mut self, now: Duration, epoch: u64) {
        let services = self.ledger.hidden_services();
        self.link.hidden.store(services, Ordering::Relaxed);
        if services == 0 {
            self.hidden = None;
            return;
        }
        let pause = self.link.hidden_pause() / services;
        let (last, due) = self.hidden.take().unwrap_or((None, now + pause));
        if now < due || !self.link.circuit.holds(epoch) {
            self.hidden = Some((last, due.max(now)));
            return;
        }
        let next = self.ledger.hidden_after(last.as_ref());
        self.hidden = Some((next.clone(), now + pause));
        if let Some(name) = next {
            self.read_once(HealthSubject::new(&self.link, name), None);
        }
    }

    /// Whether all services have a watch, and what else the operator should know of a source that works.
    pub(super) async fn deliver_mode(&mut self) -> Result<(), HubGone> {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            self.sink.measured(Measured::Missed(missed)).await?;
        }
        let cut = self.link.lengths.take_cuts();
        if cut > 0 {
            self.sink.measured(Measured::Cut(cut)).await?;
        }
        let swept = self.swept.borrow().len();
        if swept != self.told.swept {
            self.told.swept = swept;
            self.sink.measured(Measured::Swept(swept)).await?;
        }
        let notes = [
            (swept > 0).then(|| self.budget.to_string()),
            self.link.pace.note().map(str::to_owned),
            self.peering.borrow().clone(),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if note != self.told.note {
            self.told.note.clone_from(&note);
            self.sink.note(note).await?;
        }
        Ok(())
    }
}
