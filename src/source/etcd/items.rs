//! The instances in a value: it is one, or holds a list or a table of them. Pure.

use serde_json::Value as Json;

use crate::config::Field;
use crate::source::entry::{self, Table};
use crate::text::clip;

/// The longest id that an instance within a value may have, bytes.
const MAX_ID: usize = 128;

/// One instance in a value, on its way.
pub(super) struct Item<'a> {
    /// The id in the key; may be empty.
    pub(super) key: &'a str,
    /// What tells it apart in its value; empty where it stands alone.
    pub(super) own: String,
    pub(super) place: String,
    /// Its own fields; `None`: the value is all there is, or it has no fields.
    pub(super) fields: Option<&'a Table>,
    /// Where the address is the item itself, or its key.
    pub(super) address: Option<&'a str>,
    /// A weight beside that key.
    pub(super) weight: Option<&'a Json>,
}

/// The instances in a value; their ids are `KEY'S ID/THEIRS`.
pub(super) fn items<'a>(field: &Field, id: &'a str, value: &'a Table) -> Result<Vec<Item<'a>>, String> {
    let of = |place: String, own: String| Item {
        key: id,
        own,
        place: format!("{field}[{place}]"),
        fields: None,
        address: None,
        weight: None,
    };
    match at(field, value) {
        None => Err(format!("{field} is missing")),
        // Go writes an empty list as null.
        Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(list)) => Ok(list
            .iter()
            .enumerate()
            .map(|(n, one)| Item {
                fields: one.as_object(),
                address: one.as_str(),
                ..of(n.to_string(), n.to_string())
            })
            .collect()),
        Some(Json::Object(map)) => Ok(map
            .iter()
            .enumerate()
            .map(|(n, (key, one))| Item {
                fields: one.as_object(),
                address: Some(key),
                weight: Some(one).filter(|one| !one.is_object()),
                ..of(clip(key), own_id(key).unwrap_or_else(|| n.to_string()))
            })
            .collect()),
        Some(other) => Err(format!(
            "{field} is {}, must be a list or a table",
            entry::kind(other)
        )),
    }
}

/// What can be a part of an instance's id.
pub(super) fn own_id(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= MAX_ID && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// A field's value; null says nothing.
pub(super) fn at<'a>(field: &Field, table: &'a Table) -> Option<&'a Json> {
    let (first, rest) = field.path().split_first()?;
    rest.iter()
        .try_fold(table.get(first)?, |value, name| value.as_object()?.get(name))
}

impl<'a> Item<'a> {
    /// The only instance of its value.
    pub(super) fn alone(key: &'a str, address: Option<&'a str>) -> Self {
        Self {
            key,
            own: String::new(),
            place: String::new(),
            fields: None,
            address,
            weight: None,
        }
    }
}

/// A plain value as text.
pub(super) fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(switch) => Some(switch.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
