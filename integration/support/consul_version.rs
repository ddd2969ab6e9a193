//! What the configuration of an agent may hold depends on its version: an agent ends at a key that it does not know.

use std::io::Write as _;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::process;

/// From this version on each agent takes a port for gRPC over TLS, 8503 unless another one is configured: a
/// second agent of the machine would not start.
const GRPC_TLS: (u32, u32) = (1, 14);

/// From this version on an agent may stream.
const STREAMING: (u32, u32) = (1, 10);

/// Keys that turn streaming off, where there is any.
pub(crate) fn unstreamed() -> Value {
    if version() >= STREAMING {
        json!({ "use_streaming_backend": false })
    } else {
        json!({})
    }
}

/// Whether agents answer blocking reads of health from their streaming backend.
pub(crate) fn streams() -> bool {
    streaming().unwrap_or_else(|| version() >= STREAMING)
}

/// Whether this Consul has the port.
pub(crate) fn has_grpc_tls() -> bool {
    version() >= GRPC_TLS
}

/// Gives an agent's configuration a port of its own for it, where there is one.
pub(crate) fn give_grpc_tls(config: &mut Value, port: u16) {
    if has_grpc_tls() {
        config["ports"]["grpc_tls"] = port.into();
    }
}

/// `XDS_TEST_CONSUL_STREAMING`: whether agents answer blocking reads of health from their streaming backend, as
/// they do from 1.10 on by default. Unset, this is left to the version.
pub(crate) fn streaming() -> Option<bool> {
    let wanted = std::env::var("XDS_TEST_CONSUL_STREAMING").ok()?;
    match wanted.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        other => panic!("XDS_TEST_CONSUL_STREAMING is {other}, not 0 or 1"),
    }
}

/// Writes it into an agent's configuration.
pub(crate) fn give_streaming(config: &mut Value) {
    if let Some(streaming) = streaming() {
        config["use_streaming_backend"] = streaming.into();
    }
}

/// Whether this Consul lacks something that a test needs, by the version that has it; said by name, so that
/// nobody takes the test for a proof.
pub(crate) fn lacks(what: &str, since: (u32, u32)) -> bool {
    let (major, minor) = version();
    let lacks = (major, minor) < since;
    if lacks {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let (since_major, since_minor) = since;
        // Not by a macro: what these print is hidden of a test that passes.
        let line = format!(
            "NOT PROVEN with Consul {major}.{minor}, which lacks {what} (since {since_major}.{since_minor}): {test}\n"
        );
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
    lacks
}

/// Major and minor.
fn version() -> (u32, u32) {
    static KNOWN: OnceLock<(u32, u32)> = OnceLock::new();
    *KNOWN.get_or_init(ask)
}

fn ask() -> (u32, u32) {
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
