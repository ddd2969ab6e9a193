//! When the last known state of a source is served, and when its present one is saved.
//! Reads no clock: times are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::{LastKnown, Writer};

/// A source from which nothing has come for this long counts as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest time between two saves while its registry is there: what is saved is as old as its confirmation.
const AT_LEAST: Duration = Duration::from_secs(600);

/// Shortest time between two saves.
const EVERY: Duration = Duration::from_secs(1);

/// What is saved by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// What was decided between services.
    Decisions,
    /// The state of a source.
    Source(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Memory {
    began: Instant,
    loaded: BTreeMap<Arc<str>, LastKnown>,
    /// Served now, with the age at loading.
    stale: BTreeMap<Arc<str>, Duration>,
    unsaved: BTreeSet<Part>,
    /// One of them, for which the writer had no room.
    postponed: Option<Part>,
    last_save: Option<Instant>,
    /// When all live states were last marked as changed.
    renewed: Instant,
    /// Where states are saved, if they are.
    pub(super) writer: Option<Writer>,
}

impl Memory {
    pub(super) const fn new(
        began: Instant,
        loaded: BTreeMap<Arc<str>, LastKnown>,
        writer: Option<Writer>,
    ) -> Self {
        Self {
            began,
            loaded,
            stale: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            postponed: None,
            last_save: None,
            renewed: began,
            writer,
        }
    }

    /// The source is gone, or reads another registry.
    pub(super) fn forget(&mut self, source: &Arc<str>) {
        self.stale.remove(source);
        self.loaded.remove(source);
        self.unsaved.remove(&Part::Source(source.clone()));
    }

    /// The source has delivered itself: what was remembered of it is over. Returns what of it was not served yet.
    pub(super) fn delivered(&mut self, source: &str) -> Option<LastKnown> {
        self.stale.remove(source);
        self.loaded.remove(source)
    }

    /// The source is away: what is remembered of it is served from now on.
    pub(super) fn away(&mut self, source: &Arc<str>) -> Option<LastKnown> {
        let state = self.loaded.remove(source)?;
        self.stale.insert(source.clone(), state.age);
        Some(state)
    }

    /// When sources from which nothing has come count as away.
    pub(super) fn patience(&self) -> Option<Instant> {
        (!self.loaded.is_empty()).then(|| self.began + PATIENCE)
    }

    /// Those of which something is remembered that is not served yet.
    pub(super) fn waiting(&self) -> Vec<Arc<str>> {
        self.loaded.keys().cloned().collect()
    }

    /// How old the state is that is served of this source, if it is not its own.
    pub(super) fn stale(&self, source: &str, now: Instant) -> Option<Duration> {
        let age = self.stale.get(source)?;
        Some(*age + now.saturating_duration_since(self.began))
    }

    /// When to report again how old that is; `None`: nothing is.
    pub(super) fn ageing(&self, now: Instant) -> Option<Instant> {
        let seconds = now.saturating_duration_since(self.began).as_secs();
        (!self.stale.is_empty()).then(|| self.began + Duration::from_secs(seconds + 1))
    }

    /// What is to be saved has changed.
    pub(super) fn changed(&mut self, part: &Part) {
        self.unsaved.insert(part.clone());
    }

    /// When what did not change is to be saved again, with its new age.
    pub(super) fn renewal(&self) -> Option<Instant> {
        self.writer.as_ref().map(|_| self.renewed + AT_LEAST)
    }

    /// That time has come, for the sources that are live.
    pub(super) fn renew(&mut self, live: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        self.renewed = now;
        self.unsaved.extend(live.into_iter().map(Part::Source));
    }

    /// When to save next.
    pub(super) fn save_at(&self, now: Instant) -> Option<Instant> {
        self.save_after(now, self.writer.as_ref()?.rest())
    }

    /// The same, no sooner than after this rest.
    fn save_after(&self, now: Instant, rest: Duration) -> Option<Instant> {
        let rest = rest.max(EVERY);
        let due = self.last_save.map_or(now, |last| (last + rest).max(now));
        (!self.unsaved.is_empty()).then_some(due)
    }

    /// One part to save now.
    pub(super) fn take_unsaved(&mut self, now: Instant) -> Option<Part> {
        // What the writer had no room for goes first: others that change all the time must not hold it up forever.
        let part = match self.postponed.take().filter(|part| self.unsaved.remove(part)) {
            Some(part) => part,
            None => self.unsaved.pop_first()?,
        };
        if self.unsaved.is_empty() {
            self.last_save = Some(now);
        }
        Some(part)
    }

    /// The writer is busy: later.
    pub(super) fn later(&mut self, part: Part, now: Instant) {
        self.unsaved.insert(part.clone());
        self.postponed = Some(part);
        self.last_save = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd() -> Part {
        Part::Source("etcd".into())
    }

    fn memory(now: Instant) -> Memory {
        let state = LastKnown {
            services: Vec::new(),
            age: Duration::from_secs(60),
        };
        let loaded = BTreeMap::from([("etcd".into(), state)]);
        Memory::new(now, loaded, Some(crate::cache::writer().0))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_served_once_when_the_source_is_away() {
        let now = crate::clock::now();
        let mut memory = memory(now);
        assert_eq!(memory.patience(), Some(now + PATIENCE));
        assert!(memory.away(&"other".into()).is_none());
        assert!(memory.away(&"etcd".into()).is_some());
        assert!(memory.away(&"etcd".into()).is_none());
        let later = now + Duration::from_millis(5_500);
        assert_eq!(
            (
                memory.stale("etcd", now),
                memory.stale("etcd", later),
                memory.patience()
            ),
            (
                Some(Duration::from_secs(60)),
                Some(Duration::from_millis(65_500)),
                None
            ),
            "it grows older"
        );
        assert_eq!(memory.ageing(later), Some(now + Duration::from_secs(6)));
        memory.delivered("etcd");
        assert_eq!((memory.stale("etcd", now), memory.ageing(now)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_change_is_saved_again_all_the_same() {
        let now = crate::clock::now();
        let mut memory = memory(now);
        let due = memory.renewal().unwrap();
        assert_eq!(due, now + AT_LEAST);
        memory.renew(["etcd".into()], due);
        assert_eq!(memory.take_unsaved(due), Some(etcd()));
        assert_eq!(memory.renewal(), Some(due + AT_LEAST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_answers_is_never_overruled() {
        let mut memory = memory(crate::clock::now());
        memory.delivered("etcd");
        assert!(memory.away(&"etcd".into()).is_none());
        assert_eq!(memory.waiting(), [""; 0].map(Arc::from));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_writer_had_no_room_for_is_next() {
        let now = crate::clock::now();
        let mut memory = memory(now);
        let first = Part::Source("a".into());
        for part in [&first, &etcd()] {
            memory.changed(part);
        }
        assert_eq!(memory.take_unsaved(now), Some(first.clone()));
        assert_eq!(memory.take_unsaved(now), Some(etcd()));
        memory.later(etcd(), now);
        memory.changed(&first);
        assert_eq!(memory.take_unsaved(now), Some(etcd()));
        assert_eq!(memory.take_unsaved(now), Some(first));
        assert_eq!(memory.take_unsaved(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_saved_at_once_and_then_each_second() {
        let now = crate::clock::now();
        let mut memory = memory(now);
        let (small, large) = (Duration::from_millis(10), Duration::from_secs(20));
        assert_eq!(memory.save_after(now, small), None);
        memory.changed(&etcd());
        assert_eq!(memory.save_after(now, large), Some(now));
        assert_eq!(memory.take_unsaved(now), Some(etcd()));
        memory.changed(&etcd());
        let soon = now + Duration::from_millis(10);
        assert_eq!(memory.save_after(soon, small), Some(now + EVERY));
        assert_eq!(memory.save_after(soon, large), Some(now + large));
    }
}
