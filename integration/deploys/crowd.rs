//! A thousand clients of a bridge that hold the endpoints of some services, as Envoys would; one of them may be late.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use xds_bridge::xds::Kind;

/// Streams of one connection.
const TOGETHER: usize = 50;
const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The clients `client-0`, `client-1`, …; they end with the test.
pub(super) struct Crowd {
    /// Who does not acknowledge now.
    held: watch::Sender<String>,
    _clients: JoinSet<()>,
}

impl Crowd {
    /// Connects them.
    pub(super) async fn start(xds: SocketAddr, number: usize, services: &[&str]) -> Self {
        let (held, _) = watch::channel(String::new());
        let mut clients = JoinSet::new();
        let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
        let mut channel = None;
        for n in 0..number {
            if n % TOGETHER == 0 {
                let endpoint = Endpoint::from_shared(format!("http://{xds}")).expect("a plain address");
                channel = Some(endpoint.connect().await.expect("the discovery port"));
            }
            let channel = channel.clone().expect("a connection");
            let talk = talk(channel, format!("client-{n}"), services.clone(), held.subscribe());
            clients.spawn(talk);
        }
        Self {
            held,
            _clients: clients,
        }
    }

    /// This one acknowledges nothing from now on.
    pub(super) fn hold(&self, client: &str) {
        self.held.send_replace(client.to_owned());
    }

    /// All acknowledge again, also what was held back.
    pub(super) fn release(&self) {
        self.held.send_replace(String::new());
    }
}

async fn talk(channel: Channel, id: String, services: Vec<String>, mut held: watch::Receiver<String>) {
    let (say, said) = mpsc::unbounded_channel();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("the discovery port");
    let node = Node {
        id: id.clone(),
        cluster: "crowd".into(),
        ..Node::default()
    };
    let first = DeltaDiscoveryRequest {
        node: Some(node),
        type_url: Kind::Endpoints.type_url().into(),
        resource_names_subscribe: services,
        ..DeltaDiscoveryRequest::default()
    };
    say.send(first).expect("an open stream");
    let codec = tonic_prost::ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
    let requests = tonic::Request::new(UnboundedReceiverStream::new(said));
    let answer = client.streaming(requests, http::uri::PathAndQuery::from_static(PATH), codec);
    let mut responses = answer.await.expect("a discovery stream").into_inner();
    while let Ok(Some(response)) = responses.message().await {
        let acknowledges = held.wait_for(|held| *held != id).await.is_ok();
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..DeltaDiscoveryRequest::default()
        };
        if !acknowledges || say.send(ack).is_err() {
            return;
        }
    }
}
