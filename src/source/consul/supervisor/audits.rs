//! The rolling audit at work: which read is due, and what its result says of the watch.

use std::time::Duration;

use super::{Ended, HealthSubject, NamesSubject, Supervisor};
use crate::source::consul::news::{Audited, Fact, Finding, News};
use crate::source::consul::watch::audit::{self, Thing};

/// Reads of the audit at once, at most: an agent that is slow is audited more slowly.
const AT_ONCE: usize = 2;
/// How many times later than a watched service a swept one may be.
const SWEPT_GRACE: u32 = 6;

impl Supervisor {
    /// Counts what watches have missed.
    pub(super) fn count_missed(&mut self, now: Duration) {
        for thing in self.audits.audit.missed(now) {
            let what = thing.as_deref().unwrap_or("the names of services");
            tracing::warn!(what, "a watch has missed a change, which an audit found");
            self.audits.missed += 1;
        }
    }

    /// Reads what is next in the round, when that is due.
    pub(super) fn audit(&mut self, now: Duration, epoch: u64) {
        if now < self.audits.due {
            return;
        }
        let timing = &self.context.timing;
        self.audits.due = now + audit::pace(self.ledger.services(), timing.audit, timing.audit_pace);
        let current = self.context.trust.circuit.holds(epoch) && self.ledger.current(epoch);
        if !current || self.audits.under_way >= AT_ONCE {
            return;
        }
        self.audits.under_way += 1;
        let ledger = &self.ledger;
        match self.audits.audit.next(|last| ledger.after(last)) {
            Some(name) => {
                let index = ledger.index(epoch, &name);
                let subject = HealthSubject::new(&self.context, name);
                self.read_once(subject, Some(Audited { epoch, index }), Ended::Audit);
            }
            None => {
                let index = self.names_index;
                let subject = NamesSubject::new(&self.context);
                self.read_once(subject, Some(Audited { epoch, index }), Ended::Audit);
            }
        }
    }

    /// Compares what an audit read with what is held. `audited`: the index that was held when it began.
    pub(super) fn compare(&mut self, news: &News, audited: u64) {
        let (thing, differs, held, grace): (Thing, _, _, _) = match &news.fact {
            Fact::Names(names) => (None, self.ledger.names_differ(names), self.names_index, 1),
            Fact::Service(
                name,
                Finding {
                    found: Ok(found),
                    hidden: None,
                    ..
                },
            ) => {
                let swept = self.swept.borrow().contains(name);
                let grace = if swept { SWEPT_GRACE } else { 1 };
                let held = self.ledger.index(news.epoch, name);
                (Some(name.clone()), self.ledger.differs(name, found), held, grace)
            }
            _ => return,
        };
        if news.index < audited {
            let trust = &self.context.trust;
            trust.audit_index_fell(news.epoch, thing.as_deref(), differs);
        } else if differs && news.index >= held {
            let until = self.clock.now() + self.context.timing.grace * grace;
            self.audits.audit.differed(thing, news.index, until);
        }
    }
}
