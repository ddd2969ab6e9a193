//! What the operator defines for all services: exposures, listeners, and what holds
//! for each cluster. Read from `bridge.toml`; a service may only name an exposure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::drain::DrainRule;
use super::filters::Filters;
use super::listener::Listener;
use super::locality::LocalityRule;
use super::overlay::Overlay;
use super::overrides::Overrides;
use super::path::Paths;
use super::policy::{OnAllUnhealthy, Policy};
use super::rollouts::Mode;

/// All that the operator defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// For each cluster.
    pub clusters: Clusters,
    /// For services by name.
    pub overrides: Overrides,
    /// By name.
    pub exposures: BTreeMap<Arc<str>, Exposure>,
    /// By name.
    pub listeners: BTreeMap<Arc<str>, Listener>,
    /// What no registry knows, by name.
    pub externals: BTreeMap<Arc<str>, External>,
    /// Fleets that see a part of the services, by name or pattern.
    pub fleets: BTreeMap<Arc<str>, Fleet>,
    /// Laid over messages of ours, in this order.
    pub overlays: Vec<Overlay>,
    /// How servers are let go.
    pub drain: DrainRule,
}

/// What the Envoys of a fleet see: `[fleets.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// These services: names, or how names begin.
    pub services: Vec<String>,
    /// The service of the fleet's name, and those that it declares to call.
    pub needs: bool,
}

/// A service that no registry knows: `[external.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// As a policy document would declare it.
    pub policy: Policy,
    /// Host and port of each; none: it has routes only, to a cluster of its name in Envoy's own file, or to others.
    pub addresses: Vec<(String, u16)>,
    /// How Envoy finds the addresses of names. `None`: there are none but IP addresses.
    pub dns: Option<Dns>,
}

/// How Envoy uses the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dns {
    /// Each is a server.
    Strict,
    /// New connections go to the first one.
    Logical,
}

impl Network {
    /// Whether the operator's listeners have a resource of this name.
    #[must_use]
    pub fn has_listener(&self, name: &str) -> bool {
        let by_quic = |(own, l): (&Arc<str>, &Listener)| l.http3_name(own).is_some_and(|n| *n == *name);
        self.listeners.contains_key(name) || self.listeners.iter().any(by_quic)
    }
}

impl Default for Network {
    /// What holds where the operator says nothing: each service is reachable by its name.
    fn default() -> Self {
        Self {
            clusters: Clusters::DEFAULT,
            overrides: Overrides::default(),
            exposures: BTreeMap::from([("internal".into(), Exposure::internal())]),
            listeners: BTreeMap::new(),
            externals: BTreeMap::new(),
            fleets: BTreeMap::new(),
            overlays: Vec::new(),
            drain: DrainRule::DEFAULT,
        }
    }
}

/// What holds for each generated cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clusters {
    /// TCP connect timeout.
    pub connect_timeout: Duration,
    /// What happens when no instance of a service is healthy.
    pub on_all_unhealthy: OnAllUnhealthy,
    /// How often a request that never reached a server is tried on another one.
    pub retries: u32,
    /// Connections to HTTP/1 servers that are idle for this time are closed by Envoy; zero: never. A server
    /// that closes them itself, as the next request comes, fails that request.
    pub idle_timeout: Duration,
    /// Names of `[tls.NAME]` with a CA; true: with a certificate that Envoy shows.
    pub secrets: BTreeMap<Arc<str>, bool>,
    /// The routes of a service stay for this time after its last instance left; zero: they go with it.
    pub keep_routes: Duration,
    /// Whether clients that say where they are prefer near instances.
    pub locality: LocalityRule,
    /// Whether new versions are rolled out step by step.
    pub rollout: Mode,
    /// The figure of servers that is reported where nothing is declared: `rollout-metric`.
    pub metric: Option<Arc<str>>,
}

impl Clusters {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self {
        connect_timeout: Duration::from_secs(1),
        on_all_unhealthy: OnAllUnhealthy::Open,
        // Several servers that stop at once are found dead one after the other: see docs/removals.md.
        retries: 4,
        // Below the 5 s of many servers.
        idle_timeout: Duration::from_secs(4),
        secrets: BTreeMap::new(),
        keep_routes: Duration::from_secs(3600),
        locality: LocalityRule::Off,
        rollout: Mode::Off,
        metric: None,
    };
}

/// A name the operator binds to listeners, and what services may claim there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Hosts that services may claim, also the hosts of routes that name none:
    /// exact, `*.example.com`, or `*`.
    pub hosts: Vec<String>,
    /// Paths that services may claim; `{service}` stands for their name.
    pub paths: Vec<Paths>,
    /// gRPC services that may be claimed: exact, `shop.*`, or `*`.
    pub grpc: Vec<String>,
    /// Each service gets a route for these hosts without declaring one; `{service}` stands for its name.
    pub service_hosts: Vec<String>,
    /// What the operator gives to services by name.
    pub owners: Vec<Owner>,
    /// Names of TLS connections that services may claim: exact, `*.example.com`, or `*`.
    pub sni: Vec<String>,
    /// Ports of its TCP listeners that services may claim.
    pub ports: BTreeSet<u16>,
    /// One of its listeners has a certificate, so that TLS can end there.
    pub certified: bool,
    /// What stands in front of each of its routes.
    pub filters: Filters,
}

/// A part of an exposure that belongs to these services, whatever others claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Exact, `*.example.com`, or `*`; also of names of TLS connections. `:5432`: connections to a port.
    pub host: String,
    /// Below that host.
    pub paths: Paths,
    /// By name.
    pub services: Vec<String>,
}

impl Exposure {
    /// Whether the operator gives these requests to the service.
    #[must_use]
    pub fn gives(&self, host: &str, paths: &Paths, service: &str) -> bool {
        let fits = |owner: &&Owner| is_below(&owner.host, host) && owner.paths.hold(paths);
        let named = |owner: &Owner| owner.services.iter().any(|name| name == service);
        self.owners.iter().filter(fits).any(named)
    }

    /// The built-in `internal` exposure: everything, and each service by its name.
    #[must_use]
    pub fn internal() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            hosts: all(),
            paths: vec![Paths::Segments("/".to_owned())],
            grpc: all(),
            service_hosts: vec!["{service}".to_owned()],
            owners: Vec::new(),
            sni: Vec::new(),
            ports: BTreeSet::new(),
            certified: false,
            filters: Filters::default(),
        }
    }
}

/// Whether a pattern (exact, `*.example.com`, or `*`) holds a host.
#[must_use]
pub fn is_below(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => suffix.is_empty() || (host.ends_with(suffix) && host.len() > suffix.len()),
        None => pattern == host,
    }
}
