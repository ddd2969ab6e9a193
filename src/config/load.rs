//! Reads the layers and builds a [`Config`], or the list of all that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::Environment;

use crate::model::filters::Callers;
use crate::model::overrides::{pattern, set};
use crate::model::service::check_name;
use crate::model::{LocalityRule, Policy};

use super::drain;
use super::errors;
use super::external;
use super::filters;
use super::fleets;
use super::formats::Formats;
use super::layers::opened;
use super::overlay;
use super::reader::{Mistake, Section, named};
use super::rollouts;
use super::{
    Admin, Cache, Clusters, Config, Exposure, Limits, Log, LogFormat, OnAllUnhealthy, Overrides, Owner,
    listeners, parse, sources, state, tls, webhooks, xds,
};

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// All that is wrong with it.
    Mistakes {
        /// The file.
        path: PathBuf,
        /// In the order of their lines.
        mistakes: Vec<Mistake>,
    },
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::Mistakes { .. } => None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, .. } => {
                write!(
                    f,
                    "reading the configuration {} (name another with --config FILE; the README has one to start from)",
                    path.display()
                )
            }
            Self::Mistakes { path, mistakes } => {
                let noun = if mistakes.len() == 1 {
                    "mistake"
                } else {
                    "mistakes"
                };
                write!(f, "{} {noun} in the configuration", mistakes.len())?;
                for mistake in mistakes {
                    match mistake.line {
                        Some(line) => write!(f, "\n  {}:{line}: {mistake}", path.display())?,
                        None => write!(f, "\n  {}: {mistake}", path.display())?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Reads a file and the environment.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong at once.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let environment = Environment::with_prefix("XDS_BRIDGE")
        .prefix_separator("__")
        .separator("__");
    load_str(path, &text, Some(environment))
}

/// The same on a text; `path` stands in messages, and relative paths are relative to its folder.
///
/// # Errors
/// [`ConfigError::Mistakes`].
pub fn load_str(path: &Path, text: &str, environment: Option<Environment>) -> Result<Config, ConfigError> {
    let fail = |mut mistakes: Vec<Mistake>| {
        mistakes.sort_by_key(|m| (m.line.is_none(), m.line));
        mistakes.dedup();
        Err(ConfigError::Mistakes {
            path: path.to_owned(),
            mistakes,
        })
    };
    let (root, shared) = match opened(text, environment) {
        Ok(opened) => opened,
        Err(mistakes) => return fail(mistakes),
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let built = read(root, base);
    let mistakes = shared.mistakes.take();
    match built {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => fail(mistakes),
    }
}

/// `None` only beside a mistake.
fn read(mut root: Section<'_>, base: &Path) -> Option<Config> {
    let xds = xds::read(root.section("xds"), base);
    let admin = {
        let mut s = root.section("admin");
        let listen = s.get_or("listen", ([127, 0, 0, 1], 18001).into(), parse::socket);
        let hosts = s.list("hosts", parse::admin_host).unwrap_or_default();
        let token_file = s.get("token_file", parse::text).map(|path| base.join(path));
        s.finish();
        Admin {
            listen,
            hosts,
            token_file,
        }
    };
    let log = {
        let mut s = root.section("log");
        let format = s.get_or(
            "format",
            LogFormat::Text,
            parse::word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        );
        let filter = s.get_or("filter", "info".to_owned(), |text| {
            let wrong = |_| format!("`{text}` must be a filter such as info or xds_bridge=debug");
            parse::levels(text)?;
            text.parse::<tracing_subscriber::EnvFilter>()
                .map(|_| text.to_owned())
                .map_err(wrong)
        });
        s.finish();
        Log { format, filter }
    };
    let cache = {
        let mut s = root.section("cache");
        let folder = s.get("folder", parse::text).map(|folder| base.join(folder));
        let max_age = s.get_or("max_age", Duration::from_secs(86_400), parse::duration);
        s.finish();
        folder.map(|folder| Cache { folder, max_age })
    };
    let limits = {
        let mut s = root.section("limits");
        let source_memory = s.get_or("source_memory", 256 << 20, parse::bytes(16 << 20));
        s.finish();
        Limits { source_memory }
    };
    let mut clusters = clusters(root.section("clusters"));
    let overrides = overrides(&mut root);
    let formats = Formats::read(&mut root);
    let sources = sources::read(&mut root, base, &formats);
    let state = state::read(root.section("state"), base, sources.as_ref().map(|(all, _)| all));
    let callers = Arc::new(filters::callers(&mut root));
    let mut jwks = BTreeMap::new();
    let mut exposures = exposures(&mut root, base, &callers, &mut jwks);
    let tls = tls::read(&mut root, base, &xds);
    let trusting = tls.iter().filter(|(_, files)| files.ca.is_some());
    clusters.secrets = trusting
        .map(|(name, files)| (name.clone(), files.identity.is_some()))
        .collect();
    let errors = errors::read(root.section("errors"));
    let listeners = listeners::read(&mut root, &exposures, &tls, errors.as_ref());
    for listener in listeners.iter().flat_map(BTreeMap::values) {
        listeners::serves(listener, &mut exposures);
    }
    let externals = external::read(&mut root, &exposures);
    let fleets = fleets::read(&mut root);
    let overlays = overlay::read(&mut root);
    let drain = drain::read(root.section("drain"));
    let mut rollouts = root.section("rollouts");
    let webhooks = webhooks::read(&mut rollouts, base);
    let rollouts = rollouts::read(rollouts);
    clusters.metric.clone_from(&rollouts.defaults.metric);
    if let Some(listeners) = &listeners {
        filters::fit(&root, listeners, &mut exposures);
    }
    if xds.listen == admin.listen && xds.listen.port() != 0 {
        root.mistake(
            "admin.listen",
            format!(
                "is the same as xds.listen, {}; give each its own port",
                xds.listen
            ),
        );
    }
    root.finish();
    let (sources, priorities) = sources?;
    Some(Config {
        xds,
        admin,
        log,
        clusters,
        overrides,
        cache,
        limits,
        sources,
        priorities,
        state,
        exposures,
        listeners: listeners?,
        tls,
        externals,
        fleets,
        overlays,
        webhooks,
        drain,
        rollouts,
        jwks,
    })
}

fn clusters(mut s: Section<'_>) -> Clusters {
    let connect_timeout = s.get_or("connect_timeout", Duration::from_secs(1), |text| {
        parse::duration(text).and_then(|d| {
            if d.is_zero() {
                Err("must be above 0".to_owned())
            } else {
                Ok(d)
            }
        })
    });
    let on_all_unhealthy = s.get_or(
        "on_all_unhealthy",
        OnAllUnhealthy::Open,
        parse::word(&[
            ("open", OnAllUnhealthy::Open),
            ("closed", OnAllUnhealthy::Closed),
            ("drop", OnAllUnhealthy::Drop),
        ]),
    );
    let retries = s.get_or("retries", 4, parse::count(0, 10));
    let idle_timeout = s.get_or("idle_timeout", Clusters::DEFAULT.idle_timeout, parse::duration);
    let keep_routes = s.get_or("keep_routes", Clusters::DEFAULT.keep_routes, parse::duration);
    let locality = s.get_or("locality", LocalityRule::Off, LocalityRule::parse);
    s.finish();
    Clusters {
        connect_timeout,
        on_all_unhealthy,
        retries: u32::try_from(retries).unwrap_or(10),
        idle_timeout,
        keep_routes,
        locality,
        rollout: Clusters::DEFAULT.rollout,
        metric: None,
        secrets: BTreeMap::new(),
    }
}

fn overrides(root: &mut Section<'_>) -> Overrides {
    let read = |mut s: Section<'_>| {
        if let Err(text) = pattern(s.name()) {
            s.mistake("", text);
        }
        let mut policy = Policy::default();
        for (key, value) in s.pairs() {
            if let Err(text) = set(&mut policy, &key, &value) {
                s.mistake(&key, text);
            }
        }
        (Arc::from(s.name()), policy)
    };
    root.sections("services").into_iter().map(read).collect()
}

fn exposures(
    root: &mut Section<'_>,
    base: &Path,
    callers: &Arc<Callers>,
    jwks: &mut BTreeMap<Arc<str>, PathBuf>,
) -> BTreeMap<Arc<str>, Exposure> {
    let mut internal = Exposure::internal();
    internal.filters.callers = callers.clone();
    let mut exposures = BTreeMap::from([(Arc::from("internal"), internal)]);
    for mut s in root.sections("exposures") {
        named(&s);
        if s.name() == "none" {
            s.mistake("", "`none` is the word for no exposure and cannot name one");
        }
        let internal = s.name() == "internal";
        let default = Exposure::internal();
        let hosts = if internal {
            s.list("hosts", parse::host_pattern)
        } else {
            let missing = "which hosts may services claim? for example hosts = [\"api.example.com\"]";
            s.need_list("hosts", missing, parse::host_pattern)
        };
        let owners = s.lists("owners", parse::place, check_name_of).into_iter();
        let owner = |((host, paths), services)| Owner {
            host,
            paths,
            services,
        };
        let owners = owners.map(owner).collect();
        let filters = filters::read(&mut s, base, callers, jwks);
        let exposure = Exposure {
            owners,
            sni: s.list("sni", parse::host_pattern).unwrap_or_default(),
            filters,
            hosts: hosts.unwrap_or(default.hosts),
            paths: s.list("paths", parse::path_pattern).unwrap_or(default.paths),
            grpc: s.list("grpc", parse::grpc_pattern).unwrap_or(default.grpc),
            service_hosts: s.list("service_hosts", parse::service_host).unwrap_or_else(|| {
                if internal {
                    default.service_hosts
                } else {
                    Vec::new()
                }
            }),
            ..default
        };
        exposures.insert(s.name().into(), exposure);
        s.finish();
    }
    exposures
}

fn check_name_of(service: &str) -> Result<String, String> {
    check_name(service).map(|()| service.to_owned())
}
