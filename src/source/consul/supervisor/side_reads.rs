//! Reads beside the watches: single confirmations, and what is hidden from the token.

use std::time::Duration;

use super::{Ended, Supervisor};
use crate::source::consul::news::Audited;
use crate::source::consul::watch::subject::Subject;
use crate::source::consul::watch::{Belief, Next, step};

impl Supervisor {
    /// Reads something once, by `?consistent`; `audit`: what its watch held when the audit began this read.
    pub(super) fn read_once(
        &mut self,
        mut subject: impl Subject + 'static,
        audit: Option<Audited>,
        ended: Ended,
    ) {
        let context = self.context.clone();
        self.spawn(async move {
            let mut belief = Belief::of_audit(audit);
            let mut delays = context.timing.delays();
            loop {
                let permit = context.capacity.side_read().await;
                let next = step(&context, None, &mut subject, &mut belief).await;
                drop(permit);
                match next {
                    Next::Again => {}
                    Next::Overloaded | Next::RateLimited if audit.is_none() => {
                        tokio::time::sleep(context.timing.next(&mut delays)).await;
                    }
                    Next::Sent
                    | Next::Rest
                    | Next::Later
                    | Next::Overloaded
                    | Next::Full
                    | Next::RateLimited
                    | Next::Hidden => break,
                }
            }
            ended
        });
    }

    /// Reads what is hidden from the token again, one service after the other: a change of rights moves no index, so it
    /// wakes no watch.
    pub(super) fn read_hidden(&mut self, now: Duration, epoch: u64) {
        let services = self.ledger.hidden_services();
        self.context.set_hidden_services(services);
        if services == 0 {
            self.hidden.0 = None;
            return;
        }
        let pause = self.context.hidden_pause() / services;
        let (last, due) = self.hidden.0.take().unwrap_or((None, now + pause));
        if now < due || !self.context.trust.circuit.holds(epoch) {
            self.hidden.0 = Some((last, due.max(now)));
            return;
        }
        let next = self.ledger.hidden_after(last.as_ref());
        self.hidden.0 = Some((next.clone(), now + pause));
        if let Some(name) = next {
            self.confirm(name);
        }
    }
}
