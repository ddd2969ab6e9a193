//! Services whose servers speak TLS: gRPC's own clients check them, and show a certificate, by files that the printed
//! bootstrap names.

use std::path::Path;

use rcgen::SanType;

use crate::support::bridge::Bridge;
use crate::support::folder::Folder;
use crate::support::grpc::{Caller, Language};
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::tls::front;

const METHOD: &str = "/shop.Orders/Get";

/// So many calls in a row that fail.
const FAILURES: usize = 8;

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("a name"))
}

/// Who signs, and what the client shows.
struct Keys {
    dir: tempfile::TempDir,
    servers: Ca,
    clients: Ca,
    ca: String,
    own: [String; 2],
}

impl Keys {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (servers, clients) = (Ca::new(), Ca::new());
        let ca = dir.path().join("servers.pem").display().to_string();
        std::fs::write(&ca, &servers.pem).expect("writing a CA");
        let own = clients.sign(dir.path(), "client", uri("spiffe://shop/web"));
        Self {
            dir,
            servers,
            clients,
            ca,
            own,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `[tls.shop]` with a certificate, `[tls.bare]` without one, and `[tls.absent]`, of which clients have nothing.
    fn sections(&self) -> String {
        let Self {
            ca,
            own: [chain, key],
            ..
        } = self;
        format!(
            "[tls.shop]\nca = \"{ca}\"\ncertificate = \"{chain}\"\nkey = \"{key}\"\n\
             [tls.bare]\nca = \"{ca}\"\n[tls.absent]\nca = \"{ca}\"\n"
        )
    }

    /// The file that the command prints. Java takes no CA without a pair beside it.
    fn bootstrap(&self, bridge: &Bridge) -> String {
        let Self {
            ca,
            own: [chain, key],
            ..
        } = self;
        let (shop, bare) = (
            format!("shop={ca},{chain},{key}"),
            format!("bare={ca},{chain},{key}"),
        );
        bridge.grpc_bootstrap_with("client-1", &["--tls", &shop, "--tls", &bare])
    }
}

pub(super) async fn names_and_cas(language: Language) {
    let keys = Keys::new();
    let server = Server::grpc("orders-1", "shop.Orders").await;
    let own = keys.servers.sign(keys.path(), "own", dns("api.shop.test"));
    let wild = keys.servers.sign(keys.path(), "wild", dns("*.shop.test"));
    let spiffe = keys
        .servers
        .sign(keys.path(), "spiffe", uri("spiffe://shop/orders"));
    let stranger = Ca::new().sign(keys.path(), "stranger", dns("api.shop.test"));
    let (right, _right) = front(server.address, &own, Some(&keys.clients)).await;
    let (open, _open) = front(server.address, &own, None).await;
    let (wild, _wild) = front(server.address, &wild, None).await;
    let (spiffe, _spiffe) = front(server.address, &spiffe, None).await;
    let (stranger, _stranger) = front(server.address, &stranger, None).await;
    let tls = |text| [("protocol", "grpcs"), ("tls", text)];
    let api = tls("bare sni=api.shop.test");
    let (shop, other) = (tls("shop sni=api.shop.test"), tls("bare sni=api.other.test"));
    let by_uri = tls("bare sni=api.shop.test san=spiffe://shop/orders");
    let absent = tls("absent sni=api.shop.test");
    let folder = Folder::of(&[
        ("mutual", right, &shop),
        ("open", open, &api),
        ("wildcard", wild, &api),
        ("by-uri", spiffe, &by_uri),
        ("plain", server.address, &super::ORDERS),
        ("without-certificate", right, &api),
        ("other-name", open, &other),
        ("other-wildcard", wild, &other),
        ("uri-is-no-name", spiffe, &api),
        ("other-ca", stranger, &api),
        ("lacks-files", open, &absent),
    ]);
    let bridge = Bridge::start(&format!("{}{}", folder.section(), keys.sections())).await;
    let bootstrap = keys.bootstrap(&bridge);
    let call =
        |service: &str| Caller::start_secure(language, &bootstrap, &format!("xds:///{service}"), METHOD);
    for service in ["mutual", "open", "wildcard", "by-uri", "plain"] {
        let client = call(service);
        client.reaches(&["orders-1"]).await;
        client.assert_clean();
    }
    for service in [
        "without-certificate",
        "other-name",
        "other-wildcard",
        "uri-is-no-name",
        "other-ca",
    ] {
        let client = call(service);
        client.fails_on(FAILURES).await;
        assert_eq!(client.calls().answers, [""; 0], "{service}");
    }
    bridge.assert_no_nacks().await;

    // What the bootstrap of a client lacks costs that service alone. tonic-xds waits for it until calls end.
    let stays = call("open");
    stays.reaches(&["orders-1"]).await;
    let client = call("lacks-files");
    client.fails_on(1).await;
    assert_eq!(client.calls().answers, [""; 0]);
    if language != Language::Rust {
        let said = client.calls().failures.concat();
        assert!(said.contains("absent"), "the provider is named: {said}");
        bridge
            .metric_is("xds_bridge_nacks_total", &[], |nacks| nacks > 0)
            .await;
    }
    // What clients lack is no vote on the cluster that Envoys get.
    bridge
        .metric_is("xds_bridge_rejected", &[], |rejected| rejected == 0)
        .await;
    stays.goes_on(20).await;
    stays.assert_clean();
}

/// The servers of a service change from plaintext to TLS and back, each time at another address.
pub(super) async fn there_and_back(language: Language) {
    let keys = Keys::new();
    let (plain, secret) = (
        Server::grpc("plain-1", "shop.Orders").await,
        Server::grpc("secret-1", "shop.Orders").await,
    );
    let pair = keys.servers.sign(keys.path(), "own", dns("api.shop.test"));
    let (address, _front) = front(secret.address, &pair, Some(&keys.clients)).await;
    let tls = [("protocol", "grpcs"), ("tls", "shop sni=api.shop.test")];
    let folder = Folder::of(&[("orders", plain.address, &super::ORDERS)]);
    let bridge = Bridge::start(&format!("{}{}", folder.section(), keys.sections())).await;
    let client = Caller::start_secure(language, &keys.bootstrap(&bridge), "xds:///orders", METHOD);
    client.reaches(&["plain-1"]).await;
    folder.write(&[("orders", address, &tls)]);
    client.reaches(&["secret-1"]).await;
    folder.write(&[("orders", plain.address, &super::ORDERS)]);
    client.reaches(&["plain-1"]).await;
    bridge.assert_no_nacks().await;
}
