//! The state machine of one followed thing, the same for the names, each service and the
//! policy documents:
//!
//! ```text
//! CONFIRM  read by ?consistent, tell → WATCH
//! WATCH    same index → nothing; higher → tell, but what loses something → CONFIRM first;
//!          lower, or an error → the circuit opens, nothing is told, CONFIRM in the next epoch
//! ```
//! Never tells what was read in an epoch that is over, nor a loss without asking whether the token
//! may read what is missing, nor an empty service without asking for the canary. Never cancels a blocking read to send it again: Consul would go on with
//! it, and count its connection. A read that the circuit interrupts is parked, and resumed once
//! the same index was confirmed; what it brings then is a wake-up only.
//!
//! Three things are no trouble of the agent: a request that it has no room for (the budget hears of it, and
//! the service is read in turns), a connection that somebody cut while others live, and a blocking read
//! that got lost on the way. After each the thing is confirmed.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::circuit::Phase;
use super::gate::{Doubt, Fate};
use super::link::{Audited, Fact, GATEWAY_TRIES, LIMITED_TRIES, Link, News, fell};
use super::pace::Rank;
use super::stream::{After, Stream, Worth};
use super::verdict::{Subject, Verdict};
use super::{gate, policies};
use crate::registry::consul::{Answer, Backend, Client, Crowding, Error, Failure, Mode, Query};

/// The pause after an answer that only repeats grows to so many times the shortest: to a second.
const MOST_REPEATS: u32 = 10;

/// What was confirmed, and when.
pub(super) struct Belief {
    /// Epoch and index; `None`: to be confirmed.
    confirmed: Option<(u64, u64)>,
    stream: Stream,
    /// A blocking read of an epoch that is over, and the index it waits to pass.
    parked: Option<(u64, Blocked)>,
    /// What it tells is the audit's.
    audit: Option<Audited>,
    /// Of the next read that confirms it.
    rank: Rank,
}

type Blocked = BoxFuture<'static, Result<Answer, Error>>;

impl Belief {
    fn ranked(rank: Rank) -> Self {
        Self {
            confirmed: None,
            stream: Stream::default(),
            parked: None,
            audit: None,
            rank,
        }
    }

    /// Of a read beside the watch.
    pub(super) fn of_audit(audit: Option<Audited>) -> Self {
        let rank = if audit.is_some() {
            Rank::Round
        } else {
            Rank::Change
        };
        Self {
            audit,
            ..Self::ranked(rank)
        }
    }

    /// Of reads in turns.
    pub(super) fn swept() -> Self {
        Self::ranked(Rank::Round)
    }

    /// Takes out the index heard last in this epoch; `None`: to be confirmed. Each way out of a
    /// step but the good ones leaves it out.
    fn take(&mut self, epoch: u64) -> Option<u64> {
        self.confirmed
            .take()
            .filter(|(e, _)| *e == epoch)
            .map(|(_, index)| index)
    }

    /// Whether something of this epoch was confirmed.
    pub(super) fn holds(&self, epoch: u64) -> bool {
        self.confirmed.is_some_and(|(e, _)| e == epoch)
    }

    const fn hold(&mut self, epoch: u64, index: u64) {
        self.confirmed = Some((epoch, index));
        if matches!(self.rank, Rank::Change) && self.audit.is_none() {
            self.rank = Rank::Start; // should an epoch begin
        }
    }
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something was told.
    Told,
    /// The same again, now.
    Again,
    /// Nothing new.
    Rest,
    /// Of no use now; after a growing pause.
    Later,
    /// The agent has no room for this read; nothing was told.
    Crowded,
    /// The connection has no room for it; another one may.
    Full,
    /// Requests are limited by the second; nothing was told.
    Limited,
    /// Something is hidden from the token.
    Hidden,
}

/// Why something is no longer followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Unwanted,
    /// The agent has no room for it.
    Crowded,
    /// Its connection has none.
    Full,
}

