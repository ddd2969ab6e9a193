//! One read of a subject, and what follows from it; the same for the names, each service and the policy documents:
//!
//! ```text
//! CONFIRM  read by ?consistent, send → WATCH
//! WATCH    same index → nothing; higher → send, but when something is missing → CONFIRM first;
//!          lower, or an error → the circuit opens, nothing is sent, CONFIRM in the next epoch
//! ```
//! Never sends what was read in an epoch that is over, nor a loss without checking whether the token may read what is
//! missing, nor an empty service without checking the canary.
//!
//! Three failures are no trouble of the agent: a request that it has no room for (the budget of watches falls, and the
//! service is swept), a connection that was closed while others live on, and a blocking read that got lost on the way.
//! After each of them the subject is confirmed.

use std::time::Duration;

use super::belief::Belief;
use super::next::Next;
use super::stream::{After, Worth};
use super::subject::{Subject, Verdict};
use super::{blocking, policies};
use crate::registry::consul::{Answer, Client, Error, Mode};
use crate::source::consul::context::Context;
use crate::source::consul::news::{Fact, News};
use crate::source::consul::trust::canary::Doubt;
use crate::source::consul::trust::fell;
use crate::source::consul::trust::loss::{self, Fate};

/// The reason to suspect the agent; `Err`: what to do instead.
fn reason(doubt: Doubt) -> Judged<String> {
    match doubt {
        Doubt::Overloaded => Err(Next::Overloaded),
        Doubt::RateLimited => Err(Next::RateLimited),
        Doubt::Suspect(reason) => Ok(reason),
    }
}

/// The step of one subject.
struct Step<'a, S> {
    context: &'a Context,
    subject: &'a mut S,
    belief: &'a mut Belief,
    epoch: u64,
    /// The index that was confirmed last in this epoch; `None`: this step confirms.
    last: Option<u64>,
}

/// One read and what follows from it; waits first until the circuit is closed. `client`: for blocking reads; `None`:
/// it must not block.
pub(crate) async fn step<S: Subject>(
    context: &Context,
    client: Option<&Client>,
    subject: &mut S,
    belief: &mut Belief,
) -> Next {
    let epoch = context.trust.circuit.live().await;
    let last = belief.take(epoch);
    let step = Step {
        context,
        subject,
        belief,
        epoch,
        last,
    };
    match step.run(client).await {
        Ok(next) | Err(next) => next,
    }
}

/// `Err`: nothing more is to be done in this step.
type Judged<T> = Result<T, Next>;

