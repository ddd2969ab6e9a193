//! Shared documents: JSON objects with a `version`. Fields that this bridge does not know are passed over, so that a later
//! one may add some; a document of a later version is one that this bridge cannot understand, and is left alone. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counted::{Counted, Data, Leader};
use super::path::{Path, Target};
use crate::registry::store::{Entries, Entry, MAX_VALUE, Revision};
use crate::rollout::Record;
use crate::text::clip_to;

/// Of all documents that this bridge writes, and the latest that it reads.
pub const VERSION: u32 = 1;

/// Questions that are answered at once.
const MAX_QUESTIONS: usize = 64;
/// Clients in each list of an answer.
const MAX_LISTED: usize = 100;
/// Characters of a free text, at most.
const TEXT: usize = 200;

/// Why, and since when, something is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Unix time, milliseconds.
    pub since: u64,
    /// The registry's create index of the instance at that time, so that one that registers again under the same name is not
    /// drained; 0: none, or not an instance.
    #[serde(default)]
    pub created: u64,
    /// Who asked for it, for people.
    #[serde(default)]
    pub by: String,
}

/// A running bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// Unix time, milliseconds.
    pub started: u64,
    /// Of the program.
    #[serde(rename = "program")]
    pub program_version: String,
    /// The machine's name.
    pub host: String,
}

/// What a bridge wants all of them to find out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What is waited for.
    pub kind: Wanted,
    /// The instance's service.
    pub service: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
    /// Where it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Unix time of the question, milliseconds.
    pub since: u64,
}

/// What clients are to know of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// That it gets no new requests, and has none any more.
    Drained,
    /// That it takes requests.
    Serving,
}

/// What one bridge has found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// All of its clients are as wanted.
    pub done: bool,
    /// Its clients that are.
    pub clients: u64,
    /// Those that are not yet.
    #[serde(default)]
    pub laggards: Vec<Laggard>,
    /// Clients that left in the middle, or that do not say.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// Laggards and unknown ones that are left out of the lists.
    #[serde(default)]
    pub more: u64,
    /// Requests under way, as far as load reports say; `None`: they do not.
    #[serde(default)]
    pub open: Option<u64>,
}

/// A client that does not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Laggard {
    /// `node.id`
    pub node: String,
    /// `node.cluster`
    pub fleet: String,
    /// For how long, milliseconds.
    pub since_ms: u64,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Below the root.
    pub key: Arc<str>,
    /// What is wrong with it, and what holds instead.
    pub why: String,
}

/// All documents, as they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// What is drained.
    pub drains: BTreeMap<Target, Drain>,
    /// The bridges that run, by their random ids.
    pub replicas: BTreeMap<Arc<str>, Replica>,
    /// What is asked, by random names.
    pub questions: BTreeMap<Arc<str>, Question>,
    /// By question, then by bridge.
    pub answers: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Answer>>,
    /// How each service stands that is rolled out, with the revision of its record.
    pub rollouts: BTreeMap<Arc<str>, (Arc<Record>, Revision)>,
    /// What each bridge has counted, in parts.
    pub counts: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Counted>>,
    /// The bridge that decides.
    pub leader: Option<Leader>,
    /// Which schemas are stored, by the names of data.
    pub data: BTreeMap<Arc<str>, Data>,
    /// Keys of documents of which only that could be read which any version of them says: it holds until they change.
    pub guessed: BTreeSet<Arc<str>>,
    /// What could not be read, and stays as it is.
    pub unreadable: Vec<Unreadable>,
}

impl Documents {
    /// Of keys that this bridge knows; it passes over all others.
    #[must_use]
    pub fn read(entries: &Entries) -> Self {
        Self::read_after(entries, &Self::default())
    }

    /// The same; records that are still those of `before` are not read again.
    #[must_use]
    pub fn read_after(entries: &Entries, before: &Self) -> Self {
        let mut all = Self::default();
        for entry in entries.values() {
            let Some(path) = Path::parse(&entry.key) else {
                continue;
            };
            if let Err(why) = all.take(path.clone(), entry, before) {
                all.do_without(path, entry, &why, before);
            }
        }
        all
    }

