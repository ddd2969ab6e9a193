//! How the numbered routes of a policy are written into the last known state: as pairs of number and route.
//! States of earlier versions hold a plain list.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::route::RouteRule;

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Numbered(u32, RouteRule),
    Plain(RouteRule),
}

/// # Errors
/// Those of the serializer.
pub(super) fn serialize<S: Serializer>(routes: &BTreeMap<u32, RouteRule>, to: S) -> Result<S::Ok, S::Error> {
    routes.iter().collect::<Vec<_>>().serialize(to)
}

/// # Errors
/// Those of the deserializer.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, RouteRule>, D::Error> {
    let entries = Vec::<Entry>::deserialize(from)?;
    let numbered = (1..).zip(entries).map(|(position, entry)| match entry {
        Entry::Numbered(number, rule) => (number, rule),
        Entry::Plain(rule) => (position, rule),
    });
    Ok(numbered.collect())
}
