//! A blocking read, with what may happen to it on the way. Never cancelled to be sent again: Consul would go on with it,
//! and count its connection. A read that the circuit interrupts is parked, and resumed once the same index was
//! confirmed; what it brings then is a wake-up only. One that waits on a copy of the agent is given up after an outage,
//! though: the copy may sleep through every change.

use std::time::Duration;

use super::belief::{Belief, Blocked, Parked};
use super::next::Next;
use crate::clock::now;
use crate::registry::consul::{Answer, Backend, Client, Error, Failure, Mode, Overload, Query};
use crate::source::consul::capacity::{Cause, Retries};
use crate::source::consul::context::Context;

/// What to do about a failure.
enum After {
    /// Send it again.
    Resend,
    /// There is nothing to judge.
    Stop(Next),
    /// The failure is to be judged.
    Judge,
}

/// One blocking read.
struct Blocking<'a> {
    context: &'a Context,
    client: &'a Client,
    query: &'a Query,
    epoch: u64,
    index: u64,
    /// From the agent's own copy, where it streams.
    streamed: bool,
    wait: Duration,
    retries: Retries,
}

/// A blocking read, or the parked one. `Err`: there is nothing to judge.
pub(super) async fn read(
    context: &Context,
    client: &Client,
    query: &Query,
    belief: &mut Belief,
    (epoch, index): (u64, u64),
) -> Result<Result<Answer, Error>, Next> {
    let has_recovered = context.trust.has_recovered();
    let parked = belief.parked.take();
    let parked = parked.filter(|parked| parked.index == index && (has_recovered || !parked.streamed));
    let resumed = parked.is_some();
    let mut blocking = Blocking {
        context,
        client,
        query,
        epoch,
        index,
        streamed: parked.as_ref().map_or(has_recovered, |parked| parked.streamed),
        wait: context.capacity.wait(),
        retries: context.capacity.blocking_retries(),
    };
    let mut read = parked.map_or_else(|| blocking.send(), |parked| parked.read);
    loop {
        let flight = context.capacity.begin_blocking();
        let begun = now();
        let result = tokio::select! {
            result = &mut read => result,
            () = context.trust.circuit.over(epoch) => {
                let streamed = blocking.streamed;
                belief.parked = Some(Parked { index, streamed, read });
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
                blocking.succeeded(&answer, now() - begun);
                return Ok(Ok(answer));
            }
            Err(error) => error,
        };
        let lasted = now() - begun;
        drop(flight);
        match blocking.failed(&error, (begun, lasted)).await {
            After::Resend => read = blocking.send(),
            After::Stop(next) => return Err(next),
            After::Judge => return Ok(Err(error)),
        }
    }
}

impl Blocking<'_> {
    fn send(&self) -> Blocked {
        let mode = Mode::Blocking {
            index: self.index,
            wait: self.wait,
            streamed: self.streamed,
        };
        let (client, query) = (self.client.clone(), self.query.clone());
        Box::pin(async move { client.read(&query, mode).await })
    }

    /// The agent answered. A read that was not streamed and ended with the index that it began with, before its wait
    /// was over, means a restored snapshot: everything is read again, and stays meanwhile.
    fn succeeded(&self, answer: &Answer, lasted: Duration) {
        let Context { capacity, trust, .. } = self.context;
        capacity.answered(self.wait, lasted);
        let unchanged = answer.index == self.index && answer.backend == Backend::Servers;
        if unchanged && capacity.ended_early(self.wait, lasted) {
            let (what, lasted) = (self.query.subject(), lasted.as_millis());
            trust.verify(&format!(
                "a blocking read of {what} ended after {lasted} ms without a change"
            ));
        }
    }

    async fn failed(&mut self, error: &Error, ended: (tokio::time::Instant, Duration)) -> After {
        let Context { capacity, trust, .. } = self.context;
        if capacity.is_rate_limited(error) && self.retries.next(Cause::RateLimit).is_some() {
            // The watch stays, and is sent again in its turn.
            return tokio::select! {
                () = capacity.turn_after_limit() => After::Resend,
                () = trust.circuit.over(self.epoch) => After::Stop(Next::Again),
            };
        }
        match &error.failure {
            // It waits for a stream that the other end does not allow, which says nothing about the agent.
            Failure::NotSent { shared: true, .. } => After::Stop(Next::Full),
            // A shared connection is intact (it is pinged): there was no room on it.
            Failure::Deadline(_) if trust.is_multiplexed() => {
                capacity.report_overload();
                After::Stop(Next::Overloaded)
            }
            // It was never served, or its connection is half open: the next read shows whether the agent is there.
            Failure::NotSent { .. } | Failure::Deadline(_) => After::Stop(Next::Again),
            _ if error.overload() == Some(Overload::Closed) || error.is_cut() => self.cut(error, ended).await,
            _ => After::Judge,
        }
    }

    /// The connection ended, or something on the way gave up.
    async fn cut(&mut self, error: &Error, (begun, lasted): (tokio::time::Instant, Duration)) -> After {
        let Context {
            capacity,
            trust,
            timing,
            ..
        } = self.context;
        let others = capacity.others_survive().await;
        if !trust.circuit.holds(self.epoch) {
            return After::Judge;
        }
        if lasted > timing.settle * 4 {
            // Either the agent died, or something on the way to a living one cut the read off.
            if !trust.agent_answers(self.epoch, begun + lasted).await {
                return After::Judge;
            }
            capacity.cut_off(self.query, self.wait, (begun, lasted), error);
            if !others {
                // It may be another agent by now: what is missing is judged as a whole, in a new epoch.
                trust.verify("all blocking reads ended, and it answers");
                trust.circuit.over(self.epoch).await;
            }
            return After::Stop(Next::Again);
        }
        // A gateway's own answer, at once: it says nothing about the agent, unless it is repeated.
        if error.is_gateway() && self.retries.next(Cause::Gateway).is_some() {
            self.wait = capacity.wait();
            return After::Resend;
        }
        if error.overload().is_none() || !others {
            return After::Judge; // all of them ended: the agent died
        }
        // An idle connection that was just closed looks the same, once.
        if self.retries.next(Cause::Overload).is_none() {
            capacity.report_overload();
            return After::Stop(Next::Overloaded);
        }
        After::Resend
    }
}
