//! `limits`: what one Envoy sends to all servers of a service at once, at most.

use std::fmt;

use super::words::{self, Shown};

const WORDS: [&str; 6] = [
    "connections",
    "pending",
    "requests",
    "retries",
    "retry-budget",
    "min-retries",
];

/// Thresholds of the circuit breaker. What is `None` has the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// `connections=`
    pub connections: Option<u32>,
    /// `pending=`: requests that wait for a connection.
    pub pending: Option<u32>,
    /// `requests=`
    pub requests: Option<u32>,
    /// `retries=`
    pub retries: Option<u32>,
    /// `retry-budget=`: retries in percent of the requests, in place of `retries`.
    pub retry_budget: Option<u32>,
    /// `min-retries=`: this number is allowed however few requests there are.
    pub min_retries: Option<u32>,
}

impl Limits {
    /// Retries at once, unless declared. Envoy's 3 turn one dead server into failed requests.
    pub const RETRIES: u32 = 1_000;
    /// Retries at once that a budget always allows, unless declared.
    pub const MIN_RETRIES: u32 = 10;

    /// Reads `connections=1000 retry-budget=20%`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: it must be words such as connections=1000 requests=1000".to_owned());
        }
        let mut limits = Self::default();
        words::read(text.split_whitespace(), &WORDS, |name, value| {
            let what = format!("{name}=");
            let from = |least| words::count(&what, value, least..=u32::MAX).map(Some);
            match name {
                "connections" => limits.connections = from(1)?,
                "pending" => limits.pending = from(1)?,
                "requests" => limits.requests = from(1)?,
                "retries" => limits.retries = from(0)?,
                "retry-budget" => limits.retry_budget = Some(words::percent(&what, value)?),
                _ => limits.min_retries = from(0)?,
            }
            Ok(())
        })?;
        match (limits.retry_budget, limits.retries, limits.min_retries) {
            (Some(_), Some(_), _) => Err("one of `retries=` and `retry-budget=`, not both".to_owned()),
            (None, _, Some(_)) => Err("`min-retries=` needs `retry-budget=`".to_owned()),
            _ => Ok(limits),
        }
    }
}

/// As it is declared.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Shown::default()
            .count("connections", self.connections)
            .count("pending", self.pending)
            .count("requests", self.requests)
            .count("retries", self.retries)
            .percent("retry-budget", self.retry_budget)
            .count("min-retries", self.min_retries);
        f.write_str(&text.text())
    }
}
