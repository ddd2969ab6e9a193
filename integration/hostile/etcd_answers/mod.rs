//! What an etcd may answer, and of what that is made.

mod listings;
mod watches;

use etcd_client::proto::{PbEvent, PbKeyValue, PbRangeResponse, PbWatchResponse};
use prost::Message;

use crate::etcd::{About, Answer, Case, HOSTILE, created, framed, header, key, kv};

const MIB: usize = 1 << 20;
const VALUE: &str = r#"{"address":"10.0.0.1","port":80}"#;

/// All of them, by what they are.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let mut all = listings::all();
    all.extend(watches::all());
    all
}

pub(super) fn case(about: About, answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Case {
    Case {
        about,
        answer: Box::new(answer),
        quiet: false,
    }
}

/// A right answer.
pub(super) fn right(case: Case) -> Case {
    Case { quiet: true, ..case }
}

/// An instance with an address of its own.
pub(super) fn value(n: u64) -> String {
    let [.., a, b, c] = n.to_be_bytes();
    format!(r#"{{"address":"10.{a}.{b}.{c}","port":80}}"#)
}

/// A value that is long, and good.
pub(super) fn long(length: usize) -> String {
    format!("{}{}", VALUE, " ".repeat(length - VALUE.len()))
}

/// These bytes, and no end.
pub(super) fn raw(piece: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> Answer {
    Answer {
        status: 200,
        headers: Vec::new(),
        piece: Box::new(piece),
        end: None,
    }
}

pub(super) fn raw_then(
    piece: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static,
    code: i32,
    words: &str,
) -> Answer {
    Answer {
        end: Some((code, words.to_owned())),
        ..raw(piece)
    }
}

pub(super) fn once(message: &impl Message) -> Answer {
    let frame = framed(message);
    raw_then(move |n| (n == 0).then(|| frame.clone()), 0, "")
}

/// A watch that was confirmed, and then.
pub(super) fn begun(piece: impl Fn(u64) -> Option<Vec<u8>> + Send + Sync + 'static) -> Answer {
    raw(move |n| match n.checked_sub(1) {
        None => Some(framed(&created())),
        Some(n) => piece(n),
    })
}

/// A watch that says this once.
pub(super) fn begun_once(message: &PbWatchResponse) -> Answer {
    let frame = framed(message);
    begun(move |n| (n == 0).then(|| frame.clone()))
}

/// A watch that says this without end.
pub(super) fn told(fragment: bool, events: impl Fn(u64) -> Vec<PbEvent> + Send + Sync + 'static) -> Answer {
    begun(move |n| Some(framed(&message(fragment, events(n)))))
}

pub(super) fn message(fragment: bool, events: Vec<PbEvent>) -> PbWatchResponse {
    PbWatchResponse {
        header: Some(header(HOSTILE)),
        fragment,
        events,
        ..PbWatchResponse::default()
    }
}

pub(super) fn event(kind: i32, kv: PbKeyValue) -> PbEvent {
    PbEvent {
        r#type: kind,
        kv: Some(kv),
        prev_kv: None,
    }
}

/// So many instances of one service.
pub(super) fn page(from: u64, count: u64, value: &str, more: bool) -> PbRangeResponse {
    listed(
        (from..from + count).map(|n| kv(key("svc-050", format!("{n:012}")), value, HOSTILE)),
        more,
    )
}

pub(super) fn listed(kvs: impl Iterator<Item = PbKeyValue>, more: bool) -> PbRangeResponse {
    let kvs: Vec<PbKeyValue> = kvs.collect();
    PbRangeResponse {
        header: Some(header(HOSTILE)),
        count: i64::try_from(kvs.len()).unwrap_or(i64::MAX),
        kvs,
        more,
    }
}
