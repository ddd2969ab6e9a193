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

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::link::{Fact, Link};
use super::{gate, policies};
use crate::registry::consul::{Answer, Client, Error, Mode, Query, Right};

/// Something that can be followed.
pub(super) trait Subject: Send {
    fn query(&self) -> &Query;
    /// Judges a good answer; `confirmed`: read by `?consistent`, at most as old as the question.
    fn read(&mut self, answer: &Answer, confirmed: bool) -> Verdict;
    /// The agent is well, but this answer is of no use.
    fn unusable(&mut self, reason: String) -> Verdict;
    /// What was lost is told.
    fn believed(&mut self) {}
    /// Whether 403 says something of this subject only.
    fn may_be_refused(&self) -> bool {
        false
    }
    /// That 403.
    fn refused(&mut self, reason: String) -> Verdict {
        self.unusable(reason)
    }
}

/// What an answer means.
pub(super) enum Verdict {
    Tell(Fact),
    /// The keys of these services' policies are there: to be told with their values.
    ReadDocuments(Vec<Arc<str>>),
    /// Something got lost: to be told when we may read it, and the canary lives if nothing is left.
    TellIfGone {
        fact: Fact,
        rights: Vec<Right>,
        empty: bool,
    },
    /// Something got lost: ask again by `?consistent`.
    Confirm,
    /// To be told, then to be read again after a while.
    Unusable(Fact),
    /// Not to be trusted.
    Suspect(String),
}

/// What was confirmed, and when.
#[derive(Default)]
pub(super) struct Belief {
    /// Epoch and index; `None`: to be confirmed.
    confirmed: Option<(u64, u64)>,
    /// A blocking read of an epoch that is over, and the index it waits to pass.
    parked: Option<(u64, Blocked)>,
}

type Blocked = BoxFuture<'static, Result<Answer, Error>>;

impl Belief {
    /// Takes out the index heard last in this epoch; `None`: to be confirmed. Each way out of a
    /// step but the good ones leaves it out.
    fn take(&mut self, epoch: u64) -> Option<u64> {
        self.confirmed
            .take()
            .filter(|(e, _)| *e == epoch)
            .map(|(_, index)| index)
    }

    const fn hold(&mut self, epoch: u64, index: u64) {
        self.confirmed = Some((epoch, index));
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
}

/// Follows until `wanted` says no; asked between reads only.
pub(super) async fn follow(
    link: &Link,
    client: &Client,
    mut subject: impl Subject,
    wanted: impl Fn() -> bool + Send,
) {
    let mut belief = Belief::default();
    let mut delays = link.timing.delays();
    while wanted() {
        match step(link, client, &mut subject, &mut belief, true).await {
            Next::Told => delays = link.timing.delays(),
            Next::Again => {}
            Next::Rest => tokio::time::sleep(link.timing.pace).await,
            Next::Later => tokio::time::sleep(link.timing.next(&mut delays)).await,
        }
    }
}

/// One read and what follows from it; waits first until the circuit is closed.
pub(super) async fn step(
    link: &Link,
    client: &Client,
    subject: &mut impl Subject,
    belief: &mut Belief,
    blocking: bool,
) -> Next {
    let epoch = link.circuit.live().await;
    let last = belief.take(epoch);
    let result = match last {
        Some(index) if blocking => match block(link, client, subject.query(), belief, (epoch, index)).await {
            Some(result) => result,
            None => return Next::Again,
        },
        Some(_) => link.read(client, subject.query(), Mode::Plain).await,
        None => {
            // A parked read keeps its connection: this one is beside it.
            let _permit = if belief.parked.is_some() {
                link.asides.acquire().await.ok()
            } else {
                None
            };
            link.read(client, subject.query(), Mode::Consistent).await
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
        Ok(answer) if last.is_some_and(|last| answer.index < last) => {
            let what = subject.query().subject();
            (
                answer.index,
                Verdict::Suspect(format!(
                    "the index of {what} fell: a server restarted or was restored"
                )),
            )
        }
        Ok(answer) => (answer.index, subject.read(&answer, last.is_none())),
        Err(e) if e.is_local() => (0, subject.unusable(e.chain())),
        Err(e) if e.is_refused() && subject.may_be_refused() => (0, subject.refused(e.chain())),
        Err(error) => (0, Verdict::Suspect(error.chain())),
    };
    let mut pause = Duration::ZERO;
    let verdict = match verdict {
        Verdict::TellIfGone { fact, rights, empty } => match gate::hidden(link, &rights, empty).await {
            Ok(None) => {
                subject.believed();
                Verdict::Tell(fact)
            }
            Ok(Some(right)) => subject.unusable(format!(
                "what is missing is hidden: the token lacks {right}; what is known stays"
            )),
            Err(reason) => Verdict::Suspect(reason),
        },
        Verdict::ReadDocuments(services) => match policies::read(link, services).await {
            Ok((documents, wait)) => {
                pause = wait;
                Verdict::Tell(Fact::Documents(Some(documents)))
            }
            Err(reason) => Verdict::Suspect(reason),
        },
        other => other,
    };
    match verdict {
        Verdict::Tell(fact) => {
            belief.hold(epoch, index);
            link.tell(epoch, index, fact).await;
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = link.circuit.over(epoch) => {}
                }
            }
            Next::Told
        }
        Verdict::Confirm | Verdict::ReadDocuments(_) | Verdict::TellIfGone { .. } => Next::Again,
        Verdict::Unusable(fact) => {
            link.tell(epoch, index, fact).await;
            Next::Later
        }
        Verdict::Suspect(reason) => {
            link.suspect(epoch, &reason);
            Next::Again
        }
    }
}

/// A blocking read, or the parked one. `None`: ask again, by what `belief` holds then.
async fn block(
    link: &Link,
    client: &Client,
    query: &Query,
    belief: &mut Belief,
    (epoch, index): (u64, u64),
) -> Option<Result<Answer, Error>> {
    let parked = belief.parked.take().filter(|(parked, _)| *parked == index);
    let resumed = parked.is_some();
    let mut read = parked.map_or_else(
        || {
            let (client, query, mode) = (
                client.clone(),
                query.clone(),
                Mode::Blocking {
                    index,
                    wait: link.timing.wait,
                },
            );
            Box::pin(async move { client.read(&query, mode).await }) as Blocked
        },
        |(_, read)| read,
    );
    let result = tokio::select! {
        result = &mut read => result,
        () = link.circuit.over(epoch) => {
            belief.parked = Some((index, read));
            return None;
        }
    };
    if !resumed {
        return Some(result);
    }
    // It may have ended in between, whatever the agent was then.
    if result.is_err() || result.is_ok_and(|answer| answer.index == index) {
        belief.hold(epoch, index);
    }
    None
}
