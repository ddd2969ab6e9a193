//! What the configuration of an agent may hold depends on its version: an agent ends at a key that it does not know.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::process;

/// From this version on each agent takes a port for gRPC over TLS, 8503 unless another one is configured: a
/// second agent of the machine would not start.
const GRPC_TLS: (u32, u32) = (1, 14);

/// Whether this Consul has the port.
pub(crate) fn has_grpc_tls() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| version() >= GRPC_TLS)
}

/// Gives an agent's configuration a port of its own for it, where there is one.
pub(crate) fn give_grpc_tls(config: &mut Value, port: u16) {
    if has_grpc_tls() {
        config["ports"]["grpc_tls"] = port.into();
    }
}

/// Major and minor.
fn version() -> (u32, u32) {
    let binary = process::tool("CONSUL_BIN", "consul");
    let output = Command::new(&binary).arg("version").output();
    let output = output.unwrap_or_else(|e| panic!("starting {}: {e}", binary.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    read(&text).unwrap_or_else(|| panic!("{} version: {text}", binary.display()))
}

/// Of `Consul v1.14.11` and more lines.
fn read(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("Consul v")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[test]
fn the_version_is_read() {
    assert_eq!(read("Consul v1.14.11\nBuild Date 1970"), Some((1, 14)));
    assert_eq!(read("Consul v1.8.7\n"), Some((1, 8)));
    assert_eq!(read("etcd"), None);
}
