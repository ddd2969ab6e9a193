//! `[formats.NAME]`: how others lay services out in etcd. One table says where in a key and in a value
//! what stands; the built-in formats are rows of the same kind (`presets.toml`).

mod format;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use super::parse;
use super::reader::{Mistake, Section, named};
use crate::model::service::check_name;
use crate::model::{MAX_WEIGHT, Protocol};
pub use format::{Condition, Field, Format, Scheme, Value};
pub use pattern::{Named, Pattern};

/// The built-in formats as they could stand in `bridge.toml`.
pub const PRESETS: &str = include_str!("presets.toml");

/// All formats by name; `None`: a table of that name is wrong, which was said already.
#[derive(Debug)]
pub(super) struct Formats(BTreeMap<String, Option<Arc<Format>>>);

impl Formats {
    /// The built-in ones, read once. A test sees that no table of them is wrong.
    fn presets() -> &'static BTreeMap<String, Arc<Format>> {
        static PRESETS_READ: LazyLock<BTreeMap<String, Arc<Format>>> = LazyLock::new(|| {
            let right = |(name, format): (String, Option<Arc<Format>>)| Some((name, format?));
            of_text(PRESETS).0.into_iter().filter_map(right).collect()
        });
        &PRESETS_READ
    }

    /// The built-in ones, and those of the file.
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        let presets = Self::presets().iter();
        let mut formats: BTreeMap<_, _> = presets.map(|(name, f)| (name.clone(), Some(f.clone()))).collect();
        formats.insert("native".to_owned(), Some(Arc::new(Format::native())));
        let built_in: BTreeSet<String> = formats.keys().cloned().collect();
        for (name, format) in tables(root, &built_in) {
            formats.entry(name).or_insert(format);
        }
        Self(formats)
    }

    /// The one that a source names. `Ok(None)`: its table is wrong.
    ///
    /// # Errors
    /// Which there are.
    pub(super) fn find(&self, name: &str) -> Result<Option<Arc<Format>>, String> {
        self.0.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!(
                "`{name}` is not a format; there are: {} (or add [formats.{name}])",
                known.join(", ")
            )
        })
    }
}

type Tables = Vec<(String, Option<Arc<Format>>)>;

fn of_text(text: &str) -> (Tables, Vec<Mistake>) {
    let mut found = Vec::new();
    let mistakes = super::layers::read_text(text, |root| found = tables(root, &BTreeSet::new()));
    (found, mistakes)
}

fn tables(root: &mut Section<'_>, built_in: &BTreeSet<String>) -> Tables {
    let read = |mut s: Section<'_>| {
        named(&s);
        let name = s.name().to_owned();
        if built_in.contains(&name) {
            s.mistake("", "is a built-in format; give yours another name");
        }
        let format = format(&mut s).map(Arc::new);
        s.finish();
        (name, format)
    };
    root.sections("formats").into_iter().map(read).collect()
}

