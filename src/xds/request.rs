//! Discovery requests, decoded into what the engine reads. An Envoy's node lists
//! some 450 extensions (61 KB): prost skips fields that are not named here.
//!
//! Field numbers: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/core/v3/base.proto`.

use prost::encoding::{WireType, decode_key, decode_varint};

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaRequest {
    /// Only guaranteed in the first request of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// Empty on a per-type service.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names from now on.
    #[prost(string, repeated, tag = "3")]
    pub subscribe: Vec<String>,
    /// Names no longer.
    #[prost(string, repeated, tag = "4")]
    pub unsubscribe: Vec<String>,
    /// What the client holds, in the first request of a type on a stream.
    #[prost(message, repeated, tag = "5")]
    pub initial_versions: Vec<Claim>,
    /// The response this answers; empty: none.
    #[prost(string, tag = "6")]
    pub nonce: String,
    /// Set if and only if this is a NACK.
    #[prost(message, optional, tag = "7")]
    pub error: Option<Error>,
}

/// One entry of `initial_resource_versions`. On the wire a map is a list of these, and no one looks one up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Claim {
    /// The resource.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What the client holds of it.
    #[prost(string, tag = "2")]
    pub version: String,
}

/// `envoy.service.discovery.v3.DiscoveryRequest`
#[derive(Clone, PartialEq, prost::Message)]
pub struct SotwRequest {
    /// The version last accepted.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Only guaranteed in the first request of a stream.
    #[prost(message, optional, tag = "2")]
    pub node: Option<Node>,
    /// All names, each time.
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
    /// Empty on a per-type service.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// The response this answers; empty: none.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Set if and only if this is a NACK.
    #[prost(message, optional, tag = "6")]
    pub error: Option<Error>,
}

/// `envoy.config.core.v3.Node`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Node {
    /// The instance of Envoy.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The fleet.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Where it is.
    #[prost(message, optional, tag = "4")]
    pub locality: Option<Locality>,
    /// `envoy`, `grpc-go`, `gRPC Python`, …
    #[prost(string, tag = "6")]
    pub user_agent: String,
    /// Of Envoy: which release it is.
    #[prost(message, optional, tag = "8")]
    pub build: Option<Build>,
}

/// `envoy.config.core.v3.BuildVersion`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Build {
    /// As numbers.
    #[prost(message, optional, tag = "1")]
    pub version: Option<Release>,
}

/// `envoy.type.v3.SemanticVersion`
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Release {
    /// 1
    #[prost(uint32, tag = "1")]
    pub major: u32,
    /// 36
    #[prost(uint32, tag = "2")]
    pub minor: u32,
    /// 4
    #[prost(uint32, tag = "3")]
    pub patch: u32,
}

/// What `xds-bridge doctor` calls itself: it gets what an Envoy gets, and counts as nobody.
pub const DOCTOR: &str = "xds-bridge-doctor";

impl Node {
    /// It only tries the way of somebody else: what it accepts is accepted by no client.
    #[must_use]
    pub fn is_doctor(&self) -> bool {
        self.user_agent == DOCTOR
    }

    /// Which release of Envoy it is, if it says so.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        self.build.as_ref()?.version
    }
}

/// `envoy.config.core.v3.Locality`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Locality {
    /// For example a data center.
    #[prost(string, tag = "1")]
    pub region: String,
    /// A part of it.
    #[prost(string, tag = "2")]
    pub zone: String,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Error {
    /// A gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The client's reason.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Whether an encoded request has more than this number of entries: names, claims, and few other fields. Far cheaper
/// than to decode them. What is no message has as many as are before what is wrong.
#[must_use]
pub fn has_more_entries(mut request: &[u8], most: usize) -> bool {
    let mut entries = 0;
    while let Ok((_, wire)) = decode_key(&mut request) {
        let length = match wire {
            WireType::LengthDelimited => decode_varint(&mut request).ok(),
            WireType::Varint => decode_varint(&mut request).ok().map(|_| 0),
            WireType::ThirtyTwoBit => Some(4),
            WireType::SixtyFourBit => Some(8),
            WireType::StartGroup | WireType::EndGroup => Some(0),
        };
        let rest = length
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| request.get(length..));
        let Some(rest) = rest else { break };
        request = rest;
        entries += 1;
        if entries > most {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn an_envoy_says_which_release_it_is() {
        use envoy_types::pb::envoy::config::core::v3 as core;
        let version = envoy_types::pb::envoy::r#type::v3::SemanticVersion {
            major_number: 1,
            minor_number: 35,
            patch: 7,
        };
        let build = core::BuildVersion {
            version: Some(version),
            ..core::BuildVersion::default()
        };
        let node = core::Node {
            id: "e".into(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentBuildVersion(build)),
            ..core::Node::default()
        };
        let node = Node::decode(&*node.encode_to_vec()).unwrap();
        let release = node.release().map(|r| (r.major, r.minor, r.patch));
        assert_eq!((&*node.id, release), ("e", Some((1, 35, 7))));
        assert_eq!(Node::default().release(), None);
    }

    #[test]
    fn entries_are_counted_as_they_are_encoded() {
        let request = DeltaRequest {
            node: Some(Node::default()),
            type_url: "t".into(),
            subscribe: vec!["a".into(), String::new()],
            unsubscribe: vec!["b".repeat(1_000)],
            initial_versions: vec![Claim::default(); 3],
            ..DeltaRequest::default()
        };
        let bytes = request.encode_to_vec();
        assert!(has_more_entries(&bytes, 7) && !has_more_entries(&bytes, 8));
        assert!(
            !has_more_entries(&bytes[..bytes.len() - 1], 7),
            "the last one is cut"
        );
        assert!(!has_more_entries(&[0xff; 100], 0), "no message");
        let other_fields = [0x08, 0x01, 0x15, 0, 0, 0, 0, 0x19, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(has_more_entries(&other_fields, 2) && !has_more_entries(&other_fields, 3));
    }
}
