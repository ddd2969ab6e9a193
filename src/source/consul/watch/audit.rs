//! The rolling audit: each service, and the names, are read once in a while beside their watch. A difference is sent like
//! any other news; a watch that does not send it within a grace time has missed it. Pure: what was read and the time go
//! in, what is to be done comes out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A service, or (`None`) the names.
pub(crate) type Thing = Option<Arc<str>>;

#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What was read last.
    last: Thing,
    /// Differences that the watch has not sent yet: the index, and until when it may.
    open: HashMap<Thing, (u64, Duration)>,
}

/// The time between two reads, so that everything is read once in `round`, within the bounds.
pub(crate) fn pace(services: usize, round: Duration, (least, most): (Duration, Duration)) -> Duration {
    let reads = u32::try_from(services + 1).unwrap_or(u32::MAX);
    (round / reads).clamp(least, most.max(least))
}

impl Audit {
    /// What to read next; `after` gives the service that follows one in the order of names.
    pub(crate) fn next(&mut self, after: impl Fn(Option<&Arc<str>>) -> Option<Arc<str>>) -> Thing {
        self.last = after(self.last.as_ref());
        self.last.clone()
    }

    /// What was read differs from what is held.
    pub(crate) fn differed(&mut self, thing: Thing, index: u64, until: Duration) {
        self.open.entry(thing).or_insert((index, until));
    }

    /// A watch sent something.
    pub(crate) fn watch_sent(&mut self, thing: &Thing, index: u64) {
        if self.open.get(thing).is_some_and(|(found, _)| *found <= index) {
            self.open.remove(thing);
        }
    }

    /// Drops what belongs to an epoch that is over.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    /// When to call [`Self::missed`].
    pub(crate) fn due(&self) -> Option<Duration> {
        self.open.values().map(|(_, until)| *until).min()
    }

    /// What watches have missed, each reported once.
    pub(crate) fn missed(&mut self, now: Duration) -> Vec<Thing> {
        let over = self.open.iter().filter(|(_, (_, until))| *until <= now);
        let over: Vec<Thing> = over.map(|(thing, _)| thing.clone()).collect();
        for thing in &over {
            self.open.remove(thing);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_pace_is_even_and_bounded() {
        let pace = |services| pace(services, at(600), (Duration::from_millis(200), at(10)));
        assert_eq!((pace(0), pace(59), pace(99)), (at(10), at(10), at(6)));
        assert_eq!(
            (pace(599), pace(100_000)),
            (at(1), Duration::from_millis(200)),
            "five a second at most"
        );
    }

    #[test]
    fn all_come_in_turn_and_the_names_between_two_rounds() {
        let mut audit = Audit::default();
        let names: [Arc<str>; 2] = ["a".into(), "b".into()];
        let after = |last: Option<&Arc<str>>| names.iter().find(|n| last.is_none_or(|l| *n > l)).cloned();
        let read: Vec<Thing> = (0..4).map(|_| audit.next(after)).collect();
        assert_eq!(read, [Some("a".into()), Some("b".into()), None, Some("a".into())]);
    }

    #[test]
    fn only_what_the_watch_does_not_tell_in_time_is_missed() {
        let mut audit = Audit::default();
        let (a, b) = (Some(Arc::from("a")), Some(Arc::from("b")));
        audit.differed(a.clone(), 7, at(10));
        audit.differed(b.clone(), 7, at(11));
        audit.differed(a.clone(), 9, at(20));
        audit.watch_sent(&b, 6);
        assert_eq!((audit.due(), audit.missed(at(9)).len()), (Some(at(10)), 0));
        assert_eq!(audit.missed(at(10)), [a]);
        audit.watch_sent(&b, 8);
        assert_eq!((audit.due(), audit.missed(at(99)).len()), (None, 0));
    }
}
