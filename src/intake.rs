//! Where what all clients report comes together: load reports in one table behind a lock, whoever waits for reports, and
//! whoever wants them sooner; beside it the errors of access logs ([`Errors`]). Between the discovery port,
//! which takes reports in, and whoever needs to know what is in progress.

mod errors;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use errors::Errors;

use crate::clock;
use crate::fields::Unreadable;
use crate::loads::{
    Bounds, ClientId, ClientView, Flight, Limits, Report, SLOW, ServiceView, Sums, Table, Who, Why,
};

/// How often clients report while somebody waits for it.
pub const QUICK: Duration = Duration::from_secs(1);

/// Clients go on reporting quickly for this time: who waits in turns must not restart their timers in each turn.
const LINGER: Duration = Duration::from_secs(10);

/// Bytes of all reports together in a second, above which quick reports are less frequent: a thousand Envoys with fifty
/// clusters send half of it, each with its node in each report.
const BYTES: usize = 128 << 20;

/// All load reports.
#[derive(Debug)]
pub struct Loads {
    began: Instant,
    bounds: Bounds,
    /// Held for one report or one question, never across an `await`. Reports are read before.
    table: Mutex<Table>,
    reports: watch::Sender<u64>,
    pace: watch::Sender<Pace>,
    errors: Errors,
}

/// How often clients report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    holders: usize,
    quick: Duration,
    /// When the last holder let go.
    until: Option<Instant>,
}

/// Clients report quickly for as long as one of these is held.
#[derive(Debug)]
pub struct Quickened(Arc<Loads>);

/// One client that reports; it has left when this is dropped.
#[derive(Debug)]
pub struct Joined {
    id: ClientId,
    loads: Arc<Loads>,
}

/// What is known of the requests in progress to one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests in progress, of those clients that say so for certain.
    pub open: u64,
    /// Those clients.
    pub certain: Vec<Certain>,
    /// Clients of which it is not known.
    pub unknown: Vec<Unknown>,
}

/// A client of which it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certain {
    /// `node.id`
    pub node: Arc<str>,
    /// `node.cluster`
    pub fleet: Arc<str>,
    /// Its requests in progress.
    pub open: u64,
    /// When its last report came.
    pub at: Instant,
}

/// A client of which it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// `node.id`
    pub node: Arc<str>,
    /// `node.cluster`
    pub fleet: Arc<str>,
    /// Why not.
    pub why: Why,
    /// What it named last.
    pub open: u64,
    /// When its last report came.
    pub at: Option<Instant>,
}

impl InFlight {
    /// When the oldest of the reports came that are certain.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.certain.iter().map(|client| client.at).min()
    }

    /// When the youngest did.
    #[must_use]
    pub fn youngest(&self) -> Option<Instant> {
        self.certain.iter().map(|client| client.at).max()
    }
}

impl Default for Loads {
    fn default() -> Self {
        Self {
            began: clock::now(),
            bounds: Bounds::default(),
            table: Mutex::new(Table::new(Limits::default())),
            reports: watch::Sender::new(0),
            pace: watch::Sender::new(Pace {
                holders: 0,
                quick: QUICK,
                until: None,
            }),
            errors: Errors::default(),
        }
    }
}

impl Loads {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the data whole: what a panic takes with it is one client.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// This time, on the clock of all others.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }

    /// A client begins to report.
    #[must_use]
    pub fn join(self: &Arc<Self>, who: Who) -> Joined {
        let id = self.lock().join(who, self.now());
        Joined {
            id,
            loads: self.clone(),
        }
    }

