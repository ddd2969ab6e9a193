//! `bridge.toml`, read and checked: strings end here. Every mistake in a file is
//! reported at once, with its line, what is wrong and what would be right.
//!
//! Layers, weakest first: defaults, the file, `XDS_BRIDGE__SECTION__KEY` variables.

mod drain;
mod errors;
mod external;
mod filters;
mod fleets;
mod formats;
mod layers;
mod listeners;
mod load;
mod overlay;
mod parse;
mod reader;
mod rollouts;
mod sources;
mod state;
mod tls;
mod webhooks;
mod xds;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{DrainRule, Network};

pub use crate::model::listener::{AccessLog, Bind, Listener, ListenerTls};
pub use crate::model::network::{Clusters, Dns, Exposure, External, Fleet, Owner};
pub use crate::model::overlay::Overlay;
pub use crate::model::overrides::Overrides;
pub use crate::model::policy::OnAllUnhealthy;
pub use formats::{Condition, Field, Format, Named, PRESETS, Pattern, Scheme, Value};
pub use load::{ConfigError, load, load_str};
pub use reader::Mistake;
pub use rollouts::Rollouts;
pub use sources::{
    Check, ClientTls, ConsulSelection, ConsulSource, EtcdLogin, EtcdPrefix, EtcdSource, FabioImport,
    FabioMatcher, FileSource, Import, KeysOf, NAMES, SourceConfig, TraefikImport,
};
pub use state::SharedState;
pub use webhooks::{EVENTS as WEBHOOK_EVENTS, Webhook, WebhookKind};

/// The whole configuration, valid as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[xds]`
    pub xds: Xds,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[clusters]`: what holds for each generated cluster.
    pub clusters: Clusters,
    /// `[services."PATTERN"]`: keys that are stronger than what services declare.
    pub overrides: Overrides,
    /// `[cache]`
    pub cache: Option<Cache>,
    /// `[limits]`
    pub limits: Limits,
    /// `[sources.NAME]`
    pub sources: BTreeMap<Arc<str>, SourceConfig>,
    /// `sources.NAME.priority`, where it is above 0: its instances stand behind those of the others.
    pub priorities: BTreeMap<Arc<str>, u32>,
    /// `[state]`
    pub state: SharedState,
    /// `[exposures.NAME]`; `internal` is always there.
    pub exposures: BTreeMap<Arc<str>, Exposure>,
    /// `[listeners.NAME]`
    pub listeners: BTreeMap<Arc<str>, Listener>,
    /// `[tls.NAME]`: what Envoys get by name.
    pub tls: BTreeMap<Arc<str>, SecretFiles>,
    /// `[external.NAME]`
    pub externals: BTreeMap<Arc<str>, External>,
    /// `[fleets.NAME]`
    pub fleets: BTreeMap<Arc<str>, Fleet>,
    /// `[[overlay]]`
    pub overlays: Vec<Overlay>,
    /// `[[rollouts.webhook]]`
    pub webhooks: Vec<Webhook>,
    /// `[drain]`
    pub drain: DrainRule,
    /// `[rollouts]`
    pub rollouts: Rollouts,
    /// Files with the keys of issuers of tokens, by [`crate::model::Secret::jwks_name`].
    pub jwks: BTreeMap<Arc<str>, PathBuf>,
}

impl Config {
    /// All files that are followed for what Envoys get, by name.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<Arc<str>, SecretFiles> {
        let keys = self.jwks.iter().map(|(name, file)| {
            let files = SecretFiles {
                jwks: Some(file.clone()),
                ..SecretFiles::default()
            };
            (name.clone(), files)
        });
        self.tls.clone().into_iter().chain(keys).collect()
    }

    /// What it defines for all services.
    #[must_use]
    pub fn network(&self) -> Network {
        Network {
            clusters: self.clusters.clone(),
            overrides: self.overrides.clone(),
            exposures: self.exposures.clone(),
            listeners: self.listeners.clone(),
            externals: self.externals.clone(),
            fleets: self.fleets.clone(),
            overlays: self.overlays.clone(),
            drain: self.drain,
        }
    }
}

impl Xds {
    /// Whether keys may be sent to clients: whoever may connect from another machine has to show a certificate.
    #[must_use]
    pub fn may_send_keys(&self) -> bool {
        let certified = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        certified || self.listen.ip().is_loopback()
    }
}

/// `[tls.NAME]`: paths, relative to `bridge.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFiles {
    /// The chain, leaf first, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whom the holder trusts.
    pub ca: Option<PathBuf>,
    /// The keys of an issuer of tokens (`exposures.NAME.jwt.NAME.file`).
    pub jwks: Option<PathBuf>,
}

/// The discovery port and how changes are gathered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xds {
    /// Where Envoy connects to.
    pub listen: SocketAddr,
    /// Without TLS the port answers on loopback only, unless this says otherwise.
    pub allow_plaintext: bool,
    /// How long it must be quiet before a change is served (the first one after a quiet time is served at once).
    pub settle: Duration,
    /// The longest time from the first change of a burst until it is served.
    pub settle_max: Duration,
    /// How long tasks and streams may take to end at shutdown.
    pub shutdown_timeout: Duration,
    /// Discovery streams at once, in all.
    pub max_streams: usize,
    /// Names one stream may subscribe to, per type.
    pub max_names: usize,
    /// `on_rejected = "hold"`: newcomers of a fleet that rejects a version get the content before it.
    pub hold_rejected: bool,
    /// Connections at once.
    pub max_connections: usize,
    /// Streams at once on one connection.
    pub max_streams_per_connection: u32,
    /// One request's size.
    pub max_request_bytes: usize,
    /// Bytes of requests that have begun, in all.
    pub max_request_memory: usize,
    /// Requests read from one stream.
    pub max_requests_per_second: u32,
    /// Streams that begin.
    pub new_streams_per_second: u32,
    /// First responses being made and sent.
    pub max_first_responses: usize,
    /// Streams end with OK at about this age; zero: never.
    pub max_stream_age: Duration,
    /// `[xds.tls]`; plaintext without.
    pub tls: Option<TlsFiles>,
    /// `[[xds.clients]]`; none: any client may be any node.
    pub clients: Vec<ClientRule>,
}

/// `[xds.tls]`: paths, relative to `bridge.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs clients; with it they must show a certificate.
    pub client_ca: Option<PathBuf>,
    /// Which of its certificates are revoked.
    pub crl: Option<PathBuf>,
}

/// `[[xds.clients]]`: which certificate may claim which nodes. `*` stands for one character or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRule {
    /// A URI, or `dns:` and a name.
    pub san: String,
    /// `node.id`
    pub node_ids: Vec<String>,
    /// `node.cluster`
    pub fleets: Vec<String>,
}

/// The operator's port: health, metrics, dumps. Never for Envoy's data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names by which it may be asked, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// What changes something shows the token in this file; without one only this machine may.
    pub token_file: Option<PathBuf>,
}

/// Where the last known state of the registries is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// One file per source; relative paths are relative to `bridge.toml`.
    pub folder: PathBuf,
    /// Older files are not used.
    pub max_age: Duration,
}

/// What the program may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that answers of all registries under way hold together.
    pub source_memory: usize,
}

/// Log output, on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Text or JSON lines.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `xds_bridge=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
