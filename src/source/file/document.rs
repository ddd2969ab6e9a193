//! One file → services. Pure; a bad instance rejects itself, bad syntax rejects the file with its line.
//!
//! A document is `{ services: { NAME: { policy keys…, instances: [ { address, port, … } ] } } }`.
//! Services are decoded one by one as the reader meets them, so that a large JSON file is never held as a tree.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::model::service::check_name;
use crate::model::{Issue, ServiceRecord};
use crate::source::entry::{self, Table};
use crate::text::clip;

/// How long a reader's message may get; some quote what they found.
const MAX_MESSAGE: usize = 200;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// By name.
    pub services: BTreeMap<Arc<str>, ServiceRecord>,
    /// What is wrong outside of services.
    pub stray: Vec<Issue>,
}

/// By the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `*.toml`
    Toml,
    /// `*.json`
    Json,
}

/// Reads a file's content. `file` names it in issues.
///
/// # Errors
/// Why nothing of it can be used, with the line.
pub fn read(file: &str, syntax: Syntax, bytes: &[u8]) -> Result<Document, String> {
    if bytes.is_empty() {
        // Also what a file looks like just before it is written.
        return Err("is empty; remove the file to take its services away".to_owned());
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| at_line(bytes, e.valid_up_to(), "the text is not UTF-8"))?;
    let mut document = Document::default();
    let root = Root {
        file,
        document: &mut document,
    };
    match syntax {
        Syntax::Json => {
            let mut reader = serde_json::Deserializer::from_str(text);
            let end = root.deserialize(&mut reader).and_then(|()| reader.end());
            end.map_err(|e| {
                let message = e.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                format!("line {}: {}", e.line(), one_line(message))
            })?;
        }
        Syntax::Toml => {
            toml::Deserializer::parse(text)
                .and_then(|reader| root.deserialize(reader))
                .map_err(|e| {
                    at_line(
                        bytes,
                        e.span().map_or(0, |span| span.start),
                        &one_line(e.message()),
                    )
                })?;
        }
    }
    Ok(document)
}

fn at_line(bytes: &[u8], offset: usize, message: &str) -> String {
    let before = &bytes[..offset.min(bytes.len())];
    format!("line {}: {message}", before.split(|b| *b == b'\n').count())
}

fn one_line(message: &str) -> String {
    message
        .chars()
        .take(MAX_MESSAGE)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The outermost table.
struct Root<'a> {
    file: &'a str,
    document: &'a mut Document,
}

/// The table `services`.
struct Services<'a, 'b>(&'b mut Root<'a>);

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table that holds `services`")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "services" {
                map.next_value_seed(Services(&mut self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
                let reason = format!("`{}` is not known here; a file holds `services`", clip(&key));
                self.document.stray.push(Issue::warning(self.file, reason));
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Services<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Services<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of services, such as [services.orders]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<Value>()?;
            self.0.service(&name, value);
        }
        Ok(())
    }
}

impl Root<'_> {
    fn service(&mut self, name: &str, value: Value) {
        let place = format!("{}: services.{}", self.file, clip(name));
        if let Err(reason) = check_name(name) {
            self.document.stray.push(Issue::rejected(place, reason));
            return;
        }
        let record = match value {
            Value::Object(table) => record(&place, table),
            other => ServiceRecord {
                issues: vec![Issue::rejected(
                    place,
                    format!("is {}, must be a table", entry::kind(&other)),
                )],
                ..ServiceRecord::default()
            },
        };
        self.document.services.insert(name.into(), record);
    }
}

fn record(place: &str, mut table: Table) -> ServiceRecord {
    let mut record = ServiceRecord::default();
    let instances = match table.remove("instances") {
        Some(Value::Array(instances)) => instances,
        Some(other) => {
            let reason = format!("instances: is {}, must be a list of tables", entry::kind(&other));
            record.issues.push(Issue::rejected(place, reason));
            Vec::new()
        }
        None => Vec::new(),
    };
    if !table.is_empty() {
        let policy = entry::policy(place, &table);
        record.policy = Some(policy.content);
        record.issues.extend(policy.issues);
    }
    let mut by_id = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (index, value) in instances.into_iter().enumerate() {
        let place = format!("{place}.instances[{index}]");
        let decoded = match value {
            Value::Object(table) => instance(&place, table),
            other => Err(format!("is {}, must be a table", entry::kind(&other))),
        };
        match decoded {
            Err(reason) => record.issues.push(Issue::rejected(place, reason)),
            Ok(decoded) => {
                record.issues.extend(decoded.issues);
                let instance = decoded.content;
                if by_id.contains_key(&instance.id) {
                    let reason = format!("another instance is called `{}` already", clip(&instance.id));
                    record.issues.push(Issue::rejected(place, reason));
                } else if let Some(other) = places.insert(instance.address, instance.id.clone()) {
                    let reason = format!("{} is that of the instance `{}`", instance.address, clip(&other));
                    record.issues.push(Issue::rejected(place, reason));
                    places.insert(instance.address, other);
                } else {
                    by_id.insert(instance.id.clone(), instance);
                }
            }
        }
    }
    record.instances = by_id.into_values().collect();
    record
}

fn instance(place: &str, mut table: Table) -> Result<entry::Decoded<crate::model::Instance>, String> {
    let id = match table.remove("id") {
        None => None,
        Some(Value::String(id)) if !id.is_empty() && id.len() <= 256 && !id.chars().any(char::is_control) => {
            Some(id)
        }
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(_) => return Err("id must be a string of 1 to 256 bytes without control characters".to_owned()),
    };
    entry::instance(place, id.as_deref(), &table)
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
