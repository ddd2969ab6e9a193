//! A delta client that holds the endpoints of all services, as Envoys would together, and can
//! be compared with what a registry says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Node};
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;
use xds_bridge::xds::Kind;

use super::wait;

/// Services by name, and whether each of their endpoints is healthy.
pub(crate) type Endpoints = BTreeMap<String, BTreeMap<SocketAddr, bool>>;

/// What the client holds; it ends when this is dropped.
pub(crate) struct Mirror {
    held: Arc<Mutex<Endpoints>>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Subscribes to the endpoints of everything, and says of each service what it has now.
    pub(crate) async fn of(
        xds: SocketAddr,
        mut hear: impl FnMut(&str, &BTreeMap<SocketAddr, bool>) + Send + 'static,
    ) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{xds}"))
            .expect("a plain address")
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(16 << 20)
            .tcp_nodelay(true);
        // Closed until each source has delivered.
        let channel = wait::until(wait::PATIENCE, "the discovery port", async || {
            endpoint.connect().await.map_err(|error| error.to_string())
        })
        .await;
        let (say, said) = mpsc::unbounded_channel();
        let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
        client.ready().await.expect("the discovery port");
        let node = Node {
            id: "mirror".into(),
            cluster: "proof".into(),
            ..Node::default()
        };
        say.send(DeltaDiscoveryRequest {
            node: Some(node),
            type_url: Kind::Endpoints.type_url().into(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        })
        .expect("an open stream");
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let codec = tonic_prost::ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let requests = tonic::Request::new(UnboundedReceiverStream::new(said));
        let answer = client.streaming(requests, http::uri::PathAndQuery::from_static(path), codec);
        let mut responses = answer.await.expect("a discovery stream").into_inner();
        let held = Arc::new(Mutex::new(Endpoints::new()));
        let shared = held.clone();
        let task = tokio::spawn(async move {
            while let Ok(Some(response)) = responses.message().await {
                let ack = DeltaDiscoveryRequest {
                    type_url: response.type_url,
                    response_nonce: response.nonce,
                    ..DeltaDiscoveryRequest::default()
                };
                drop(say.send(ack)); // an error means: the stream has ended
                for resource in response.resources {
                    let body = resource.resource.expect("a resource with a body").value;
                    let assignment = ClusterLoadAssignment::decode(&*body).expect("endpoints");
                    let endpoints = read(&assignment);
                    hear(&resource.name, &endpoints);
                    shared
                        .lock()
                        .expect("nobody panics")
                        .insert(resource.name, endpoints);
                }
                for name in response.removed_resources {
                    shared.lock().expect("nobody panics").remove(&name);
                }
            }
        });
        Self { held, task }
    }

    /// What it holds now.
    pub(crate) fn held(&self) -> Endpoints {
        self.held.lock().expect("nobody panics").clone()
    }

    /// Waits until it holds exactly this.
    pub(crate) async fn is(&self, within: Duration, wanted: &Endpoints) {
        wait::until(within, "the client holds what the registry says", async || {
            let held = self.held.lock().expect("nobody panics");
            wait::holds(*held == *wanted, || difference(&held, wanted))
        })
        .await;
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(assignment: &ClusterLoadAssignment) -> BTreeMap<SocketAddr, bool> {
    let all = assignment.endpoints.iter().flat_map(|l| &l.lb_endpoints);
    all.map(|endpoint| {
        let Some(HostIdentifier::Endpoint(host)) = &endpoint.host_identifier else {
            panic!("an endpoint without an address: {endpoint:?}")
        };
        let address = host.address.as_ref().and_then(|a| a.address.as_ref());
        let Some(Address::SocketAddress(socket)) = address else {
            panic!("an endpoint without a socket: {endpoint:?}")
        };
        let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
            panic!("an endpoint without a port: {endpoint:?}")
        };
        let ip: IpAddr = socket.address.parse().expect("an IP address");
        let port = u16::try_from(port).expect("a port");
        let healthy = endpoint.health_status == HealthStatus::Healthy as i32;
        (SocketAddr::new(ip, port), healthy)
    })
    .collect()
}

/// How many services differ, and the first few.
fn difference(held: &Endpoints, wanted: &Endpoints) -> String {
    let names: std::collections::BTreeSet<&String> = held.keys().chain(wanted.keys()).collect();
    let differ: Vec<&String> = names
        .into_iter()
        .filter(|name| held.get(*name) != wanted.get(*name))
        .collect();
    let first: Vec<String> = differ
        .iter()
        .take(3)
        .map(|name| format!("{name}: {:?} instead of {:?}", held.get(*name), wanted.get(*name)))
        .collect();
    format!("{} services differ: {}", differ.len(), first.join("; "))
}
