//! Tags that were written for fabio 1.7. Pure.

mod commands;
mod connections;
mod kv;
mod obeyed;
mod options;
mod place;
mod route;
mod share;
mod tag;

use std::collections::BTreeMap;

pub(super) use self::kv::read as keys;
pub use self::obeyed::Commands;
use self::route::add;
pub use self::share::shares;
use self::tag::Tag;
use super::entry::{Checked, Entry, Placed, PlacedRoute};
use super::gathered::Gathered;
use crate::config::FabioImport;
use crate::model::Health;

/// Adds what the tags of an entry declare.
pub(super) fn read(settings: &FabioImport, entry: &Entry<'_>, gathered: &mut Gathered<'_>) {
    let own = || {
        entry
            .checks
            .iter()
            .filter(|check| !check.node && !check.maintenance)
    };
    if own().next().is_none() {
        return; // without a check of its own it is not served there
    }
    let mut found = false;
    let mut shares: BTreeMap<String, Option<f64>> = BTreeMap::new();
    let mut placed = Placed::default();
    for text in entry.tags {
        let Some(route) = text.trim().strip_prefix(settings.prefix.as_str()) else {
            placed.tags.push(text.clone());
            continue;
        };
        let route = route.trim();
        let name = text.split([' ', '=']).next().unwrap_or_default();
        found = true;
        let tag = Tag::read(route, entry.datacenter);
        shares.insert(tag.source(), tag.weight());
        let numbers = add(settings, &tag, gathered, name, None);
        placed.routes.push(PlacedRoute {
            source: tag.source(),
            numbers,
            share: tag.weight().unwrap_or(0.0).to_bits(),
        });
    }
    if !found {
        return;
    }
    gathered.health(health(settings, entry.checks));
    if settings.kv.is_some() {
        gathered.imported.placed = Some(placed);
        return;
    }
    let mut weights = shares.into_values();
    let first = weights.next().flatten();
    gathered.imported.share = Some(first.unwrap_or(0.0));
    if weights.any(|other| other.unwrap_or(0.0).to_bits() != first.unwrap_or(0.0).to_bits()) {
        let why = "routes of one instance have different weights, which one cluster cannot: that of the first counts";
        gathered.note(&settings.prefix, why);
    }
}

/// What takes a node or a service out takes it out there, too; of the other checks all must be well, or one.
fn health(settings: &FabioImport, checks: &[Checked]) -> Health {
    use crate::config::Check::{Critical, Passing};
    let well = |check: &&Checked| settings.status.contains(&check.status);
    if checks
        .iter()
        .any(|check| check.maintenance && check.status != Passing)
    {
        return Health::Draining;
    }
    let of_node = checks.iter().filter(|check| check.node);
    if of_node.clone().any(|check| check.status == Critical) {
        return Health::Unhealthy;
    }
    let mut own = checks.iter().filter(|check| !check.node);
    let serves = if settings.one {
        own.any(|check| well(&check))
    } else {
        own.all(|check| well(&check))
    };
    if serves {
        Health::Healthy
    } else {
        Health::Unhealthy
    }
}
