//! A word of a route: how it is read into a draft, and what shows it. Pure.

use std::time::Duration;

use super::cors::Cors;
use super::criterion::Criterion;
use super::draft::Draft;
use super::extras::Target;
use super::headers::HeaderChange;
use super::instead::Redirect;
use super::rewrite::Rewrite;
use super::rule::RouteRule;
use crate::text::show_duration;

/// Takes the value of the word with this name.
pub(super) type Read = fn(&mut Draft, &'static str, &str) -> Result<(), String>;
/// The values of the word with this name in a route, as they are declared.
pub(super) type Show = fn(&RouteRule, &'static str) -> Vec<String>;

/// A word of a route, `name=value`.
pub struct Word {
    /// What stands before `=`.
    pub name: &'static str,
    /// What it means, in Markdown, one line.
    pub help: &'static str,
    /// It may stand more than once.
    pub(super) many: bool,
    /// Takes its value.
    pub(super) read: Read,
    /// Its values in a route, as they are declared.
    pub(super) show: Show,
}

pub(super) fn one<T>(value: Option<T>) -> Vec<T> {
    value.into_iter().collect()
}

pub(super) fn time(time: Option<Duration>) -> Vec<String> {
    one(time.map(show_duration))
}

pub(super) fn matcher_of(rule: &RouteRule, name: &'static str) -> Vec<String> {
    let (word, value) = rule.matcher.word();
    one((word == name).then_some(value))
}

pub(super) fn criteria_of(rule: &RouteRule, name: &'static str) -> Vec<String> {
    let words = rule.criteria.iter().map(Criterion::word);
    words
        .filter(|(word, _)| word == name)
        .map(|(_, value)| value)
        .collect()
}

pub(super) fn headers_of(rule: &RouteRule, name: &'static str) -> Vec<String> {
    let words = rule.extras.headers.iter().map(HeaderChange::word);
    words
        .filter(|(word, _)| *word == name)
        .map(|(_, value)| value)
        .collect()
}

pub(super) fn rewrite_of(rule: &RouteRule, name: &'static str) -> Vec<String> {
    let word = rule.extras.rewrite.as_ref().map(Rewrite::word);
    one(word.filter(|(word, _)| *word == name).map(|(_, value)| value))
}

pub(super) fn redirect_of(rule: &RouteRule, show: impl Fn(&Redirect) -> Option<String>) -> Vec<String> {
    match &rule.extras.target {
        Target::Redirect(redirect) => one(show(redirect)),
        _ => Vec::new(),
    }
}

pub(super) fn clients_of(rule: &RouteRule, name: &'static str) -> Vec<String> {
    let clients = rule.extras.clients.as_ref();
    one(clients.and_then(|clients| clients.shown(name)))
}

pub(super) fn cors_of(rule: &RouteRule, show: impl Fn(&Cors) -> Option<String>) -> Vec<String> {
    one(rule.extras.cors.as_ref().and_then(show))
}

pub(super) fn listed(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(","))
}

/// A word that stands at most once.
pub(super) const fn word(name: &'static str, help: &'static str, read: Read, show: Show) -> Word {
    Word {
        name,
        help,
        many: false,
        read,
        show,
    }
}

/// A word that may stand several times, or that refuses that by itself.
pub(super) const fn words(name: &'static str, help: &'static str, read: Read, show: Show) -> Word {
    Word {
        name,
        help,
        many: true,
        read,
        show,
    }
}
