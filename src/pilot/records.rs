//! The records as they are known here: what the watch shows, and for a moment what this bridge has written since. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::hub::{Version, Versioned, Versions};
use crate::model::Rollouts;
use crate::rollout::{Outcome, Record};
use crate::state::{Documents, Revision};

/// One record, and when it was written last.
pub(super) type Kept = (Arc<Record>, Revision);

/// Records that this bridge has written and that the watch does not show yet.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Arc<str>, Own>);

#[derive(Debug)]
struct Own {
    kept: Kept,
    /// What the watch may still show: `None` is "no record".
    older: Vec<Option<Revision>>,
}

impl Records {
    /// This bridge has written a record, in place of the one of `before`.
    pub(super) fn wrote(&mut self, service: &Arc<str>, before: Option<Revision>, kept: Kept) {
        let own = self.0.entry(service.clone()).or_insert_with(|| Own {
            kept: kept.clone(),
            older: Vec::new(),
        });
        own.kept = kept;
        own.older.push(before);
    }

    /// All records of now.
    pub(super) fn all(&mut self, documents: &Documents) -> BTreeMap<Arc<str>, Kept> {
        let shown = |service: &Arc<str>| documents.rollouts.get(service).map(|(_, revision)| *revision);
        self.0.retain(|service, own| own.older.contains(&shown(service)));
        let mut all = documents.rollouts.clone();
        let own = self
            .0
            .iter()
            .map(|(service, own)| (service.clone(), own.kept.clone()));
        all.extend(own);
        all
    }
}

/// What the hub is given.
pub(super) fn rollouts(
    records: &BTreeMap<Arc<str>, Kept>,
    versions: &Versions,
    documents: &Documents,
) -> Rollouts {
    let is_in_force = |service: &Arc<str>, record: &Record| {
        let stored = documents.data.get(service).map(|data| data.number);
        // Why it would not be in force is not known of one that cannot be read.
        documents.unreadable_rollout(service).is_some()
            || is_in_force(record, versions.get(service).map(|seen| &**seen), stored)
    };
    let shares = records
        .iter()
        .filter(|(service, (record, _))| is_in_force(service, record))
        .filter_map(|(service, (record, _))| {
            let mut shares = record.shares()?;
            // A policy that only judges changes nothing.
            if record.plain.is_empty() {
                shares.stored = documents.data.get(service).map(|data| data.number);
            }
            Some((service.clone(), shares))
        });
    Rollouts {
        services: shares.collect(),
    }
}

/// Whether a record says how requests are shared. Of a service that wants no rollouts, and that a person rolled out once, it
/// does so for as long as that needs it: a version that came since then is not kept from its requests, unless it cannot read
/// what is stored.
fn is_in_force(record: &Record, seen: Option<&Versioned>, stored: Option<u32>) -> bool {
    let has_just_ended = record.rollout.as_ref().is_some_and(|rollout| !rollout.dry_run);
    if record.is_running() || has_just_ended || seen.is_some_and(|seen| seen.auto) {
        return true;
    }
    // The hub does not know it yet, or it has no instances.
    let Some(seen) = seen else { return true };
    let was_taken_back = |version: &Arc<str>| {
        let mut past = record.history.iter().rev();
        let last = past.find(|past| past.candidate == *version && !past.dry_run);
        last.is_some_and(|last| matches!(last.outcome, Outcome::TakenBack { .. }))
    };
    let is_kept_out = |(version, of): (&Arc<str>, &Version)| {
        let is_other = record.stable.as_ref() != Some(version);
        let cannot_read = stored.is_some_and(|stored| !can_read(of, stored));
        record.is_rejected(version, false) || cannot_read || (is_other && was_taken_back(version))
    };
    let is_retired = |version: &Arc<str>| record.retired.iter().any(|retired| retired.version == *version);
    let is_known = |version: &Arc<str>| record.stable.as_ref() == Some(version) || is_retired(version);
    seen.versions.iter().any(is_kept_out) || (seen.versions.len() > 1 && seen.versions.keys().all(is_known))
}

