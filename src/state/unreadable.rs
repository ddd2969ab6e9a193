//! What holds of a document that this bridge cannot read: what was known of it before; else, of one of a later version, what
//! any version of it says. Nothing that is drained, rejected or forbidden comes back because of it. Pure.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::counted::Data;
use super::document::{Documents, Drain, Unreadable, whole};
use super::path::Path;
use crate::registry::store::Entry;
use crate::rollout::Record;
use crate::text::clip_to;

/// Characters of a text from such a document, a version's name among them.
const TEXT: usize = 200;

impl Documents {
    /// Takes what holds of a document that cannot be read for this reason.
    pub(super) fn do_without(&mut self, path: Path, entry: &Entry, why: &str, before: &Self) {
        // A guess is made again: the document may be another one by now.
        let is_known = !before.guessed.contains(&entry.key);
        let instead = match path {
            Path::Rollout(service) => self.rollout(service, entry, before),
            Path::Drain(target) => {
                let known = before.drains.get(&target).filter(|_| is_known).cloned();
                let drain = known.or_else(|| self.guess::<Drain>(entry));
                if let Some(drain) = drain {
                    let by = clip_to(&drain.by, TEXT);
                    self.drains.insert(target, Drain { by, ..drain });
                    "; it is drained until the document is deleted".to_owned()
                } else {
                    "; nothing is drained by it".to_owned()
                }
            }
            Path::Data(name) => {
                let known = before.data.get(&name).filter(|_| is_known).cloned();
                let data = known.or_else(|| self.guess::<Data>(entry));
                if let Some(data) = data {
                    let holds = format!("; the stored data count as those of number {}", data.number);
                    let by = clip_to(&data.by, TEXT);
                    self.data.insert(name, Data { by, ..data });
                    holds
                } else {
                    "; no number of the stored data is known".to_owned()
                }
            }
            // They end with who wrote them.
            _ => String::new(),
        };
        self.unreadable.push(Unreadable {
            key: entry.key.clone(),
            why: format!("{why}{instead}"),
        });
    }

    /// What a document of a later version says in the words of this one.
    fn guess<T: DeserializeOwned>(&mut self, entry: &Entry) -> Option<T> {
        let read = read(entry);
        if read.is_some() {
            self.guessed.insert(entry.key.clone());
        }
        read
    }

    /// A bridge of a later version decides now: requests stay shared as they were.
    fn rollout(&mut self, service: Arc<str>, entry: &Entry, before: &Self) -> String {
        let is_guess = before.guessed.contains(&entry.key);
        if let Some(known) = before.rollouts.get(&service).filter(|_| !is_guess) {
            self.rollouts.insert(service, known.clone());
            return "; requests stay shared as the record before it says".to_owned();
        }
        let Some(stable) = stable(entry) else {
            return "; it names no stable version, so that all versions get requests by their instances"
                .to_owned();
        };
        let holds = format!(
            "; its stable version {} gets all requests",
            format_args!("`{stable}`")
        );
        let record = Record {
            stable: Some(stable),
            ..Record::default()
        };
        self.guessed.insert(entry.key.clone());
        self.rollouts.insert(service, (Arc::new(record), entry.revision));
        holds
    }

    /// Why the record of this service cannot be read; `None`: it can, or there is none.
    #[must_use]
    pub fn unreadable_rollout(&self, service: &str) -> Option<&Unreadable> {
        if self.unreadable.is_empty() {
            return None;
        }
        let key = Path::Rollout(service.into()).to_string();
        self.unreadable.iter().find(|document| *document.key == *key)
    }
}

/// The version that served before anything else did: the one name that a record of any version has.
fn stable(entry: &Entry) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Named {
        stable: Arc<str>,
    }
    read::<Named>(entry)
        .map(|named| named.stable)
        .filter(|stable| clip_to(stable, TEXT) == **stable)
}

/// As if it were of a version that this bridge knows.
fn read<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    let (_, document) = whole(entry).ok()?;
    serde_json::from_value(document).ok()
}

#[cfg(test)]
mod tests {
    use super::super::document::text;
    use super::*;
    use crate::registry::store::Entries;

    fn entries(key: &str, value: &str, revision: u64) -> Entries {
        [(key.into(), Entry::of(key, value.as_bytes(), revision))].into()
    }

