//! Whether an instance may be stopped, or serves everywhere, by what is known of all clients. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Health;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nobody sends it a request any more, and none is under way.
    Drained,
    /// This number of clients at least send it requests, and each that is connected.
    Serving {
        /// 0: also where nobody is connected.
        clients: usize,
    },
}

/// A client, by `node.cluster` and `node.id`.
pub type Client = (String, String);

/// What is known of the clients at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// How the instance is served; `None`: it is not there.
    pub health: Option<Health>,
    /// Nobody else of its service serves, so that requests go to it although it drains.
    pub alone: bool,
    /// Clients that have acknowledged that.
    pub acked: BTreeSet<Client>,
    /// Those that have not, and since when they are to.
    pub lagging: BTreeMap<Client, Duration>,
    /// Those of which that is not known, since they disconnected then.
    pub unknown: BTreeMap<Client, Duration>,
    /// Since when clients of a bridge before this one, or of one that is gone, may be about that have not come back.
    pub returning: Option<Duration>,
    /// What clients report of requests in progress.
    pub reports: Vec<Flight>,
    /// When the cluster was another one last: requests from before go on, and are in no report.
    pub rebuilt: Option<Duration>,
}

/// What one client reports of its requests to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Who.
    pub client: Client,
    /// In progress.
    pub open: u64,
    /// When it reported that; `None`: it is not certain.
    pub certain_at: Option<Duration>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A request, where no report tells.
    pub in_flight: Duration,
    /// That is declared; otherwise requests may take any time.
    pub is_bounded: bool,
    /// A connection to a server: a request that waits for one is in no report.
    pub connecting: Duration,
    /// A client that is not connected may go on with what it had.
    pub grace: Duration,
}

/// The answer at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    Done,
    /// The instance is not served as it has to be.
    NotServed(Option<Health>),
    /// It drains, but nobody else of its service serves: it still gets requests.
    Alone,
    /// Clients have not acknowledged it.
    NotAcked {
        /// Who, and since when they are to.
        lagging: Vec<(Client, Duration)>,
        /// Who disconnected, and when.
        unknown: Vec<(Client, Duration)>,
        /// Clients that have not come back to a bridge yet may be about until then.
        returning: Option<Duration>,
        /// The number of clients that are still missing.
        missing: usize,
    },
    /// Requests are, or may be, under way.
    Busy {
        /// In progress, as reported.
        open: u64,
        /// By client.
        by: Vec<(String, u64)>,
        /// Clients whose next report is waited for.
        unreported: usize,
        /// Clients that do not tell, and until when a request of theirs may be under way.
        silent: Option<(usize, Duration)>,
    },
}

/// What was found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Judge {
    /// Clients that have acknowledged it, also those that are gone since: their requests may go on.
    known: BTreeMap<Client, Known>,
    /// Clients whose last certain report had requests under way.
    open: BTreeMap<Client, u64>,
    /// Clients that disconnected without it.
    absent: BTreeSet<Client>,
}

/// A client that has acknowledged it.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Since when it is known to have.
    since: Duration,
    /// When it was found to be gone.
    left: Option<Duration>,
}

impl Judge {
    /// The verdict by what is known now.
    pub(super) fn judge(
        &mut self,
        wanted: Wanted,
        seen: &Seen,
        patience: Patience,
        now: Duration,
    ) -> Verdict {
        if !is_served(wanted, seen.health) {
            *self = Self::default();
            return Verdict::NotServed(seen.health);
        }
        if wanted == Wanted::Drained && seen.alone && seen.health.is_some() {
            *self = Self::default();
            return Verdict::Alone;
        }
        self.note(seen, now);
        for report in seen.reports.iter().filter(|report| report.certain_at.is_some()) {
            if report.open > 0 {
                self.open.insert(report.client.clone(), report.open);
            } else {
                self.open.remove(&report.client);
            }
        }
        let missing = match wanted {
            Wanted::Serving { clients } => clients.saturating_sub(seen.acked.len()),
            Wanted::Drained => 0,
        };
        self.absent.extend(seen.unknown.keys().cloned());
        self.absent.retain(|client| !seen.acked.contains(client));
        let in_grace = |since: &Duration| since.saturating_add(patience.grace) > now;
        let unknown: Vec<_> = seen
            .unknown
            .iter()
            .filter(|(_, since)| in_grace(since))
            .map(|(client, since)| (client.clone(), *since))
            .collect();
        let returning = seen.returning.filter(in_grace);
        if !seen.lagging.is_empty() || !unknown.is_empty() || returning.is_some() || missing > 0 {
            return Verdict::NotAcked {
                lagging: seen.lagging.clone().into_iter().collect(),
                unknown,
                returning: returning.map(|since| since.saturating_add(patience.grace)),
                missing,
            };
        }
        match wanted {
            Wanted::Serving { .. } => Verdict::Done,
            Wanted::Drained => self.in_flight(seen, patience, now),
        }
    }