    fn take(&mut self, path: Path, entry: &Entry, before: &Self) -> Result<(), String> {
        match path {
            Path::Drain(target) => {
                let drain: Drain = parse(entry)?;
                let by = clip_to(&drain.by, TEXT);
                self.drains.insert(target, Drain { by, ..drain });
            }
            Path::Replica(id) => {
                let replica: Replica = parse(entry)?;
                let replica = Replica {
                    program_version: clip_to(&replica.program_version, TEXT),
                    host: clip_to(&replica.host, TEXT),
                    ..replica
                };
                self.replicas.insert(id, replica);
            }
            Path::Question(id) => {
                let question = parse(entry)?;
                if self.questions.len() >= MAX_QUESTIONS {
                    return Err(format!(
                        "is one of more than {MAX_QUESTIONS} questions; it is not answered"
                    ));
                }
                self.questions.insert(id, question);
            }
            Path::Answer(id, replica) => {
                let answer: Answer = parse(entry)?;
                self.answers
                    .entry(id)
                    .or_default()
                    .insert(replica, listed(&answer, MAX_LISTED));
            }
            Path::Rollout(service) => {
                let known = before.rollouts.get(&service);
                let is_same = |revision| revision == entry.revision && !before.guessed.contains(&entry.key);
                let known = known.filter(|(_, revision)| is_same(*revision));
                let record = match known {
                    Some((record, _)) => record.clone(),
                    None => Arc::new(parse(entry)?),
                };
                self.rollouts.insert(service, (record, entry.revision));
            }
            Path::Counts(replica, part) => {
                let counted = parse(entry)?;
                self.counts.entry(replica).or_default().insert(part, counted);
            }
            Path::Leader => {
                let leader: Leader = parse(entry)?;
                let host = clip_to(&leader.host, TEXT);
                self.leader = Some(Leader { host, ..leader });
            }
            Path::Data(name) => {
                let data: Data = parse(entry)?;
                let by = clip_to(&data.by, TEXT);
                self.data.insert(name, Data { by, ..data });
            }
        }
        Ok(())
    }
}

/// The text of a document.
#[must_use]
pub fn text<T: Serialize>(document: &T) -> String {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        version: u32,
        #[serde(flatten)]
        document: &'a T,
    }
    let version = VERSION;
    // Structs of numbers and strings cannot fail to be JSON; an empty text would be reported as unreadable.
    serde_json::to_string(&Versioned { version, document }).unwrap_or_default()
}

/// The text of an answer: of its lists as much as fits.
#[must_use]
pub fn answer_text(answer: &Answer) -> String {
    let mut most = MAX_LISTED;
    loop {
        let text = text(&listed(answer, most));
        if text.len() <= MAX_VALUE || most == 0 {
            return text;
        }
        most /= 2;
    }
}

/// With at most this number in each list.
fn listed(answer: &Answer, most: usize) -> Answer {
    let laggards = answer.laggards.iter().take(most).map(|laggard| Laggard {
        node: clip_to(&laggard.node, TEXT),
        fleet: clip_to(&laggard.fleet, TEXT),
        since_ms: laggard.since_ms,
    });
    let laggards: Vec<Laggard> = laggards.collect();
    let unknown: Vec<String> = answer
        .unknown
        .iter()
        .take(most)
        .map(|node| clip_to(node, TEXT))
        .collect();
    let left = answer.laggards.len() + answer.unknown.len() - laggards.len() - unknown.len();
    Answer {
        done: answer.done,
        clients: answer.clients,
        more: answer.more.saturating_add(left as u64),
        open: answer.open,
        laggards,
        unknown,
    }
}

/// Its version, and all of it.
pub(super) fn whole(entry: &Entry) -> Result<(u32, Value), String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    if entry.size > MAX_VALUE {
        return Err(format!("has {} bytes, more than {MAX_VALUE}", entry.size));
    }
    let none = |error: serde_json::Error| format!("is no document: {error}");
    let document: Value = serde_json::from_slice(&entry.value).map_err(none)?;
    let Version { version } = Version::deserialize(&document).map_err(none)?;
    Ok((version, document))
}

fn parse<T: DeserializeOwned>(entry: &Entry) -> Result<T, String> {
    let (version, document) = whole(entry)?;
    if version > VERSION {
        return Err(format!(
            "is of version {version}, and this bridge knows up to {VERSION}; update it"
        ));
    }
    let is_odd = entry.value.windows(2).any(|two| two == b"\\u") || !entry.value.is_ascii();
    let document = if is_odd { printable(document) } else { document };
    serde_json::from_value(document).map_err(|error| format!("cannot be read: {error}"))
}

