//! xds-bridge: the services of Consul, etcd or files, served to Envoy by xDS.
pub mod clock;
pub mod config;
pub mod fanout;
pub mod grpc;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod registry;
pub mod source;
pub mod translate;
pub mod xds;
