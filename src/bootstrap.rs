//! An Envoy bootstrap for one of the three adoption steps, ready to start. Built
//! from the same generators as what is served by xDS. And one for gRPC clients.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use envoy_types::pb::envoy::config::bootstrap::v3::{Admin, Bootstrap};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::{Locality, Node, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::bootstrap::internal_listener::v3::InternalListener;
use prost::{Message as _, Name as _};

mod address;
mod bridge;
mod providers;
mod tls;

pub use address::BridgeAddress;
pub use providers::{Provider, ProviderMistake};
pub use tls::{TlsMistake, TlsWish};

use crate::config::Config;
use crate::model::filters::{Jwt, Keys};
use crate::model::network::is_below;
use crate::model::{
    Bind, Effective, Expose, Listener, Matcher, Policy, Protocol, RouteRule, Secrets, Service, Traffic,
};
use crate::plan::owners::{Contest, decide};
use crate::plan::{Claim, claims as claims_of};
use crate::render::{self, RenderError};
use crate::translate::listener::{Front, Routes, bound};
use crate::translate::{self, cluster, pack};

pub mod grpc;

/// Who is going to read the bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum For {
    /// Envoy: YAML.
    Envoy,
    /// gRPC's own xDS clients: JSON, for `GRPC_XDS_BOOTSTRAP`.
    Grpc,
}

/// How far Envoy's file has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// Clusters, routes and listeners stay in Envoy's file; endpoints come from the bridge.
    Endpoints,
    /// Only listeners stay; clusters, routes and endpoints come from the bridge.
    Clusters,
    /// All comes from the bridge.
    Listeners,
}

/// A service that stands in Envoy's file, `NAME[:PROTOCOL[:ROUTE]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticService {
    name: String,
    protocol: Protocol,
    routes: Vec<RouteRule>,
}

/// What a bootstrap is made for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The step.
    pub step: Step,
    /// `node.id`
    pub node_id: String,
    /// `node.cluster`, the fleet.
    pub fleet: String,
    /// `node.locality.region`
    pub region: String,
    /// `node.locality.zone`
    pub zone: String,
    /// Envoy's own admin port.
    pub admin: SocketAddr,
    /// Where the client reaches the bridge, or several of them; at least one.
    pub bridges: Vec<BridgeAddress>,
    /// For [`Step::Endpoints`].
    pub services: Vec<StaticService>,
    /// Files on the Envoy's machine.
    pub tls: TlsWish,
    /// For gRPC's own clients: files on their machine for TLS to services.
    pub providers: Vec<Provider>,
}

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A step that keeps listeners in the file, and none is configured.
    #[error(
        "no listener for the fleet `{0}` in bridge.toml: add [listeners.NAME] with an address, or name another --node-cluster"
    )]
    NoListener(String),
    /// An address to listen on is none to connect to.
    #[error(
        "{0} is an address to listen on, where nobody can connect to: say where the client reaches the bridge by --bridge HOST:PORT"
    )]
    Unspecified(BridgeAddress),
    /// The same bridge twice.
    #[error("--bridge {0} is given twice")]
    BridgeTwice(BridgeAddress),
    /// Services belong to one step.
    #[error(
        "--service is for step `endpoints` only: in step `{0}` the bridge's own sources say which there are"
    )]
    ServicesElsewhere(Step),
    /// The same name twice.
    #[error("--service {0} is given twice")]
    Twice(String),
    /// Wished for, and on no listener.
    #[error("--service {0}: its route gets onto no listener of this fleet (which exposure allows its host?)")]
    Nowhere(String),
    /// Which clusters?
    #[error(
        "step `endpoints` needs the services that stay in Envoy's file: --service NAME[:PROTOCOL[:ROUTE]]"
    )]
    NoService,
    /// Keys that only the bridge has.
    #[error(
        "the listener has the keys of exposures.{0}.jwt.{1} in it, which come from the bridge as they change: take it from \
         the bridge too (step `listeners`), or let Envoy fetch them by `url`"
    )]
    Keys(String, String),
    /// Files for TLS.
    #[error(transparent)]
    Tls(#[from] TlsMistake),
    /// Files for TLS to services.
    #[error(transparent)]
    Provider(#[from] ProviderMistake),
    /// Printing.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Printing.
    #[error("printing YAML")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A TCP listener of which only the bridge knows whose connections they are.
    #[error(
        "who has the connections of listeners.{0} is decided as services come and go: it cannot stand in Envoy's file; \
         use --step listeners, or say its `service` in bridge.toml"
    )]
    Connections(String),
    /// Printing.
    #[error("printing JSON")]
    Json(#[from] serde_json::Error),
}

