//! The way to one bridge, step by step: name, connection, TLS, stream, first answers.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::file::{Bridge, Tls, Way};
use super::{Failure, Step};
use crate::text::chain;
use crate::xds::{DOCTOR, DeltaRequest, Kind, Node};

/// For each step.
const PATIENCE: Duration = Duration::from_secs(10);
const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// An answer is at most this long, bytes.
const ANSWER: usize = 256 << 20;

/// `DeltaDiscoveryResponse`, as far as it is counted.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(bytes = "bytes", repeated, tag = "2")]
    resources: Vec<Bytes>,
    #[prost(string, tag = "4")]
    type_url: String,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// Tries each step until one fails. True: the last one works, which an address that refuses does not prevent where
/// another one takes connections.
pub(super) async fn walk(
    way: &Way,
    bridge: &Bridge,
    say: &mut impl FnMut(Step) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let addresses = match names(bridge).await {
        Ok((addresses, step)) => {
            say(step)?;
            addresses
        }
        Err(step) => return say(step).map(|()| false),
    };
    let mut reached = false;
    for address in &addresses {
        let step = connects(*address).await;
        reached |= step.fix.is_none();
        say(step)?;
    }
    // Envoy takes the next address, too.
    if !reached {
        return Ok(false);
    }
    let channel = match speaks(way, bridge).await {
        Ok((channel, step)) => {
            say(step)?;
            channel
        }
        Err(step) => return say(step).map(|()| false),
    };
    let steps = match asks(way, channel).await {
        Ok(steps) => steps,
        Err(step) => vec![step],
    };
    let works = steps.iter().all(|step| step.fix.is_none());
    steps.into_iter().try_for_each(say)?;
    Ok(works)
}

async fn names(bridge: &Bridge) -> Result<(Vec<SocketAddr>, Step), Step> {
    let found = timeout(PATIENCE, lookup_host((bridge.host.as_str(), bridge.port))).await;
    let fix = "write the name that this machine resolves, or an IP address, into the bootstrap \
               (xds-bridge bootstrap --bridge HOST:PORT)";
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return Err(Step::fails(format!("the name does not resolve: {error}"), fix)),
        Err(_) => return Err(Step::fails("the name does not resolve in time", fix)),
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let step = Step::works(format!("the name resolves: {}", shown.join(", ")));
    if addresses.is_empty() {
        return Err(Step::fails("the name has no address", fix));
    }
    Ok((addresses, step))
}

async fn connects(address: SocketAddr) -> Step {
    let fix = "is the bridge running and ready (its /readyz)? It listens where `xds.listen` says, not on loopback for another \
               machine; a firewall may be in between";
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Step::works(format!("{address} takes connections")),
        Ok(Err(error)) => Step::fails(format!("{address} takes no connection: {error}"), fix),
        Err(_) => Step::fails(format!("{address} does not answer"), fix),
    }
}

/// TLS, where the bootstrap has it, and HTTP/2.
async fn speaks(way: &Way, bridge: &Bridge) -> Result<(Channel, Step), Step> {
    let scheme = if way.tls.is_some() { "https" } else { "http" };
    let host = if bridge.host.contains(':') {
        format!("[{}]", bridge.host)
    } else {
        bridge.host.clone()
    };
    let fix = "write an address into the bootstrap that is one";
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{}", bridge.port))
        .map_err(|error| Step::fails(format!("the address is none: {error}"), fix))?
        .connect_timeout(PATIENCE);
    let endpoint = match &way.tls {
        None => endpoint,
        Some(tls) => {
            let config = files(tls, bridge)?;
            let fix = "the files must be PEM: a CA, a certificate and its key";
            let bad = |error| Step::fails(format!("the TLS files cannot be used: {}", chain(&error)), fix);
            endpoint.tls_config(config).map_err(bad)?
        }
    };
    match timeout(PATIENCE, endpoint.connect()).await {
        Ok(Ok(channel)) => {
            let text = if way.tls.is_some() {
                "TLS works: the bridge is who it should be"
            } else {
                "it is reached without TLS"
            };
            Ok((channel, Step::works(text)))
        }
        Ok(Err(error)) => Err(refused(&chain(&error), way.tls.is_some())),
        Err(_) => Err(refused("no answer in time", way.tls.is_some())),
    }
}

