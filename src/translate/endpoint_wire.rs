//! An assignment encoded without its messages: a service may have ten thousands of instances, and each change
//! of one encodes them all. Byte for byte what prost makes of the messages (a test of `endpoints` compares).
//!
//! Field numbers: `envoy/config/endpoint/v3/endpoint.proto`, `endpoint_components.proto`, `core/v3/address.proto`.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{HealthStatus, Locality};
use envoy_types::pb::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

/// Room for one endpoint of an IPv4 address with its tags and lengths, to begin with.
const USUAL: usize = 48;

/// A field that is bytes, text or a message.
const LENGTH: u8 = 2;

const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(tag(field, LENGTH));
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn message(out: &mut Vec<u8>, field: u8, content: &impl Message) {
    bytes(out, field, &content.encode_to_vec());
}

/// `ClusterLoadAssignment`
pub(super) struct Assignment {
    out: Vec<u8>,
}

impl Assignment {
    /// Of the cluster of this name.
    pub(super) fn new(name: &str, instances: usize) -> Self {
        let mut out = Vec::with_capacity(name.len() + USUAL * (instances + 1));
        if !name.is_empty() {
            bytes(&mut out, 1, name.as_bytes());
        }
        Self { out }
    }

    /// `weight` and `priority` end a locality.
    pub(super) fn add(&mut self, mut locality: Endpoints, weight: u32, priority: u32) {
        uint32_value(&mut locality.out, 3, weight);
        if priority > 0 {
            locality.out.push(tag(5, 0));
            encode_varint(priority.into(), &mut locality.out);
        }
        bytes(&mut self.out, 2, &locality.out);
    }

    /// `policy` ends it.
    pub(super) fn finish(mut self, policy: Option<&Policy>) -> Vec<u8> {
        if let Some(policy) = policy {
            message(&mut self.out, 4, policy);
        }
        self.out
    }
}

/// `LocalityLbEndpoints`
pub(super) struct Endpoints {
    out: Vec<u8>,
}

impl Endpoints {
    pub(super) fn new(locality: &Locality, instances: usize) -> Self {
        let mut out = Vec::with_capacity(USUAL * (instances + 1));
        message(&mut out, 1, locality);
        Self { out }
    }

    /// One of `lb_endpoints` that has more than [`Self::add`] writes: of few services.
    pub(super) fn add_message(&mut self, endpoint: &impl Message) {
        message(&mut self.out, 2, endpoint);
    }

    /// One of `lb_endpoints`; its weight is not 0, its health not unknown.
    pub(super) fn add(&mut self, address: SocketAddr, weight: u32, health: HealthStatus) {
        let text = Text::of(address.ip());
        let text = text.as_bytes();
        let port = u64::from(address.port());
        let socket = 2 + text.len() + 1 + encoded_len_varint(port);
        let host = socket + 2; // Address.socket_address
        let endpoint = host + 2; // Endpoint.address
        let value = 1 + encoded_len_varint(weight.into());
        let all = endpoint + 2 + 2 + 2 + value; // health, weight
        let out = &mut self.out;
        out.extend_from_slice(&[tag(2, LENGTH), short(all)]);
        out.extend_from_slice(&[tag(1, LENGTH), short(endpoint)]);
        out.extend_from_slice(&[tag(1, LENGTH), short(host)]);
        out.extend_from_slice(&[tag(1, LENGTH), short(socket)]);
        bytes(out, 2, text);
        out.push(tag(3, 0)); // one of several kinds of port: also when it is 0
        encode_varint(port, out);
        out.push(tag(2, 0));
        encode_varint(u64::try_from(health as i32).unwrap_or(0), out);
        uint32_value(out, 4, weight);
    }
}

/// A `UInt32Value` that is not 0.
fn uint32_value(out: &mut Vec<u8>, field: u8, value: u32) {
    out.push(tag(field, LENGTH));
    out.push(short(1 + encoded_len_varint(value.into())));
    out.push(tag(1, 0));
    encode_varint(value.into(), out);
}

/// The length of what is known to be short: an endpoint has less than 80 bytes.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// An IP address as it is written: at most 39 characters.
struct Text {
    bytes: [u8; 40],
    len: usize,
}

impl Text {
    fn of(ip: IpAddr) -> Self {
        let mut text = Self {
            bytes: [0; 40],
            len: 0,
        };
        match ip {
            IpAddr::V4(ip) => text.dotted(ip),
            IpAddr::V6(ip) => {
                let room = text.bytes.len();
                let mut left = &mut text.bytes[..];
                let _ = write!(left, "{ip}");
                text.len = room - left.len();
            }
        }
        text
    }

    /// By far the most common; the formatting of the standard library took a fifth of a whole change.
    fn dotted(&mut self, ip: Ipv4Addr) {
        for octet in ip.octets() {
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
            self.push(b'.');
        }
        self.len -= 1;
    }

    const fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
