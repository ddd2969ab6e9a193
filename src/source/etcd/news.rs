//! Which events of a watch are news. Pure.

use crate::registry::etcd::Event;

/// Those of these events that count after `known`, the revision of what is held.
///
/// Up to etcd 3.6.1 a watch is set back when its member takes a snapshot from the leader: what is older than
/// what we have is older than what we hold.
#[must_use]
pub fn news(known: i64, mut events: Vec<Event>) -> Vec<Event> {
    let mut newest = known;
    events.retain(|event| {
        let revision = event.mod_revision();
        newest = newest.max(revision);
        revision > known && revision == newest
    });
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_that_is_set_back_says_nothing_new() {
        let deleted = |revision| Event::Delete {
            key: b"/services/a/instances/1".to_vec(),
            mod_revision: revision,
        };
        let revisions = |known, events: &[i64]| -> Vec<i64> {
            let events = events.iter().copied().map(deleted).collect();
            news(known, events).iter().map(Event::mod_revision).collect()
        };
        assert_eq!(revisions(4, &[3, 4, 5, 5, 7]), [5, 5, 7]);
        assert_eq!(revisions(0, &[5, 3, 5, 6]), [5, 5, 6], "set back in the middle");
        assert_eq!(revisions(9, &[5, 9]), [0; 0]);
    }
}
