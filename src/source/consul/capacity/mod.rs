//! How much one agent can take. Every request goes through [`Capacity`]: each limit is learned and kept here, and callers
//! see none of them.
//!
//! | limit | learned from | file |
//! |---|---|---|
//! | blocking reads of services (watches) | requests that were turned away | `budget` |
//! | watches on one HTTP/2 connection | watches that could not be sent | `slots` |
//! | other reads at once | requests that were turned away | `concurrency` |
//! | reads beside the watches at once | fixed | here |
//! | requests per second | answers 429 | `pace` |
//! | how long a blocking read may last | reads that were cut off, or ended early | `lengths`, `cuts`, `waits` |
//! | attempts per request | fixed, by the cause of the failure | `retries` |
//!
//! What to call, and when:
//! - a read that does not block: [`Capacity::read`] (or [`read_as`](Capacity::read_as),
//!   [`grant`](Capacity::grant), [`peering`](Capacity::peering)); it waits for its turn and retries. What a watch does
//!   not wait for also takes a [`side_read`](Capacity::side_read) permit first;
//! - a blocking read: [`wait`](Capacity::wait) before, [`begin_blocking`](Capacity::begin_blocking) while, and
//!   [`answered`](Capacity::answered) or [`cut_off`](Capacity::cut_off) after it;
//! - an error: [`is_rate_limited`](Capacity::is_rate_limited) and [`is_overloaded`](Capacity::is_overloaded) tell a
//!   limit from an outage;
//! - a watch: [`has_room`](Capacity::has_room), [`assign`](Capacity::assign), [`release`](Capacity::release), and
//!   [`turned_away`](Capacity::turned_away) whenever [`overloads`](Capacity::overloads) changes.
//!
//! Never decides whether the agent is to be trusted.

mod alike;
mod blocking;
mod budget;
mod concurrency;
mod cuts;
mod in_flight;
mod lengths;
mod pace;
mod requests;
mod retries;
mod slots;
mod waits;
mod watches;

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};

use self::budget::Budget;
use self::concurrency::Concurrency;
use self::in_flight::InFlight;
use self::lengths::Lengths;
use self::pace::Pace;
use self::slots::Slots;
use super::timing::{Clock, Timing};
use crate::registry::consul::{Client, Error, Overload};

pub(crate) use self::pace::Rank;
pub(crate) use self::retries::{Cause, Retries};

/// Reads at once beside those of the watches.
pub(crate) const SIDE_READS: usize = 16;

/// One agent, and how much it allows.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// For reads that do not block: none of its connections is ever taken by one that does.
    client: Client,
    timing: Timing,
    clock: Clock,
    side_reads: Semaphore,
    concurrency: Concurrency,
    pace: Pace,
    in_flight: Arc<InFlight>,
    lengths: Lengths,
    /// Locked for a moment, by one task.
    watches: Mutex<Watches>,
    /// Counts requests that were turned away for lack of room.
    overloads: watch::Sender<u64>,
    /// A blocking read was cut off since this was notified last.
    cut_off: Notify,
}

#[derive(Debug)]
struct Watches {
    budget: Budget,
    slots: Slots,
}

impl Capacity {
    /// `max_watches`: over HTTP/1.1, where each watch takes a connection.
    pub(crate) fn new(client: Client, timing: &Timing, max_watches: usize) -> Self {
        let watches = Watches {
            budget: Budget::new(max_watches, timing.grow),
            slots: Slots::new(&client),
        };
        Self {
            client,
            timing: *timing,
            clock: Clock::start(),
            side_reads: Semaphore::new(SIDE_READS),
            concurrency: Concurrency::new(),
            pace: Pace::new(timing.grow, timing.slack * 3),
            in_flight: Arc::default(),
            lengths: Lengths::new(timing.wait, timing.relearn),
            watches: Mutex::new(watches),
            overloads: watch::Sender::new(0),
            cut_off: Notify::new(),
        }
    }

    /// The agent itself: its scope, token and files. Reads go through [`Self::read`].
    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// A permit for one read beside those of the watches: a sweep, an audit, a single confirmation. The semaphore is
    /// never closed: without a permit the read would only be early.
    pub(crate) async fn side_read(&self) -> Option<SemaphorePermit<'_>> {
        self.side_reads.acquire().await.ok()
    }

    /// Whether this error only says that requests are limited per second, and some are answered.
    pub(crate) fn is_rate_limited(&self, error: &Error) -> bool {
        error.is_rate_limited() && !self.pace.starved()
    }

    /// Whether this error only says that the agent has no room for one more request: it says so, or other blocking
    /// reads survive. The budget of watches learns from it. When nothing can be read any more it is an outage.
    pub(crate) async fn is_overloaded(&self, error: &Error) -> bool {
        let overloaded = match error.overload() {
            None => false,
            Some(Overload::Reported) => true,
            Some(Overload::Closed) => self.others_survive().await,
        };
        overloaded && {
            self.report_overload();
            !self.concurrency.starved()
        }
    }

    /// A request was turned away for lack of room.
    pub(crate) fn report_overload(&self) {
        self.overloads.send_modify(|n| *n += 1);
    }

    /// Changes with each request that is turned away for lack of room.
    pub(crate) fn overloads(&self) -> watch::Receiver<u64> {
        self.overloads.subscribe()
    }

    /// What the operator should know of the limits that apply now. `swept`: services without a watch.
    pub(crate) fn notes(&self, swept: usize) -> impl Iterator<Item = String> {
        let budget = (swept > 0).then(|| self.watches().budget.to_string());
        let pace = self.pace.note().map(str::to_owned);
        budget.into_iter().chain(pace)
    }
}
