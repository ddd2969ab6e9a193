//! What is found in the tags of one entry: routes, settings, and what to say about them. Pure.

use std::collections::BTreeMap;

use super::entry::{Entry, Imported};
use crate::model::declaration::{self, Spelling};
use crate::model::keys::MAX_ROUTES;
use crate::model::{Health, Issue, RouteRule};
use crate::text::clip;

/// All that is found.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    label: &'a str,
    /// What is read: a tag or a key.
    what: &'static str,
    pub(super) imported: Imported,
    routes: BTreeMap<u32, RouteRule>,
    keys: BTreeMap<&'static str, String>,
    left_out: usize,
    issues: Vec<Issue>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(entry: &Entry<'a>) -> Self {
        Self::of("tag", entry)
    }

    pub(super) fn of(what: &'static str, entry: &Entry<'a>) -> Self {
        Self {
            label: entry.label,
            what,
            imported: Imported::default(),
            routes: BTreeMap::new(),
            keys: BTreeMap::new(),
            left_out: 0,
            issues: Vec::new(),
        }
    }

    /// Something about a tag; of that only what stands before its value.
    pub(super) fn note(&mut self, tag: &str, why: impl AsRef<str>) {
        let reason = format!("{} `{}`: {}", self.what, clip(tag), why.as_ref());
        self.issues.push(Issue::warning(self.label, reason));
    }

    /// A route by a name that stays the same whatever else the entry declares, so that instances that differ in one
    /// route differ in that one.
    pub(super) fn route(&mut self, name: &str, rule: RouteRule) -> Option<u32> {
        if self.routes.len() >= MAX_ROUTES {
            self.left_out += 1;
            return None;
        }
        let mut number = number(name);
        while self.routes.contains_key(&number) {
            number += 1;
        }
        self.routes.insert(number, rule);
        Some(number)
    }

    pub(super) fn has_routes(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Declares one of our keys, unless it is declared already.
    pub(super) fn key(&mut self, name: &'static str, value: impl Into<String>) {
        self.keys.entry(name).or_insert_with(|| value.into());
    }

    /// The instance gets no requests while it is in such a state.
    pub(super) fn health(&mut self, health: Health) {
        self.imported.health.get_or_insert(health);
    }

    pub(super) fn finish(mut self, issues: &mut Vec<Issue>) -> Imported {
        if self.left_out > 0 {
            let reason = format!(
                "{}s: more than {MAX_ROUTES} routes are made of them; {} are left out",
                self.what, self.left_out
            );
            self.issues.push(Issue::warning(self.label, reason));
        }
        if self.routes.is_empty() {
            self.keys.clear();
        } else {
            // Neither program sends requests to an instance that fails.
            self.key("all-unhealthy", "closed");
        }
        let keys = self.keys.iter().map(|(name, value)| (*name, value.as_str()));
        self.imported.declared = declaration::parse(self.label, Spelling::Plain, keys, &mut self.issues);
        self.imported.declared.policy.routes = self.routes;
        issues.extend(self.issues);
        self.imported
    }
}

/// From 100,000 on: those of our own keys are small.
pub(super) fn number(name: &str) -> u32 {
    // FNV-1a
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    100_000 + name.bytes().fold(0x811c_9dc5, hash) % 900_000
}
