//! One entry of a registry, and what is made of it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Check;
use crate::model::Health;
use crate::model::declaration::Declared;

/// One entry of a registry, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name in messages.
    pub label: &'a str,
    /// The name of its service.
    pub service: &'a str,
    /// Where it is registered.
    pub datacenter: &'a str,
    /// As they are registered.
    pub tags: &'a [String],
    /// Its checks and those of its node.
    pub checks: &'a [Checked],
    /// What it declares by our own keys.
    pub own: Own<'a>,
}

/// What an entry declares by our own keys, as far as it matters here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own<'a> {
    /// Its version.
    pub version: Option<&'a str>,
    /// It says which share of the requests its version gets.
    pub share: bool,
    /// It has routes, and what is imported has none.
    pub routes: bool,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What it says.
    pub status: Check,
    /// It is a maintenance mode.
    pub maintenance: bool,
    /// It is of the node, and not of the service.
    pub node: bool,
}

/// What is made of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Weaker than what the entry declares by our own keys.
    pub declared: Declared,
    /// Another host than the registered one.
    pub host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Another weight than the registry's own.
    pub weight: Option<u32>,
    /// Another version than the declared one.
    pub version: Option<Arc<str>>,
    /// Another health than the registry's own.
    pub health: Option<Health>,
    /// Of the requests of its service, where fabio gives it a share.
    pub share: Option<f64>,
    /// Where fabio has it, where its commands are read.
    pub placed: Option<Placed>,
}

/// Where fabio has an instance, as its commands name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Its tags that are no routes.
    pub tags: Vec<String>,
    /// Its routes.
    pub routes: Vec<PlacedRoute>,
}

/// A route of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRoute {
    /// The host, in lower case, and the path.
    pub source: String,
    /// Those of our routes that are made of it.
    pub numbers: Vec<u32>,
    /// The bits of its share of the requests; 0: none of its own.
    pub share: u64,
}

/// The worst of these; none: all is well.
pub(super) fn worst(checks: &[Checked]) -> Check {
    let order = |check: &Check| match check {
        Check::Passing => 0,
        Check::Warning => 1,
        Check::Critical => 2,
    };
    let worst = checks.iter().map(|check| check.status).max_by_key(order);
    worst.unwrap_or(Check::Passing)
}

/// Options by their names, in lower case.
pub(super) type Options = BTreeMap<String, String>;
