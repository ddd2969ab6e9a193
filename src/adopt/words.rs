//! A route while its words are gathered, each with the place that it comes from. Pure.

use super::at::At;
use super::report::{Change, Rest};
use crate::model::RouteRule;

/// The most hosts, or names of TLS, of one route.
pub(super) const MAX_HOSTS: usize = 16;

/// The words of one route, what of it stays, and what changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    all: Vec<Word>,
    pub(super) rests: Vec<Rest>,
    pub(super) changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Word {
    name: String,
    value: String,
    at: String,
}

impl Words {
    pub(super) fn add(&mut self, at: &At<'_>, name: &str, value: impl Into<String>) {
        self.all.push(Word {
            name: name.to_owned(),
            value: value.into(),
            at: at.path.clone(),
        });
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|word| word.name == name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let word = self.all.iter().find(|word| word.name == name)?;
        Some(&word.value)
    }

    pub(super) fn change(&mut self, at: &At<'_>, what: impl Into<String>) {
        self.changes.push(Change {
            at: at.path.clone(),
            what: what.into(),
        });
    }

    pub(super) fn stay(&mut self, rest: Rest) {
        self.rests.push(rest);
    }

    /// The route, as our own parser reads it.
    pub(super) fn rule(&self, route: &At<'_>) -> Result<RouteRule, Vec<Rest>> {
        let mut rests = self.rests.clone();
        let text: Vec<String> = self.all.iter().map(Word::written).collect();
        match RouteRule::parse(&text.join(" ")) {
            Ok(rule) if rests.is_empty() => return Ok(rule),
            Ok(_) => {}
            Err(error) => {
                let why = |error: &str| format!("as a word of a route: {error}");
                let alone = self.all.iter().filter(|word| !word.name.starts_with("cors-"));
                let wrong = alone.filter_map(|word| Some((word, word.error()?)));
                let named: Vec<Rest> = wrong
                    .map(|(word, error)| Rest {
                        at: word.at.clone(),
                        why: why(&error),
                    })
                    .collect();
                if named.is_empty() {
                    rests.push(route.rest(why(&error)));
                }
                rests.extend(named);
            }
        }
        rests.sort();
        rests.dedup();
        Err(rests)
    }
}

impl Word {
    fn written(&self) -> String {
        let Self { name, value, .. } = self;
        if value.contains(|c: char| c.is_whitespace() || c == '"') {
            format!("{name}=\"{}\"", value.replace('"', "\\\""))
        } else {
            format!("{name}={value}")
        }
    }

    /// What is wrong with this word alone.
    fn error(&self) -> Option<String> {
        RouteRule::parse(&format!("host=x {}", self.written())).err()
    }
}
