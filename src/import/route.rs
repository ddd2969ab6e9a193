//! A route of ours, put together word by word: what `RouteRule` reads is what Envoy accepts. Pure.

use super::path::{Change, Path};
use crate::model::RouteRule;

/// Which requests one alternative of a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requests {
    /// `None`: of each host.
    pub(super) host: Option<String>,
    pub(super) path: Path,
    /// `method`, and whether it must be none of them.
    pub(super) methods: Option<(Vec<String>, bool)>,
    /// Words of further conditions.
    pub(super) conditions: Vec<(&'static str, String)>,
}

impl Requests {
    pub(super) const fn of(host: Option<String>, path: Path) -> Self {
        Self {
            host,
            path,
            methods: None,
            conditions: Vec::new(),
        }
    }

    /// Its host, where it is exactly one.
    pub(super) fn only_host(&self) -> Option<&str> {
        self.host.as_deref().filter(|host| !host.starts_with('*'))
    }
}

/// A route while it is put together.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) requests: Requests,
    pub(super) change: Change,
    /// Words of what becomes of the requests.
    pub(super) words: Vec<(&'static str, String)>,
    /// Nobody gets them; nothing that follows matters.
    pub(super) ended: bool,
}

impl Draft {
    pub(super) const fn new(requests: Requests) -> Self {
        Self {
            requests,
            change: Change::None,
            words: Vec::new(),
            ended: false,
        }
    }

    pub(super) fn add(&mut self, word: &'static str, value: impl Into<String>) {
        self.words.push((word, value.into()));
    }

    /// Envoy answers by itself: a route that is left out would leave its requests to wider ones, without what should
    /// protect them.
    pub(super) fn refuse(&mut self, status: u16) {
        self.words.clear();
        self.change = Change::None;
        self.add("respond", status.to_string());
        self.ended = true;
    }

    /// # Errors
    /// The sentence about the word that cannot be.
    pub(super) fn rule(&self, program: &str, priority: i32, expose: &[String]) -> Result<RouteRule, String> {
        let mut words = Vec::new();
        words.extend(self.requests.host.clone().map(|host| ("host", host)));
        words.push(self.requests.path.word());
        if let Some((methods, not)) = &self.requests.methods {
            let not = if *not { "!" } else { "" };
            words.push(("method", format!("{not}{}", methods.join(","))));
        }
        words.extend(self.requests.conditions.iter().cloned());
        words.push(("priority", priority.to_string()));
        words.push(("expose", expose.join(",")));
        words.push(("imported", program.to_owned()));
        if !self.ended {
            words.extend(self.change.word());
        }
        words.extend(self.words.iter().cloned());
        let quoted = |(word, value): &(&str, String)| {
            if value.contains(|c: char| c.is_whitespace() || c == '"') {
                format!("{word}=\"{}\"", value.replace('"', "\\\""))
            } else {
                format!("{word}={value}")
            }
        };
        let text: Vec<String> = words.iter().map(quoted).collect();
        RouteRule::parse(&text.join(" "))
    }
}
