//! `[[rollouts.webhook]]`: who receives the events of rollouts.

use std::path::{Path, PathBuf};

use http::Uri;

use super::parse;
use super::reader::Section;

/// The most of them.
const MOST: usize = 16;

/// What can happen, by the words of the documents that are sent.
pub const EVENTS: [&str; 13] = [
    "stable",
    "waiting",
    "warning",
    "started",
    "step",
    "held",
    "released",
    "gate",
    "alert",
    "taken_back",
    "promoted",
    "neighbour",
    "ordered",
];

/// Those that are sent where nothing is said.
const USUAL: [&str; 8] = [
    "warning",
    "started",
    "held",
    "gate",
    "alert",
    "taken_back",
    "promoted",
    "neighbour",
];

const KINDS: [(&str, WebhookKind); 2] = [("json", WebhookKind::Json), ("slack", WebhookKind::Slack)];

/// `[[rollouts.webhook]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is sent.
    pub url: Uri,
    /// What is sent.
    pub kind: WebhookKind,
    /// The file with the secret that it is signed with.
    pub secret_file: Option<PathBuf>,
    /// Who certifies the receiver; `None`: whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// What is sent of.
    pub events: Vec<&'static str>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookKind {
    /// The whole report, for programs.
    Json,
    /// A text, for Slack and chats that take the same.
    Slack,
}

/// `s`: `[rollouts]`.
pub(super) fn read(s: &mut Section<'_>, base: &Path) -> Vec<Webhook> {
    let tables = s.tables("webhook");
    if tables.len() > MOST {
        s.mistake("webhook", format!("there may be {MOST} of them"));
    }
    tables.into_iter().filter_map(|table| one(table, base)).collect()
}

/// `None` only beside a mistake.
fn one(mut s: Section<'_>, base: &Path) -> Option<Webhook> {
    let url = s.need("url", "\"https://chat.example.com/hooks/abc\"", url);
    let kind = s.get_or("kind", WebhookKind::Json, parse::word(&KINDS));
    let path = |path: String| base.join(path);
    let secret_file = s.get("secret_file", parse::text).map(path);
    let ca = s.get("ca", parse::text).map(path);
    let events = s.list("events", |text| {
        let known = EVENTS.iter().find(|word| **word == text);
        let unknown = || format!("`{text}` is no event; there are: {}", EVENTS.join(", "));
        known.copied().ok_or_else(unknown)
    });
    s.finish();
    Some(Webhook {
        url: url?,
        kind,
        secret_file,
        ca,
        events: events.unwrap_or_else(|| USUAL.to_vec()),
    })
}

fn url(text: &str) -> Result<Uri, String> {
    let wrong = || {
        let shown = text.split(['?', '#']).next().unwrap_or_default().chars().take(12);
        format!(
            "`{}…` must be an address such as https://chat.example.com/hooks/abc",
            shown.collect::<String>()
        )
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_name = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if is_web && has_host && !has_name {
        Ok(uri)
    } else {
        Err(wrong())
    }
}
