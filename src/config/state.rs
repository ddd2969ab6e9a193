//! `[state]`: where bridges share what no registry entry says, such as drains.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SourceConfig;
use super::parse;
use super::reader::Section;

/// Below it in the registry, where nothing else is configured.
const PREFIX: &str = "xds-bridge/";
/// The longest, bytes.
const LONGEST: usize = 128;
/// Where policy documents are in Consul's KV store.
const POLICIES: &str = "xds/";

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedState {
    /// In the registry of this source, below this prefix, which ends with `/`.
    Registry {
        /// Its name in `[sources]`.
        source: Arc<str>,
        /// The root of all keys.
        prefix: String,
    },
    /// In a file: one bridge alone.
    File(PathBuf),
    /// Nowhere.
    Off {
        /// Why, and what to write to have it.
        why: String,
    },
}

impl SharedState {
    fn off(why: String) -> Self {
        Self::Off { why }
    }
}

/// `sources`: all that are configured, once they are read.
pub(super) fn read(
    mut s: Section<'_>,
    base: &Path,
    sources: Option<&BTreeMap<Arc<str>, SourceConfig>>,
) -> SharedState {
    let given = ["source", "prefix", "file"].iter().any(|key| s.has(key));
    let source = s.get("source", parse::text);
    let prefix = s.get_or("prefix", PREFIX.to_owned(), prefix);
    let file = s.get("file", parse::text).map(|path| base.join(path));
    let state = match sources {
        Some(sources) => chosen(&s, sources, source.as_deref(), prefix, file, given),
        None => SharedState::off("no source is configured".to_owned()), // beside a mistake
    };
    s.finish();
    state
}

fn chosen(
    s: &Section<'_>,
    sources: &BTreeMap<Arc<str>, SourceConfig>,
    source: Option<&str>,
    prefix: String,
    file: Option<PathBuf>,
    given: bool,
) -> SharedState {
    let is_registry = |source: &SourceConfig| !matches!(source, SourceConfig::File(_));
    let registries: Vec<&Arc<str>> = sources
        .iter()
        .filter(|(_, source)| is_registry(source))
        .map(|(name, _)| name)
        .collect();
    let names = || {
        let names: Vec<String> = registries.iter().map(|name| format!("\"{name}\"")).collect();
        names.join(" or ")
    };
    let name = match (source, &registries[..]) {
        (Some(name), _) => match sources.get_key_value(name) {
            Some((name, source)) if is_registry(source) => name.clone(),
            Some(_) if registries.is_empty() => {
                s.mistake("source", format!("`{name}` is a folder, where nothing is shared; name a file instead, file = \"state.json\""));
                return SharedState::off("state.source is a folder".to_owned());
            }
            Some(_) => {
                s.mistake(
                    "source",
                    format!(
                        "`{name}` is a folder, where nothing is shared; must be {}",
                        names()
                    ),
                );
                return SharedState::off("state.source is a folder".to_owned());
            }
            None => {
                let mistake = if registries.is_empty() {
                    format!("`{name}` is not a source")
                } else {
                    format!("`{name}` is not a source; must be {}", names())
                };
                s.mistake("source", mistake);
                return SharedState::off("state.source is not a source".to_owned());
            }
        },
        (None, []) => {
            return file.map_or_else(
                || {
                    SharedState::off(
                        "only folders are configured as sources; to keep drains in a file of this bridge: [state] with \
                         file = \"state.json\""
                            .to_owned(),
                    )
                },
                SharedState::File,
            );
        }
        (None, [only]) => (*only).clone(),
        (None, _) if file.is_some() => Arc::from(""),
        (None, _) => {
            return SharedState::off(format!(
                "there are several registries; name the one that holds it: [state] with source = {}",
                names()
            ));
        }
    };
    if file.is_some() {
        s.mistake(
            "file",
            "is for folders only: bridges share what is in a registry; leave it out",
        );
    }
    let Some(at) = sources.get(&name) else {
        return SharedState::off("state.file stands beside registries".to_owned());
    };
    if let Some(why) = misplaced(&prefix, at, sources) {
        if given {
            s.mistake("prefix", why.clone());
        }
        return SharedState::off(format!(
            "state.prefix {why}; set another one: [state] with prefix = \"…/\""
        ));
    }
    SharedState::Registry { source: name, prefix }
}

/// What would be wrong with this prefix in this registry. All sources of its kind count: they may be the same one.
fn misplaced(prefix: &str, at: &SourceConfig, sources: &BTreeMap<Arc<str>, SourceConfig>) -> Option<String> {
    let overlaps = |watched: &str| prefix.starts_with(watched) || watched.starts_with(prefix);
    if matches!(at, SourceConfig::Consul(_)) && prefix.starts_with('/') {
        return Some(format!("`{prefix}` begins with /, which no key of Consul may"));
    }
    for (name, source) in sources {
        let watched: Vec<String> = match (at, source) {
            (SourceConfig::Etcd(_), SourceConfig::Etcd(etcd)) => etcd
                .prefixes
                .iter()
                .map(|watched| watched.prefix.clone())
                .collect(),
            (SourceConfig::Consul(_), SourceConfig::Consul(consul)) => {
                let imported = consul.selection.import.keys.iter();
                let roots = imported.map(|keys| keys.root().to_owned());
                std::iter::once(POLICIES.to_owned()).chain(roots).collect()
            }
            _ => continue,
        };
        if let Some(watched) = watched.iter().find(|watched| overlaps(watched)) {
            return Some(format!(
                "`{prefix}` overlaps `{watched}`, which sources.{name} reads services from"
            ));
        }
    }
    None
}

fn prefix(text: &str) -> Result<String, String> {
    let body = text.strip_prefix('/').unwrap_or(text);
    let right = text.len() <= LONGEST
        && body.strip_suffix('/').is_some_and(|body| {
            !body.contains(char::is_control) && !body.split('/').any(|part| matches!(part, "" | "." | ".."))
        });
    if right {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` must be a path that ends with /, of at most {LONGEST} bytes; for example xds-bridge/"
    ))
}
