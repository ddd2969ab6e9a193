//! What is found in the tags of one entry: routes, settings, and what to say about them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, Imported};
use crate::model::declaration::{self, Spelling};
use crate::model::keys::{MAX_IMPORTED_ROUTES, MAX_ROUTES};
use crate::model::{Code, Health, Issue, Matcher, RouteRule, Target};
use crate::text::clip;

/// The most routes of one entry, with those that only refuse.
const MAX_REFUSING: usize = MAX_IMPORTED_ROUTES / 2;

/// The highest priority of a route.
const MOST: i32 = 1_000_000;

/// All that is found.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    label: &'a str,
    /// What is read: a tag or a key.
    what: &'static str,
    pub(super) imported: Imported,
    routes: BTreeMap<u32, RouteRule>,
    /// How many of them get requests, and are not only there to refuse.
    served: usize,
    /// Hosts and exposures of which all requests are refused; no host: each.
    closed: BTreeSet<(Vec<String>, Vec<String>)>,
    keys: BTreeMap<&'static str, String>,
    refused: usize,
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
            served: 0,
            closed: BTreeSet::new(),
            keys: BTreeMap::new(),
            refused: 0,
            issues: Vec::new(),
        }
    }

    /// Something about a tag; of that only what stands before its value.
    pub(super) fn note(&mut self, tag: &str, why: impl AsRef<str>) {
        let reason = format!("{} `{}`: {}", self.what, clip(tag), why.as_ref());
        self.issues
            .push(Issue::warning(self.label, reason).of_kind(Code::ImportNotUnderstood));
    }

    /// A route by a name that stays the same whatever else the entry declares, so that instances that differ in one
    /// route differ in that one. One that is too many is there to refuse its requests, which a wider one would get.
    pub(super) fn route(&mut self, name: &str, mut rule: RouteRule) -> Option<u32> {
        let serves = !matches!(rule.extras.target, Target::Respond(_));
        let is_too_much = self.served >= MAX_ROUTES || self.routes.len() >= MAX_REFUSING;
        if rule.matcher.is_of_connections() && is_too_much {
            // Connections get no answer; whoever has no route is closed.
            self.refused += 1;
            return None;
        }
        if serves && self.served >= MAX_ROUTES {
            rule = rule.refused(503);
            self.refused += 1;
        } else {
            self.served += usize::from(serves);
        }
        if self.routes.len() >= MAX_REFUSING {
            self.refused += usize::from(!serves);
            self.closed.insert((rule.hosts, rule.expose));
            return None;
        }
        let mut number = number(name);
        while self.routes.contains_key(&number) {
            number += 1;
        }
        self.routes.insert(number, rule);
        Some(number)
    }

    /// Where even what refuses is too much, nobody gets any request of these hosts.
    fn close(&mut self) {
        for (hosts, expose) in std::mem::take(&mut self.closed) {
            let all = RouteRule {
                hosts,
                expose,
                priority: MOST,
                imported: self.routes.values().find_map(|rule| rule.imported),
                ..RouteRule::of(Matcher::Prefix("/".to_owned()))
            };
            let last = self.routes.last_key_value().map_or(0, |(number, _)| *number);
            self.routes.insert(last + 1, all.refused(503));
        }
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
        if self.refused > 0 {
            let reason = format!(
                "{}s: more than {MAX_ROUTES} routes are made of them; the requests of {} are answered with 503",
                self.what, self.refused
            );
            self.issues
                .push(Issue::warning(self.label, reason).of_kind(Code::ImportNotUnderstood));
        }
        if !self.closed.is_empty() {
            let reason = format!(
                "{}s: more than {MAX_REFUSING} routes refuse requests; all requests of their hosts get 503",
                self.what
            );
            self.issues
                .push(Issue::warning(self.label, reason).of_kind(Code::ImportNotUnderstood));
        }
        self.close();
        if self.routes.is_empty() {
            // But for what keeps requests away from a canary.
            self.keys.retain(|name, _| *name == "share");
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
