//! What the bridge is for: a registry that restarts, lies, forgets our rights or goes away
//! takes not one healthy endpoint from Envoy, and not one request fails. Real registries, a
//! real Envoy under load all the time, and the bridge itself killed in the worst moment.

mod consul;
pub(crate) mod etcd;
