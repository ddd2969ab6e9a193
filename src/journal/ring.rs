//! The events themselves: at most a number of them, and of their bytes; the oldest go first. Pure.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::clip_to;

/// Events that are kept.
pub(super) const EVENTS: usize = 10_000;
/// Bytes of their words.
const BYTES: usize = 4 << 20;
/// Bytes of the words of one.
const WORDS: usize = 500;
/// Numbers of events are below this.
const HIGHEST: u64 = 1 << 53;

/// What is noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Unix time, milliseconds.
    pub at: u64,
    /// The source whose registry says so, or whoever else; `None`: the bridge itself.
    pub source: Option<Arc<str>>,
    /// Of which service.
    pub service: Option<Arc<str>>,
    /// Of which instance, by its id.
    pub instance: Option<Arc<str>>,
    /// In words.
    pub what: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up; goes on from what was kept of the start before.
    pub id: u64,
    /// Unix time, milliseconds.
    pub at: u64,
    /// See [`Noted::source`].
    pub source: Option<Arc<str>>,
    /// See [`Noted::service`].
    pub service: Option<Arc<str>>,
    /// See [`Noted::instance`].
    pub instance: Option<Arc<str>>,
    /// In words.
    pub what: String,
    /// The generation of resources that has it; `None`: none yet, or it changes nothing that is served.
    pub generation: Option<u64>,
    /// When the last client had acknowledged that generation; Unix time, milliseconds. `None`: not all have, or it
    /// concerns none.
    #[serde(default)]
    pub acked_at: Option<u64>,
    /// How many clients these were.
    #[serde(default)]
    pub clients: Option<u64>,
}

/// A generation, or several, that the last client it concerns has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Unix time, milliseconds.
    pub at: u64,
    /// How many clients had something to acknowledge.
    pub clients: u64,
}

impl Event {
    /// The last client has these generations.
    fn note(&mut self, acked: &Acked) {
        let (from, to) = (acked.from, acked.to);
        if self
            .generation
            .is_some_and(|generation| (from..=to).contains(&generation))
        {
            self.acked_at = self.acked_at.max(Some(acked.at));
            self.clients = self.clients.max(Some(acked.clients));
        }
    }
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// With a greater number.
    pub after: Option<u64>,
    /// Not before this; Unix time, milliseconds.
    pub since: Option<u64>,
    /// Of this service alone.
    pub service: Option<&'a str>,
}

impl Filter<'_> {
    fn fits(&self, event: &Event) -> bool {
        let is_of = |service: &str| event.service.as_deref() == Some(service);
        self.after.is_none_or(|after| event.id > after)
            && self.since.is_none_or(|since| event.at >= since)
            && self.service.is_none_or(is_of)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// The oldest first.
    pub events: Vec<Event>,
    /// How many older ones are left out.
    pub older: usize,
    /// The number of the newest of all.
    pub newest: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    last: u64,
    /// Events of this number and later ones are in no generation yet.
    unpublished: u64,
    /// Events of this number and earlier ones are of an earlier start, whose generations were others.
    earlier: u64,
    /// The last clients may have it before the hub says which generation has what.
    acked: VecDeque<Acked>,
}

/// Generations that are remembered for that.
const ACKED: usize = 64;

impl Ring {
    /// Returns the event's number.
    pub(super) fn push(&mut self, noted: Noted) -> u64 {
        self.last += 1;
        let event = Event {
            id: self.last,
            at: noted.at,
            source: noted.source,
            service: noted.service,
            instance: noted.instance,
            what: clip_to(&noted.what, WORDS),
            generation: None,
            acked_at: None,
            clients: None,
        };
        self.append(event);
        self.last
    }

    fn append(&mut self, event: Event) {
        self.bytes += event.what.len();
        self.events.push_back(event);
        while self.events.len() > EVENTS || self.bytes > BYTES {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.what.len();
        }
    }

    /// What was kept of an earlier start, the oldest first; before anything is noted.
    pub(super) fn restore(&mut self, kept: Vec<Event>) {
        for mut event in kept {
            // A higher number is of no file that a bridge has written, and would leave no room for others.
            if event.id > self.last && event.id < HIGHEST {
                self.last = event.id;
                event.what = clip_to(&event.what, WORDS);
                for name in [&mut event.source, &mut event.service, &mut event.instance] {
                    *name = name.take().map(|name| clip_to(&name, WORDS).into());
                }
                self.append(event);
            }
        }
        // A bridge that was killed may have given more numbers than it kept.
        self.last += if self.last > 0 { EVENTS as u64 } else { 0 };
        (self.earlier, self.unpublished) = (self.last, self.last + 1);
    }