fn files(tls: &Tls, bridge: &Bridge) -> Result<ClientTlsConfig, Step> {
    let read = |file: &String| {
        std::fs::read(file).map_err(|error| {
            let fix =
                "the paths in the bootstrap begin where Envoy is started; run this there, as the same user";
            Step::fails(format!("{file} cannot be read: {error}"), fix)
        })
    };
    let name = tls.name.as_ref().unwrap_or(&bridge.host);
    let mut config = ClientTlsConfig::new().domain_name(name);
    if let Some(ca) = &tls.ca {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(config)
}

/// What the words of a failed connection mean.
fn refused(words: &str, tls: bool) -> Step {
    let has = |part: &str| words.to_ascii_lowercase().contains(part);
    let fix = if !tls {
        "does the port speak TLS ([xds.tls])? Then print the bootstrap again with --ca, and --cert and --key (docs/tls.md)"
    } else if has("unknownissuer") || has("unknown issuer") || has("badsignature") {
        "the CA in the bootstrap did not sign the bridge's certificate: take the CA of `xds.tls.certificate`"
    } else if has("notvalidforname") || has("not valid for name") {
        "the bridge's certificate has another name: make it with that of the bootstrap, or say --sni NAME"
    } else if has("expired") {
        "the bridge's certificate has expired: make another one, which is read within a second"
    } else if has("certificaterequired")
        || has("certificate required")
        || has("handshakefailure")
        || has("unknownca")
    {
        "the bridge wants a certificate of its client CA: --cert and --key of one that it signed"
    } else if has("corrupt message") || has("invalidcontenttype") || has("invalid content type") {
        "the port does not speak TLS: add [xds.tls] to bridge.toml, or print the bootstrap without --ca"
    } else {
        "the log of the bridge has a line for it; docs/tls.md makes files that work"
    };
    Step::fails(format!("no connection: {words}"), fix)
}

/// One stream, as that Envoy, which asks for clusters and listeners.
async fn asks(way: &Way, channel: Channel) -> Result<Vec<Step>, Step> {
    let tls = way.tls.is_some();
    let (requests, said) = mpsc::channel(8);
    let mut answers = match timeout(PATIENCE, open(channel, said)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(status)) => return Err(ended(&status, tls)),
        Err(_) => return Err(ended(&Status::deadline_exceeded("no stream in time"), tls)),
    };
    let mut node = Some(Node {
        id: way.node.clone(),
        cluster: way.fleet.clone(),
        // The bridge counts it as nobody: what it accepts is not accepted by that Envoy.
        user_agent: DOCTOR.to_owned(),
        ..Node::default()
    });
    let mut steps = vec![Step::works("a stream is open, and it may be this node")];
    for (kind, what) in [(Kind::Cluster, "clusters"), (Kind::Listener, "listeners")] {
        let request = DeltaRequest {
            node: node.take(),
            type_url: kind.type_url().to_owned(),
            ..DeltaRequest::default()
        };
        // A stream that has ended says so when it is listened to.
        let _ = requests.send(request).await;
        let answer = match timeout(PATIENCE, answers.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(ended(&Status::unavailable("the stream ended"), tls)),
            Ok(Err(status)) => return Err(ended(&status, tls)),
            Err(_) => {
                let fix = "xds-bridge status on the bridge's machine says how far it is";
                steps.push(Step::fails(format!("no {what} in time"), fix));
                return Ok(steps);
            }
        };
        let ack = DeltaRequest {
            type_url: answer.type_url,
            nonce: answer.nonce,
            ..DeltaRequest::default()
        };
        let _ = requests.send(ack).await;
        steps.push(counted(what, answer.resources.len(), &way.fleet));
    }
    Ok(steps)
}

fn counted(what: &str, count: usize, fleet: &str) -> Step {
    if count > 0 {
        return Step::works(format!("first answer: {count} {what}"));
    }
    let fix = match what {
        "listeners" => format!(
            "nothing in [listeners] of bridge.toml is for the fleet `{fleet}`: node.cluster and `fleets` must be equal \
             (an Envoy with listeners of its own needs none)"
        ),
        _ => {
            "no service is served: xds-bridge services and /readyz on the bridge's machine say why".to_owned()
        }
    };
    Step::fails(format!("the first answer has no {what}"), fix)
}

async fn open(channel: Channel, said: mpsc::Receiver<DeltaRequest>) -> Result<Streaming<Answer>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(ANSWER);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(chain(&error)))?;
    let codec = ProstCodec::<DeltaRequest, Answer>::default();
    let request = tonic::Request::new(ReceiverStream::new(said));
    let opened = grpc
        .streaming(request, PathAndQuery::from_static(ADS), codec)
        .await?;
    Ok(opened.into_inner())
}

/// Why a stream ended.
fn ended(status: &Status, tls: bool) -> Step {
    let words = match status.code() {
        // What the client makes of a connection that was closed while the stream was being opened.
        Code::Cancelled => "the connection was closed".to_owned(),
        code => format!("{}: {}", code.description(), status.message()),
    };
    let fix = match status.code() {
        Code::PermissionDenied => {
            "add a rule to [[xds.clients]] that allows this node id and fleet to the names of the certificate, or change node.id \
             and node.cluster in the bootstrap"
        }
        Code::ResourceExhausted => "a bound of the bridge is reached: docs/limits.md; the log names it",
        // Whose certificate is refused learns so after its own side of the handshake.
        Code::Cancelled | Code::Unavailable | Code::Unknown | Code::Internal if tls => {
            "the bridge ended the connection: where it has a client_ca, the bootstrap needs a certificate of its client CA that is \
             not revoked (--cert and --key); the log of the bridge has a line for it"
        }
        Code::Cancelled | Code::Unavailable | Code::Unknown | Code::Internal => return refused(&words, tls),
        Code::Unimplemented => "something else than a bridge listens there",
        _ => "the log of the bridge has a line for it",
    };
    Step::fails(format!("the stream is refused: {words}"), fix)
}