    /// Reads an encoded report.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Result<Report<'a>, Unreadable> {
        Report::read(bytes, &self.bounds)
    }

    /// Which errors access logs name.
    #[must_use]
    pub const fn errors(&self) -> &Errors {
        &self.errors
    }

    /// What is known of the requests in progress to an endpoint of these clusters. Clients that have nothing to do with
    /// them are left out; one that is connected and has reported nothing yet may have.
    ///
    /// A report counts what goes to the endpoints that the client has *now*: requests to an endpoint that was removed, or
    /// whose cluster was replaced since, go on and are in no report. Nor is a request that waits for a connection: one that
    /// was given to the endpoint before it drained begins up to `connect_timeout` later.
    #[must_use]
    pub fn in_flight(&self, clusters: &[Arc<str>], address: SocketAddr) -> InFlight {
        let flights = self.lock().in_flight(clusters, address);
        let mut found = InFlight::default();
        for Flight {
            node,
            fleet,
            open,
            why,
            at,
        } in flights
        {
            let at = at.map(|at| self.instant(at));
            match (why, at) {
                (None, Some(at)) => {
                    found.open = found.open.saturating_add(open);
                    found.certain.push(Certain {
                        node,
                        fleet,
                        open,
                        at,
                    });
                }
                (why, at) => found.unknown.push(Unknown {
                    node,
                    fleet,
                    why: why.unwrap_or(Why::NoReport),
                    open,
                    at,
                }),
            }
        }
        found
    }

    /// Changes with each report: a thousand times a second, where many clients report quickly.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.reports.subscribe()
    }

    /// Has clients report quickly for as long as the result is held.
    #[must_use]
    pub fn quicken(self: &Arc<Self>) -> Quickened {
        let bytes = self.lock().bytes();
        self.pace.send_if_modified(|pace| {
            let was_quick = pace.holders > 0 || pace.until.is_some_and(|until| until > clock::now());
            pace.holders += 1;
            pace.until = None;
            // While it is quick it stays as it is: each change restarts the timers of all clients.
            if !was_quick {
                pace.quick = quick(bytes);
            }
            pace.holders == 1
        });
        Quickened(self.clone())
    }

    /// How often clients report, as that changes.
    #[must_use]
    pub fn pace(&self) -> watch::Receiver<Pace> {
        self.pace.subscribe()
    }

    /// The clusters of a service, or all: sums of what clients count, which only grow.
    #[must_use]
    pub fn services(&self, service: Option<&str>, most: usize) -> Vec<ServiceView> {
        self.lock().services(service, most)
    }

    /// What is counted of these clusters, which is looked up and costs no search. Who has not reported for three times
    /// as long as it should counts as silent.
    #[must_use]
    pub fn sums(&self, clusters: &[Arc<str>]) -> Sums {
        let (interval, _) = self.pace.borrow().interval(clock::now());
        let late = self.now().saturating_sub(3 * interval);
        self.lock().sums(clusters, late)
    }

    /// Services that had requests, those with the most first: all requests that ended, and those that failed. Looks at all
    /// that is known.
    #[must_use]
    pub fn busiest(&self) -> Vec<(Arc<str>, (u64, u64))> {
        self.lock().busiest()
    }

    /// The clients of this node, or the first of all of them and how many there are.
    #[must_use]
    pub fn clients(&self, node: Option<&str>, most: usize) -> (usize, Vec<ClientView>) {
        self.lock().clients(node, most)
    }
}

/// How often clients that send these bytes in one report of each can report.
fn quick(bytes: usize) -> Duration {
    let times = u32::try_from(bytes.div_ceil(BYTES)).unwrap_or(u32::MAX);
    QUICK.saturating_mul(times.max(1)).min(SLOW)
}

impl Pace {
    /// How often clients are to report now, and until when that holds, if it ends by itself.
    #[must_use]
    pub fn interval(&self, now: Instant) -> (Duration, Option<Instant>) {
        match self.until {
            _ if self.holders > 0 => (self.quick, None),
            Some(until) if until > now => (self.quick, Some(until)),
            _ => (SLOW, None),
        }
    }
}

impl Drop for Quickened {
    fn drop(&mut self) {
        self.0.pace.send_if_modified(|pace| {
            pace.holders = pace.holders.saturating_sub(1);
            if pace.holders == 0 {
                pace.until = Some(clock::now() + LINGER);
            }
            pace.holders == 0
        });
    }
}

impl Joined {
    /// Takes a report in. Returns false when it, or all together, exceed a bound.
    pub fn report(&self, report: &Report<'_>) -> bool {
        let whole = self.loads.lock().report(self.id, report, self.loads.now());
        self.loads.reports.send_modify(|n| *n = n.wrapping_add(1));
        whole
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.loads.lock().leave(self.id, self.loads.now());
        self.loads.reports.send_modify(|n| *n = n.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_are_quick_for_as_long_as_somebody_waits_and_a_little_longer() {
        let loads = Arc::new(Loads::default());
        let pace = loads.pace();
        let interval = || pace.borrow().interval(clock::now()).0;
        assert_eq!(interval(), SLOW);
        let (one, two) = (loads.quicken(), loads.quicken());
        assert_eq!(interval(), QUICK);
        drop(one);
        tokio::time::advance(LINGER * 2).await;
        assert_eq!(interval(), QUICK);
        drop(two);
        assert_eq!(interval(), QUICK);
        let (_, until) = pace.borrow().interval(clock::now());
        assert_eq!(until, Some(clock::now() + LINGER));
        tokio::time::advance(LINGER).await;
        assert_eq!(pace.borrow().interval(clock::now()), (SLOW, None));
    }

    #[test]
    fn very_many_bytes_are_reported_less_often() {
        assert_eq!(quick(0), QUICK);
        assert_eq!(quick(BYTES), QUICK);
        assert_eq!(quick(BYTES + 1), 2 * QUICK);
        assert_eq!(quick(usize::MAX), SLOW);
    }
}
