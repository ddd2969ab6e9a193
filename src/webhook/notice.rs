//! What is sent of an event: a document for programs. Pure.

use std::fmt::Write as _;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::chat;
use crate::rollout::{Event, Happened, Phase, Record, Report};

/// Bytes of a digest that make an id.
const ID: usize = 16;

/// An event on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The same for the same event, whichever bridge sends it, and however often.
    pub id: String,
    /// One word: `taken_back`.
    pub word: &'static str,
    /// For programs.
    pub document: Value,
    /// For chats.
    pub text: String,
}

impl Notice {
    /// Of an event of this service. `report`: how the rollout stood then.
    #[must_use]
    pub fn new(service: &Arc<str>, event: &Event, report: Option<&Report>) -> Self {
        let word = word(&event.what);
        let id = id(service, event, word);
        let document = json!({
            "version": 1,
            "id": id,
            "service": service,
            "event": event,
            "severity": event.severity(),
            "report": report,
        });
        let text = chat::text(service, event, report);
        Self {
            id,
            word,
            document,
            text,
        }
    }
}

/// The end of a rollout, as its record has it: whoever becomes the leader sends it again, since the one before may have
/// written it and not sent it. `since`: what ended earlier is left out; Unix time, milliseconds.
#[must_use]
pub fn ended(record: &Record, since: u64) -> Option<Event> {
    let rollout = record.rollout.as_deref()?;
    let (at, what) = match &rollout.phase {
        Phase::TakenBack { at, why } => (*at, Happened::TakenBack { why: why.clone() }),
        Phase::Promoted { at } => (*at, Happened::Promoted),
        Phase::Running | Phase::Paused { .. } | Phase::Gate { .. } => return None,
    };
    let past = record.history.iter().rev();
    let text = past
        .filter(|past| past.candidate == rollout.candidate && past.ended == at)
        .map(|past| past.text.clone())
        .next();
    (at >= since).then(|| Event {
        at,
        version: rollout.candidate.clone(),
        dry_run: rollout.dry_run,
        what,
        text: text.unwrap_or_default(),
    })
}

/// As it stands in `event` of the document, and in `events` of the configuration.
const fn word(what: &Happened) -> &'static str {
    match what {
        Happened::Stable => "stable",
        Happened::Waiting => "waiting",
        Happened::Warning => "warning",
        Happened::Started { .. } => "started",
        Happened::Step { .. } => "step",
        Happened::Held { .. } => "held",
        Happened::Released => "released",
        Happened::Gate { .. } => "gate",
        Happened::Alert => "alert",
        Happened::TakenBack { .. } => "taken_back",
        Happened::Promoted => "promoted",
        Happened::Neighbour { .. } => "neighbour",
        Happened::Ordered { .. } => "ordered",
    }
}

/// Of what two bridges know of one event; its words are not among it.
fn id(service: &str, event: &Event, word: &str) -> String {
    let parts = format!(
        "{}\n{service}\n{}\n{word}\n{}",
        event.at, event.version, event.dry_run
    );
    let all = digest(&SHA256, parts.as_bytes());
    hex(all.as_ref().get(..ID).unwrap_or_default())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "notice_tests.rs"]
mod tests;