    fn record(stable: &str) -> Record {
        Record {
            stable: Some(stable.into()),
            generation: 7,
            ..Record::default()
        }
    }

    #[test]
    fn a_record_of_a_later_version_leaves_what_was_known_in_force() {
        let before = Documents::read(&entries("rollouts/a", &text(&record("1")), 1));
        for later in [r#"{"version":2,"stable":"2"}"#, "no JSON"] {
            let later = entries("rollouts/a", later, 2);
            let read = Documents::read_after(&later, &before);
            assert_eq!(*read.rollouts["a"].0, record("1"));
            let why = &read.unreadable_rollout("a").unwrap().why;
            assert!(
                why.ends_with("; requests stay shared as the record before it says"),
                "{why}"
            );
            assert_eq!(
                Documents::read_after(&later, &read),
                read,
                "as often as it is read"
            );
            assert_eq!(
                Documents::read_after(&Entries::new(), &read),
                Documents::default()
            );
        }
    }

    #[test]
    fn of_a_record_that_was_never_read_the_stable_version_gets_all_requests() {
        let later = entries("rollouts/a", r#"{"version":2,"stable":"1","rollout":[]}"#, 2);
        let read = Documents::read(&later);
        let shares = read.rollouts["a"].0.shares().unwrap();
        assert_eq!((&*shares.stable, shares.weights.len()), ("1", 1));
        let why = &read.unreadable_rollout("a").unwrap().why;
        assert!(
            why.ends_with("; its stable version `1` gets all requests"),
            "{why}"
        );
        // It goes on with the record, and is none that counts as known.
        let later = entries("rollouts/a", r#"{"version":2,"stable":"2","rollout":[]}"#, 3);
        let read = Documents::read_after(&later, &read);
        assert_eq!(read.rollouts["a"].0.stable.as_deref(), Some("2"));
        let written = entries("rollouts/a", &text(&record("2")), 3);
        let read = Documents::read_after(&written, &read);
        assert_eq!(
            *read.rollouts["a"].0,
            record("2"),
            "a bridge that knows it reads all of it"
        );
        assert!(read.unreadable.is_empty() && read.guessed.is_empty());
        for odd in [
            r#"{"version":2}"#,
            r#"{"version":2,"stable":7}"#,
            r#"{"version":2,"stable":"a\u001b[2J"}"#,
            "1",
        ] {
            let read = Documents::read(&entries("rollouts/a", odd, 1));
            assert!(read.rollouts.is_empty(), "{odd}");
            let why = &read.unreadable_rollout("a").unwrap().why;
            assert!(
                why.contains("all versions get requests by their instances"),
                "{why}"
            );
        }
    }

    #[test]
    fn what_is_drained_and_the_number_of_the_data_hold_too() {
        let drain = Drain {
            since: 1,
            created: 0,
            by: "ann".to_owned(),
        };
        let data = Data {
            number: 13,
            since: 1,
            by: "ann".to_owned(),
        };
        let cases = [("drains/node/a", text(&drain)), ("data/a", text(&data))];
        for (key, written) in cases {
            let known = Documents::read(&entries(key, &written, 1));
            let later = entries(key, &written.replace("\"version\":1", "\"version\":2"), 2);
            for (after, before) in [
                (&later, Documents::default()),
                (&later, known.clone()),
                (&entries(key, "no JSON", 2), known.clone()),
            ] {
                let read = Documents::read_after(after, &before);
                assert_eq!(
                    (&read.drains, &read.data),
                    (&known.drains, &known.data),
                    "{read:?}"
                );
                assert_eq!(read.unreadable.len(), 1);
            }
            let read = Documents::read(&entries(key, "no JSON", 2));
            assert!(read.drains.is_empty() && read.data.is_empty());
            // What was only guessed is guessed again.
            let guessed = Documents::read(&later);
            let other = written
                .replace("\"version\":1", "\"version\":2")
                .replace("13", "12")
                .replace("ann", "bob");
            let read = Documents::read_after(&entries(key, &other, 3), &guessed);
            assert!(read.data.values().all(|data| data.number == 12));
            assert!(read.drains.values().all(|drain| drain.by == "bob"));
        }
    }
}
