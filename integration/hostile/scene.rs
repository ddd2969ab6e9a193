//! One hostile answer: before it, while it lasts, and after it.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Node};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::support::bridge::Bridge;
use crate::support::http::Http;
use crate::support::procfs;

/// What the bridge may have resident at any time, KiB.
const MOST: u64 = 300 << 10;

/// A registry goes on being hostile for so long,
const HOSTILE: Duration = Duration::from_secs(12);

/// and longer where nothing was said yet: silence and slowness are noticed after 20 s.
const AT_MOST: Duration = Duration::from_secs(30);

/// A good registry is followed by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Services of the good registry, each with one instance.
pub(crate) const SERVICES: usize = 100;

/// What a fake gives as its reason to end what belongs to another stage.
pub(crate) const TURNED: &str = "it turned";

/// Letters of what was said that a row shows.
const MOST_SAID: usize = 300;

const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// The name of a service.
pub(crate) fn service(n: usize) -> String {
    format!("svc-{n:03}")
}

/// How the registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Each instance has this port.
    Good(u16),
    Hostile,
}

/// Waits until it is another one.
pub(crate) async fn turned(stage: &mut watch::Receiver<Stage>, before: Stage) {
    let _ = stage.wait_for(|now| *now != before).await; // an error: the proof is over
}

/// A registry that can turn.
pub(crate) trait Registry {
    /// The section of `bridge.toml`.
    fn source(&self) -> String;
    fn stage(&self) -> &watch::Sender<Stage>;
}

pub(crate) struct Outcome {
    peak: u64,
    said: Vec<String>,
    followed: Option<Duration>,
    /// The last lines of its log, when it ended.
    ended: Option<String>,
    quiet: bool,
}

/// Before, while and after. `quiet`: nothing need be said of the answer.
pub(crate) async fn play(registry: impl Registry, quiet: bool) -> Outcome {
    let sources = format!("{}\n[limits]\nsource_memory = \"128MiB\"\n", registry.source());
    let mut bridge = Bridge::start(&sources).await;
    let pid = bridge.program().id();
    // Who is sent all of it meanwhile, as an Envoy is.
    let (port, mut seen) = watch::channel(0);
    let client = tokio::spawn(client(bridge.xds, port));
    drop(tokio::time::timeout(PATIENCE, seen.wait_for(|port| *port == 1)).await);
    let mut said = Vec::new();
    registry.stage().send_replace(Stage::Hostile);
    let turned = std::time::Instant::now();
    let most = if quiet { HOSTILE } else { AT_MOST };
    while (turned.elapsed() < HOSTILE || (said.is_empty() && turned.elapsed() < most))
        && bridge.program().exited().is_none()
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let words = words(&bridge).await;
        if !words.is_empty() {
            said = words;
        }
    }
    registry.stage().send_replace(Stage::Good(2));
    let turned = std::time::Instant::now();
    let following = tokio::time::timeout(PATIENCE, seen.wait_for(|port| *port == 2));
    let followed = following.await.is_ok_and(|seen| seen.is_ok());
    let followed = followed.then(|| turned.elapsed());
    client.abort();
    let ended = bridge.program().exited().map(|status| {
        let log = bridge.log();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        format!("{status}: {}", last.join(" / "))
    });
    Outcome {
        peak: if ended.is_none() { procfs::peak(pid) } else { 0 },
        said,
        followed,
        ended,
        quiet,
    }
}

