//! The other bridges: each is asked what its clients know, through the state that all share, and answers the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Answer, Asking, Barrier, Question, Verdict, Wanted};
use crate::catalog::find::Target;
use crate::clock;
use crate::hub::Order;
use crate::state::{self, Asked, State, Status};

/// How often the others are looked at; a change of shared state is noticed at once.
const LOOK: Duration = Duration::from_millis(500);

/// The answer of all bridges.
#[derive(Clone, Debug)]
pub struct Everywhere {
    /// Of this one.
    pub here: Answer,
    /// Of each other one that runs, by its host; `None`: it has not answered.
    pub others: Vec<(String, Option<state::Answer>)>,
    /// Why the others cannot be asked.
    pub unasked: Option<String>,
}

impl Everywhere {
    /// It is so, in all clients of all bridges.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let others = self
            .others
            .iter()
            .all(|(_, answer)| answer.as_ref().is_some_and(|a| a.done));
        self.here.verdict == Verdict::Done && others && self.unasked.is_none()
    }
}

impl Barrier {
    /// Waits until it is so on all bridges that share state with this one, or until then. `report` gets what differs
    /// from the answer before. `None`: the bridge is stopping.
    pub async fn everywhere(
        &self,
        question: &Question,
        until: Instant,
        mut report: impl FnMut(&Everywhere),
    ) -> Option<Everywhere> {
        let mut asking = Asking::new(self, question);
        let mut asked: Option<Asked> = None;
        let mut snapshots = self.state.follow();
        let mut said = None;
        loop {
            snapshots.mark_unchanged();
            let mut unasked = None;
            if !is_known(&self.state) {
                unasked = Some(self.state.words().unwrap_or_default());
            } else if asked.is_none() && has_others(&self.state) {
                let shared = shared(question);
                match tokio::time::timeout_at(until, self.state.ask(&shared)).await {
                    Ok(Ok(there)) => asked = Some(there),
                    Ok(Err(error)) => unasked = Some(error.to_string()),
                    Err(_) => unasked = Some("not in time".to_owned()),
                }
            }
            let others = asked
                .as_ref()
                .map(|asked| answers(&self.state, asked))
                .unwrap_or_default();
            if let Wanted::Serving { clients } = question.wanted {
                let elsewhere: u64 = others
                    .iter()
                    .flat_map(|(_, a)| a)
                    .fold(0, |all, a| all.saturating_add(a.clients));
                let elsewhere = usize::try_from(elsewhere).unwrap_or(usize::MAX);
                asking.wanted = Wanted::Serving {
                    clients: clients.saturating_sub(elsewhere),
                };
            }
            let alone = others.is_empty() && unasked.is_none() && !has_others(&self.state);
            let slice = if alone {
                until
            } else {
                until.min(clock::now() + LOOK)
            };
            let mut all = Everywhere {
                here: Answer::unknown(self.origin),
                others,
                unasked,
            };
            let here = asking
                .until(slice, |here| {
                    all.here = here.clone();
                    report(&all);
                })
                .await?;
            all.here = here;
            if let Some(asked) = &asked {
                all.others = answers(&self.state, asked);
            }
            let now = (all.others.clone(), all.unasked.clone());
            if said.as_ref() != Some(&now) {
                report(&all);
                said = Some(now);
            }
            let alone = asked.is_none() && has_others(&self.state);
            if all.is_done() && !alone && is_known(&self.state) || clock::now() >= until {
                return Some(all);
            }
            if all.here.verdict == Verdict::Done {
                let again = until.min(clock::now() + LOOK);
                tokio::select! {
                    _ = snapshots.changed() => {}
                    () = clock::until(Some(again)) => {}
                }
            }
        }
    }
}

/// Whether it can be known which bridges run.
fn is_known(state: &State) -> bool {
    state.off().is_some() || state.snapshot().status == Status::Live
}

/// Whether another bridge runs.
fn has_others(state: &State) -> bool {
    state.replicas().keys().any(|replica| replica != state.replica())
}

