//! From the model to Envoy's resources. Pure: each generator sees only what it
//! is given, and equal input gives equal bytes (so that versions are content
//! hashes: a map with more than one entry is encoded by a type of our own that sorts it).

mod any;
pub mod api_listener;
pub mod cluster;
mod endpoint_wire;
pub mod endpoints;
mod errors;
pub mod external;
mod filters;
pub mod grpc;
pub mod listener;
mod log;
mod near;
pub mod route;
mod secret;
mod tcp;
mod translator;

pub use translator::Translator;

pub(crate) use any::{duration as proto_duration, pack};
