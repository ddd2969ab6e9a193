//! From a static Envoy file to the bridge: what moves, as documents and a `bridge.toml`, and what stays, with the field
//! that keeps it. Pure: the file comes in as text, and what is to be written goes out as text.

mod action;
mod around;
mod assemble;
mod at;
mod bootstraps;
mod changes;
mod connections;
mod documents;
mod listeners;
pub mod loopback;
mod matches;
mod order;
mod print;
pub mod probe;

mod read;
mod report;
mod routes;
mod table;
mod upstream;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::Value;

pub use report::{Change, Item, Report, Rest};
pub use upstream::Known;

/// Why nothing can be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The file.
    #[error("reading Envoy's file: {0}")]
    Read(String),
    /// It has an aggregated stream already.
    #[error(
        "the file has a dynamic_resources.ads_config: an Envoy has one such stream, and it belongs to another control plane"
    )]
    Taken,
    /// The bridge's part of the bootstraps.
    #[error("the bootstraps")]
    Bootstrap(#[from] crate::bootstrap::BootstrapError),
    /// What was made of it.
    #[error("bridge.toml")]
    Config(#[from] crate::config::ConfigError),
    /// Printing.
    #[error("printing YAML")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// Printing.
    #[error("printing JSON")]
    Json(#[from] serde_json::Error),
    /// Printing.
    #[error(transparent)]
    Render(#[from] crate::render::RenderError),
}

/// What becomes of listeners that the bridge can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Listeners {
    /// They stay in the file; their routes come from the bridge.
    Keep,
    /// The bridge serves those that it can serve as they are.
    #[default]
    Move,
}

/// Where the policy documents go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Registry {
    /// Consul's KV.
    #[default]
    Consul,
    /// etcd.
    Etcd,
}

/// What the user says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Listeners that could move.
    pub listeners: Listeners,
    /// The registry in use.
    pub registry: Registry,
    /// Clusters whose place the file does not say.
    pub known: Known,
}

/// A section `[external.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// `host:port`; none: its cluster, if any, stays in Envoy's file.
    pub addresses: Vec<String>,
    /// `strict` or `logical`.
    pub dns: Option<&'static str>,
    /// As a service declares them.
    pub keys: BTreeMap<String, String>,
}

/// A section `[listeners.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// None: inside the same Envoy.
    pub address: Option<SocketAddr>,
    /// Its exposure.
    pub exposure: String,
    /// It takes connections whole.
    pub tcp: bool,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// Protocols that requests may be upgraded to.
    pub upgrades: Vec<String>,
    /// The name of `[tls.NAME]`.
    pub tls: Option<String>,
    /// `stdout`, or a file.
    pub access_log: Option<String>,
    /// Further keys, as they are written.
    pub more: Vec<(&'static str, String)>,
}

/// A section `[exposures.NAME]`: what services may claim there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposed {
    /// Of requests.
    pub hosts: Vec<String>,
    /// Names of TLS, of connections.
    pub sni: Vec<String>,
}

/// A section `[tls.NAME]`: files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain and its key.
    pub own: Option<(String, String)>,
    /// Who signs the others.
    pub ca: Option<String>,
}

/// All that an adoption makes.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// The user's file.
    pub file: Value,
    /// Policy documents, by service: the keys of each.
    pub documents: BTreeMap<String, BTreeMap<String, String>>,
    /// By name.
    pub externals: BTreeMap<String, External>,
    /// By name.
    pub exposures: BTreeMap<String, Exposed>,
    /// By name.
    pub listeners: BTreeMap<String, Served>,
    /// By name.
    pub tls: BTreeMap<String, Identity>,
    /// What became of everything.
    pub report: Report,
    plan: Plan,
}

/// What becomes of the parts of the file in its bootstraps.
#[derive(Clone, Debug, Default)]
struct Plan {
    /// Names of clusters whose servers a registry knows, with the service's.
    registered: BTreeMap<String, String>,
    /// Names of clusters that the bridge serves.
    moved: BTreeSet<String>,
    /// By listener.
    listeners: Vec<Layout>,
}

/// What becomes of a listener.
#[derive(Clone, Debug)]
enum Layout {
    /// The bridge serves it from the third step on.
    Moved(Vec<Chain>),
    /// It stays, with these connection managers.
    Stays(Vec<Chain>),
}

/// What becomes of a connection manager whose listener stays.
#[derive(Clone, Debug)]
struct Chain {
    place: (usize, usize),
    routes: Source,
}

/// Where the routes of a connection manager come from.
#[derive(Clone, Debug)]
enum Source {
    /// From the file, as before.
    File,
    /// From the bridge, by this name.
    Bridge(String),
    /// Some from the file, all others by this listener of the bridge inside the same Envoy. Which routes of each
    /// virtual host stay.
    Both(String, Vec<Vec<bool>>),
}

/// Reads a file and decides what becomes of all that stands in it.
///
/// # Errors
/// [`AdoptError`]
pub fn adopt(text: &str, options: &Options) -> Result<Adopted, AdoptError> {
    let file = read::read(text).map_err(AdoptError::Read)?;
    if file["dynamic_resources"]["ads_config"].is_object() {
        return Err(AdoptError::Taken);
    }
    Ok(assemble::assemble(file, options))
}

impl Adopted {
    /// The text of `bridge.toml`.
    #[must_use]
    pub fn bridge_toml(&self, registry: Registry) -> String {
        print::bridge_toml(self, &print::source(registry))
    }

    /// The same with another section for the source.
    #[must_use]
    pub fn bridge_toml_of(&self, source: &str) -> String {
        print::bridge_toml(self, source)
    }

    /// The policy documents, by the names of their files.
    ///
    /// # Errors
    /// [`AdoptError::Json`]
    pub fn policies(&self) -> Result<Vec<(String, String)>, AdoptError> {
        let files = self.documents.iter().map(|(service, keys)| {
            let text = serde_json::to_string_pretty(keys)? + "\n";
            Ok((print::file_name(service), text))
        });
        files.collect()
    }

    /// The bootstraps of the three steps.
    ///
    /// # Errors
    /// [`AdoptError`]
    pub fn bootstraps(&self) -> Result<[Value; 3], AdoptError> {
        bootstraps::bootstraps(self)
    }

    /// `report.md`
    #[must_use]
    pub fn report_md(&self, registry: Registry) -> String {
        print::report(self, registry)
    }
}