impl FromStr for StaticService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let name = parts.next().unwrap_or_default();
        crate::model::service::check_name(name)?;
        let protocol = match parts.next() {
            None => Protocol::Http1,
            Some(word) => Protocol::parse(word)
                .ok_or_else(|| format!("protocol `{word}` must be {}", Protocol::WORDS))?,
        };
        let routes: Vec<RouteRule> = parts
            .next()
            .map(RouteRule::parse)
            .transpose()?
            .into_iter()
            .collect();
        if routes.iter().any(|route| route.matcher.is_of_connections()) {
            return Err(
                "a route with port= or sni= cannot stand in Envoy's file; say `service` in [listeners] of bridge.toml"
                    .to_owned(),
            );
        }
        let grpc = routes
            .iter()
            .any(|route| matches!(route.matcher, Matcher::Grpc(_)));
        if grpc && !matches!(protocol, Protocol::Grpc | Protocol::Http2) {
            return Err(format!(
                "protocol `{}` cannot carry a route `grpc=`; say {name}:grpc:…",
                protocol.as_str()
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            protocol,
            routes,
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoints => "endpoints",
            Self::Clusters => "clusters",
            Self::Listeners => "listeners",
        })
    }
}

/// For those who keep their own clusters and take only the endpoints from the bridge.
const OWN_CLUSTERS: &str = "\
# A cluster of your own keeps its settings; it only becomes `type: EDS`, as below. Two that it then needs:
#   ignore_health_on_host_removal: true
#       with active health checks; else a server that was deregistered keeps its traffic until a check fails
#   common_lb_config: { healthy_panic_threshold: { value: 1 } }
#       else Envoy calls unhealthy servers, too, once more than half of them are
";