/// Who declares nothing reads everything.
fn can_read(version: &Version, stored: u32) -> bool {
    let reads = version.reads.or(version.data.map(|data| (data, data)));
    reads.is_none_or(|(from, to)| (from..=to).contains(&u64::from(stored)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::{Entries, Entry};
    use crate::rollout::{Past, Phase, Rejected, Retired, Rollout, Why};
    use crate::state::{Data, document};

    fn record(stable: &str) -> Arc<Record> {
        Arc::new(Record {
            stable: Some(stable.into()),
            ..Record::default()
        })
    }

    /// As the watch shows it at this revision.
    fn shown(stable: &str, revision: u64) -> Documents {
        let text = document::text(&*record(stable));
        let entry = Entry::of("rollouts/orders", text.as_bytes(), revision);
        Documents::read(&Entries::from([(entry.key.clone(), entry)]))
    }

    fn revision(number: u64) -> Revision {
        Entry::of("a", b"", number).revision
    }

    #[test]
    fn what_was_written_here_counts_until_the_watch_shows_it_or_something_newer() {
        let orders: Arc<str> = "orders".into();
        let mut records = Records::default();
        let stable = |records: &mut Records, documents: &Documents| {
            let all = records.all(documents);
            let auto = Versioned {
                auto: true,
                ..Versioned::default()
            };
            let shares = rollouts(
                &all,
                &Versions {
                    services: [("orders".into(), Arc::new(auto))].into(),
                    ..Versions::default()
                },
                documents,
            );
            all.get("orders").map(|(record, _)| {
                assert_eq!(shares.services["orders"].stable, record.stable.clone().unwrap());
                record.stable.clone().unwrap().to_string()
            })
        };
        let none = Documents::default();
        assert_eq!(stable(&mut records, &none), None);
        records.wrote(&orders, None, (record("1"), revision(7)));
        assert_eq!(stable(&mut records, &none).as_deref(), Some("1"));
        records.wrote(&orders, Some(revision(7)), (record("2"), revision(8)));
        // The watch is behind, twice.
        assert_eq!(stable(&mut records, &none).as_deref(), Some("2"));
        assert_eq!(stable(&mut records, &shown("1", 7)).as_deref(), Some("2"));
        assert_eq!(stable(&mut records, &shown("2", 8)).as_deref(), Some("2"));
        // Somebody else writes.
        assert_eq!(stable(&mut records, &shown("3", 9)).as_deref(), Some("3"));
        records.wrote(&orders, Some(revision(9)), (record("4"), revision(10)));
        assert_eq!(stable(&mut records, &shown("5", 11)).as_deref(), Some("5"));
        // Or deletes it.
        records.wrote(&orders, Some(revision(11)), (record("6"), revision(12)));
        assert_eq!(stable(&mut records, &none), None);
    }

    #[test]
    fn a_rollout_by_hand_binds_a_service_that_wants_none_only_as_long_as_it_has_to() {
        let seen = |versions: &[&str]| Versioned {
            versions: versions
                .iter()
                .map(|name| ((*name).into(), Version::default()))
                .collect(),
            ..Versioned::default()
        };
        let mut record = Record {
            stable: Some("2".into()),
            retired: vec![Retired {
                version: "1".into(),
                absent_since: None,
            }],
            ..Record::default()
        };
        assert!(
            is_in_force(&record, Some(&seen(&["1", "2"])), None),
            "1 is still there"
        );
        assert!(!is_in_force(&record, Some(&seen(&["2"])), None));
        assert!(
            is_in_force(&record, None, None),
            "right after a start nothing is known yet"
        );
        assert!(
            !is_in_force(&record, Some(&seen(&["2", "3"])), None),
            "3 is deployed as ever"
        );
        record.rejected.push(Rejected {
            version: "3".into(),
            at: 1,
            why: Why::Gone,
            text: String::new(),
            dry_run: false,
        });
        assert!(is_in_force(&record, Some(&seen(&["2", "3"])), None));
        record.rollout = Some(Box::default());
        assert!(is_in_force(&record, None, None), "a rollout runs");
    }

    #[test]
    fn what_was_taken_back_gets_nothing_although_it_is_not_rejected() {
        let version = |reads| Version {
            reads,
            ..Version::default()
        };
        let seen = Versioned {
            versions: [("1".into(), version(None)), ("2".into(), version(Some((11, 12))))].into(),
            ..Versioned::default()
        };
        let is_bound = |record: &Record, stored| is_in_force(record, Some(&seen), stored);
        let mut record = Record {
            stable: Some("1".into()),
            ..Record::default()
        };
        assert!(!is_bound(&record, None) && !is_bound(&record, Some(12)));
        assert!(is_bound(&record, Some(13)), "2 cannot read it");
        record.stable = Some("2".into());
        assert!(is_bound(&record, Some(13)), "nor if it is the stable one");
        record.stable = Some("1".into());
        for why in [Why::Gone, Why::Data { stored: 13 }] {
            record.history = vec![Past {
                candidate: "2".into(),
                stable: "1".into(),
                started: 1,
                ended: 2,
                step: None,
                outcome: Outcome::TakenBack { why },
                text: String::new(),
                dry_run: false,
                orders: Vec::new(),
            }];
            assert!(is_bound(&record, None));
        }
        record.history[0].outcome = Outcome::Promoted;
        assert!(!is_bound(&record, None));
        let over = Rollout {
            phase: Phase::TakenBack {
                at: 2,
                why: Why::Gone,
            },
            ..Rollout::default()
        };
        record.rollout = Some(Box::new(over));
        assert!(is_bound(&record, None), "it has just ended");
    }

    #[test]
    fn what_is_stored_is_said_with_the_shares_unless_they_are_only_judged() {
        let auto = Versioned {
            auto: true,
            ..Versioned::default()
        };
        let versions = Versions {
            services: [("orders".into(), Arc::new(auto))].into(),
            ..Versions::default()
        };
        let data = Data {
            number: 12,
            since: 1,
            by: String::new(),
        };
        let documents = Documents {
            data: [("orders".into(), data)].into(),
            ..Documents::default()
        };
        let stored = |plain: &[(&str, u32)]| {
            let record = Record {
                stable: Some("1".into()),
                plain: plain.iter().map(|(version, n)| ((*version).into(), *n)).collect(),
                ..Record::default()
            };
            let records = [("orders".into(), (Arc::new(record), revision(1)))].into();
            rollouts(&records, &versions, &documents).services["orders"].stored
        };
        assert_eq!(stored(&[]), Some(12));
        assert_eq!(stored(&[("1", 7)]), None, "a dry run changes nothing");
    }
}
