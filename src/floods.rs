//! Log lines that anybody on the network can cause: a few of each kind a minute, however often it happens.
//! What has no line of its own is counted, and reported with its addresses when the minute is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// The time that one kind's lines are counted over.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that a report names.
const ADDRESSES: usize = 5;

/// A kind of line.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    what: &'static str,
    lines: u32,
}

impl Kind {
    /// One line a minute.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, lines: 1 }
    }

    /// This many lines a minute: for what an ordinary day has many of.
    #[must_use]
    pub const fn up_to(self, lines: u32) -> Self {
        Self { lines, ..self }
    }
}

/// What each kind has logged in the present minute.
#[derive(Debug, Default)]
pub struct Floods {
    open: Mutex<BTreeMap<&'static str, Flood>>,
    opened: Notify,
}

#[derive(Debug)]
struct Flood {
    until: Instant,
    lines: u32,
    more: u64,
    from: BTreeSet<IpAddr>,
}

impl Floods {
    /// Whether this event is logged by a line of its own; otherwise it is counted here.
    #[must_use]
    pub fn has_line(&self, kind: Kind, from: Option<IpAddr>) -> bool {
        let mut open = self.lock();
        let flood = open.entry(kind.what).or_insert_with(|| {
            self.opened.notify_one();
            Flood {
                until: clock::now() + WINDOW,
                lines: 0,
                more: 0,
                from: BTreeSet::new(),
            }
        });
        if flood.lines < kind.lines {
            flood.lines += 1;
            return true;
        }
        flood.more += 1;
        // One more than is named, so that the report can mention others.
        if flood.from.len() <= ADDRESSES {
            flood.from.extend(from);
        }
        false
    }

    /// Reports what had no line, until `stop`.
    pub async fn report(&self, stop: &CancellationToken) {
        loop {
            let due = self.lock().values().map(|flood| flood.until).min();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.opened.notified() => {}
                () = clock::until(due) => self.close(clock::now()),
            }
        }
        self.close(clock::now() + WINDOW);
    }

    /// Ends the minutes that are over. A kind that goes on has had its line of the next minute by its report.
    fn close(&self, now: Instant) {
        self.lock().retain(|what, flood| {
            if flood.until > now {
                return true;
            }
            if flood.more == 0 {
                return false;
            }
            tracing::warn!(
                what,
                more = flood.more,
                from = (!flood.from.is_empty()).then(|| named(&flood.from)),
                "more of the same in the last minute"
            );
            *flood = Flood {
                until: now + WINDOW,
                lines: u32::MAX,
                more: 0,
                from: BTreeSet::new(),
            };
            true
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Flood>> {
        // Each section above leaves the data whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(from: &BTreeSet<IpAddr>) -> String {
    let mut words: Vec<String> = from.iter().take(ADDRESSES).map(ToString::to_string).collect();
    if from.len() > ADDRESSES {
        words.push("and others".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Kind = Kind::new("a refusal");

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_and_the_rest_is_counted() {
        let (floods, began) = (Floods::default(), clock::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let from = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        assert!(floods.has_line(ONE, from(1)));
        assert!((0..99).all(|n| !floods.has_line(ONE, from(n))));
        assert!(
            floods.has_line(Kind::new("another"), None),
            "kinds hide nothing of each other"
        );
        let more = |what| floods.lock().get(what).map(|flood| flood.more);
        floods.close(at(59));
        assert_eq!(more("a refusal"), Some(99));
        floods.close(at(60));
        assert_eq!((more("a refusal"), more("another")), (Some(0), None));
        assert!(
            !floods.has_line(ONE, None),
            "the report was the line of this minute"
        );
        floods.close(at(120));
        floods.close(at(180));
        assert_eq!(more("a refusal"), None, "a minute without any: it is over");
        assert!(floods.has_line(ONE, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_ordinary_day_has_many_of_has_many_lines() {
        let floods = Floods::default();
        let lines = (0..500).filter(|_| floods.has_line(ONE.up_to(100), None)).count();
        assert_eq!(lines, 100);
    }

    #[test]
    fn a_report_names_some_addresses() {
        let from = |most: u8| (0..most).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(named(&from(2)), "10.0.0.0, 10.0.0.1");
        assert!(named(&from(6)).ends_with("10.0.0.4, and others"));
    }
}
