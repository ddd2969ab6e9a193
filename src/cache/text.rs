//! The text of a file of the last known state: a head and the services, each one line. Pure.
//!
//! What does not fit its checksum, is of another registry, too old, or could not be served is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer as _};
use xxhash_rust::xxh3::Xxh3;

use super::format2;
use super::schema::{FORMAT, Known, Record};
use crate::model::declaration::MAX_LABEL;
use crate::model::service::{address, check_name};
use crate::model::{Health, MAX_WEIGHT, ServiceRecord};
use crate::text::{clip, clip_to};

/// The first line of a file; the second holds the services.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    source: String,
    /// Which registry it is of: another address or prefix makes it foreign.
    registry: String,
    /// Seconds since 1970.
    written: u64,
    /// xxh3 of all of the above and of the second line, hexadecimal.
    checksum: String,
}

impl Head {
    fn sum(&self, body: &str) -> String {
        let mut sum = Xxh3::new();
        let Self {
            format,
            source,
            registry,
            written,
            checksum: _,
        } = self;
        for part in [&format.to_string(), source, registry, &written.to_string(), body] {
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part.as_bytes());
        }
        format!("{:016x}", sum.digest())
    }
}

/// All services of a source by name.
pub type Services = Vec<(Arc<str>, Arc<ServiceRecord>)>;

/// A state that was loaded.
#[derive(Clone, Debug)]
pub struct LastKnown {
    /// What was served.
    pub services: Vec<(Arc<str>, ServiceRecord)>,
    /// How old it was when it was loaded.
    pub age: Duration,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read or written.
    #[error("the file cannot be used")]
    Io(#[from] std::io::Error),
    /// It ends too early, or its checksum is another.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// Another version of the bridge wrote it.
    #[error("the file has format {0}, this bridge reads {before} and {FORMAT}", before = format2::FORMAT)]
    Format(u32),
    /// It is of another registry.
    #[error("the file is of {found}, not of {wanted}")]
    Foreign {
        /// Of what it is.
        found: String,
        /// Of what it should be.
        wanted: String,
    },
    /// It is older than allowed.
    #[error("the file is {0:?} old, older than cache.max_age")]
    Old(Duration),
}

/// What is to be written.
#[derive(Debug)]
pub struct Snapshot {
    /// The source.
    pub source: Arc<str>,
    /// Which registry.
    pub registry: String,
    /// What is served of it.
    pub services: Services,
}

/// The text of a file.
///
/// # Errors
/// [`CacheError::Damaged`] when something cannot be written as JSON.
pub fn encode(snapshot: &Snapshot, written: u64) -> Result<String, CacheError> {
    let damaged = |e: serde_json::Error| CacheError::Damaged(e.to_string());
    let services: BTreeMap<&str, &ServiceRecord> =
        snapshot.services.iter().map(|(n, r)| (&**n, &**r)).collect();
    let mut body = Vec::new();
    // One record after the other: beside a large state there is no second one of other types.
    let written_one = services.iter().map(|(name, record)| (name, Record::of(record)));
    serde_json::Serializer::new(&mut body)
        .collect_map(written_one)
        .map_err(damaged)?;
    let body = String::from_utf8(body).map_err(|e| CacheError::Damaged(e.to_string()))?;
    sealed(&snapshot.source, &snapshot.registry, written, &body)
}

/// A file with this second line.
///
/// # Errors
/// [`CacheError::Damaged`] when something cannot be written as JSON.
pub fn sealed(source: &str, registry: &str, written: u64, body: &str) -> Result<String, CacheError> {
    sealed_as(FORMAT, source, registry, written, body)
}

/// The same in the format of another version.
///
/// # Errors
/// As those of [`sealed`].
pub fn sealed_as(
    format: u32,
    source: &str,
    registry: &str,
    written: u64,
    body: &str,
) -> Result<String, CacheError> {
    let mut head = Head {
        format,
        source: source.to_owned(),
        registry: registry.to_owned(),
        written,
        checksum: String::new(),
    };
    head.checksum = head.sum(body);
    let head = serde_json::to_string(&head).map_err(|e| CacheError::Damaged(e.to_string()))?;
    Ok(format!("{head}\n{body}\n"))
}

/// Reads a file's text.
///
/// # Errors
/// [`CacheError`], which says why it is refused.
pub fn decode(
    text: &str,
    source: &str,
    registry: &str,
    now: u64,
    max_age: Duration,
) -> Result<LastKnown, CacheError> {
    let damaged = |what: &str| CacheError::Damaged(what.to_owned());
    let Unsealed {
        format,
        written,
        body,
    } = unsealed(text, source, registry)?;
    // A clock that was set back since: how old it is cannot be known, and it is better than nothing.
    let age = Duration::from_secs(now.saturating_sub(written));
    if age > max_age {
        return Err(CacheError::Old(age));
    }
    let mut services = services(format, body).map_err(|e| damaged(&clip(&e.to_string())))?;
    for (name, record) in &mut services {
        servable(name, record).map_err(|reason| damaged(&reason))?;
    }
    Ok(LastKnown {
        services: services.into_iter().collect(),
        age,
    })
}

/// The records of a body in this format.
fn services(format: u32, body: &str) -> serde_json::Result<BTreeMap<Arc<str>, ServiceRecord>> {
    if format == format2::FORMAT {
        let services: BTreeMap<Arc<str>, format2::Record> = serde_json::from_str(body)?;
        return Ok(services
            .into_iter()
            .map(|(name, record)| (name, record.into()))
            .collect());
    }
    let services: BTreeMap<Arc<str>, Record> = serde_json::from_str(body)?;
    let mut known = Known::new();
    let read = |(name, record): (Arc<str>, Record)| (name, record.read(&mut known));
    Ok(services.into_iter().map(read).collect())
}

/// A file whose head fits.
#[derive(Debug)]
pub(super) struct Unsealed<'a> {
    /// That of this version, or of the one before.
    pub(super) format: u32,
    /// Seconds since 1970.
    pub(super) written: u64,
    /// The second line.
    pub(super) body: &'a str,
}

