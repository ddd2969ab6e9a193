//! `[sources.NAME]`: where facts come from. What the kinds share stands here, each kind has its file.

mod consul;
mod etcd;
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

impl SourceConfig {
    /// The guard against mass removal; a folder is under the operator's own hand and has none.
    #[must_use]
    pub const fn guard(&self) -> Option<GuardRule> {
        match self {
            Self::File(_) => None,
            Self::Etcd(etcd) => Some(etcd.guard),
            Self::Consul(consul) => Some(consul.guard),
        }
    }

    /// Which registry it is, to tell a cached state of another one; `None`: not worth caching.
    #[must_use]
    pub fn registry(&self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Etcd(etcd) => {
                let mut members = etcd.endpoints.clone();
                members.sort();
                let prefixes: Vec<String> = etcd.prefixes.iter().map(ToString::to_string).collect();
                Some(format!("etcd {} {}", members.join(","), prefixes.join(",")))
            }
            Self::Consul(consul) => Some(consul.registry()),
        }
    }

    /// The word in `kind = …`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Etcd(_) => "etcd",
            Self::Consul(_) => "consul",
        }
    }
}

/// `kind = "file"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Folder of `*.toml` and `*.json`; relative paths are relative to `bridge.toml`.
    pub path: PathBuf,
}

#[derive(Clone, Copy)]
enum Kind {
    File,
    Etcd,
    Consul,
}

impl Kind {
    fn by_keys(s: &Section<'_>) -> Option<Self> {
        [
            ("path", Self::File),
            ("endpoints", Self::Etcd),
            ("prefix", Self::Etcd),
            ("prefixes", Self::Etcd),
            ("address", Self::Consul),
        ]
        .into_iter()
        .find_map(|(key, kind)| s.has(key).then_some(kind))
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
        let kind = s.need(
            "kind",
            "\"etcd\"",
            parse::word(&[
                ("file", Kind::File),
                ("etcd", Kind::Etcd),
                ("consul", Kind::Consul),
            ]),
        );
        whole &= kind.is_some();
        // Where the word is wrong the keys tell what is meant, so that they can be judged, too.
        let Some(kind) = kind.or_else(|| Kind::by_keys(&s)) else {
            continue;
        };
        let priority = s.get_or("priority", 0, parse::count(0, MOST_BEHIND));
        if let Some(priority) = u32::try_from(priority).ok().filter(|p| *p > 0) {
            priorities.insert(name.clone(), priority);
        }
        let source = match kind {
            Kind::File => s.need("path", "\"examples/catalog\"", parse::text).map(|path| {
                SourceConfig::File(FileSource {
                    path: base.join(path),
                })
            }),
            Kind::Etcd => etcd::read(&mut s, base, formats).map(SourceConfig::Etcd),
            Kind::Consul => consul::read(&mut s, base).map(|consul| SourceConfig::Consul(Box::new(consul))),
        };
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