fn answers(state: &State, asked: &Asked) -> Vec<(String, Option<state::Answer>)> {
    let replicas = state.replicas();
    let host = |id: &Arc<str>| {
        replicas
            .get(id)
            .map_or_else(|| id.to_string(), |replica| replica.host.clone())
    };
    let others = asked
        .answers()
        .into_iter()
        .filter(|(id, _)| id != state.replica());
    others.map(|(id, answer)| (host(&id), answer)).collect()
}

fn shared(question: &Question) -> state::Question {
    state::Question {
        kind: match question.wanted {
            Wanted::Drained => state::Wanted::Drained,
            Wanted::Serving { .. } => state::Wanted::Serving,
        },
        service: question.service.clone(),
        id: question.id.clone(),
        address: Some(question.address),
        since: clock::unix_millis(),
    }
}

/// Answers what other bridges ask, until `stop`.
pub async fn answer_others(barrier: Barrier, stop: CancellationToken) {
    let state = barrier.state.clone();
    let answer = move |asked: state::Question, mut answering: state::Answering| {
        let barrier = barrier.clone();
        async move {
            let question = barrier.question(asked).await;
            let mut asking = Asking::new(&barrier, &question);
            // For as long as it is asked: who is done may lag again, as when clients come over from another bridge.
            while let Some(answer) = asking.look().await {
                answering.say(&to_share(&answer));
                asking.pause().await;
            }
            std::future::pending::<()>().await; // the bridge is stopping
        }
    };
    state.answer_all(answer, stop).await;
}

impl Barrier {
    async fn question(&self, asked: state::Question) -> Question {
        let address = match asked.address {
            Some(address) => address,
            None => self.address(&asked).await,
        };
        Question {
            service: asked.service,
            id: asked.id,
            address,
            wanted: match asked.kind {
                state::Wanted::Drained => Wanted::Drained,
                state::Wanted::Serving => Wanted::Serving { clients: 0 },
            },
        }
    }

    /// Of an instance, where the question does not say it.
    async fn address(&self, asked: &state::Question) -> SocketAddr {
        let (reply, found) = oneshot::channel();
        let target = Target::Instance {
            service: asked.service.to_string(),
            id: asked.id.to_string(),
        };
        let _ = self.orders.send(Order::Find { target, reply }).await;
        let found = found.await.ok().and_then(Result::ok).unwrap_or_default();
        // One that is not there has no address: no report can be about it.
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        found.first().map_or(nowhere, |found| found.address)
    }
}

/// An answer as it is shared.
fn to_share(answer: &Answer) -> state::Answer {
    let mut shared = state::Answer {
        done: answer.verdict == Verdict::Done,
        clients: u64::try_from(answer.acked).unwrap_or(u64::MAX),
        ..state::Answer::default()
    };
    let now = clock::now().saturating_duration_since(answer.origin);
    match &answer.verdict {
        Verdict::Done | Verdict::NotServed(_) | Verdict::Alone => {}
        Verdict::NotAcked { lagging, unknown, .. } => {
            let laggard = |((fleet, node), since): &(super::Client, Duration)| state::Laggard {
                node: node.clone(),
                fleet: fleet.clone(),
                since_ms: u64::try_from(now.saturating_sub(*since).as_millis()).unwrap_or(u64::MAX),
            };
            shared.laggards = lagging.iter().map(laggard).collect();
            shared.unknown = unknown.iter().map(|((_, node), _)| node.clone()).collect();
        }
        Verdict::Busy { open, .. } => shared.open = Some(*open),
    }
    shared
}

/// Notes when another bridge was lost: its clients may be about without any.
pub async fn follow_losses(
    state: State,
    began: Arc<watch::Sender<Option<Instant>>>,
    stop: CancellationToken,
) {
    let mut snapshots = state.follow();
    let mut known = state.replicas();
    let work = async {
        while snapshots.changed().await.is_ok() {
            let now = state.replicas();
            if known
                .keys()
                .any(|replica| replica != state.replica() && !now.contains_key(replica))
            {
                began.send_modify(|began| *began = began.map(|_| clock::now()));
            }
            known = now;
        }
    };
    stop.run_until_cancelled(work).await;
}
