//! The requests of the clients, as finished gRPC frames. What all of them say alike, above
//! all the names, is encoded once.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use xds_bridge::xds::{Claim, DeltaRequest, Kind, Node, SotwRequest};

use crate::decode::Seen;

/// What a client holds of each type, from before a reconnect: name → version.
pub(crate) type Held = BTreeMap<String, String>;

/// What clients of one kind say.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) delta: bool,
    /// Asks for all clusters first, as Envoy does.
    pub(crate) clusters: bool,
    /// Reconnects: asks for the endpoints at once, without waiting for the clusters.
    pub(crate) again: bool,
    /// Fields of the first CDS request besides type and node.
    cds: Bytes,
    /// The same of the EDS request: its names, and what it holds of them.
    eds: Bytes,
    /// Repeated in each state-of-the-world EDS request.
    names: Bytes,
}

impl Script {
    /// `names`: whose endpoints are asked for. `held`: (clusters, endpoints) from before.
    pub(crate) fn new(delta: bool, clusters: bool, names: &[String], held: Option<(&Held, &Held)>) -> Self {
        let versions = |held: &Held| -> Vec<Claim> {
            let claim = |(name, version): (&String, &String)| Claim {
                name: name.clone(),
                version: version.clone(),
            };
            held.iter().map(claim).collect()
        };
        let claims = |held: &Held| {
            let request = DeltaRequest {
                initial_versions: versions(held),
                ..DeltaRequest::default()
            };
            request.encode_to_vec()
        };
        let names = if delta {
            let subscribe = names.to_vec();
            DeltaRequest {
                subscribe,
                ..DeltaRequest::default()
            }
            .encode_to_vec()
        } else {
            let names = names.to_vec();
            SotwRequest {
                names,
                ..SotwRequest::default()
            }
            .encode_to_vec()
        };
        let mut eds = names.clone();
        eds.extend(held.map(|(_, endpoints)| claims(endpoints)).unwrap_or_default());
        Self {
            delta,
            clusters,
            again: held.is_some(),
            cds: held
                .map(|(clusters, _)| claims(clusters))
                .unwrap_or_default()
                .into(),
            eds: eds.into(),
            names: names.into(),
        }
    }

    /// The first request for clusters or endpoints; `node`: the first of the stream.
    pub(crate) fn first(&self, kind: Kind, node: Option<usize>) -> Bytes {
        let node = node.map(|number| Node {
            id: format!("load-{number}"),
            cluster: "load".to_owned(),
            user_agent: "envoy".to_owned(),
            ..Node::default()
        });
        let shared = if kind == Kind::Cluster {
            &self.cds
        } else {
            &self.eds
        };
        self.frame(node, kind.type_url(), None, shared)
    }

    /// Accepts a response.
    pub(crate) fn ack(&self, seen: &Seen) -> Bytes {
        // State of the world: all names each time.
        let repeat = !self.delta && seen.type_url == Kind::Endpoints.type_url();
        let shared = if repeat { &self.names } else { &Bytes::new() };
        self.frame(None, &seen.type_url, Some(seen), shared)
    }

    fn frame(&self, node: Option<Node>, type_url: &str, ack: Option<&Seen>, shared: &Bytes) -> Bytes {
        let (nonce, version) = ack.map_or_else(Default::default, |s| (s.nonce.clone(), s.version.clone()));
        let type_url = type_url.to_owned();
        let own = if self.delta {
            DeltaRequest {
                node,
                type_url,
                nonce,
                ..DeltaRequest::default()
            }
            .encode_to_vec()
        } else {
            SotwRequest {
                node,
                type_url,
                nonce,
                version,
                ..SotwRequest::default()
            }
            .encode_to_vec()
        };
        // Two encoded messages in a row are one message with the fields of both.
        let length = own.len() + shared.len();
        let mut frame = BytesMut::with_capacity(5 + length);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).expect("a request below 4 GiB"));
        frame.put_slice(&own);
        frame.put_slice(shared);
        frame.freeze()
    }
}