/// Checks the head of a file.
///
/// # Errors
/// [`CacheError`], which says why it is refused.
pub(super) fn unsealed<'a>(text: &'a str, source: &str, registry: &str) -> Result<Unsealed<'a>, CacheError> {
    let damaged = |what: &str| CacheError::Damaged(what.to_owned());
    let (head, body) = text
        .split_once('\n')
        .ok_or_else(|| damaged("it has no second line"))?;
    let head: Head =
        serde_json::from_str(head).map_err(|e| damaged(&format!("its head: {}", clip(&e.to_string()))))?;
    if ![FORMAT, format2::FORMAT].contains(&head.format) {
        return Err(CacheError::Format(head.format));
    }
    let (found, wanted) = (
        format!("{} ({})", head.source, head.registry),
        format!("{source} ({registry})"),
    );
    if found != wanted {
        // Whatever stands there: a log line has its length.
        let found = clip_to(&found, 200);
        return Err(CacheError::Foreign { found, wanted });
    }
    let body = body
        .strip_suffix('\n')
        .ok_or_else(|| damaged("it ends too early"))?;
    if head.sum(body) != head.checksum {
        return Err(damaged("its checksum is another"));
    }
    Ok(Unsealed {
        format: head.format,
        written: head.written,
        body,
    })
}

/// A checksum says that a file is as it was written, not that it was written by us.
fn servable(name: &str, record: &mut ServiceRecord) -> Result<(), String> {
    check_name(name)?;
    for instance in &mut record.instances {
        let place = instance.address;
        let read = address(&place.ip().to_string(), place.port().into());
        // Earlier versions wrote `::ffff:10.0.0.1` as it was registered.
        instance.address =
            read.map_err(|reason| format!("{}, {}: {reason}", clip(name), clip(&instance.id)))?;
        let wrong = |reason: &str| format!("{}, {}: {reason}", clip(name), clip(&instance.id));
        let least = u32::from(instance.health != Health::Off);
        if !(least..=MAX_WEIGHT).contains(&instance.weight) {
            return Err(wrong("its weight is out of bounds"));
        }
        // It will be in names of clusters.
        if instance.version.len() > MAX_LABEL || instance.version.contains(['@', '/']) {
            return Err(wrong("its version is no version"));
        }
    }
    Ok(())
}