/// With texts that can be shown on a terminal: whoever may write here is not to move the cursor of who reads.
fn printable(value: Value) -> Value {
    let text = |text: String| text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    match value {
        Value::String(odd) => Value::String(text(odd)),
        Value::Array(all) => all.into_iter().map(printable).collect(),
        Value::Object(all) => all
            .into_iter()
            .map(|(name, value)| (text(name), printable(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::Entry;

    fn entries(all: &[(&str, &str)]) -> Entries {
        all.iter()
            .map(|(key, value)| ((*key).into(), Entry::of(key, value.as_bytes(), 1)))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let drain = Drain {
            since: 1_764_000_000_000,
            created: 7,
            by: "ann@build".to_owned(),
        };
        let written = text(&drain);
        assert_eq!(
            written,
            r#"{"version":1,"since":1764000000000,"created":7,"by":"ann@build"}"#
        );
        let replica = Replica {
            started: 1,
            program_version: "0.1.0".to_owned(),
            host: "one".to_owned(),
        };
        let read = Documents::read(&entries(&[
            ("drains/zone/a%2Fb", &written),
            ("replicas/1f", &text(&replica)),
        ]));
        assert_eq!(read.drains, [(Target::Zone("a/b".into()), drain)].into());
        assert_eq!(read.replicas, [("1f".into(), replica)].into());
        assert_eq!(read.unreadable, []);
    }

    #[test]
    fn a_later_bridge_may_add_fields_and_what_cannot_be_read_costs_itself() {
        let long = format!(r#"{{"version":1,"since":1,"by":"{}"}}"#, "x".repeat(5_000));
        let read = Documents::read(&entries(&[
            ("drains/node/a", r#"{"version":1,"since":1,"until":2}"#),
            ("drains/node/b", r#"{"version":2,"since":1}"#),
            ("drains/node/c", r#"{"since":1}"#),
            ("drains/node/d", "gone"),
            ("drains/node/e", r#"{"version":1,"since":"yesterday"}"#),
            ("drains/node/f", &long),
            ("drains/pod/a", "of others"),
            ("plans/a", "of a later version"),
            ("rollouts/a", r#"{"version":2}"#),
        ]));
        let drained: Vec<&Target> = read.drains.keys().collect();
        let expected = ["a", "b", "f"].map(|node| Target::Node(node.into()));
        assert_eq!(drained, expected.iter().collect::<Vec<_>>());
        assert!(read.drains[&Target::Node("f".into())].by.len() < 1_000);
        let said: Vec<String> = read
            .unreadable
            .iter()
            .map(|u| format!("{} {}", u.key, u.why))
            .collect();
        let expected = [
            "drains/node/b is of version 2, and this bridge knows up to 1; update it",
            "drains/node/c is no document: missing field `version`",
            "drains/node/d is no document: expected value",
            "drains/node/e cannot be read: invalid type",
            "rollouts/a is of version 2, and this bridge knows up to 1; update it",
        ];
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}");
        }
        assert_eq!(said.len(), expected.len());
    }

    #[test]
    fn an_answer_is_as_long_as_fits_and_says_what_it_leaves_out() {
        let laggard = |n: usize| Laggard {
            node: format!("{n}-{}", "\u{1F40C}\"".repeat(300)),
            fleet: "\u{1F40C}".repeat(300),
            since_ms: 7,
        };
        let answer = Answer {
            clients: 9,
            laggards: (0..1_000).map(laggard).collect(),
            unknown: vec!["a".to_owned(); 101],
            open: Some(3),
            ..Answer::default()
        };
        let written = answer_text(&answer);
        assert!(written.len() <= MAX_VALUE, "{}", written.len());
        let read = Documents::read(&entries(&[("answers/q/r", &written)]));
        let read = &read.answers["q"]["r"];
        assert!(read.laggards.len() >= 10, "{}", read.laggards.len());
        let shown = read.laggards.len() + read.unknown.len();
        assert_eq!(
            (read.done, read.clients, read.open, read.more),
            (false, 9, Some(3), 1_101 - shown as u64)
        );
        let short = Answer {
            done: true,
            clients: 2,
            ..Answer::default()
        };
        let read = Documents::read(&entries(&[("answers/q/r", &answer_text(&short))]));
        assert_eq!(read.answers["q"]["r"], short);
    }

    #[test]
    fn texts_of_others_do_not_reach_a_terminal_as_commands() {
        let odd = r#"{"version":1,"stable":"a\u001b[2J","plain":{"b\u009bc":7},"waiting":[{"version":"c","why":"d\n\u0007ä"}]}"#;
        let read = Documents::read(&entries(&[("rollouts/orders", odd)]));
        let record = &read.rollouts["orders"].0;
        assert_eq!(record.stable.as_deref(), Some("a\u{fffd}[2J"));
        assert_eq!(record.plain["b\u{fffd}c"], 7);
        assert_eq!(record.waiting[0].why, "d\n\u{fffd}ä");
    }

    #[test]
    fn sixty_four_questions_are_answered_and_the_others_are_named() {
        let question = Question {
            kind: Wanted::Drained,
            service: "orders".into(),
            id: "orders/7".into(),
            address: None,
            since: 1,
        };
        let written = text(&question);
        assert_eq!(
            written,
            r#"{"version":1,"kind":"drained","service":"orders","id":"orders/7","since":1}"#
        );
        let keys: Vec<String> = (0..=MAX_QUESTIONS).map(|n| format!("questions/{n:03}")).collect();
        let all: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), written.as_str())).collect();
        let read = Documents::read(&entries(&all));
        assert_eq!((read.questions.len(), read.unreadable.len()), (MAX_QUESTIONS, 1));
        assert_eq!(read.questions["000"], question);
        let other = Documents::read(&entries(&[(
            "questions/1",
            r#"{"version":1,"kind":"moved","service":"a","id":"b","since":1}"#,
        )]));
        assert_eq!((other.questions.len(), other.unreadable.len()), (0, 1));
    }

    #[test]
    fn no_bytes_are_too_odd() {
        for bytes in [
            &b"\xff\xfe"[..],
            b"",
            b"{}",
            b"[]",
            b"null",
            b"{\"version\":-1}",
            b"{\"version\":99999999999}",
        ] {
            let entry = Entry::of("drains/node/a", bytes, 1);
            let read = Documents::read(&[(entry.key.clone(), entry)].into());
            assert_eq!((read.drains.len(), read.unreadable.len()), (0, 1), "{bytes:?}");
        }
    }
}
