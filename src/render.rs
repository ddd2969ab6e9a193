//! Resources as Envoy prints them: JSON with the field names of the `.proto` files,
//! by the descriptors that envoy-types ships. Loaded when used (7 MiB), and given back.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use envoy_types::pb::envoy::config::core::v3::DataSource;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use crate::text::chain;
use crate::xds::{Generation, Kind, Resource};

mod large;

use large::Printed;

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

/// All types that envoy-types has.
static EVERY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/every.bin"));

type Shared = Mutex<Weak<DescriptorPool>>;

static POOL: Shared = Mutex::new(Weak::new());
static EVERY_POOL: Shared = Mutex::new(Weak::new());

/// What resources are made of, or all types while somebody else has these loaded: then there may be others in them.
/// Shared by all who use it at the same time.
fn pool() -> Result<Arc<DescriptorPool>, RenderError> {
    let every = EVERY_POOL
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .upgrade();
    every.map_or_else(|| loaded(&POOL, ENVOY), Ok)
}

/// All types that Envoy has, some 15 MiB while anybody uses them.
///
/// # Errors
/// [`RenderError::Descriptors`]
pub fn every_type() -> Result<Arc<DescriptorPool>, RenderError> {
    loaded(&EVERY_POOL, EVERY)
}

fn loaded(shared: &Shared, bytes: &[u8]) -> Result<Arc<DescriptorPool>, RenderError> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = shared.upgrade() {
        return Ok(pool);
    }
    let pool = Arc::new(DescriptorPool::decode(bytes)?);
    *shared = Arc::downgrade(&pool);
    Ok(pool)
}

/// An encoded message of this type (`envoy.config.cluster.v3.Cluster`, or its URL), readable.
///
/// # Errors
/// [`RenderError`]
pub fn message(type_name: &str, body: &[u8]) -> Result<DynamicMessage, RenderError> {
    DynamicMessage::decode(descriptor(type_name)?, body)
        .map_err(|e| RenderError::Decode(type_name.to_owned(), e))
}

fn descriptor(type_name: &str) -> Result<MessageDescriptor, RenderError> {
    let name = type_name.rsplit('/').next().unwrap_or(type_name);
    pool()?
        .get_message_by_name(name)
        .ok_or_else(|| RenderError::UnknownType(name.to_owned()))
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

/// Writes what is served, in the shape of Envoy's `/config_dump`. Only one resource at a time is in memory as text.
///
/// # Errors
/// What `out` says when nothing more can be written.
pub fn write_config_dump(
    generation: &Generation,
    wanted: &Wanted,
    out: impl std::io::Write,
) -> serde_json::Result<()> {
    let _kept = pool(); // loaded once, not for each resource; what fails is said in its place
    serde_json::to_writer_pretty(out, &Dump { generation, wanted })
}

struct Dump<'a> {
    generation: &'a Generation,
    wanted: &'a Wanted,
}

impl Serialize for Dump<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wanted = |kind: &Kind| self.wanted.kind.is_none_or(|k| k == *kind);
        let sections = Kind::ALL.into_iter().filter(wanted);
        let sections = Lazy(|| sections.clone().map(|kind| Section { dump: self, kind }));
        serializer.collect_map([("configs", sections)])
    }
}

/// A list that is made while it is written.
struct Lazy<F>(F);

impl<F, I> Serialize for Lazy<F>
where
    F: Fn() -> I,
    I: IntoIterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A secret without its key, as Envoy prints it. One that cannot be read is nothing.
fn redacted(body: &[u8]) -> Vec<u8> {
    let mut secret = Secret::decode(body).unwrap_or_default();
    if let Some(Type::TlsCertificate(certificate)) = &mut secret.r#type {
        certificate.private_key = Some(DataSource {
            specifier: Some(Specifier::InlineString("[redacted]".to_owned())),
            ..DataSource::default()
        });
    }
    secret.encode_to_vec()
}

struct Section<'a> {
    dump: &'a Dump<'a>,
    kind: Kind,
}

impl Serialize for Section<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // envoy/admin/v3/config_dump_shared.proto
        let (dump, list, field) = match self.kind {
            Kind::Cluster => ("ClustersConfigDump", "dynamic_active_clusters", "cluster"),
            Kind::Endpoints => (
                "EndpointsConfigDump",
                "dynamic_endpoint_configs",
                "endpoint_config",
            ),
            Kind::Listener => ("ListenersConfigDump", "dynamic_listeners", "listener"),
            Kind::Route => ("RoutesConfigDump", "dynamic_route_configs", "route_config"),
            Kind::Secret => ("SecretsConfigDump", "dynamic_active_secrets", "secret"),
        };
        let Dump { generation, wanted } = self.dump;
        let named = |r: &&Arc<Resource>| wanted.name.as_ref().is_none_or(|name| **name == *r.name);
        let all = generation.all(self.kind).map(|(_, resource)| resource);
        let mut resources: Vec<&Arc<Resource>> = all.filter(named).collect();
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        let item = |resource| Item {
            kind: self.kind,
            field,
            resource,
        };
        let items = Lazy(|| resources.iter().copied().map(item));
        let mut section = serializer.serialize_map(Some(2))?;
        section.serialize_entry("@type", &format!("type.googleapis.com/envoy.admin.v3.{dump}"))?;
        section.serialize_entry(list, &items)?;
        section.end()
    }
}

struct Item<'a> {
    kind: Kind,
    field: &'static str,
    resource: &'a Arc<Resource>,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (url, resource) = (self.kind.type_url(), self.resource);
        let body = resource.body().map(|body| match self.kind {
            Kind::Secret => redacted(&body).into(),
            _ => body,
        });
        let body = body.map_err(|e| RenderError::Decode(url.to_owned(), e));
        // One resource that cannot be printed does not hide the others.
        match body.and_then(|body| Ok((body, descriptor(url)?))) {
            Ok((body, descriptor)) => {
                let printed = Printed {
                    descriptor,
                    body: &body,
                    resource: Some((url, &*resource.name)),
                };
                self.with(serializer, &printed)
            }
            Err(error) => self.with(
                serializer,
                &json!({ "name": &*resource.name, "error": chain(&error) }),
            ),
        }
    }
}

impl Item<'_> {
    fn with<S: Serializer>(&self, serializer: S, printed: &impl Serialize) -> Result<S::Ok, S::Error> {
        let state = State(self, printed);
        match self.kind {
            Kind::Secret => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry("name", &*self.resource.name)?;
                map.serialize_entry("version_info", &self.resource.version.to_string())?;
                map.serialize_entry("secret", printed)?;
                map.end()
            }
            Kind::Listener => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("active_state", &state)?;
                map.serialize_entry("name", &*self.resource.name)?;
                map.end()
            }
            _ => state.serialize(serializer),
        }
    }
}

/// A resource and its version.
struct State<'a, P>(&'a Item<'a>, &'a P);

impl<P: Serialize> Serialize for State<'_, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.0.field, self.1)?;
        map.serialize_entry("version_info", &self.0.resource.version.to_string())?;
        map.end()
    }
}
