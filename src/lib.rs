//! xds-bridge: the services of Consul, etcd or files, served to Envoy by xDS.
pub mod config;
pub mod model;
pub mod registry;
pub mod source;
