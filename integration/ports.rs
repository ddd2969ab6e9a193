//! The bridge's own ports with real processes: few file descriptors, and clients that speak something else.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::bridge::Bridge;
use crate::support::pki::{Ca, loopback};
use crate::support::wait;

/// A source without any service.
fn nothing(folder: &Path) -> String {
    format!(
        "[sources.files]\nkind = \"file\"\npath = \"{}\"\n",
        folder.display()
    )
}

fn lines(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

/// Connects, says this, and waits until the other side closes.
async fn turned_away(address: SocketAddr, words: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(words).await.expect("saying it");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(wait::PATIENCE, stream.read_to_end(&mut rest)).await;
    let _ = closed.expect("it is closed"); // by a reset, perhaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_descriptors_the_operator_is_served_and_the_log_is_short() {
    let folder = tempfile::tempdir().expect("a folder");
    let bridge = Bridge::start_after("ulimit -n 64", &nothing(folder.path())).await;
    let mut idle = Vec::new();
    for _ in 0..180 {
        idle.push(TcpStream::connect(bridge.xds).await.expect("a connection"));
    }
    let labels = [("limit", "connections")];
    bridge
        .metric_is("xds_bridge_limits_reached_total", &labels, |n| n >= 100)
        .await;
    bridge.text("/readyz").await.expect("the admin port answers");
    let log = bridge.log();
    assert_eq!(lines(&log, "fewer file descriptors"), 1, "{log}");
    assert_eq!(lines(&log, "xds.max_connections is reached"), 1, "{log}");
    assert_eq!(lines(&log, "cannot be accepted"), 0, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bridge = Bridge::start_after("ulimit -Sn 64", &nothing(folder.path())).await;
    let limits = format!("/proc/{}/limits", bridge.program().id());
    let limits = std::fs::read_to_string(limits).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard");
    assert_ne!(words[3], "64");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_served_can_be_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = "[services.orders]\nprotocol = \"grpc\"\nroute = \"grpc=shop.Orders\"\n\
                   instances = [{ address = \"10.0.0.1\", port = 80 }]\n\
                   [services.web]\ninstances = [{ address = \"10.0.0.2\", port = 80 }]\n";
    std::fs::write(folder.path().join("catalog.toml"), catalog).expect("a catalog");
    let bridge = Bridge::start(&nothing(folder.path())).await;
    let dump = bridge.text("/config_dump").await.expect("a dump");
    let read: serde_json::Value = serde_json::from_str(&dump).expect("JSON");
    assert_eq!(read["configs"].as_array().map(Vec::len), Some(5));
    for part in [
        "\"10.0.0.1\"",
        "api_listener",
        "HttpConnectionManager",
        "previous_hosts",
        "HttpProtocolOptions",
    ] {
        assert!(dump.contains(part), "{part} is missing:\n{dump}");
    }
    assert!(!dump.contains("\"error\""), "{dump}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plaintext_to_a_tls_port_is_one_line_with_the_address() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let catalog = tempfile::tempdir().expect("a folder");
    let [certificate, key] = ca.sign(dir.path(), "bridge", loopback());
    let tls = format!("[xds.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let bridge = Bridge::start(&format!("{}\n{tls}", nothing(catalog.path()))).await;
    for _ in 0..5 {
        turned_away(bridge.xds, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    }
    bridge
        .metric_is("xds_bridge_tls_handshake_failures_total", &[], |n| n == 5)
        .await;
    let log = bridge.log();
    assert_eq!(lines(&log, "speaks plaintext to this port"), 1, "{log}");
    assert_eq!(lines(&log, "address=127.0.0.1:"), 1, "{log}");
}
