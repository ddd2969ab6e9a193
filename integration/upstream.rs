//! Connections to servers by TLS, as a service declares it: checked, and with a certificate of Envoy's own.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::SanType;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::{raw, wait};

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

/// A server of HTTP/1.1 by TLS that takes only clients of this CA; it answers with the host that it was asked for.
async fn server(chain: &str, key: &str, clients: &Ca) -> (SocketAddr, JoinHandle<()>) {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(clients.pem.as_bytes()).expect("a certificate");
    roots.add(ca).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(
            vec![CertificateDer::from_pem_file(chain).expect("a certificate")],
            PrivateKeyDer::from_pem_file(key).expect("a key"),
        )
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let asked = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    request.extend(byte);
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{asked}",
                    asked.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_server_with_the_right_certificate_gets_requests() {
    let dir = tempfile::tempdir().expect("a folder");
    let (servers, clients) = (Ca::new(), Ca::new());
    let [chain, key] = servers.sign(dir.path(), "server", dns("web.test"));
    let [own_chain, own_key] = clients.sign(dir.path(), "envoy", dns("envoy.test"));
    let ca = dir.path().join("servers.pem");
    std::fs::write(&ca, &servers.pem).expect("writing a CA");
    let (address, task) = server(&chain, &key, &clients).await;
    let tls = |value| [("tls", value)];
    let (right, named, other_name) = (
        tls("shop sni=web.test"),
        tls("shop san=web.test"),
        tls("shop sni=other.test"),
    );
    let (bare, other_ca) = (tls("bare sni=web.test"), tls("others sni=web.test"));
    let unknown = tls("nowhere sni=web.test");
    let folder = Folder::of(&[
        ("right", address, &right),
        (
            "https",
            address,
            &[("protocol", "https"), ("tls", "shop sni=web.test")],
        ),
        ("named", address, &named),
        ("other-name", address, &other_name),
        ("no-certificate", address, &bare),
        ("other-ca", address, &other_ca),
        ("unknown", address, &unknown),
        ("plain", address, &[]),
    ]);
    let others = dir.path().join("others.pem");
    std::fs::write(&others, &clients.pem).expect("writing a CA");
    let bridge = Bridge::start(&format!(
        "{2}[tls.shop]\nca = \"{0}\"\ncertificate = \"{own_chain}\"\nkey = \"{own_key}\"\n[tls.bare]\nca = \
         \"{0}\"\n[tls.others]\nca = \"{1}\"\ncertificate = \"{own_chain}\"\nkey = \"{own_key}\"\n",
        ca.display(),
        others.display(),
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    for (host, asked) in [("right", "web.test"), ("https", "web.test"), ("named", "named")] {
        wait::until(wait::PATIENCE, host, async || {
            let answer = raw::get(at, host, "/").await?;
            wait::holds(answer == (200, asked.to_owned()), || format!("{answer:?}"))
        })
        .await;
    }
    for host in ["other-name", "no-certificate", "other-ca", "unknown", "plain"] {
        let (status, body) = raw::get(at, host, "/").await.expect("an answer");
        assert!([502, 503].contains(&status), "{host}: {status} {body}");
    }
    assert!(
        bridge.log().contains("tls: `nowhere` is no [tls.nowhere]"),
        "{}",
        bridge.log()
    );

    // The CA changes: the server is no longer trusted, and is again once its own CA is back.
    std::fs::write(&ca, &clients.pem).expect("writing a CA");
    wait::until(wait::PATIENCE, "the server is refused", async || {
        let answer = raw::get(at, "right", "/").await?;
        wait::holds(answer.0 == 503, || format!("{answer:?}"))
    })
    .await;
    std::fs::write(&ca, &servers.pem).expect("writing a CA");
    wait::until(wait::PATIENCE, "the server is trusted again", async || {
        let answer = raw::get(at, "right", "/").await?;
        wait::holds(answer.0 == 200, || format!("{answer:?}"))
    })
    .await;
    bridge.assert_no_nacks().await;
    task.abort();
}
