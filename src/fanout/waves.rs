//! From a registry's answer to the last client's: which streams still owe an ACK for what was published. A client that
//! is always one change behind counts until it has caught up. Pure but for the methods of [`Fanout`].

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roaring::RoaringBitmap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Fanout, Registration, lock};
use crate::clock;
use crate::xds::{Kind, PerKind, Stream, StreamId};

/// Publications of one type that are followed at once; of more, the newest two become one, with the earlier time.
const OPEN: usize = 32;

/// Publications that all clients have and that nobody has asked about, of each of the two who ask.
const FINISHED: usize = 1_024;

/// A publication that some streams have not acknowledged.
#[derive(Debug)]
struct Wave {
    /// When the first of its changes came from the registry.
    since: Instant,
    /// Its generation, or the first and the last of them.
    generations: (u64, u64),
    /// How many streams it concerned.
    streams: u64,
    /// The streams it concerned that have not answered.
    waiting: RoaringBitmap,
    /// When the last one answered.
    last: Option<Instant>,
}

/// All of them, by type, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waves {
    open: PerKind<VecDeque<Wave>>,
    finished: Vec<(Kind, Duration)>,
    settled: Vec<Settled>,
}

/// A publication of one type that the last stream has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Its generation, or the first and the last of them.
    pub generations: (u64, u64),
    /// How many streams it concerned.
    pub streams: u64,
    /// When the last of them answered.
    pub at: Instant,
}

impl Waves {
    /// Something was published that concerns these streams.
    pub(super) fn begin(&mut self, kind: Kind, (generation, since): (u64, Instant), streams: RoaringBitmap) {
        if streams.is_empty() {
            return;
        }
        let open = self.open.get_mut(kind);
        if open.len() >= OPEN
            && let Some(newest) = open.back_mut()
        {
            newest.waiting |= streams;
            newest.generations.1 = generation;
            newest.streams = newest.streams.max(newest.waiting.len());
            return;
        }
        open.push_back(Wave {
            since,
            generations: (generation, generation),
            streams: streams.len(),
            waiting: streams,
            last: None,
        });
    }

    /// Takes those of whose generations nothing is open any more.
    fn take_settled(&mut self) -> Vec<Settled> {
        let open: Vec<(u64, u64)> = self
            .open
            .iter()
            .flat_map(|(_, waves)| waves.iter().map(|wave| wave.generations))
            .collect();
        let is_open = |settled: &Settled| {
            let (from, to) = settled.generations;
            open.iter().any(|(first, last)| *first <= to && from <= *last)
        };
        let (later, now) = std::mem::take(&mut self.settled).into_iter().partition(is_open);
        self.settled = later;
        now
    }

    /// A client has answered everything of a type that it was sent, and is to be sent nothing.
    fn answered(&mut self, kind: Kind, stream: StreamId, now: Instant) -> bool {
        let mut is_over = false;
        for wave in self.open.get_mut(kind) {
            if wave.waiting.remove(stream) {
                wave.last = Some(now);
                is_over |= wave.waiting.is_empty();
            }
        }
        if is_over {
            self.finish(kind);
        }
        is_over
    }

    /// A stream has ended: nothing is waited for by it. True: something is over by that.
    pub(super) fn left(&mut self, stream: StreamId) -> bool {
        let before = self.settled.len();
        for kind in Kind::ALL {
            for wave in self.open.get_mut(kind) {
                wave.waiting.remove(stream);
            }
            self.finish(kind);
        }
        self.settled.len() > before
    }

    fn finish(&mut self, kind: Kind) {
        let (finished, settled) = (&mut self.finished, &mut self.settled);
        self.open.get_mut(kind).retain(|wave| {
            let is_over = wave.waiting.is_empty();
            if let Some(at) = wave.last.filter(|_| is_over && settled.len() < FINISHED) {
                settled.push(Settled {
                    generations: wave.generations,
                    streams: wave.streams,
                    at,
                });
            }
            if let Some(last) = wave.last.filter(|_| is_over && finished.len() < FINISHED) {
                finished.push((kind, last.saturating_duration_since(wave.since)));
            }
            !is_over
        });
    }

    fn is_idle(&self) -> bool {
        self.finished.is_empty() && self.open.iter().all(|(_, open)| open.is_empty())
    }
}

