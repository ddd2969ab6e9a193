//! A place in Envoy's file: a value with its path, and the fields of an object, read one by one so that what nobody
//! read is named. Pure.

use std::time::Duration;

use serde_json::{Map, Value};

use super::report::Rest;

/// Why a field stays that nothing of ours stands for.
const NOT_EXPRESSED: &str = "the bridge does not express it yet";

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

/// The fields of an object.
pub(super) struct Fields<'a> {
    pub(super) path: String,
    left: Vec<(&'a str, &'a Value)>,
}

impl<'a> At<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            path: String::new(),
            value,
        }
    }

    fn below(&self, part: &str, value: &'a Value) -> Self {
        let dot = if self.path.is_empty() || part.starts_with('[') {
            ""
        } else {
            "."
        };
        Self {
            path: format!("{}{dot}{part}", self.path),
            value,
        }
    }

    /// The value of a field, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.below(key, value))
    }

    /// The items of a list; none of what is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.value.as_array().into_iter().flatten().enumerate();
        items
            .map(|(n, value)| self.below(&format!("[{n}]"), value))
            .collect()
    }

    /// The items of a list below a field.
    pub(super) fn list(&self, key: &str) -> Vec<Self> {
        self.get(key).map_or_else(Vec::new, |list| list.items())
    }

    /// The entries of an object.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let entries = self.value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| {
                let part = if key.contains('.') {
                    format!("[\"{key}\"]")
                } else {
                    key.clone()
                };
                (key.as_str(), self.below(&part, value))
            })
            .collect()
    }

    pub(super) fn fields(&self) -> Fields<'a> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let map = self.value.as_object().unwrap_or(&NONE);
        let there = map.iter().filter(|(_, value)| !value.is_null());
        Fields {
            path: self.path.clone(),
            left: there.map(|(key, value)| (key.as_str(), value)).collect(),
        }
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// A text below a field.
    pub(super) fn text_of(&self, key: &str) -> Option<&'a str> {
        self.value.get(key).and_then(Value::as_str)
    }

    pub(super) fn is(&self, wanted: bool) -> bool {
        self.value.as_bool() == Some(wanted)
    }

    /// A number, also one that is written as a text, or wrapped as `{ value: 7 }`.
    pub(super) fn number(&self) -> Option<u64> {
        let value = self.value.get("value").unwrap_or(self.value);
        value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    }

    /// A share such as `{ value: 12.5 }`.
    pub(super) fn float(&self) -> Option<f64> {
        self.value.get("value").unwrap_or(self.value).as_f64()
    }

    /// `1.5s`, as protobuf writes durations.
    pub(super) fn duration(&self) -> Option<Duration> {
        let seconds: f64 = self.text()?.strip_suffix('s')?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// It stays, because of this.
    pub(super) fn rest(&self, why: impl Into<String>) -> Rest {
        Rest {
            at: self.path.clone(),
            why: why.into(),
        }
    }

    /// It stays, because nothing of ours says the same.
    pub(super) fn not_expressed(&self) -> Rest {
        self.rest(NOT_EXPRESSED)
    }

    /// The name of the type of a typed configuration, `Router`.
    pub(super) fn type_name(&self) -> &'a str {
        let url = self.text_of("@type").unwrap_or_default();
        url.rsplit('.').next().unwrap_or_default()
    }
}

impl<'a> Fields<'a> {
    fn at(&self, key: &str, value: &'a Value) -> At<'a> {
        let path = self.path.clone();
        At { path, value }.below(key, value)
    }

    /// The value of a field, which is read by that.
    pub(super) fn take(&mut self, key: &str) -> Option<At<'a>> {
        let at = self.left.iter().position(|(name, _)| *name == key)?;
        let (_, value) = self.left.swap_remove(at);
        Some(self.at(key, value))
    }

    /// The first of several names of one field.
    pub(super) fn either(&mut self, keys: &[&str]) -> Option<At<'a>> {
        let found: Vec<At<'a>> = keys.iter().filter_map(|key| self.take(key)).collect();
        found.into_iter().next()
    }

    /// Fields that change nothing of what a request meets.
    pub(super) fn ignore(&mut self, keys: &[&str]) {
        self.left.retain(|(key, _)| !keys.contains(key));
    }

    /// What nobody read.
    pub(super) fn rests(self) -> Vec<Rest> {
        let empty = |value: &Value| match value {
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(value) => !value,
            _ => false,
        };
        let left = self
            .left
            .iter()
            .filter(|(key, value)| *key != "@type" && !empty(value));
        let mut rests: Vec<Rest> = left
            .map(|(key, value)| self.at(key, value).not_expressed())
            .collect();
        rests.sort();
        rests
    }
}
