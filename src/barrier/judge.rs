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
}

/// What one client reports of its requests to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// `node.id`
    pub node: String,
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
    /// Since when everybody has it.
    since: Option<Duration>,
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
            self.since = None;
            return Verdict::NotServed(seen.health);
        }
        let missing = match wanted {
            Wanted::Serving { clients } => clients.saturating_sub(seen.acked.len()),
            Wanted::Drained => 0,
        };
        let in_grace = |since: &Duration| since.saturating_add(patience.grace) > now;
        let unknown: Vec<_> = seen
            .unknown
            .iter()
            .filter(|(_, since)| in_grace(since))
            .map(|(client, since)| (client.clone(), *since))
            .collect();
        let returning = seen.returning.filter(in_grace);
        if !seen.lagging.is_empty() || !unknown.is_empty() || returning.is_some() || missing > 0 {
            self.since = None;
            return Verdict::NotAcked {
                lagging: seen.lagging.clone().into_iter().collect(),
                unknown,
                returning: returning.map(|since| since.saturating_add(patience.grace)),
                missing,
            };
        }
        let since = *self.since.get_or_insert(now);
        match wanted {
            Wanted::Serving { .. } => Verdict::Done,
            Wanted::Drained => in_flight(seen, since, patience, now),
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

/// What is under way since everybody knows that the instance drains.
fn in_flight(seen: &Seen, since: Duration, patience: Patience, now: Duration) -> Verdict {
    let mut reports: BTreeMap<&str, Vec<&Flight>> = BTreeMap::new();
    for report in &seen.reports {
        reports.entry(&report.node).or_default().push(report);
    }
    let (mut unreported, mut silent) = (0, 0);
    for (_, node) in &seen.acked {
        let of_node = reports.get(&**node).map_or(&[][..], |reports| &**reports);
        if of_node.is_empty() || of_node.iter().any(|report| report.certain_at.is_none()) {
            silent += 1;
        } else if of_node.iter().any(|report| report.certain_at <= Some(since)) {
            unreported += 1;
        }
    }
    let busy = seen.reports.iter().filter(|report| report.open > 0);
    let by: Vec<(String, u64)> = busy.map(|report| (report.node.clone(), report.open)).collect();
    // What is not certain is over when the longest request would be.
    let until = since.saturating_add(patience.in_flight);
    let silent = (silent > 0 && now < until).then_some((silent, until));
    let certain = |report: &&Flight| report.certain_at.is_some();
    let open: u64 = seen
        .reports
        .iter()
        .filter(certain)
        .map(|report| report.open)
        .sum();
    if open == 0 && unreported == 0 && silent.is_none() {
        return Verdict::Done;
    }
    Verdict::Busy {
        open: by.iter().map(|(_, open)| open).sum(),
        by,
        unreported,
        silent,
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
