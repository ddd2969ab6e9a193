//! `[sources.NAME]`: where facts come from. What the kinds share stands here, each kind has its file.

mod consul;
mod etcd;
mod import;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::formats::Formats;
use super::parse;
use super::reader::{Section, named};
use crate::model::GuardRule;
pub use consul::{ConsulSelection, ConsulSource};
pub use etcd::{EtcdLogin, EtcdPrefix, EtcdSource};
pub use import::{Check, FabioImport, FabioMatcher, Import, KeysOf, NAMES, TraefikImport};
pub use tls::ClientTls;

/// The largest `priority` of a source.
const MOST_BEHIND: usize = 100;

/// One registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// A watched folder.
    File(FileSource),
    /// Keys under a prefix.
    Etcd(EtcdSource),
    /// Catalog and health.
    Consul(Box<ConsulSource>),
}

/// `kind = "file"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Folder of `*.toml` and `*.json`; relative paths are relative to `bridge.toml`.
    pub path: PathBuf,
}

/// One kind of source: a further one is a row in [`KINDS`], a variant of [`SourceConfig`] and an arm of
/// `source::build`.
#[derive(Clone, Copy)]
struct Kind {
    /// Keys that only this kind has: where the word is wrong they show what is meant, so that they can be judged, too.
    keys: &'static [&'static str],
    read: Read,
}

/// Reads the rest of a section; `None` only beside a mistake.
type Read = fn(&mut Section<'_>, &Path, &Formats) -> Option<SourceConfig>;

/// By the word in `kind = …`.
const KINDS: &[(&str, Kind)] = &[
    (
        "file",
        Kind {
            keys: &["path"],
            read: |s, base, _| {
                let path = s.need("path", "\"examples/catalog\"", parse::text)?;
                Some(SourceConfig::File(FileSource {
                    path: base.join(path),
                }))
            },
        },
    ),
    (
        "etcd",
        Kind {
            keys: &["endpoints", "prefix", "prefixes"],
            read: |s, base, formats| etcd::read(s, base, formats).map(SourceConfig::Etcd),
        },
    ),
    (
        "consul",
        Kind {
            keys: &["address"],
            read: |s, base, _| consul::read(s, base).map(|consul| SourceConfig::Consul(Box::new(consul))),
        },
    ),
];

impl Kind {
    fn by_keys(s: &Section<'_>) -> Option<Self> {
        let meant = |kind: &Self| kind.keys.iter().any(|key| s.has(key));
        KINDS.iter().map(|(_, kind)| *kind).find(meant)
    }
}

/// All sources by name, and the `priority` of those that declare one above 0.
type Sources = (BTreeMap<Arc<str>, SourceConfig>, BTreeMap<Arc<str>, u32>);

pub(super) fn read(root: &mut Section<'_>, base: &Path, formats: &Formats) -> Option<Sources> {
    let sections = root.sections("sources");
    if sections.is_empty() {
        root.mistake(
            "sources",
            "at least one is needed: [sources.consul] with kind = \"consul\" and address, or [sources.etcd] with kind = \"etcd\", endpoints and prefix",
        );
        return None;
    }
    let (mut sources, mut priorities) = (BTreeMap::new(), BTreeMap::new());
    let mut whole = true;
    for mut s in sections {
        named(&s);
        let name: Arc<str> = s.name().into();
        let kind = s.need("kind", "\"etcd\"", parse::word(KINDS));
        whole &= kind.is_some();
        let Some(kind) = kind.or_else(|| Kind::by_keys(&s)) else {
            continue;
        };
        let priority = s.get_or("priority", 0, parse::count(0, MOST_BEHIND));
        if let Some(priority) = u32::try_from(priority).ok().filter(|p| *p > 0) {
            priorities.insert(name.clone(), priority);
        }
        let source = (kind.read)(&mut s, base, formats);
        s.finish();
        match source {
            Some(source) => drop(sources.insert(name, source)),
            None => whole = false,
        }
    }
    whole.then_some((sources, priorities))
}

fn guard(s: &mut Section<'_>) -> GuardRule {
    let default = GuardRule::default();
    let share = s.get_or("max_removal", default.share, parse::percent);
    let hold = s.get_or("max_removal_hold", default.hold, parse::duration);
    let probe = s.get_or("guard_probe", default.probe, parse::switch);
    GuardRule {
        share,
        hold,
        probe,
        ..default
    }
}
