//! What happened by writes of which nobody knows whether they were applied: it is said once the watch shows such a record.
//! Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::records::Kept;
use crate::rollout::{Event, Record};
use crate::state::Revision;

/// Of one service: a record that cannot be written is tried again and again.
const TRIES: usize = 4;

/// By service.
#[derive(Debug, Default)]
pub(super) struct Unsaid(BTreeMap<Arc<str>, Vec<Write>>);

/// One write.
#[derive(Debug)]
struct Write {
    /// What it was to replace.
    base: Option<Revision>,
    record: Arc<Record>,
    events: Vec<Event>,
}

impl Unsaid {
    /// The answer to this write was an error.
    pub(super) fn keep(
        &mut self,
        service: &Arc<str>,
        base: Option<Revision>,
        record: Arc<Record>,
        events: Vec<Event>,
    ) {
        if events.is_empty() {
            return;
        }
        let writes = self.0.entry(service.clone()).or_default();
        if writes.len() >= TRIES {
            writes.remove(0);
        }
        writes.push(Write { base, record, events });
    }

    /// A later write was applied.
    pub(super) fn forget(&mut self, service: &Arc<str>) {
        self.0.remove(service);
    }

    /// What is to be said now. A write whose place another one took was not applied.
    pub(super) fn applied(&mut self, records: &BTreeMap<Arc<str>, Kept>) -> Vec<(Arc<str>, Vec<Event>)> {
        let mut said = Vec::new();
        self.0.retain(|service, writes| {
            let kept = records.get(service);
            let revision = kept.map(|(_, revision)| *revision);
            let is_there = |write: &Write| kept.is_some_and(|(record, _)| *record == write.record);
            if let Some(at) = writes.iter().position(is_there) {
                said.push((service.clone(), writes.swap_remove(at).events));
                return false;
            }
            writes.retain(|write| write.base == revision);
            !writes.is_empty()
        });
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::Entry;
    use crate::rollout::{Happened, Why};

    fn record(stable: &str) -> Arc<Record> {
        Arc::new(Record {
            stable: Some(stable.into()),
            ..Record::default()
        })
    }

    fn kept(stable: &str, revision: u64) -> BTreeMap<Arc<str>, Kept> {
        let revision = Entry::of("a", b"", revision).revision;
        [("orders".into(), (record(stable), revision))].into()
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_said_once_it_is_seen() {
        let orders: Arc<str> = "orders".into();
        let before = kept("1", 7);
        let base = Some(before["orders"].1);
        let event = Event {
            at: 1,
            version: "2".into(),
            dry_run: false,
            what: Happened::TakenBack { why: Why::Gone },
            text: String::new(),
        };
        let failed = |records: &[&str]| {
            let mut unsaid = Unsaid::default();
            for stable in records {
                unsaid.keep(&orders, base, record(stable), vec![event.clone()]);
            }
            unsaid
        };
        let mut unsaid = failed(&["2", "3"]);
        assert!(unsaid.applied(&before).is_empty(), "the watch is behind");
        assert_eq!(
            unsaid.applied(&kept("2", 8)),
            [(orders.clone(), vec![event.clone()])]
        );
        assert!(unsaid.applied(&kept("2", 8)).is_empty(), "once");
        // Another one wrote, and this one did not.
        let mut unsaid = failed(&["2"]);
        assert!(unsaid.applied(&kept("9", 8)).is_empty());
        assert!(unsaid.0.is_empty());
        let mut unsaid = failed(&["2"; 9]);
        assert_eq!(unsaid.0["orders"].len(), TRIES);
        unsaid.forget(&orders);
        assert!(unsaid.applied(&kept("2", 8)).is_empty());
    }
}
