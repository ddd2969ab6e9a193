//! Large messages, printed one part after the other: a route configuration of thousands of hosts, or an
//! assignment of thousands of endpoints, takes forty times its size once it is decoded as a whole.

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::{RenderError, options};
use crate::text::chain;

/// A message of fewer bytes is decoded at once.
const LARGE: usize = 16 << 10;

/// An encoded message, printed when it is serialized.
pub(super) struct Printed<'a> {
    pub(super) descriptor: MessageDescriptor,
    pub(super) body: &'a [u8],
    /// Of a resource: its type and name.
    pub(super) resource: Option<(&'a str, &'a str)>,
}

/// The parts of a large message.
struct Parts<'a> {
    /// Field number and content of what has a length; more than one where the field is a list.
    large: Vec<(u32, Vec<&'a [u8]>)>,
    /// All else, encoded.
    rest: Vec<u8>,
}

impl Printed<'_> {
    fn whole(&self, body: &[u8]) -> Result<Value, RenderError> {
        let name = self.descriptor.full_name();
        let message = DynamicMessage::decode(self.descriptor.clone(), body)
            .map_err(|e| RenderError::Decode(name.to_owned(), e))?;
        message
            .serialize_with_options(serde_json::value::Serializer, &options())
            .map_err(|e| RenderError::Print(name.to_owned(), e))
    }

    /// The fields that are large messages, or large lists of them, and the rest.
    fn parts(&self) -> Option<Parts<'_>> {
        let fields = fields(self.body)?;
        let size = |number| -> usize {
            let of = fields.iter().filter(|field| field.number == number);
            of.map(|field| field.whole.len()).sum()
        };
        let is_large = |number: u32| {
            let field = self.descriptor.get_field(number);
            let message =
                field.is_some_and(|field| matches!(field.kind(), Kind::Message(_)) && !field.is_map());
            message && size(number) > LARGE
        };
        let mut numbers: Vec<u32> = fields.iter().map(|field| field.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| is_large(*number));
        let mut parts = Parts {
            large: numbers.into_iter().map(|number| (number, Vec::new())).collect(),
            rest: Vec::new(),
        };
        for field in fields {
            match parts.large.iter_mut().find(|(number, _)| *number == field.number) {
                Some((_, contents)) => contents.push(field.content?),
                None => parts.rest.extend_from_slice(field.whole),
            }
        }
        Some(parts)
    }
}

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.descriptor.full_name().starts_with("google.protobuf.");
        let parts = if known || self.body.len() <= LARGE {
            None
        } else {
            self.parts()
        };
        let whole = self.whole(parts.as_ref().map_or(self.body, |parts| &parts.rest[..]));
        let value = match (whole, self.resource) {
            (Ok(mut value), Some((url, _))) => {
                if let Value::Object(fields) = &mut value {
                    fields.insert("@type".to_owned(), url.into());
                }
                value
            }
            (Ok(value), None) => value,
            // One that cannot be printed does not hide the others.
            (Err(error), Some((_, name))) => json!({ "name": name, "error": chain(&error) }),
            (Err(error), None) => json!({ "error": chain(&error) }),
        };
        let (Some(parts), Value::Object(fields)) = (parts, &value) else {
            return value.serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        for (number, contents) in &parts.large {
            let Some(field) = self.descriptor.get_field(*number) else {
                continue;
            };
            let Kind::Message(descriptor) = field.kind() else {
                continue;
            };
            let printed = |body| Printed {
                descriptor: descriptor.clone(),
                body,
                resource: None,
            };
            match (field.is_list(), &contents[..]) {
                (false, [only]) => map.serialize_entry(field.name(), &printed(only))?,
                (false, several) => {
                    // Parts of one message, as the encoding allows.
                    map.serialize_entry(field.name(), &printed(&several.concat()))?;
                }
                (true, all) => {
                    let all = super::Lazy(|| all.iter().map(|body| printed(body)));
                    map.serialize_entry(field.name(), &all)?;
                }
            }
        }
        map.end()
    }
}

/// A field as it is encoded.
struct Field<'a> {
    number: u32,
    /// With its key.
    whole: &'a [u8],
    /// Of what has a length.
    content: Option<&'a [u8]>,
}

