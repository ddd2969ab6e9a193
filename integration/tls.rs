//! A real Envoy over mTLS, from the bootstrap that `xds-bridge bootstrap` prints; certificates
//! change while it is connected, and the bridge goes on to serve it on the same connection.

use std::time::Duration;

use rcgen::SanType;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::pki::{Ca, loopback};
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;
use crate::support::wait;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_over_mtls_while_certificates_change() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let envoy_ca = dir.path().join("envoy-ca.pem");
    std::fs::write(&envoy_ca, &ca.pem).unwrap();
    let [certificate, key] = ca.sign(dir.path(), "bridge", loopback());
    let uri = SanType::URI("spiffe://shop/ns/proof/sa/envoy".try_into().unwrap());
    let envoys = ca.sign(dir.path(), "envoy", uri);

    let registry = Registry::start(Kind::Etcd).await;
    let tls = format!(
        "[xds.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nclient_ca = \"{}\"\n\n\
         [[xds.clients]]\nsan = \"spiffe://shop/ns/proof/*\"\nnode_ids = [\"envoy-*\"]\nfleets = [\"proof\"]\n",
        ca_file.display()
    );
    let mut bridge = Bridge::start(&format!("{}\n{tls}", registry.source("registry"))).await;
    let envoy_ca = envoy_ca.display().to_string();
    let flags = ["--ca", &envoy_ca, "--cert", &envoys[0], "--key", &envoys[1]];
    let envoy = Envoy::start(bridge.listener, async |admin| {
        bridge.bootstrap_with(Step::Listeners, admin, &flags)
    })
    .await;
    let (client, orders) = (envoy.client(), Call::http("orders"));
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let three = Server::http("orders-3").await;
    let _one = registry.register_for("orders", &one, &[], TTL).await;
    client.reaches(&orders, &["orders-1"]).await;
    assert!(
        envoy.stat("cluster.xds-bridge.ssl.handshake").await >= 1,
        "no TLS"
    );

    // Broken first, then right: the bridge's leaf, its key, and a CA more for its clients.
    std::fs::write(&certificate, "rubbish").unwrap();
    bridge
        .metric_is("xds_bridge_tls_reload_failures_total", &[], |n| n == 1)
        .await;
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains("discovery port: new certificates cannot be used"),
        "{ready}"
    );
    ca.sign(dir.path(), "bridge", loopback());
    std::fs::write(&ca_file, format!("{}{}", ca.pem, Ca::new().pem)).unwrap();
    bridge
        .metric_is("xds_bridge_tls_reloads_total", &[], |n| n >= 1)
        .await;
    let _two = registry.register_for("orders", &two, &[], TTL).await;
    client.reaches(&orders, &["orders-1", "orders-2"]).await;
    assert_eq!(
        envoy.stat("cluster.xds-bridge.upstream_cx_total").await,
        1,
        "the rotation cut the connection"
    );

    // A new connection with the new files.
    bridge.kill();
    bridge.restart().await;
    let _three = registry.register_for("orders", &three, &[], TTL).await;
    client
        .reaches(&orders, &["orders-1", "orders-2", "orders-3"])
        .await;
    bridge.assert_no_nacks().await;
}

/// The same certificate for a fleet that it may not be: nothing is served, and the log says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envoy_that_claims_another_fleet_gets_nothing() {
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let ca_file = ca_file.display().to_string();
    let [certificate, key] = ca.sign(dir.path(), "bridge", loopback());
    let envoys = ca.sign(
        dir.path(),
        "envoy",
        SanType::DnsName("envoy-1.example".try_into().unwrap()),
    );
    let catalog = dir.path().join("catalog");
    std::fs::create_dir(&catalog).unwrap();
    let text = format!(
        "[sources.files]\nkind = \"file\"\npath = \"{}\"\n\n\
         [xds.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nclient_ca = \"{ca_file}\"\n\n\
         [[xds.clients]]\nsan = \"dns:envoy-*.example\"\nnode_ids = [\"*\"]\nfleets = [\"core\"]\n",
        catalog.display()
    );
    let bridge = Bridge::start(&text).await;
    let flags = ["--ca", &ca_file, "--cert", &envoys[0], "--key", &envoys[1]];
    let refused = async {
        let labels = [("reason", "identity")];
        bridge
            .metric_is("xds_bridge_streams_refused_total", &labels, |n| n >= 3)
            .await;
    };
    // It is not ready before it gives up its first listeners: not waited for.
    let envoy = Envoy::start(bridge.listener, async |admin| {
        bridge.bootstrap_with(Step::Listeners, admin, &flags)
    });
    tokio::select! {
        () = refused => {}
        _ = envoy => {}
    }
    wait::until(wait::PATIENCE, "the log names SAN, node and fleet", async || {
        let log = bridge.log();
        let said = log.lines().filter(|line| {
            ["dns:envoy-1.example", "envoy-1", "proof", "stream ended"]
                .iter()
                .all(|word| line.contains(word))
        });
        wait::holds(said.count() == 1, || log) // once, though it was refused three times
    })
    .await;
}