/// The bootstrap as YAML.
///
/// # Errors
/// [`BootstrapError`]
pub fn yaml(config: &Config, wish: &Wish) -> Result<String, BootstrapError> {
    let bootstrap = bootstrap(config, wish)?;
    let message = render::message(&Bootstrap::full_name(), &bootstrap.encode_to_vec())?;
    let mut text = format!(
        "# An Envoy for xds-bridge, step `{}`. Start it with: envoy -c FILE\n",
        wish.step
    );
    if wish.step == Step::Endpoints {
        text.push_str(OWN_CLUSTERS);
    }
    let mut text = text.into_bytes();
    let mut serializer = serde_yaml_ng::Serializer::new(&mut text);
    message.serialize_with_options(&mut serializer, &render::options())?;
    drop(serializer);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The same as JSON, with the field names of the `.proto` files.
///
/// # Errors
/// [`BootstrapError`]
pub fn json(config: &Config, wish: &Wish) -> Result<serde_json::Value, BootstrapError> {
    let bootstrap = bootstrap(config, wish)?;
    Ok(render::json(&Bootstrap::full_name(), &bootstrap.encode_to_vec())?)
}

fn bootstrap(config: &Config, wish: &Wish) -> Result<Bootstrap, BootstrapError> {
    if !wish.providers.is_empty() {
        return Err(ProviderMistake::Envoy.into());
    }
    let listeners: Vec<(&Arc<str>, &Listener)> = config
        .listeners
        .iter()
        .filter(|(_, l)| l.fleets.is_empty() || l.fleets.iter().any(|f| **f == *wish.fleet))
        .collect();
    if wish.step != Step::Listeners && listeners.is_empty() {
        return Err(BootstrapError::NoListener(wish.fleet.clone()));
    }
    if wish.step == Step::Endpoints && wish.services.is_empty() {
        return Err(BootstrapError::NoService);
    }
    if wish.step != Step::Endpoints && !wish.services.is_empty() {
        return Err(BootstrapError::ServicesElsewhere(wish.step));
    }
    for (at, service) in wish.services.iter().enumerate() {
        if wish.services[..at].iter().any(|other| other.name == service.name) {
            return Err(BootstrapError::Twice(service.name.clone()));
        }
    }
    let wish = &Wish {
        admin: address::canonical(wish.admin),
        ..wish.clone()
    };
    address::check(&wish.bridges)?;
    let internal = listeners.iter().any(|(_, l)| l.bind == Bind::Internal);
    let mut fixed = StaticResources {
        clusters: vec![Cluster {
            transport_socket: tls::socket(config.xds.tls.as_ref(), &wish.tls, &wish.bridges)?,
            ..bridge::cluster(&wish.bridges)
        }],
        ..StaticResources::default()
    };
    if wish.step != Step::Listeners {
        let services: Vec<Service> = wish.services.iter().map(service).collect();
        check_routes(config, &listeners, &services)?;
        for (name, listener) in &listeners {
            if matches!(listener.traffic, Traffic::Tcp { .. }) {
                let fixed_one = translate::listener::of_one_service(name, listener);
                let missing = || BootstrapError::Connections((*name).to_string());
                fixed.listeners.push(fixed_one.ok_or_else(missing)?);
                continue;
            }
            let routes = match wish.step {
                Step::Endpoints => Routes::Inline(Box::new(inline(config, name, listener, &services))),
                _ => Routes::Discovered,
            };
            let secrets = Secrets::new();
            let front = Front::of(config.exposures.get(&listener.exposure), &secrets);
            let by_file = |issuer: &Jwt| issuer.keys == Keys::File;
            let mut issuers = front.filters.into_iter().flat_map(|filters| &filters.jwt);
            if let Some((issuer, _)) = issuers.find(|(_, issuer)| by_file(issuer)) {
                return Err(BootstrapError::Keys(
                    listener.exposure.to_string(),
                    issuer.to_string(),
                ));
            }
            let message = translate::listener::message(name, listener, &front, routes);
            fixed.listeners.push(message);
        }
        if wish.step == Step::Endpoints {
            let clusters = services.iter();
            fixed.clusters.extend(clusters.map(|s| static_cluster(config, s)));
        }
    }
    Ok(Bootstrap {
        node: Some(Node {
            id: wish.node_id.clone(),
            cluster: wish.fleet.clone(),
            locality: Some(Locality {
                region: wish.region.clone(),
                zone: wish.zone.clone(),
                ..Locality::default()
            }),
            ..Node::default()
        }),
        admin: Some(Admin {
            address: Some(bound(wish.admin)),
            ..Admin::default()
        }),
        dynamic_resources: Some(DynamicResources {
            ads_config: Some(bridge::ads()),
            cds_config: (wish.step != Step::Endpoints).then(cluster::ads),
            lds_config: (wish.step == Step::Listeners).then(cluster::ads),
            ..DynamicResources::default()
        }),
        static_resources: Some(fixed),
        cluster_manager: Some(bridge::load_reports()),
        bootstrap_extensions: internal
            .then(|| TypedExtensionConfig {
                name: "envoy.bootstrap.internal_listener".to_owned(),
                typed_config: Some(pack(&InternalListener::default())),
            })
            .into_iter()
            .collect(),
        ..Bootstrap::default()
    })
}

/// The cluster of a service that stays in Envoy's file.
fn static_cluster(config: &Config, service: &Service) -> Cluster {
    let service = config.overrides.apply(service.clone());
    cluster::message(&service.name, &Effective::of(&service, &config.clusters).cluster)
}

fn service(fixed: &StaticService) -> Service {
    Service {
        name: fixed.name.as_str().into(),
        policy: Policy {
            protocol: Some(fixed.protocol),
            expose: None,
            routes: (1..).zip(fixed.routes.iter().cloned()).collect(),
            ..Policy::default()
        },
        ..Service::default()
    }
}

/// The routes of a listener that stays in Envoy's file. A route that names a host goes where an
/// exposure names that host too, and only else inside: nothing is opened to the outside unasked.
fn inline(
    config: &Config,
    name: &str,
    listener: &Listener,
    services: &[Service],
) -> envoy_types::pb::envoy::config::route::v3::RouteConfiguration {
    let claims: Vec<Claim> = services
        .iter()
        .map(|s| {
            let on = Expose::On(vec![listener.exposure.to_string()]);
            let inside = &*listener.exposure == "internal";
            let here = |rule: &RouteRule| match &rule.hosts[..] {
                [] => inside,
                hosts => hosts.iter().all(|host| inside != named_outside(config, host)),
            };
            let mut routes = s.policy.routes.clone();
            routes.retain(|_, rule| here(rule));
            let policy = Policy {
                expose: Some(on),
                routes,
                ..s.policy.clone()
            };
            Service { policy, ..s.clone() }
        })
        .flat_map(|s| claims_of(&s, &Effective::of(&s, &config.clusters), &config.exposures).claims)
        .filter(|c| c.exposure == listener.exposure)
        .collect();
    let claims: Vec<&Claim> = claims.iter().collect();
    let decided = decide(&claims, &Contest::FRESH);
    translate::route::message(name, &decided.claims)
}

/// Whether another exposure than `internal` lets this host be claimed.
fn named_outside(config: &Config, host: &str) -> bool {
    let others = config.exposures.iter().filter(|(name, _)| &***name != "internal");
    others
        .flat_map(|(_, e)| &e.hosts)
        .any(|pattern| is_below(pattern, host))
}

/// Each declared route must be on some listener: a file that silently leaves one out helps nobody.
fn check_routes(
    config: &Config,
    listeners: &[(&Arc<str>, &Listener)],
    services: &[Service],
) -> Result<(), BootstrapError> {
    for service in services.iter().filter(|s| !s.policy.routes.is_empty()) {
        let alone = std::slice::from_ref(service);
        let placed = |wanted: &RouteRule| {
            listeners.iter().any(|(name, listener)| {
                let routes = inline(config, name, listener, alone);
                let own = |host: &str| wanted.hosts.is_empty() || wanted.hosts.iter().any(|h| h == host);
                routes
                    .virtual_hosts
                    .iter()
                    .any(|v| own(&v.name) && *v.name != *service.name)
            })
        };
        if !service.policy.routes.values().all(placed) {
            return Err(BootstrapError::Nowhere(service.name.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_service_cannot_contradict_itself() {
        for right in [
            "a",
            "a:grpc:grpc=shop.A",
            "a:http2:grpc=shop.A",
            "a:http1:path=/a",
        ] {
            assert!(right.parse::<StaticService>().is_ok(), "{right}");
        }
        for wrong in [
            "a:http1:grpc=shop.A",
            "a:tcp:grpc=shop.A",
            "a:spdy",
            "a:http1:path=a",
        ] {
            assert!(wrong.parse::<StaticService>().is_err(), "{wrong}");
        }
    }
}