/// Follows until `wanted` says no; asked between reads only.
pub(super) async fn follow(
    link: &Link,
    client: &Client,
    mut subject: impl Subject,
    wanted: impl Fn() -> bool + Send,
) -> End {
    let mut belief = Belief::ranked(Rank::Start);
    let mut delays = link.timing.delays();
    while wanted() {
        let next = step(link, Some(client), &mut subject, &mut belief).await;
        if subject.detects() && next != Next::Rest {
            link.moved(); // also when it is not known: then nobody sees what moves
        }
        match next {
            Next::Told => {
                delays = link.timing.delays();
                let rest = match subject.repeats() {
                    _ if subject.unhurried() => link.timing.sweep,
                    repeats => link.timing.pace * repeats.min(MOST_REPEATS),
                };
                if !rest.is_zero() {
                    tokio::time::sleep(rest).await;
                }
            }
            Next::Again => {}
            Next::Rest => tokio::time::sleep(link.timing.pace).await,
            Next::Crowded if subject.may_be_swept() => return End::Crowded,
            Next::Full if subject.may_be_swept() => return End::Full,
            Next::Hidden => tokio::time::sleep(link.hidden_pause()).await,
            Next::Later | Next::Crowded | Next::Full | Next::Limited => {
                let mut pause = link.timing.next(&mut delays);
                // Without a watch, it is read in turns like the others.
                if next != Next::Later || subject.unhurried() {
                    pause = pause.min(link.timing.sweep);
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
    End::Unwanted
}

/// One read and what follows from it; waits first until the circuit is closed. `client`: for reads that
/// block; `None`: none may.
pub(super) async fn step(
    link: &Link,
    client: Option<&Client>,
    subject: &mut impl Subject,
    belief: &mut Belief,
) -> Next {
    let epoch = link.circuit.live().await;
    let last = belief.take(epoch);
    let result = match (last, client) {
        (Some(index), Some(client)) => {
            match block(link, client, subject.query(), belief, (epoch, index)).await {
                Ok(result) => result,
                Err(next) => return next,
            }
        }
        (Some(index), None) => {
            let probed = match subject.probe() {
                Some(probe) => Some(link.read_as(belief.rank, probe, Mode::Plain).await),
                None => None,
            };
            match probed {
                Some(Ok(answer)) if answer.index <= index || answer.known_leader == Some(false) => Ok(answer),
                Some(Err(error)) if !error.is_local() => Err(error),
                _ => link.read_as(belief.rank, subject.query(), Mode::Plain).await,
            }
        }
        (None, _) => {
            // A parked read keeps its connection: this one is beside it.
            let _permit = if belief.parked.is_some() {
                link.asides.acquire().await.ok()
            } else {
                None
            };
            link.read_as(belief.rank, subject.query(), Mode::Consistent).await
        }
    };
    if !link.circuit.holds(epoch) {
        return Next::Again;
    }
    let (index, verdict) = match result {
        Ok(answer) if answer.known_leader == Some(false) => (
            answer.index,
            Verdict::Suspect("consul knows no leader".to_owned()),
        ),
        Ok(answer) if last == Some(answer.index) => {
            belief.hold(epoch, answer.index);
            return Next::Rest;
        }
        Ok(answer) => {
            let reached = link.newest(epoch);
            link.saw(epoch, &answer);
            let verdict = match belief.stream.judge(epoch, last, &answer, reached) {
                Worth::Content => subject.read(&answer, last.is_none()),
                Worth::Nothing => Verdict::Confirm,
                Worth::Fell => Verdict::Suspect(fell(&subject.query().subject())),
            };
            (answer.index, verdict)
        }
        Err(e) if e.is_local() => (0, subject.unusable(e.chain())),
        Err(e) if e.is_refused() && subject.may_be_refused() => (0, subject.refused(e.chain())),
        // Others are answered: it is this read that the gateway does not pass on.
        Err(e) if link.is_passed_by(epoch, &e).await => (0, subject.unusable(e.chain())),
        Err(error) if link.is_limited(&error) => return Next::Limited,
        Err(error) if link.is_crowded(&error).await => return Next::Crowded,
        Err(error) => (0, Verdict::Suspect(error.chain())),
    };
    let news = |fact| News {
        epoch,
        index,
        fact,
        audit: belief.audit,
    };
    let mut pause = Duration::ZERO;
    let verdict = match verdict {
        Verdict::TellIfGone { fact, loss } => match gate::fate(link, &loss).await {
            Ok(Fate::Gone) => {
                subject.believed();
                Verdict::Tell(fact)
            }
            Ok(Fate::Hidden(lacking)) => subject.hidden(&lacking),
            Ok(Fate::Unclear(why)) => subject.unclear(format!("{why}; what is known stays")),
            Err(Doubt::Crowded) => return Next::Crowded,
            Err(Doubt::Limited) => return Next::Limited,
            Err(Doubt::Suspect(reason)) => Verdict::Suspect(reason),
        },
        Verdict::ReadDocuments(services) => match policies::read(link, services).await {
            Ok((documents, wait)) => {
                pause = wait;
                let hidden = subject.documents(&documents);
                let fact = Fact::Documents(Some(documents));
                if hidden {
                    Verdict::Hidden(fact)
                } else {
                    Verdict::Tell(fact)
                }
            }
            Err(Doubt::Crowded) => return Next::Crowded,
            Err(Doubt::Limited) => return Next::Limited,
            Err(Doubt::Suspect(reason)) => Verdict::Suspect(reason),
        },
        other => other,
    };
    match verdict {
        Verdict::Tell(fact) => {
            link.tell(news(fact)).await;
            let (index, next) = match belief.stream.delivered(index, last.is_none()) {
                After::Follow(index) => (index, Next::Told),
                After::Pause(index) => (index, Next::Rest),
                After::Retry(index) => (index, Next::Later),
            };
            belief.hold(epoch, index);
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = link.circuit.over(epoch) => {}
                }
            }
            next
        }
        Verdict::TellAgain(fact) => {
            link.tell(news(fact)).await;
            belief.hold(epoch, index);
            Next::Rest
        }
        Verdict::Moved => {
            belief.hold(epoch, index);
            Next::Told
        }
        Verdict::Useless => Next::Later,
        Verdict::Confirm => {
            if belief.rank == Rank::Start {
                belief.rank = Rank::Change;
            }
            Next::Again
        }
        Verdict::ReadDocuments(_) | Verdict::TellIfGone { .. } => Next::Again,
        Verdict::Hidden(fact) => {
            link.tell(news(fact)).await;
            tokio::time::sleep(pause).await;
            Next::Hidden
        }
        Verdict::Unusable(fact) => {
            link.tell(news(fact)).await;
            Next::Later
        }
        Verdict::Suspect(reason) => {
            link.suspect(epoch, &reason);
            Next::Again
        }
    }
}

/// A blocking read, or the parked one. `Err`: there is nothing to judge.
async fn block(
    link: &Link,
    client: &Client,
    query: &Query,
    belief: &mut Belief,
    (epoch, index): (u64, u64),
) -> Result<Result<Answer, Error>, Next> {
    let mut wait = link.lengths.wait();
    let streamed = link.has_recovered();
    let blocking = |wait| Mode::Blocking {
        index,
        wait,
        streamed,
    };
    let mut mode = blocking(wait);
    let parked = belief.parked.take().filter(|(parked, _)| *parked == index);
    let resumed = parked.is_some();
    let mut read = parked.map_or_else(|| send(client, query, mode), |(_, read)| read);
    let mut tried = false;
    let (mut refusals, mut gateways) = (0, 1);
    loop {
        let flight = link.flights.begin(); // not of one that is parked: nobody would notice its end
        #[expect(
            clippy::disallowed_methods,
            reason = "how long I/O took, in the shell: nothing pure sees it"
        )]
        let begun = Instant::now();
        let result = tokio::select! {
            result = &mut read => result,
            () = link.circuit.over(epoch) => {
                belief.parked = Some((index, read));
                return Err(Next::Again);
            }
        };
        if resumed {
            // It may have ended in between, whatever the agent was then.
            if result.is_err() || result.is_ok_and(|answer| answer.index == index) {
                belief.hold(epoch, index);
            }
            return Err(Next::Again);
        }
        let error = match result {
            Ok(answer) => {
                #[expect(clippy::disallowed_methods, reason = "the other end of the same measurement")]
                let lasted = begun.elapsed();
                link.lasted(wait, lasted);
                if answer.index == index && answer.backend == Backend::Servers {
                    link.waited(query, wait, lasted);
                }
                return Ok(Ok(answer));
            }
            Err(error) => error,
        };
        if link.is_limited(&error) && refusals < LIMITED_TRIES {
            // The watch stays, and is asked for again in its turn. Agents do not count streamed reads.
            refusals += 1;
            link.pace.limited();
            drop(flight);
            tokio::select! {
                () = link.pace.turn(Rank::Change) => {}
                () = link.circuit.over(epoch) => return Err(Next::Again),
            }
            read = send(client, query, mode);
            link.pace.sent();
            continue;
        }
        match (&error.failure, error.crowding()) {
            // It waits for a stream that the other end does not allow: of no meaning for the agent.
            (Failure::NotSent { shared, .. }, _) => {
                return Err(if *shared { Next::Full } else { Next::Again });
            }
            // It was never served, or its connection is half open: whether the agent is there, the next read
            // tells. A shared connection is whole (it is pinged): there was no room on it.
            (Failure::Deadline(_), _) => {
                if client_is_multiplexed(link) {
                    link.turned_away.send_modify(|n| *n += 1);
                    return Err(Next::Crowded);
                }
                return Err(Next::Again);
            }
            (_, crowding) if crowding == Some(Crowding::Closed) || error.is_cut() => {
                drop(flight);
                #[expect(clippy::disallowed_methods, reason = "the other end of the same measurement")]
                let lasted = begun.elapsed();
                let mark = link.flights.now();
                tokio::time::sleep(link.timing.settle).await;
                let others = link.flights.alive_since(mark);
                if !link.circuit.holds(epoch) {
                    return Ok(Err(error));
                }
                if lasted > link.timing.settle * 4 {
                    // Ended by the agent's own end, or by something on the way to a living one.
                    if !link.answers(epoch, begun + lasted).await {
                        return Ok(Err(error));
                    }
                    link.cut(query, wait, begun, lasted, &error);
                    if !others {
                        // It may be another agent by now: what got lost is judged as a whole, in a new epoch.
                        link.verify("all blocking reads ended, and it answers");
                        link.circuit.over(epoch).await;
                    }
                    return Err(Next::Again);
                }
                // A gateway's own answer, at once: it says nothing of the agent, unless it goes on.
                if error.is_gateway() && gateways < GATEWAY_TRIES {
                    gateways += 1;
                    wait = link.lengths.wait();
                    mode = blocking(wait);
                    read = send(client, query, mode);
                    continue;
                }
                if crowding.is_none() || !others {
                    return Ok(Err(error)); // they all ended: it is the agent's end
                }
                // An idle connection that was just closed looks the same, once.
                if std::mem::replace(&mut tried, true) {
                    link.turned_away.send_modify(|n| *n += 1);
                    return Err(Next::Crowded);
                }
                read = send(client, query, mode);
            }
            _ => return Ok(Err(error)),
        }
    }
}

fn client_is_multiplexed(link: &Link) -> bool {
    matches!(link.circuit.state().phase, Phase::Live { multiplexed: true })
}

fn send(client: &Client, query: &Query, mode: Mode) -> Blocked {
    let (client, query) = (client.clone(), query.clone());
    Box::pin(async move { client.read(&query, mode).await })
}
