//! "May I stop this server now?": waits until every client has acknowledged that an instance drains (or serves), and
//! until no request to it is under way. `judge` decides; this file asks and waits.

mod judge;
mod left;
mod others;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use judge::{Client, Flight, Patience, Seen, Verdict, Wanted};
pub use left::Left;
pub use others::{Everywhere, answer_others, follow_losses};

use crate::clock;
use crate::fanout::{AckWatch, Fanout, Wanted as Resource};
use crate::hub::{Order, Overview, Served};
use crate::intake::{InFlight, Loads, Quickened};
use crate::model::{DrainRule, Health, OnAllUnhealthy};
use crate::state::State;
use crate::xds::Kind;
use judge::Judge;

/// How often what has no signal is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Looks are this far apart at least, however many clients acknowledge meanwhile.
const PAUSE: Duration = Duration::from_millis(25);

/// A connection to a server takes this time at least: a client acknowledges before all of its threads know.
const CONNECTING: Duration = Duration::from_secs(1);

/// Whom it asks.
#[derive(Clone, Debug)]
pub struct Barrier {
    /// What clients have acknowledged.
    pub fanout: Arc<Fanout>,
    /// What clients report of their requests.
    pub loads: Arc<Loads>,
    /// The hub.
    pub orders: mpsc::Sender<Order>,
    /// How the sources are.
    pub overview: watch::Receiver<Overview>,
    /// What bridges share.
    pub state: State,
    /// When the discovery port opened, or another bridge was lost last: clients may come back. `None`: not open yet.
    pub began: watch::Receiver<Option<Instant>>,
    /// Where times begin.
    pub origin: Instant,
    /// What was found by those that stopped asking a moment ago.
    pub left: Left,
}

/// An instance, and what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its service.
    pub service: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What.
    pub wanted: Wanted,
}

/// What is known now.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The verdict; its times count from [`Self::origin`].
    pub verdict: Verdict,
    /// Clients that have acknowledged it.
    pub acked: usize,
    /// Clients that disconnected without it, and that are not waited for any more.
    pub given_up: Vec<Client>,
    /// Where times begin.
    pub origin: Instant,
}

impl Answer {
    /// Nothing is known yet.
    const fn unknown(origin: Instant) -> Self {
        Self {
            verdict: Verdict::NotServed(None),
            acked: 0,
            given_up: Vec::new(),
            origin,
        }
    }
}

impl Barrier {
    /// What somebody who asked the same a moment ago had found, if nothing has changed since.
    fn found_before(&self, question: &Question) -> Judge {
        let has_changed = |at| self.fanout.endpoints_changed_since(&question.service, at);
        self.left.take(question, clock::now(), has_changed)
    }
}

/// One question on its way.
struct Asking<'a> {
    barrier: &'a Barrier,
    question: &'a Question,
    judge: Judge,
    /// What the clients have acknowledged, once the instance is served as wanted.
    acks: Option<AckWatch>,
    /// The clusters whose endpoints these are.
    watched: Vec<Arc<str>>,
    reports: watch::Receiver<u64>,
    /// The last verdict that was reported.
    reported: Option<Verdict>,
    /// What this bridge alone has to find.
    wanted: Wanted,
    _quick: Option<Quickened>,
}

impl<'a> Asking<'a> {
    fn new(barrier: &'a Barrier, question: &'a Question) -> Self {
        Self {
            barrier,
            question,
            wanted: question.wanted,
            judge: barrier.found_before(question),
            acks: None,
            watched: Vec::new(),
            reports: barrier.loads.reports(),
            reported: None,
            // Clients report each second for as long as somebody waits.
            _quick: (question.wanted == Wanted::Drained).then(|| barrier.loads.quicken()),
        }
    }

    /// Waits until the answer is [`Verdict::Done`] by the clients of this bridge, or until then; `report` gets each answer
    /// that differs from the one before. `None`: the bridge is stopping.
    async fn until(&mut self, until: Instant, mut report: impl FnMut(&Answer)) -> Option<Answer> {
        loop {
            let answer = self.look().await?;
            if self.reported.as_ref() != Some(&answer.verdict) {
                report(&answer);
                self.reported = Some(answer.verdict.clone());
            }
            if answer.verdict == Verdict::Done || clock::now() >= until {
                return Some(answer);
            }
            let _ = tokio::time::timeout_at(until, self.pause()).await;
        }
    }

    /// Until it is worth another look.
    async fn pause(&mut self) {
        tokio::select! {
            () = self.changed() => clock::until(Some(clock::now() + PAUSE)).await,
            () = clock::until(Some(clock::now() + TICK)) => {}
        }
    }

