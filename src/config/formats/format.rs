//! One table of `[formats.NAME]`, read: what stands where in a key and in a value.

use std::fmt;
use std::sync::Arc;

use super::{Formats, Pattern, protocol};
use crate::model::Protocol;

/// How one format is laid out. Places are looked up in an instance, and all but address, port and id
/// then in the value that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// `NAME`
    pub name: Arc<str>,
    /// Where its keys usually are.
    pub prefix: Option<String>,
    /// Keys of instances, below the prefix.
    pub key: Pattern,
    /// The only service, where keys name none.
    pub service: Option<Arc<str>>,
    /// Keys of policy documents, looked at first.
    pub policy: Option<Pattern>,
    /// What a value is.
    pub value: Value,
    /// A list or a table of instances; `None`: the value is one instance.
    pub instances: Option<Field>,
    /// What tells instances of one value apart; `None`: their place in the list, or their key.
    pub id: Option<Field>,
    /// `HOST:PORT`, a URL, or a host where there is a `port`.
    pub address: Field,
    /// Where the address has none.
    pub port: Option<Field>,
    /// A number.
    pub weight: Option<Field>,
    /// Of an instance that gives none, or 0 or less; `None`: 1, and 0 takes it out.
    pub default_weight: Option<u32>,
    /// A commit id or release.
    pub version: Option<Field>,
    /// A locality zone.
    pub zone: Option<Field>,
    /// A table in which declared keys may stand.
    pub metadata: Option<Field>,
    /// Where the scheme is that a URL would have.
    pub scheme: Option<Field>,
    /// Schemes that are served, best first; empty: any, and they say nothing.
    pub schemes: Vec<Scheme>,
    /// Of instances that declare none and have no scheme.
    pub protocol: Option<Protocol>,
    /// Not in Envoy at all.
    pub off: Vec<Condition>,
    /// A failing check.
    pub unhealthy: Vec<Condition>,
    /// No new requests.
    pub drain: Vec<Condition>,
    /// The value stands for a key that is deleted.
    pub gone: Vec<Condition>,
    /// Fields that say nothing here; `*`: all others.
    pub ignore: Vec<String>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A JSON object.
    Json,
    /// An address.
    Text,
    /// A flat JSON object of the keys that we declare services by; nothing else of the table holds for it.
    Native,
    /// Not looked at: the id in the key is the address.
    None,
}

/// A place in a JSON object: names of fields, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(Vec<String>);

/// `grpc`, or `http=http1`: a scheme and the protocol that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// Lower case.
    pub name: String,
    /// What its servers speak.
    pub protocol: Protocol,
}

/// `Enable=false`: a field and the value that makes it true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The field.
    pub field: Field,
    /// As text.
    pub value: String,
}

impl Field {
    /// Fields within fields.
    const MAX_DEPTH: usize = 8;

    /// Reads `meta.zone`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let right = |part: &String| !part.is_empty() && !part.chars().any(char::is_control);
        if parts.len() > Self::MAX_DEPTH || !parts.iter().all(right) {
            return Err(format!(
                "`{text}` must be the name of a field, or names joined by dots such as meta.zone"
            ));
        }
        Ok(Self(parts))
    }

    /// The names on the way, outermost first.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl Scheme {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, word) = text.split_once('=').unwrap_or((text, text));
        let right = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
        if name.is_empty() || !name.bytes().all(right) {
            return Err(format!("`{text}` must be a scheme such as grpc, or http=http1"));
        }
        Ok(Self {
            name: name.to_ascii_lowercase(),
            protocol: protocol(word).map_err(|_| {
                format!("`{text}` must say a protocol: {name}=http1, {name}=http2, {name}=grpc or {name}=tcp")
            })?,
        })
    }
}

impl Condition {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` must be FIELD=VALUE, such as enabled=false");
        let (field, value) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self {
            field: Field::parse(field).map_err(|_| wrong())?,
            value: value.to_owned(),
        })
    }
}

impl Format {
    /// Our own: `SERVICE/instances/ID` and `SERVICE/policy`, flat JSON objects.
    #[must_use]
    pub fn native() -> Self {
        Self {
            prefix: Some("/services/".to_owned()),
            policy: Some(Pattern::of("{service}/policy")),
            value: Value::Native,
            ..Self::of("native", Pattern::of("{service}/instances/{id}"))
        }
    }

    /// A built-in format.
    #[must_use]
    pub fn preset(name: &str) -> Option<Arc<Self>> {
        Formats::presets().get(name).cloned()
    }

    /// JSON with nothing but an `address`.
    pub(super) fn of(name: &str, key: Pattern) -> Self {
        Self {
            name: name.into(),
            prefix: None,
            key,
            service: None,
            policy: None,
            value: Value::Json,
            instances: None,
            id: None,
            address: Field(vec!["address".to_owned()]),
            port: None,
            weight: None,
            default_weight: None,
            version: None,
            zone: None,
            metadata: None,
            scheme: None,
            schemes: Vec::new(),
            protocol: None,
            off: Vec::new(),
            unhealthy: Vec::new(),
            drain: Vec::new(),
            gone: Vec::new(),
            ignore: Vec::new(),
        }
    }

    /// The fields that it reads or knows to say nothing, as they stand outermost.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.read().chain(self.ignore.iter().map(String::as_str))
    }

    /// Whether a field of a value, as it stands outermost, needs no look at all.
    #[must_use]
    pub fn skips(&self, field: &str) -> bool {
        let ignored = |name: &String| name == field || name == "*";
        self.ignore.iter().any(ignored) && !self.read().any(|known| known == field)
    }

    fn read(&self) -> impl Iterator<Item = &str> {
        let places = [
            &self.instances,
            &self.id,
            &self.port,
            &self.weight,
            &self.version,
            &self.zone,
            &self.metadata,
            &self.scheme,
        ];
        let conditions = [&self.off, &self.unhealthy, &self.drain, &self.gone];
        places
            .into_iter()
            .flatten()
            .chain([&self.address])
            .chain(conditions.into_iter().flatten().map(|condition| &condition.field))
            .filter_map(|field| field.0.first())
            .map(String::as_str)
    }
}
