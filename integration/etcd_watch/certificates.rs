//! TLS towards a real etcd that wants certificates of its clients.

use std::path::Path;

use etcd_client::{Certificate, Identity, TlsOptions};
use xds_bridge::config::{ClientTls, EtcdSource};

use super::support::{Bridge, Node, PREFIX, key, ports, value};
use crate::support::bridge::Bridge as Process;
use crate::support::pki::{Ca, loopback};

/// How the test itself comes in.
fn options(server: &Ca, client: &Ca, folder: &Path) -> TlsOptions {
    let [certificate, key] = client
        .sign(folder, "test", loopback())
        .map(|path| std::fs::read(path).unwrap());
    TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&server.pem))
        .identity(Identity::from_pem(certificate, key))
}

/// etcd with a certificate of `server` that lets in whom `client` signed.
async fn with_certificates(server: &Ca, client: &Ca) -> Node {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = server.sign(folder.path(), "server", loopback());
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, &client.pem).unwrap();
    let tls = options(server, client, folder.path());
    let trusted = trusted.display().to_string();
    let args = [
        "--client-cert-auth",
        "--cert-file",
        &certificate,
        "--key-file",
        &key,
        "--trusted-ca-file",
        &trusted,
    ];
    Node::with(folder, &args, Some(tls)).await
}

fn config(node: &Node, tls: ClientTls) -> EtcdSource {
    EtcdSource {
        tls: Some(tls),
        ..EtcdSource::new(vec![node.endpoint()], PREFIX)
    }
}

/// What the bridge is given, in files of its own.
fn ours(folder: &Path, server: &Ca, client: &Ca) -> ClientTls {
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, &server.pem).unwrap();
    let [certificate, key] = client.sign(folder, "bridge", loopback());
    ClientTls {
        ca: Some(ca),
        identity: Some((certificate.into(), key.into())),
        server_name: None,
    }
}

#[tokio::test]
async fn a_wrong_certificate_is_told_with_its_mend() {
    let (a, b) = (Ca::new(), Ca::new());
    let node = with_certificates(&a, &a).await;
    let folder = tempfile::tempdir().unwrap();
    let right = ours(folder.path(), &a, &a);
    let other = tempfile::tempdir().unwrap();
    let foreign = ours(other.path(), &b, &b);
    for (tls, word) in [
        (
            ClientTls {
                ca: foreign.ca,
                ..right.clone()
            },
            "fix: `ca` must name",
        ),
        (
            ClientTls {
                ca: None,
                ..right.clone()
            },
            "fix: `ca` must name",
        ),
        (
            ClientTls {
                identity: None,
                ..right.clone()
            },
            "`certificate` and `key`",
        ),
        (
            ClientTls {
                identity: foreign.identity,
                ..right.clone()
            },
            "`certificate` and `key`",
        ),
        (
            ClientTls {
                server_name: Some("etcd.example".to_owned()),
                ..right.clone()
            },
            "fix: `server_name` must be",
        ),
        (
            ClientTls {
                ca: Some(folder.path().join("none.pem")),
                ..right.clone()
            },
            "none.pem: No such file",
        ),
    ] {
        let mut bridge = Bridge::of(&config(&node, tls));
        bridge.away(word).await;
        bridge.stop().await;
    }
    let mut bridge = Bridge::of(&config(&node, right));
    bridge.live().await;
    bridge.stop().await;
}

#[tokio::test]
async fn certificates_on_both_sides_are_rotated_without_a_loss() {
    let (old, new) = (Ca::new(), Ca::new());
    let mut node = with_certificates(&old, &old).await;
    let folder = tempfile::tempdir().unwrap();
    let tls = ours(folder.path(), &old, &old);
    let mut bridge = Bridge::of(&config(&node, tls));
    bridge.live().await;
    put(&node, options(&old, &old, node.folder.path()), 1).await;
    bridge.until("one", |b| b.ports() == ports([("s0", &[1])])).await;

    // etcd lets in whom the new authority signed: our certificate is refused until it is another one.
    std::fs::write(node.folder.path().join("trusted.pem"), &new.pem).unwrap();
    let test = options(&old, &new, node.folder.path());
    node.restart(Some(test.clone())).await;
    bridge.away("`certificate` and `key`").await;
    ours(folder.path(), &old, &new);
    bridge.live().await;
    put(&node, test, 2).await;
    bridge
        .until("two", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;

    // And now its own certificate is of the new authority.
    new.sign(node.folder.path(), "server", loopback());
    let test = options(&new, &new, node.folder.path());
    node.restart(Some(test.clone())).await;
    bridge.away("fix: `ca` must name").await;
    ours(folder.path(), &new, &new);
    bridge.live().await;
    put(&node, test, 3).await;
    bridge
        .until("three", |b| b.ports() == ports([("s0", &[1, 2, 3])]))
        .await;
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
}

/// As a process: where the machine's roots are is said by its environment.
#[tokio::test]
async fn https_without_ca_trusts_the_roots_of_the_machine() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().unwrap());
    let [certificate, secret] = ca.sign(folder.path(), "server", loopback());
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &ca.pem).unwrap();
    let tls = TlsOptions::new().ca_certificate(Certificate::from_pem(&ca.pem));
    let args = ["--cert-file", &certificate, "--key-file", &secret];
    let node = Node::with(folder, &args, Some(tls.clone())).await;
    put(&node, tls, 1).await;
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        node.endpoint()
    );
    let before = format!("export SSL_CERT_FILE={}", roots.display());
    let bridge = Process::start_after(&before, &source).await;
    bridge
        .metric_is("xds_bridge_source_up", &[("source", "registry")], |up| up == 1)
        .await;
}

async fn put(node: &Node, tls: TlsOptions, port: usize) {
    let options = etcd_client::ConnectOptions::new().with_tls(tls);
    let mut client = etcd_client::Client::connect([node.endpoint()], Some(options))
        .await
        .unwrap();
    client.put(key(0, port), value(port), None).await.unwrap();
}