    async fn look(&mut self) -> Option<Answer> {
        let Question { service, address, .. } = self.question;
        let wanted = self.wanted;
        let (reply, answer) = oneshot::channel();
        let order = Order::Served {
            service: service.clone(),
            address: *address,
            reply,
        };
        self.barrier.orders.send(order).await.ok()?;
        let Served {
            health,
            alone,
            all_unhealthy,
            longest,
            connecting,
            rule,
            clusters,
        } = answer.await.ok()?;
        let patience = Patience {
            in_flight: rule.in_flight.or(longest).unwrap_or(DrainRule::IN_FLIGHT),
            is_bounded: rule.in_flight.or(longest).is_some(),
            connecting: connecting.max(CONNECTING),
            grace: rule.grace,
        };
        let origin = self.barrier.origin;
        // Before the port is open nobody can be connected.
        let began = self.barrier.began.borrow().unwrap_or_else(clock::now);
        let mut seen = Seen {
            health,
            alone: alone && all_unhealthy == OnAllUnhealthy::Open,
            returning: Some(began.saturating_duration_since(origin)),
            ..Seen::default()
        };
        if judge::is_served(wanted, health) {
            // What is served now is what has to be acknowledged: it was published before the reply came.
            let names: Vec<Arc<str>> = clusters.iter().map(|(name, _)| name.clone()).collect();
            if self.acks.is_none() || self.watched != names {
                let resource = |name: &Arc<str>| Resource {
                    kind: Kind::Endpoints,
                    name: name.clone(),
                };
                let resources: Vec<Resource> = names.iter().map(resource).collect();
                self.acks = Some(self.barrier.fanout.watch_acks(&resources, clock::now()));
                self.watched = names;
            }
            let acks = self.acks.as_mut()?;
            let progress = acks.progress();
            let since = |at: Instant| at.saturating_duration_since(origin);
            seen.acked = progress.acked.into_iter().collect();
            let lagging = progress.laggards.into_iter();
            seen.lagging = lagging.map(|l| ((l.fleet, l.node), since(l.since))).collect();
            let unknown = progress.unknown.into_iter();
            seen.unknown = unknown.map(|u| ((u.fleet, u.node), since(u.since))).collect();
            // After the acknowledgements: a report that came between the two is older than they are.
            if wanted == Wanted::Drained {
                self.reports.mark_unchanged();
                let holding = clusters.iter().filter(|(_, holds)| *holds);
                let holding: Vec<Arc<str>> = holding.map(|(name, _)| name.clone()).collect();
                let found = self.barrier.loads.in_flight(&holding, *address);
                // Who is off, or left out with all others, is in no cluster any more.
                let is_there =
                    health == Some(Health::Draining) && !(alone && all_unhealthy == OnAllUnhealthy::Drop);
                seen.reports = flights(found, is_there, origin);
                let changed_at = |name: &Arc<str>| self.barrier.fanout.cluster_changed_at(name);
                seen.rebuilt = holding.iter().filter_map(changed_at).max().map(since);
            }
        } else {
            self.acks = None;
        }
        let now = clock::now().saturating_duration_since(origin);
        let verdict = self.judge.judge(wanted, &seen, patience, now);
        Some(Answer {
            given_up: match verdict {
                Verdict::Done => self.judge.given_up().iter().cloned().collect(),
                _ => Vec::new(),
            },
            verdict,
            acked: seen.acked.len(),
            origin,
        })
    }

    /// Until something is known that was not.
    async fn changed(&mut self) {
        match &mut self.acks {
            Some(acks) => tokio::select! {
                () = acks.changed() => {}
                Ok(()) = self.reports.changed() => {}
            },
            None => {
                let mut overview = self.barrier.overview.clone();
                overview.mark_unchanged();
                let _ = overview.changed().await;
            }
        }
    }
}

/// Also when the request is cut: whoever asks the same again at once goes on.
impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let judge = std::mem::take(&mut self.judge);
        self.barrier.left.put(self.question, judge, clock::now());
    }
}

/// What clients report. Of an endpoint that they do not have any more (`is_there`) they report nothing, though requests
/// to it go on.
fn flights(found: InFlight, is_there: bool, origin: Instant) -> Vec<Flight> {
    let certain = found.certain.into_iter().map(|client| Flight {
        client: (client.fleet.to_string(), client.node.to_string()),
        open: client.open,
        certain_at: is_there.then(|| client.at.saturating_duration_since(origin)),
    });
    let unknown = found.unknown.into_iter().map(|client| Flight {
        client: (client.fleet.to_string(), client.node.to_string()),
        open: client.open,
        certain_at: None,
    });
    certain.chain(unknown).collect()
}
