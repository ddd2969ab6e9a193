//! Resources as Envoy prints them: JSON with the field names of the `.proto` files,
//! by the descriptors that envoy-types ships. Loaded when first used (25 ms, 18 MB).

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Map, Value, json};

use crate::xds::{Generation, Kind};

/// Why something cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The descriptors in the binary do not load: a fault of the build.
    #[error("loading the protobuf descriptors")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The type is not among them.
    #[error("no descriptor for {0}")]
    UnknownType(String),
    /// The bytes are no such message.
    #[error("decoding a {0}")]
    Decode(String, #[source] prost::DecodeError),
    /// A type inside cannot be written.
    #[error("printing a {0}")]
    Print(String, #[source] serde_json::Error),
}

static ENVOY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.bin"));

fn pool() -> Result<&'static DescriptorPool, RenderError> {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let pool = DescriptorPool::decode(ENVOY)?;
    Ok(POOL.get_or_init(|| pool))
}

/// An encoded message of this type (`envoy.config.cluster.v3.Cluster`, or its URL), readable.
///
/// # Errors
/// [`RenderError`]
pub fn message(type_name: &str, body: &[u8]) -> Result<DynamicMessage, RenderError> {
    let name = type_name.rsplit('/').next().unwrap_or(type_name);
    let descriptor = pool()?
        .get_message_by_name(name)
        .ok_or_else(|| RenderError::UnknownType(name.to_owned()))?;
    DynamicMessage::decode(descriptor, body).map_err(|e| RenderError::Decode(name.to_owned(), e))
}

/// Field names as in the `.proto` files, defaults left out.
#[must_use]
pub fn options() -> SerializeOptions {
    SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(true)
}

/// An encoded message as JSON, as Envoy prints it.
///
/// # Errors
/// [`RenderError`]
pub fn json(type_name: &str, body: &[u8]) -> Result<Value, RenderError> {
    let message = message(type_name, body)?;
    message
        .serialize_with_options(serde_json::value::Serializer, &options())
        .map_err(|e| RenderError::Print(type_name.to_owned(), e))
}

/// What a dump is narrowed down to.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// One type only.
    pub kind: Option<Kind>,
    /// One name only.
    pub name: Option<String>,
}

/// What is served, in the shape of Envoy's `/config_dump`.
#[must_use]
pub fn config_dump(generation: &Generation, wanted: &Wanted) -> Value {
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| wanted.kind.is_none_or(|k| k == *kind));
    let configs: Vec<Value> = kinds.map(|kind| section(generation, kind, wanted)).collect();
    json!({ "configs": configs })
}

fn section(generation: &Generation, kind: Kind, wanted: &Wanted) -> Value {
    // envoy/admin/v3/config_dump_shared.proto
    let (dump, list, field) = match kind {
        Kind::Cluster => ("ClustersConfigDump", "dynamic_active_clusters", "cluster"),
        Kind::Endpoints => (
            "EndpointsConfigDump",
            "dynamic_endpoint_configs",
            "endpoint_config",
        ),
        Kind::Listener => ("ListenersConfigDump", "dynamic_listeners", "listener"),
        Kind::Route => ("RoutesConfigDump", "dynamic_route_configs", "route_config"),
    };
    let mut resources: Vec<_> = generation
        .all(kind)
        .map(|(_, resource)| resource)
        .filter(|r| wanted.name.as_ref().is_none_or(|name| **name == *r.name))
        .collect();
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    let items: Vec<Value> = resources
        .into_iter()
        .map(|resource| {
            let version = resource.version.to_string();
            let body = resource.body().map_err(|e| RenderError::Decode(kind.type_url().to_owned(), e));
            // One resource that cannot be printed does not hide the others.
            let printed = body.and_then(|b| json(kind.type_url(), &b)).map_or_else(
                |error| json!({ "name": &*resource.name, "error": chain(&error) }),
                |mut value| {
                    if let Value::Object(fields) = &mut value {
                        fields.insert("@type".to_owned(), kind.type_url().into());
                    }
                    value
                },
            );
            match kind {
                Kind::Listener => {
                    json!({ "name": &*resource.name, "active_state": { "version_info": version, field: printed } })
                }
                _ => json!({ "version_info": version, field: printed }),
            }
        })
        .collect();
    let mut section = Map::new();
    section.insert(
        "@type".to_owned(),
        format!("type.googleapis.com/envoy.admin.v3.{dump}").into(),
    );
    section.insert(list.to_owned(), items.into());
    section.into()
}

/// An error with all its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
