//! Whether a silent watch is well: what is known of it, and what to ask next. Pure.
//!
//! Never takes silence for a fault, and never takes an answering member for a watch that delivers.
//!
//! - A store that is at the revision up to which the watch has delivered has nothing to deliver: all is well.
//! - A store that is further may have been written elsewhere. A progress request settles it, where it is answered.
//!   etcd 3.6 and later answer none on a watch from the next revision (list at R, watch from R+1) until somebody
//!   writes; every version drops those that come during a catch-up; `etcd grpc-proxy` answers none at all.
//! - Then the keys themselves settle it: below the prefix nothing has changed (well), or something has. If the
//!   watch still does not deliver that, it is dead, whoever answers beside it.
//!
//! Watching from R and dropping what is not after R would make 3.6 and later answer. It was not chosen: it helps
//! neither against dropped requests nor with the proxy, an unanswered request would still mean nothing by itself,
//! and a watch from R is canceled by compaction one revision earlier than one from R+1.

use crate::registry::etcd::Compared;

/// One watch, since it was opened.
#[derive(Debug)]
pub(super) struct Pulse {
    /// What happened up to here has been delivered, or is not below the prefix.
    delivered: i64,
    waits: Waits,
    /// The store has moved since the watch said something, and nothing has explained that yet.
    behind: bool,
}

/// What the watch owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nothing,
    /// Progress, which was asked for.
    Progress,
    /// The keys are being compared; `asked`: because progress did not come.
    Compared {
        asked: bool,
    },
    /// Events, which are known to exist.
    Events,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until the next probe: the watch has delivered everything.
    Well,
    /// The same, and this peer does not answer progress requests.
    WellButMute,
    /// Ask for progress; [`Pulse::overdue`] if nothing comes.
    Progress,
    /// Compare the keys with what was known at the last event.
    Compare,
    /// Wait for events, which are known to exist; [`Pulse::overdue`] if none come.
    Wait,
    /// Go on as before: what is waited for is waited for already, or has come.
    Nothing,
    /// The watch does not deliver: open another one.
    Dead,
}

impl Pulse {
    /// A watch that delivers what comes after this revision.
    pub(super) const fn new(delivered: i64) -> Self {
        Self {
            delivered,
            waits: Waits::Nothing,
            behind: false,
        }
    }

    /// Whether the watch may have kept something back.
    pub(super) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether the keys are to be compared, again if that was not answered.
    pub(super) const fn compares(&self) -> bool {
        matches!(self.waits, Waits::Compared { .. })
    }

    /// Whether the watch owes an answer.
    pub(super) const fn waits(&self) -> bool {
        matches!(self.waits, Waits::Progress | Waits::Events)
    }

    /// The watch has said something, and has delivered everything up to this revision, if it says so.
    pub(super) fn message(&mut self, delivered: Option<i64>) {
        self.delivered = self.delivered.max(delivered.unwrap_or(0));
        self.waits = Waits::Nothing;
        self.behind = false;
    }

    /// The store is at this revision. `mute`: the peer is known to answer no progress requests.
    pub(super) fn head(&mut self, revision: i64, mute: bool) -> Next {
        self.behind = revision > self.delivered;
        if !self.behind {
            self.waits = Waits::Nothing;
            return Next::Well;
        }
        match (self.waits, mute) {
            (Waits::Nothing, false) => {
                self.waits = Waits::Progress;
                Next::Progress
            }
            (Waits::Nothing, true) => {
                self.waits = Waits::Compared { asked: false };
                Next::Compare
            }
            _ => Next::Nothing,
        }
    }

    /// What the watch owes has not come in time.
    pub(super) const fn overdue(&mut self) -> Next {
        match self.waits {
            Waits::Progress => {
                self.waits = Waits::Compared { asked: true };
                Next::Compare
            }
            Waits::Events => Next::Dead,
            Waits::Nothing | Waits::Compared { .. } => Next::Nothing,
        }
    }

    /// The keys were compared. `None`: they cannot be, as the revision of the last event is compacted; a new
    /// watch from there will say so.
    pub(super) fn compared(&mut self, compared: Option<Compared>) -> Next {
        // What has come meanwhile was not waited for by the one who compared.
        let Waits::Compared { asked } = self.waits else {
            return Next::Nothing;
        };
        match compared {
            Some(Compared::Unchanged { at }) => {
                self.message(Some(at));
                if asked { Next::WellButMute } else { Next::Well }
            }
            Some(Compared::Changed) => {
                self.waits = Waits::Events;
                Next::Wait
            }
            None => Next::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_has_not_moved_is_well_without_any_progress() {
        let mut pulse = Pulse::new(7);
        assert_eq!(pulse.head(7, false), Next::Well);
        assert_eq!(pulse.head(7, true), Next::Well);
        assert!(!pulse.waits());
    }

    #[test]
    fn a_write_elsewhere_is_settled_by_progress() {
        let mut pulse = Pulse::new(7);
        assert_eq!(pulse.head(9, false), Next::Progress);
        assert!(pulse.waits() && pulse.is_behind());
        pulse.message(Some(9));
        assert!(!pulse.waits() && !pulse.is_behind());
        assert_eq!(pulse.head(9, false), Next::Well);
    }

    #[test]
    fn a_peer_without_progress_is_found_by_comparing_once_and_compared_at_once_later() {
        let mut pulse = Pulse::new(7);
        assert_eq!(pulse.head(9, false), Next::Progress);
        assert_eq!(pulse.overdue(), Next::Compare);
        assert!(pulse.compares() && pulse.is_behind(), "until that is answered");
        assert_eq!(
            pulse.compared(Some(Compared::Unchanged { at: 10 })),
            Next::WellButMute
        );
        assert_eq!(pulse.head(10, true), Next::Well);
        assert_eq!(pulse.head(11, true), Next::Compare);
        assert_eq!(pulse.compared(Some(Compared::Unchanged { at: 11 })), Next::Well);
    }

    #[test]
    fn what_has_changed_must_come_or_the_watch_is_dead() {
        let changed = || {
            let mut pulse = Pulse::new(7);
            assert_eq!(pulse.head(9, true), Next::Compare);
            assert_eq!(pulse.compared(Some(Compared::Changed)), Next::Wait);
            assert!(pulse.waits());
            assert_eq!(pulse.head(9, true), Next::Nothing, "it has its time");
            pulse
        };
        assert_eq!(changed().overdue(), Next::Dead);
        let mut pulse = changed();
        pulse.message(Some(8));
        assert_eq!(pulse.overdue(), Next::Nothing, "it came");
        assert_eq!(pulse.head(9, true), Next::Compare, "the rest is looked for");
        assert_eq!(pulse.compared(None), Next::Dead, "compacted");
    }

    #[test]
    fn what_comes_while_the_keys_are_compared_counts() {
        let mut pulse = Pulse::new(7);
        assert_eq!(pulse.head(9, true), Next::Compare);
        pulse.message(Some(9));
        assert_eq!(pulse.compared(Some(Compared::Changed)), Next::Nothing);
        assert!(!pulse.waits());
        assert_eq!(pulse.head(9, true), Next::Well);
    }

    #[test]
    fn a_fragment_is_a_sign_of_life_and_delivers_nothing() {
        let mut pulse = Pulse::new(7);
        assert_eq!(pulse.head(9, false), Next::Progress);
        pulse.message(None);
        assert_eq!(pulse.head(9, false), Next::Progress);
    }
}