impl Fanout {
    /// A stream has nothing to send now: what its client has acknowledged by then.
    pub fn answered(&self, registration: &Registration, stream: &Stream) {
        let waves = self.following.load(Ordering::Acquire);
        let mut waves = waves.then(|| (lock(&self.waves), clock::now()));
        // What is published later waits for the lock above, or is pending already.
        let mut pending = lock(&registration.subscriber.pending);
        let (mut is_settled, mut is_over) = (true, false);
        for kind in Kind::ALL {
            let has_all = stream.is_settled(kind) && pending.changed.get(kind).is_empty();
            is_settled &= has_all;
            if has_all
                && let Some((waves, now)) = &mut waves
                && !waves.open.get(kind).is_empty()
            {
                is_over |= waves.answered(kind, registration.id, *now);
            }
        }
        if is_settled {
            pending.behind = None;
        }
        drop((pending, waves));
        if is_over {
            self.settled.send_replace(());
        }
    }

    /// Wakes when [`Self::take_settled`] may have something.
    #[must_use]
    pub fn settling(&self) -> watch::Receiver<()> {
        self.settled.subscribe()
    }

    /// Publications that the last client has acknowledged since this was last asked.
    pub fn take_settled(&self) -> Vec<Settled> {
        lock(&self.waves).take_settled()
    }

    /// From the arrival of a change until the last client had acknowledged it, of all changes since this was last
    /// asked.
    pub fn acknowledged(&self) -> Vec<(Kind, Duration)> {
        if !self.following.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut waves = lock(&self.waves);
        let finished = std::mem::take(&mut waves.finished);
        self.following.store(!waves.is_idle(), Ordering::Release);
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::Endpoints;

    fn set(streams: &[StreamId]) -> RoaringBitmap {
        streams.iter().copied().collect()
    }

    #[test]
    fn the_last_answer_counts_and_who_leaves_is_not_waited_for() {
        let (mut waves, began) = (Waves::default(), clock::now());
        let at = |ms| began + Duration::from_millis(ms);
        waves.begin(KIND, (7, began), set(&[1, 2, 3]));
        waves.answered(KIND, 1, at(5));
        waves.answered(KIND, 2, at(7));
        assert!(waves.finished.is_empty());
        waves.left(3);
        assert_eq!(waves.finished, [(KIND, Duration::from_millis(7))]);
        assert!(!waves.is_idle());
        waves.finished.clear();
        // Nobody answered at all: there is nothing to count.
        waves.begin(KIND, (8, began), set(&[4]));
        waves.left(4);
        assert!(waves.is_idle());
        waves.begin(KIND, (9, began), set(&[]));
        assert!(waves.is_idle());
    }

    #[test]
    fn a_generation_is_settled_once_all_of_its_types_are() {
        let (mut waves, began) = (Waves::default(), clock::now());
        let at = |ms| began + Duration::from_millis(ms);
        waves.begin(Kind::Cluster, (3, began), set(&[1, 2]));
        waves.begin(KIND, (3, began), set(&[1]));
        waves.begin(KIND, (4, began), set(&[2]));
        assert!(!waves.answered(Kind::Cluster, 1, at(1)));
        assert!(waves.answered(Kind::Cluster, 2, at(2)));
        assert_eq!(waves.take_settled(), [], "its endpoints are under way");
        assert!(waves.answered(KIND, 1, at(5)));
        let settled = |generation, streams, ms| Settled {
            generations: (generation, generation),
            streams,
            at: at(ms),
        };
        assert_eq!(waves.take_settled(), [settled(3, 2, 2), settled(3, 1, 5)]);
        assert!(!waves.left(2), "nobody answered");
        assert_eq!(waves.take_settled(), []);
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let (mut waves, began) = (Waves::default(), clock::now());
        for n in 0..1_000 {
            let since = began + Duration::from_secs(u64::from(n));
            waves.begin(KIND, (u64::from(n), since), set(&[n]));
        }
        assert_eq!(waves.open.get(KIND).len(), OPEN);
        for n in 0..1_000 {
            waves.answered(KIND, n, began + Duration::from_secs(2_000));
        }
        let longest = waves.finished.iter().map(|(_, time)| *time).max();
        assert_eq!(
            (waves.finished.len(), longest),
            (OPEN, Some(Duration::from_secs(2_000)))
        );
    }
}
