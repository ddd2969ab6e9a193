//! gRPC clients by TLS, from the bootstrap that `xds-bridge bootstrap --for grpc` prints.

use std::path::Path;
use std::process::Command;

use rcgen::SanType;

use super::{ORDERS, TTL, servers};
use crate::support::bridge::{Bridge, run};
use crate::support::grpc::{Caller, Language};
use crate::support::pki::{Ca, loopback};
use crate::support::registry::{Kind, Registry};

/// Whether the bridge asks for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// TLS: the client verifies the bridge.
    One,
    /// mTLS: the bridge verifies the client as well.
    Both,
}

async fn by_tls(language: Language, side: Side) {
    if !language.is_here() {
        return;
    }
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let ca_file = write("ca.pem", &ca.pem);
    let [certificate, key] = ca.sign(dir.path(), "bridge", loopback());
    let uri = SanType::URI("spiffe://shop/ns/proof/sa/client".try_into().unwrap());
    let [own, own_key] = ca.sign(dir.path(), "client", uri);
    let mut tls = format!("[xds.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
    let mut flags = vec!["--ca", &ca_file];
    if side == Side::Both {
        tls = format!(
            "{tls}client_ca = \"{ca_file}\"\n\n[[xds.clients]]\nsan = \"spiffe://shop/ns/proof/*\"\n\
             node_ids = [\"client-*\"]\nfleets = [\"proof\"]\n"
        );
        flags.extend(["--cert", &own, "--key", &own_key]);
    }
    let registry = Registry::start(Kind::Etcd).await;
    let bridge = Bridge::start(&format!("{}\n{tls}", registry.source("registry"))).await;
    let file = bridge.file().display().to_string();
    let mut args = vec!["bootstrap", "--config", &file, "--for", "grpc"];
    args.extend(["--node-id", "client-1", "--node-cluster", "proof"]);
    args.extend(flags);
    let printed = run(&args, Path::new("."));
    assert!(printed.status.success(), "{}", printed.stderr);
    // What Java needs instead of the files is said where the file is made.
    assert!(
        printed.stderr.contains("javax.net.ssl.trustStore"),
        "{}",
        printed.stderr
    );
    assert_eq!(
        printed.stderr.contains("client_ca"),
        side == Side::Both,
        "{}",
        printed.stderr
    );
    let before = match language {
        Language::Java => vec![trust_store(dir.path(), &ca_file)],
        _ => Vec::new(),
    };
    let (target, method) = ("xds:///orders", "/shop.Orders/Get");
    let client = Caller::start_by(&before, language, &printed.stdout, target, method);
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    let _one = registry.register_for("orders", one, &ORDERS, TTL).await;
    client.reaches(&["orders-1"]).await;
    let _two = registry.register_for("orders", two, &ORDERS, TTL).await;
    client.reaches(&["orders-1", "orders-2"]).await;
    client.assert_clean();
    bridge.assert_no_nacks().await;
}

/// The variable that makes a JVM trust this CA, as docs/clients.md says it.
fn trust_store(dir: &Path, ca: &str) -> String {
    let store = dir.join("ca.p12").display().to_string();
    let made = Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "bridge", "-file", ca])
        .args(["-keystore", &store, "-storepass", "changeit"])
        .output()
        .expect("running keytool, which is beside java");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    format!("JDK_JAVA_OPTIONS=-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit")
}

macro_rules! by_tls {
    ($($name:ident: $language:ident $side:ident;)+) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            by_tls(Language::$language, Side::$side).await;
        }
    )+ };
}

by_tls! {
    go_by_tls: Go One;
    go_by_mtls: Go Both;
    python_by_tls: Python One;
    python_by_mtls: Python Both;
    rust_by_tls: Rust One;
    rust_by_mtls: Rust Both;
    java_by_tls: Java One;
}
