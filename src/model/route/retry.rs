//! `retry=5xx,reset:3`: what is tried again, beside what surely never reached a server. Pure.

use std::collections::BTreeSet;

use crate::text::clip;

/// What Envoy calls them; a number is a status code.
const KINDS: [&str; 12] = [
    "5xx",
    "cancelled",
    "connect-failure",
    "deadline-exceeded",
    "gateway-error",
    "internal",
    "refused-stream",
    "reset",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "unavailable",
];
/// How often where no number is declared.
const TIMES: u32 = 2;
/// How often at most.
const MAX_TIMES: u32 = 10;

/// What is tried again, and how often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry {
    /// Envoy's names; none: only what never reached a server.
    pub on: BTreeSet<&'static str>,
    /// Status codes.
    pub statuses: BTreeSet<u16>,
    /// 0: nothing is tried again.
    pub times: u32,
}

impl Retry {
    /// Reads `5xx,503:3`, `5xx`, `3` or `off`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let none = |times| Self {
            on: BTreeSet::new(),
            statuses: BTreeSet::new(),
            times,
        };
        if text == "off" {
            return Ok(none(0));
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|times| *times <= MAX_TIMES);
        if let Some(times) = number(text) {
            return Ok(none(times));
        }
        let bad = || {
            format!(
                "`{}` must be off, a number to {MAX_TIMES}, or what is tried again and how often, such as \
                 5xx,reset:3 (known: {}, and status codes from 400)",
                clip(text),
                KINDS.join(", ")
            )
        };
        let (kinds, times) = match text.rsplit_once(':') {
            Some((kinds, times)) => (kinds, number(times).filter(|n| *n > 0).ok_or_else(bad)?),
            None => (text, TIMES),
        };
        let mut retry = none(times);
        for kind in kinds.split(',') {
            let status = || kind.parse().ok().filter(|code| (400..600).contains(code));
            if let Some(known) = KINDS.iter().find(|known| **known == kind) {
                retry.on.insert(known);
            } else if let Some(status) = status() {
                retry.statuses.insert(status);
            } else {
                return Err(bad());
            }
        }
        Ok(retry)
    }

    /// As it is declared.
    #[must_use]
    pub fn show(&self) -> String {
        if self.on.is_empty() && self.statuses.is_empty() {
            return match self.times {
                0 => "off".to_owned(),
                times => times.to_string(),
            };
        }
        let on = self.on.iter().map(ToString::to_string);
        let all: Vec<String> = on.chain(self.statuses.iter().map(ToString::to_string)).collect();
        format!("{}:{}", all.join(","), self.times)
    }
}