/// The fields of an encoded message in their order; `None`: it is no such message.
fn fields(body: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut left = body;
    let mut found = Vec::new();
    while !left.is_empty() {
        let begin = left;
        let key = varint(&mut left)?;
        let number = u32::try_from(key >> 3).ok()?;
        let mut content = None;
        let length = match key & 7 {
            0 => {
                varint(&mut left)?;
                0
            }
            1 => 8,
            5 => 4,
            2 => {
                let length = usize::try_from(varint(&mut left)?).ok()?;
                content = Some(left.get(..length)?);
                length
            }
            _ => return None, // groups are of the past
        };
        left = left.get(length..)?;
        found.push(Field {
            number,
            whole: begin.get(..begin.len() - left.len())?,
            content,
        });
    }
    Some(found)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    prost::decode_length_delimiter(&mut *from).ok().map(|n| n as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{Address, SocketAddress, address};
    use envoy_types::pb::envoy::config::endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
    };
    use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
    use envoy_types::pb::google::protobuf::UInt32Value;
    use prost::Message as _;

    use super::*;

    fn both(type_name: &str, body: &[u8]) -> (Value, Value) {
        let printed = Printed {
            descriptor: super::super::descriptor(type_name).unwrap(),
            body,
            resource: None,
        };
        let whole = super::super::json(type_name, body).unwrap();
        (serde_json::to_value(&printed).unwrap(), whole)
    }

    #[test]
    fn a_large_message_is_printed_as_if_it_were_decoded_at_once() {
        let host = |n: u32| VirtualHost {
            name: format!("host-{n}"),
            domains: vec![format!("{n}.example"); 3],
            ..VirtualHost::default()
        };
        let routes = RouteConfiguration {
            name: "internal".into(),
            virtual_hosts: (0..2_000).map(host).collect(),
            max_direct_response_body_size_bytes: Some(UInt32Value { value: 7 }),
            ..RouteConfiguration::default()
        };
        let (printed, whole) = both(
            "envoy.config.route.v3.RouteConfiguration",
            &routes.encode_to_vec(),
        );
        assert_eq!(printed["virtual_hosts"].as_array().unwrap().len(), 2_000);
        assert_eq!(printed, whole);

        let endpoint = |n: u32| LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(Endpoint {
                address: Some(Address {
                    address: Some(address::Address::SocketAddress(SocketAddress {
                        address: format!("10.0.0.{n}"),
                        ..SocketAddress::default()
                    })),
                }),
                ..Endpoint::default()
            })),
            ..LbEndpoint::default()
        };
        let locality = |priority| LocalityLbEndpoints {
            priority,
            lb_endpoints: (0..2_000).map(endpoint).collect(),
            ..LocalityLbEndpoints::default()
        };
        let assignment = ClusterLoadAssignment {
            cluster_name: "web".into(),
            endpoints: vec![locality(0), locality(1)],
            ..ClusterLoadAssignment::default()
        };
        let (printed, whole) = both(
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            &assignment.encode_to_vec(),
        );
        assert_eq!(printed, whole);
    }

    #[test]
    fn only_a_part_of_a_large_message_is_decoded_at_a_time() {
        let host = VirtualHost {
            name: "n".repeat(LARGE / 4),
            ..VirtualHost::default()
        };
        let routes = RouteConfiguration {
            name: "internal".into(),
            virtual_hosts: vec![host; 10],
            ..RouteConfiguration::default()
        };
        let body = routes.encode_to_vec();
        let descriptor = super::super::descriptor("envoy.config.route.v3.RouteConfiguration").unwrap();
        let resource = None;
        let parts = Printed {
            descriptor,
            body: &body,
            resource,
        };
        let parts = parts.parts().unwrap();
        assert!(parts.rest.len() < 100);
        assert_eq!(parts.large.len(), 1);
        assert_eq!(parts.large[0].1.len(), 10);
    }

    #[test]
    fn what_is_no_message_is_said_in_its_place() {
        let mut body = vec![0x0a, 0xff];
        body.resize(LARGE + 10, 0xff);
        let printed = Printed {
            descriptor: super::super::descriptor("envoy.config.cluster.v3.Cluster").unwrap(),
            body: &body,
            resource: Some(("type", "web")),
        };
        let printed = serde_json::to_value(&printed).unwrap();
        assert_eq!(printed["name"], "web");
        assert!(printed["error"].as_str().is_some());
    }
}