impl<S: Subject> Step<'_, S> {
    async fn run(mut self, client: Option<&Client>) -> Judged<Next> {
        let result = self.read(client).await?;
        if !self.context.trust.circuit.holds(self.epoch) {
            return Err(Next::Again);
        }
        let (index, verdict) = match result {
            Ok(answer) => (answer.index, self.judge(&answer)?),
            Err(error) => (0, self.judge_error(&error).await?),
        };
        let (verdict, pause) = self.complete(verdict).await?;
        Ok(self.act(index, verdict, pause).await)
    }

    /// Finds out what the verdict leaves open; and how long to wait before the subject is read again.
    async fn complete(&mut self, verdict: Verdict) -> Judged<(Verdict, Duration)> {
        let mut pause = Duration::ZERO;
        let verdict = match verdict {
            Verdict::SendIfGone { fact, loss } => match loss::judge(&self.context.trust, &loss).await {
                Ok(Fate::Gone) => Verdict::Send(fact),
                Ok(Fate::Hidden(lacking)) => self.subject.hidden(&lacking),
                Ok(Fate::Unclear(why)) => self.subject.unclear(format!("{why}; what is known stays")),
                Err(doubt) => Verdict::Suspect(reason(doubt)?),
            },
            Verdict::ReadDocuments(services) => match policies::read(self.context, services).await {
                Ok((documents, wait)) => {
                    pause = wait;
                    let hidden = self.subject.documents(&documents);
                    let fact = Fact::Documents(Some(documents));
                    if hidden {
                        Verdict::SendHidden(fact)
                    } else {
                        Verdict::Send(fact)
                    }
                }
                Err(doubt) => Verdict::Suspect(reason(doubt)?),
            },
            other => other,
        };
        Ok((verdict, pause))
    }

    /// Blocks when something was confirmed and a client is given; confirms when nothing was.
    async fn read(&mut self, client: Option<&Client>) -> Judged<Result<Answer, Error>> {
        let capacity = &self.context.capacity;
        let query = self.subject.query();
        match (self.last, client) {
            (Some(index), Some(client)) => {
                let at = (self.epoch, index);
                blocking::read(self.context, client, query, self.belief, at).await
            }
            (Some(index), None) => Ok(self.read_if_moved(index).await),
            (None, _) => {
                // A parked read keeps its connection: this one is beside it.
                let _permit = match self.belief.parked {
                    Some(_) => capacity.side_read().await,
                    None => None,
                };
                Ok(capacity.read_as(self.belief.rank, query, Mode::Consistent).await)
            }
        }
    }

    /// Reads without blocking; first only the index, where the subject has a probe.
    async fn read_if_moved(&mut self, index: u64) -> Result<Answer, Error> {
        let (capacity, rank) = (&self.context.capacity, self.belief.rank);
        if let Some(probe) = self.subject.probe() {
            match capacity.read_as(rank, probe, Mode::Plain).await {
                Ok(answer) if answer.index <= index || answer.known_leader == Some(false) => {
                    return Ok(answer);
                }
                Err(error) if !error.is_local() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        capacity.read_as(rank, self.subject.query(), Mode::Plain).await
    }

    fn judge(&mut self, answer: &Answer) -> Judged<Verdict> {
        if answer.known_leader == Some(false) {
            return Ok(Verdict::Suspect("consul knows no leader".to_owned()));
        }
        if self.last == Some(answer.index) {
            self.belief.hold(self.epoch, answer.index);
            return Err(Next::Rest);
        }
        let trust = &self.context.trust;
        let reached = trust.newest_index(self.epoch);
        trust.record(self.epoch, answer);
        let worth = self.belief.stream.judge(self.epoch, self.last, answer, reached);
        Ok(match worth {
            Worth::Content => self.subject.read(answer, self.last.is_none()),
            Worth::Nothing => Verdict::Confirm,
            Worth::Fell => Verdict::Suspect(fell(&self.subject.query().subject())),
        })
    }

    async fn judge_error(&mut self, error: &Error) -> Judged<Verdict> {
        let Context { capacity, trust, .. } = self.context;
        if error.is_local() {
            return Ok(self.subject.unusable(error.chain()));
        }
        if error.is_refused() && S::RULES.may_be_refused {
            return Ok(self.subject.refused(error.chain()));
        }
        // Others are answered: it is this read that the gateway does not pass on.
        if trust.is_blocked_by_gateway(self.epoch, error).await {
            return Ok(self.subject.unusable(error.chain()));
        }
        if capacity.is_rate_limited(error) {
            return Err(Next::RateLimited);
        }
        if capacity.is_overloaded(error).await {
            return Err(Next::Overloaded);
        }
        Ok(Verdict::Suspect(error.chain()))
    }

    async fn act(mut self, index: u64, verdict: Verdict, pause: Duration) -> Next {
        match verdict {
            Verdict::Send(fact) => {
                self.send(index, fact).await;
                let (index, next) = match self.belief.stream.delivered(index, self.last.is_none()) {
                    After::Follow(index) => (index, Next::Sent),
                    After::Pause(index) => (index, Next::Rest),
                    After::Retry(index) => (index, Next::Later),
                };
                self.belief.hold(self.epoch, index);
                if !pause.is_zero() {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.context.trust.circuit.over(self.epoch) => {}
                    }
                }
                next
            }
            Verdict::SendIndex(fact) => {
                self.send(index, fact).await;
                self.belief.hold(self.epoch, index);
                Next::Rest
            }
            Verdict::Moved => {
                self.belief.hold(self.epoch, index);
                Next::Sent
            }
            Verdict::Useless => Next::Later,
            Verdict::Confirm => {
                self.belief.prefer();
                Next::Again
            }
            // Neither is left once the verdict is complete.
            Verdict::ReadDocuments(_) | Verdict::SendIfGone { .. } => Next::Again,
            Verdict::SendHidden(fact) => {
                self.send(index, fact).await;
                tokio::time::sleep(pause).await;
                Next::Hidden
            }
            Verdict::SendUnusable(fact) => {
                self.send(index, fact).await;
                Next::Later
            }
            Verdict::Suspect(reason) => {
                self.context.trust.suspect(self.epoch, &reason);
                Next::Again
            }
        }
    }

    async fn send(&mut self, index: u64, fact: Fact) {
        let news = News {
            epoch: self.epoch,
            index,
            fact,
            audit: self.belief.audit,
        };
        self.context.send(news).await;
    }
}