/// What the bridge says of its source that is not as it should be.
async fn words(bridge: &Bridge) -> Vec<String> {
    let http = Http::fresh();
    let get = async |path: &str| {
        let url = format!("http://{}{path}", bridge.admin);
        http.send("GET", &url, None, "").await.map(|reply| reply.body)
    };
    let ready = get("/readyz").await.unwrap_or_default();
    let Some(line) = ready.lines().find_map(|line| line.strip_prefix("hostile ")) else {
        return vec![];
    };
    if line.contains(TURNED) {
        return vec![]; // the fake's own doing
    }
    // "(consul): live, 100 services, 100 instances", and whatever is wrong.
    let line = line.split_once(": ").map_or(line, |(_, line)| line);
    let wrong = if line.starts_with("live, ") {
        line.split_once("; ").map(|(_, wrong)| wrong.to_owned())
    } else {
        Some(line.to_owned())
    };
    let mut words: Vec<String> = wrong.into_iter().collect();
    if line.contains("/sources") {
        let text = get("/sources").await.unwrap_or_default();
        let all: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let issue = all.pointer("/sources/0/entries/first/0/reason");
        words.extend(issue.map(ToString::to_string));
    }
    words
}

/// Shows the port of the instance at 10.0.0.1 of one service, of a client that wants the endpoints of all of them.
async fn client(xds: SocketAddr, port: watch::Sender<u32>) {
    let Ok(client) = AggregatedDiscoveryServiceClient::connect(format!("http://{xds}")).await else {
        return;
    };
    let first = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "proof".to_owned(),
            cluster: "proof".to_owned(),
            ..Node::default()
        }),
        type_url: ENDPOINTS.to_owned(),
        resource_names_subscribe: (0..SERVICES).map(service).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let (ack, acks) = mpsc::unbounded_channel();
    drop(ack.send(first));
    let mut client = client.max_decoding_message_size(usize::MAX);
    let requests = UnboundedReceiverStream::new(acks);
    let Ok(responses) = client.delta_aggregated_resources(requests).await else {
        return;
    };
    let mut responses = responses.into_inner();
    while let Ok(Some(response)) = responses.message().await {
        drop(ack.send(DeltaDiscoveryRequest {
            type_url: ENDPOINTS.to_owned(),
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        }));
        let ours = response.resources.into_iter().filter(|r| r.name == service(50));
        for any in ours.filter_map(|resource| resource.resource) {
            let assignment = ClusterLoadAssignment::decode(any.value.as_slice()).unwrap_or_default();
            if let Some(seen) = of_the_good_one(&assignment) {
                port.send_replace(seen);
            }
        }
    }
}

fn of_the_good_one(assignment: &ClusterLoadAssignment) -> Option<u32> {
    let all = assignment
        .endpoints
        .iter()
        .flat_map(|locality| &locality.lb_endpoints);
    // Who left a moment ago lingers.
    let serving = all.filter(|endpoint| endpoint.health_status != i32::from(HealthStatus::Draining));
    let mut ports = serving.filter_map(|endpoint| {
        let HostIdentifier::Endpoint(endpoint) = endpoint.host_identifier.as_ref()? else {
            return None;
        };
        let Address::SocketAddress(at) = endpoint.address.as_ref()?.address.as_ref()? else {
            return None;
        };
        let PortSpecifier::PortValue(port) = at.port_specifier.as_ref()? else {
            return None;
        };
        (at.address == "10.0.0.1" && *port < 10).then_some(*port)
    });
    ports.next()
}

impl Outcome {
    /// One row; whether all is as it should be.
    pub(crate) fn print(&self, registry: &str, name: &str) -> bool {
        let right = self.ended.is_none()
            && self.peak <= MOST
            && self.followed.is_some()
            && (self.quiet || !self.said.is_empty());
        let mark = if right { "" } else { "**FAILED** " };
        let followed = self.followed.map_or_else(
            || "no".to_owned(),
            |after| format!("{:.1} s", after.as_secs_f64()),
        );
        let peak = self
            .ended
            .clone()
            .unwrap_or_else(|| (self.peak >> 10).to_string());
        let said = self.said.join("; ").replace('|', "¦");
        let said: String = said.chars().take(MOST_SAID).collect();
        println!("| {registry} | {mark}{name} | {peak} | {said} | {followed} |");
        right
    }
}