/// `None` only beside a mistake.
fn format(s: &mut Section<'_>) -> Option<Format> {
    let key = s.need("key", "\"{service}/{id}\"", Pattern::parse);
    let service = s.get("service", |text| check_name(text).map(|()| Arc::from(text)));
    let policy = s.get("policy", Pattern::parse);
    let value = s.get_or(
        "value",
        Value::Json,
        parse::word(&[
            ("json", Value::Json),
            ("text", Value::Text),
            ("none", Value::None),
            ("native", Value::Native),
        ]),
    );
    if let Some(key) = &key {
        places(s, key, service.is_some(), policy.as_ref(), value);
    }
    if value != Value::Json {
        for field in OF_JSON.into_iter().filter(|field| s.has(field)) {
            s.mistake(field, "is a place in a value, and needs value = \"json\"");
        }
    }
    let plain = Format::of(s.name(), key.clone().unwrap_or_else(|| Pattern::of("{service}")));
    let format = Format {
        service,
        policy,
        value,
        prefix: s.get("prefix", prefix),
        instances: s.get("instances", Field::parse),
        id: s.get("id", Field::parse),
        address: s.get_or("address", plain.address.clone(), Field::parse),
        port: s.get("port", Field::parse),
        weight: s.get("weight", Field::parse),
        default_weight: s.get("default_weight", weight),
        version: s.get("version", Field::parse),
        zone: s.get("zone", Field::parse),
        metadata: s.get("metadata", Field::parse),
        scheme: s.get("scheme", Field::parse),
        schemes: s.list("schemes", Scheme::parse).unwrap_or_default(),
        protocol: s.get("protocol", protocol),
        off: s.list("off", Condition::parse).unwrap_or_default(),
        unhealthy: s.list("unhealthy", Condition::parse).unwrap_or_default(),
        drain: s.list("drain", Condition::parse).unwrap_or_default(),
        gone: s.list("gone", Condition::parse).unwrap_or_default(),
        ignore: s.list("ignore", parse::text).unwrap_or_default(),
        ..plain
    };
    if format.scheme.is_some() && format.schemes.is_empty() {
        let text = "is missing: what does the scheme say? for example schemes = [\"grpc\", \"http=http1\"]";
        s.mistake("schemes", text);
    }
    if format.id.is_some() && format.instances.is_none() {
        s.mistake(
            "id",
            "tells apart the instances of one value, and needs instances",
        );
    }
    if format.instances.is_some() && format.key.text().contains("{id...}") {
        let text = "must be {id} where a value holds several instances: their ids are the key's, a slash, and theirs";
        s.mistake("key", text);
    }
    key.map(|_| format)
}

/// Keys that speak of places in a JSON value.
const OF_JSON: [&str; 14] = [
    "address",
    "instances",
    "id",
    "port",
    "weight",
    "version",
    "zone",
    "metadata",
    "scheme",
    "off",
    "unhealthy",
    "drain",
    "gone",
    "ignore",
];

/// Whether the patterns say which service a key belongs to.
fn places(s: &mut Section<'_>, key: &Pattern, fixed: bool, policy: Option<&Pattern>, value: Value) {
    match (key.has_service(), fixed) {
        (false, false) => s.mistake(
            "key",
            format!(
                "`{}` names no {{service}}; add it, or name the only one: service = \"orders\"",
                key.text()
            ),
        ),
        (true, true) => s.mistake("service", "is of no use: the key names the service"),
        _ => {}
    }
    if value == Value::None && !key.has_id() {
        s.mistake(
            "value",
            "\"none\" takes the address from the {id} of the key, which has none",
        );
    }
    if let Some(policy) = policy {
        if policy.has_id() {
            s.mistake("policy", "is a document of a whole service, and has no {id}");
        }
        if policy.has_service() != key.has_service() {
            s.mistake(
                "policy",
                "must name the service as the key does, such as \"{service}/policy\"",
            );
        }
    }
}

/// Below which keys are: ends with `/`, or is empty where keys have nothing in common.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 1 && text.ends_with('/') {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` must end with /, so that `/svc/` never sees `/svc2/`"
    ))
}

fn weight(text: &str) -> Result<u32, String> {
    let fits = text.parse().ok().filter(|w| (1..=MAX_WEIGHT).contains(w));
    fits.ok_or_else(|| format!("`{text}` must be a whole number from 1 to {MAX_WEIGHT}"))
}

fn protocol(text: &str) -> Result<Protocol, String> {
    Protocol::parse(text).ok_or_else(|| format!("`{text}` must be {}", Protocol::WORDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_preset_is_wrong() {
        let (tables, mistakes) = of_text(PRESETS);
        assert_eq!(mistakes, []);
        assert!(tables.iter().all(|(_, format)| format.is_some()));
        let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = [
            "apisix",
            "dubbo-app",
            "go-micro",
            "go-zero",
            "grpc-naming",
            "hertz",
            "host-port",
            "kitex",
            "kratos",
            "skydns",
        ];
        assert_eq!(names, wanted);
        assert_eq!(&*Format::preset("kitex").unwrap().name, "kitex");
        assert_eq!(Format::preset("kitten"), None);
    }
}
