//! Discovery requests, decoded into what the engine reads. An Envoy's node lists
//! some 450 extensions (61 KB): prost skips fields that are not named here.
//!
//! Field numbers: `envoy/service/discovery/v3/discovery.proto`, `envoy/config/core/v3/base.proto`.

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
    /// `envoy`, `grpc-go`, `gRPC Python`, …
    #[prost(string, tag = "6")]
    pub user_agent: String,
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