    /// Those that disconnected without it, and that are not waited for any more.
    pub(super) const fn given_up(&self) -> &BTreeSet<Client> {
        &self.absent
    }

    /// Who has acknowledged it by now, and who is gone.
    fn note(&mut self, seen: &Seen, now: Duration) {
        for client in &seen.acked {
            let fresh = Known {
                since: now,
                left: None,
            };
            self.known.entry(client.clone()).or_insert(fresh).left = None;
        }
        // It may have been served otherwise in between.
        self.known.retain(|client, _| !seen.lagging.contains_key(client));
        for (client, known) in &mut self.known {
            if !seen.acked.contains(client) {
                known.left.get_or_insert(now);
            }
        }
    }

    /// What is under way since everybody knows that the instance drains.
    fn in_flight(&self, seen: &Seen, patience: Patience, now: Duration) -> Verdict {
        let mut reports: BTreeMap<&Client, Vec<&Flight>> = BTreeMap::new();
        for report in &seen.reports {
            reports.entry(&report.client).or_default().push(report);
        }
        let (mut unreported, mut silent) = (0, 0);
        let mut until = Duration::ZERO;
        for (client, known) in &self.known {
            let of_node = reports.get(client).map_or(&[][..], |reports| &**reports);
            // What waited for a connection when the client acknowledged has one by then, or none at all.
            let settled = known.since.saturating_add(patience.connecting);
            let tells = !of_node.is_empty() && of_node.iter().all(|report| report.certain_at.is_some());
            if known.left.is_none() && tells {
                unreported += usize::from(of_node.iter().any(|report| report.certain_at <= Some(settled)));
                continue;
            }
            // What is not certain is over when the longest request would be.
            let last = known
                .left
                .unwrap_or(known.since)
                .saturating_add(patience.connecting);
            let over = last.saturating_add(patience.in_flight);
            if now < over {
                silent += 1;
                until = until.max(over);
            }
        }
        let rebuilt = seen.rebuilt.map(|at| at.saturating_add(patience.in_flight));
        if let Some(rebuilt) = rebuilt.filter(|rebuilt| now < *rebuilt && !seen.acked.is_empty()) {
            silent = seen.acked.len();
            until = until.max(rebuilt);
        }
        let silent = (silent > 0).then_some((silent, until));
        let busy = seen.reports.iter().filter(|report| report.open > 0);
        let by: Vec<(String, u64)> = busy
            .map(|report| (report.client.1.clone(), report.open))
            .collect();
        // Requests that were seen under way, and of which nobody tells any more, may go on for any time.
        let lost = !patience.is_bounded && !self.open.is_empty();
        let certain = |report: &&Flight| report.certain_at.is_some();
        let is_open = seen.reports.iter().filter(certain).any(|report| report.open > 0);
        if !is_open && !lost && unreported == 0 && silent.is_none() {
            return Verdict::Done;
        }
        Verdict::Busy {
            open: if by.is_empty() && lost {
                self.open.values().fold(0, |all, open| all.saturating_add(*open))
            } else {
                by.iter().fold(0, |all, (_, open)| all.saturating_add(*open))
            },
            by,
            unreported,
            silent,
        }
    }
}

/// Whether the instance is served as wanted.
pub(super) fn is_served(wanted: Wanted, health: Option<Health>) -> bool {
    match wanted {
        Wanted::Drained => !matches!(health, Some(Health::Healthy | Health::Unhealthy)),
        Wanted::Serving { .. } => health == Some(Health::Healthy),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
