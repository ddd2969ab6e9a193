//! The few protobuf encodings written by hand: what is shared must be laid out
//! so that one buffer serves both variants of the protocol.
//!
//! `DeltaDiscoveryResponse.resources` and `DiscoveryResponse.resources` are both
//! field 2. A delta `Resource` that holds its `Any` last, in field 2, therefore
//! ends with exactly the bytes that a state-of-the-world response needs.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

/// Length-delimited field tags (`field << 3 | 2`).
pub(super) const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

/// Appends a string or message field; empty ones too.
pub(super) fn field(out: &mut impl BufMut, number: u8, content: &[u8]) {
    out.put_u8(tag(number));
    encode_varint(content.len() as u64, out);
    out.put_slice(content);
}

const fn field_len(content: usize) -> usize {
    1 + encoded_len_varint(content as u64) + content
}

/// A finished delta frame, and where the state-of-the-world frame within it begins.
pub(super) fn frames(name: &str, version: &str, type_url: &str, body: &[u8]) -> (Bytes, usize) {
    let any = field_len(type_url.len()) + field_len(body.len());
    let resource = field_len(version.len()) + field_len(name.len()) + field_len(any);
    let mut out = BytesMut::with_capacity(field_len(resource));
    out.put_u8(tag(2));
    encode_varint(resource as u64, &mut out);
    field(&mut out, 1, version.as_bytes()); // Resource.version
    field(&mut out, 3, name.as_bytes()); // Resource.name
    let sotw = out.len();
    out.put_u8(tag(2)); // Resource.resource, and DiscoveryResponse.resources
    encode_varint(any as u64, &mut out);
    field(&mut out, 1, type_url.as_bytes()); // Any.type_url
    field(&mut out, 2, body); // Any.value
    (out.freeze(), sotw)
}

/// A message that holds just its name, in field 1: an assignment without
/// endpoints, a route configuration without hosts.
pub(super) fn only_name(name: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(field_len(name.len()));
    field(&mut body, 1, name.as_bytes());
    body
}

/// A `ResourceError`: this name, and status 5, `NOT_FOUND`, with the reason where there is one.
pub(super) fn not_found(name: &str, why: &str) -> Vec<u8> {
    let mut status = vec![1 << 3, 5]; // google.rpc.Status.code
    if !why.is_empty() {
        field(&mut status, 2, why.as_bytes()); // google.rpc.Status.message
    }
    let mut error = Vec::with_capacity(field_len(field_len(name.len())) + field_len(status.len()));
    field(&mut error, 1, &only_name(name)); // ResourceName.name
    field(&mut error, 2, &status);
    error
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use envoy_types::pb::envoy::service::discovery::v3::ResourceError;
    use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
    use prost::Message as _;

    #[test]
    fn an_error_names_what_is_missing() {
        for why in ["", "orders is not registered"] {
            let error = ResourceError::decode(&*super::not_found("orders", why)).unwrap();
            assert_eq!(error.resource_name.unwrap().name, "orders");
            let status = error.error_detail.unwrap();
            assert_eq!((status.code, &*status.message), (5, why));
        }
    }

    #[test]
    fn one_buffer_is_both_frames() {
        for len in [0, 1, 100, 127, 128, 20_000] {
            let body = super::only_name(&"n".repeat(len));
            let (frame, sotw) = super::frames("orders", "v1", "t/x", &body);
            let delta = DeltaDiscoveryResponse::decode(frame.clone()).unwrap();
            let resource = &delta.resources[0];
            assert_eq!(
                (resource.name.as_str(), resource.version.as_str()),
                ("orders", "v1")
            );
            let state = DiscoveryResponse::decode(frame.slice(sotw..)).unwrap();
            assert_eq!(state.resources[0].type_url, "t/x");
            assert_eq!(state.resources[0].value, body);
            assert_eq!(resource.resource.as_ref(), Some(&state.resources[0]));
            let cla = ClusterLoadAssignment::decode(&*body).unwrap();
            assert_eq!(cla.cluster_name.len(), len);
        }
    }
}
