//! A discovery port in this process, and a client that says just what a test wants it to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use xds_bridge::clock;
use xds_bridge::fanout::Fanout;
use xds_bridge::grpc::{self, Options};
use xds_bridge::intake::Loads;
use xds_bridge::metrics::Metrics;
use xds_bridge::xds::{DeltaRequest, Draft, Kind, Node, Reach, Update};

use crate::pki::{BRIDGE, Ca, Pair};

/// A busy machine gets so long; nothing here takes it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A port that serves clusters `c0`, `c1`, … and their endpoints.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) loads: Arc<Loads>,
    fanout: Arc<Fanout>,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Port {
    pub(crate) async fn start(options: Options, clusters: usize, max_streams: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = Self {
            address: listener.local_addr().unwrap(),
            metrics: Arc::new(Metrics::default()),
            loads: Arc::default(),
            fanout: Arc::new(Fanout::new(max_streams, false)),
            stop: CancellationToken::new(),
        };
        let names: Vec<String> = (0..clusters).map(|n| format!("c{n}")).collect();
        port.publish(&names, "one");
        tokio::spawn(grpc::serve(
            listener,
            port.fanout.clone(),
            port.loads.clone(),
            port.metrics.clone(),
            options,
            port.stop.clone(),
        ));
        port
    }

    pub(crate) fn publish(&self, names: &[String], content: &str) {
        let draft = |kind, name: &String| {
            Update::Put(Draft {
                kind,
                name: name.as_str().into(),
                body: content.to_owned().into(),
                needs: if kind == Kind::Cluster {
                    vec![name.as_str().into()]
                } else {
                    Vec::new()
                },
                reach: Reach::All,
                local: None,
            })
        };
        let updates: Vec<Update> = names
            .iter()
            .flat_map(|name| [draft(Kind::Cluster, name), draft(Kind::Endpoints, name)])
            .collect();
        self.fanout.publish(&updates, clock::now());
    }

    /// How many names are known.
    pub(crate) fn names(&self) -> usize {
        self.fanout.names()
    }

    /// The value of a series of `/metrics`; 0 before it is there.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.metrics.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until it is this.
    pub(crate) async fn metric_is(&self, series: &str, wanted: u64) {
        let reached = async {
            while self.metric(series) != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(PATIENCE, reached).await;
        assert!(done.is_ok(), "{series} is {}, not {wanted}", self.metric(series));
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap()
    }

    pub(crate) async fn plain(&self) -> Result<Channel, Status> {
        connect(self.endpoint()).await
    }

    pub(crate) async fn tls(&self, ca: &Ca, client: Option<&Pair>) -> Result<Channel, Status> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ca.pem))
            .domain_name(BRIDGE);
        if let Some(client) = client {
            tls = tls.identity(Identity::from_pem(&client.certificate, &client.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        connect(endpoint.tls_config(tls).unwrap()).await
    }
}

async fn connect(endpoint: Endpoint) -> Result<Channel, Status> {
    let connected = tokio::time::timeout(PATIENCE, endpoint.connect()).await;
    connected
        .expect("an answer")
        .map_err(|error| Status::new(Code::Unavailable, format!("{error:?}")))
}

/// `DeltaDiscoveryResponse`; what the resources are does not matter here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) resources: Vec<Bytes>,
    #[prost(string, tag = "4")]
    pub(crate) type_url: String,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
}

/// One stream.
pub(crate) struct Talk {
    node: Option<Node>,
    requests: mpsc::Sender<DeltaRequest>,
    answers: Streaming<Answer>,
}

impl Talk {
    /// Opened, and its headers there; nothing is said yet.
    pub(crate) async fn open(channel: &Channel, id: &str, fleet: &str) -> Result<Self, Status> {
        let (requests, said) = mpsc::channel(100);
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        let opened = async {
            grpc.ready()
                .await
                .map_err(|e| Status::unavailable(format!("{e:?}")))?;
            let codec = ProstCodec::<DeltaRequest, Answer>::default();
            let request = tonic::Request::new(ReceiverStream::new(said));
            grpc.streaming(request, PathAndQuery::from_static(ADS), codec)
                .await
        };
        let answers = tokio::time::timeout(PATIENCE, opened).await.expect("headers")?;
        Ok(Self {
            node: Some(Node {
                id: id.to_owned(),
                cluster: fleet.to_owned(),
                user_agent: "envoy".to_owned(),
                ..Node::default()
            }),
            requests,
            answers: answers.into_inner(),
        })
    }

    /// It will not say who it is.
    pub(crate) fn forget_node(&mut self) {
        self.node = None;
    }

    pub(crate) async fn say(&mut self, kind: Kind, request: DeltaRequest) {
        let request = DeltaRequest {
            node: self.node.take(),
            type_url: kind.type_url().to_owned(),
            ..request
        };
        // A stream that has ended says so when it is listened to.
        let _ = self.requests.send(request).await;
    }

    /// `None`: the stream ended with OK.
    pub(crate) async fn hear(&mut self) -> Result<Option<Answer>, Status> {
        let heard = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        heard.expect("an answer in time")
    }

    /// Asks for all clusters; how many there are.
    pub(crate) async fn clusters(&mut self) -> Result<usize, Status> {
        self.say(Kind::Cluster, DeltaRequest::default()).await;
        Ok(self.hear().await?.expect("clusters").resources.len())
    }
}

/// Opens a stream, asks for the clusters, and keeps the stream.
pub(crate) async fn served(channel: Result<Channel, Status>, id: &str, fleet: &str) -> Result<Talk, Status> {
    let mut talk = Talk::open(&channel?, id, fleet).await?;
    talk.clusters().await?;
    Ok(talk)
}

/// The code that this ended with.
pub(crate) fn code(ended: Result<Talk, Status>) -> Code {
    ended.err().expect("a refusal").code()
}