    pub(super) fn all(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    /// The last client has these generations.
    pub(super) fn acked(&mut self, acked: &Acked) {
        if self.acked.len() >= ACKED {
            self.acked.pop_front();
        }
        self.acked.push_back(*acked);
        let of_this_start = self.events.iter_mut().rev();
        for event in of_this_start.take_while(|event| event.id > self.earlier) {
            // They grow with the numbers of events.
            if event.generation.is_some_and(|generation| generation < acked.from) {
                break;
            }
            event.note(acked);
        }
    }

    /// Of the newest.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// `None`: nothing that is served has changed.
    pub(super) fn published(&mut self, generation: Option<u64>, touched: &BTreeSet<Arc<str>>) {
        let waiting = self.events.iter_mut().rev();
        for event in waiting.take_while(|event| event.id >= self.unpublished) {
            let is_in = event
                .service
                .as_ref()
                .is_some_and(|service| touched.contains(service));
            event.generation = generation.filter(|_| is_in);
            for acked in &self.acked {
                event.note(acked);
            }
        }
        self.unpublished = self.last + 1;
    }

    pub(super) fn events(&self, filter: &Filter<'_>, most: usize) -> Events {
        let after = filter.after.filter(|after| *after <= self.last); // of an earlier start
        let filter = Filter { after, ..*filter };
        let begin = after.map_or(0, |after| self.events.partition_point(|event| event.id <= after));
        let mut found: VecDeque<&Event> = VecDeque::new();
        let mut older = 0;
        for event in self.events.range(begin..).filter(|event| filter.fits(event)) {
            if found.len() >= most {
                found.pop_front();
                older += 1;
            }
            if most > 0 {
                found.push_back(event);
            }
        }
        Events {
            events: found.into_iter().cloned().collect(),
            older,
            newest: self.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(at: u64, service: &str, what: &str) -> Noted {
        Noted {
            at,
            service: Some(service.into()),
            what: what.to_owned(),
            ..Noted::default()
        }
    }

    fn ids(ring: &Ring, filter: Filter<'_>, most: usize) -> (Vec<u64>, usize) {
        let found = ring.events(&filter, most);
        (
            found.events.into_iter().map(|event| event.id).collect(),
            found.older,
        )
    }

    #[test]
    fn the_newest_that_fit_are_shown_and_the_oldest_go() {
        let mut ring = Ring::default();
        for at in 0..EVENTS as u64 + 5 {
            ring.push(noted(at, if at.is_multiple_of(2) { "a" } else { "b" }, "x"));
        }
        let last = EVENTS as u64 + 5;
        assert_eq!(ring.events.len(), EVENTS);
        assert_eq!(ring.events[0].id, 6);
        assert_eq!(
            ids(&ring, Filter::default(), 2),
            (vec![last - 1, last], EVENTS - 2)
        );
        let of_b = Filter {
            service: Some("b"),
            since: Some(last - 5),
            ..Filter::default()
        };
        assert_eq!(ids(&ring, of_b, 10), (vec![last - 3, last - 1], 0));
        let after = Filter {
            after: Some(last - 1),
            ..Filter::default()
        };
        assert_eq!(ids(&ring, after, 10), (vec![last], 0));
    }

    #[test]
    fn words_are_bounded_in_all() {
        let mut ring = Ring::default();
        let long = "x".repeat(10_000);
        for at in 0..EVENTS as u64 {
            ring.push(noted(at, "a", &long));
        }
        assert!(ring.bytes <= BYTES);
        let counted: usize = ring.events.iter().map(|event| event.what.len()).sum();
        assert_eq!(counted, ring.bytes);
    }

    #[test]
    fn what_was_kept_is_there_and_nothing_of_this_start_changes_it() {
        let mut before = Ring::default();
        before.push(noted(1, "a", "one"));
        before.published(Some(7), &["a".into()].into());
        let mut ring = Ring::default();
        ring.restore(before.all());
        assert_eq!(ring.push(noted(2, "a", "two")), EVENTS as u64 + 2);
        ring.published(Some(7), &["a".into()].into());
        ring.push(noted(3, "a", "three"));
        ring.published(Some(8), &["a".into()].into());
        let acked = |at, from, to, clients| Acked {
            from,
            to,
            at,
            clients,
        };
        ring.acked(&acked(50, 7, 7, 2));
        ring.acked(&acked(60, 7, 7, 1));
        let all: Vec<_> = ring
            .all()
            .iter()
            .map(|event| (event.acked_at, event.clients))
            .collect();
        assert_eq!(all, [(None, None), (Some(60), Some(2)), (None, None)]);
        ring.acked(&acked(70, 8, 9, 1));
        assert_eq!(ring.all()[2].acked_at, Some(70));
        // A client may be faster than the hub.
        ring.acked(&acked(80, 10, 10, 1));
        ring.push(noted(4, "a", "four"));
        ring.published(Some(10), &["a".into()].into());
        assert_eq!(ring.all()[3].acked_at, Some(80));
        let last = EVENTS as u64 + 4;
        assert_eq!(ids(&ring, Filter::default(), 10).0, [1, last - 2, last - 1, last]);
    }

    #[test]
    fn an_event_is_in_the_generation_that_came_after_it() {
        let mut ring = Ring::default();
        ring.push(noted(1, "a", "one"));
        ring.push(noted(2, "a", "two"));
        ring.push(noted(2, "b", "withheld"));
        let touched: BTreeSet<Arc<str>> = ["a".into()].into();
        ring.published(Some(7), &touched);
        ring.published(Some(8), &touched);
        ring.push(noted(3, "a", "nothing follows"));
        ring.published(None, &touched);
        ring.push(noted(4, "a", "three"));
        ring.published(Some(9), &touched);
        let generations: Vec<_> = ring.events.iter().map(|event| event.generation).collect();
        assert_eq!(generations, [Some(7), Some(7), None, None, Some(9)]);
    }
}
