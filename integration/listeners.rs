//! What listeners of ours do beside their routes, through a real Envoy: TLS with certificates that change, access
//! logs, the PROXY protocol; and a configuration that is read again while requests go on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::SanType;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{process, raw, wait};

/// One service of HTTP, with two hosts.
fn folder(server: &Server) -> Folder {
    Folder::of(&[("web", server.address, &[("route", "host=a.test,b.test")])])
}

/// What a client that trusts this CA gets for a request by TLS, and the certificate that it was shown.
async fn by_tls(at: SocketAddr, host: &'static str, ca: &Ca) -> Result<(String, Vec<u8>), String> {
    let mut roots = RootCertStore::empty();
    let trusted =
        rustls::pki_types::CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("a certificate");
    roots.add(trusted).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let talk = async {
        let stream = TcpStream::connect(at).await.map_err(|e| e.to_string())?;
        let name = ServerName::try_from(host).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        let shown = shown.map(|certificate| certificate.to_vec()).unwrap_or_default();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        Ok((answer.lines().last().unwrap_or_default().to_owned(), shown))
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), talk).await;
    answer.map_err(|_| "no answer".to_owned())?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_shows_the_certificate_that_fits_and_the_newest_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, ca, other) = (Server::http("web").await, Ca::new(), Ca::new());
    let sign = |ca: &Ca, name: &str| {
        let host = format!("{name}.test");
        ca.sign(
            dir.path(),
            name,
            SanType::DnsName(host.try_into().expect("a name")),
        )
    };
    let ([a_cert, a_key], [b_cert, b_key]) = (sign(&ca, "a"), sign(&ca, "b"));
    let folder = folder(&server);
    let [port] = process::ports();
    let front = SocketAddr::from(([127, 0, 0, 1], port));
    let log = dir.path().join("access.log");
    let bridge = Bridge::start(&format!(
        "{}[tls.a]\ncertificate = \"{a_cert}\"\nkey = \"{a_key}\"\n[tls.b]\ncertificate = \"{b_cert}\"\nkey = \
         \"{b_key}\"\n[tls.lost]\nca = \"{}\"\n[listeners.front]\naddress = \"{front}\"\naccess_log = \"{}\"\n\
         access_log_format = \"json\"\n[listeners.front.tls]\ncertificates = [\"a\", \"b\"]\n",
        folder.section(),
        dir.path().join("nowhere.pem").display(),
        log.display(),
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    for host in ["a.test", "b.test"] {
        wait::until(wait::PATIENCE, host, async || {
            let (answer, _) = by_tls(front, host, &ca).await?;
            wait::holds(answer == "web", || answer)
        })
        .await;
    }
    assert!(
        by_tls(front, "c.test", &ca).await.is_err(),
        "no certificate is for it"
    );
    let (_, first) = by_tls(front, "a.test", &ca).await.expect("an answer");

    // New files: new connections get them, and nothing else changes. The key is never shown.
    sign(&other, "a");
    wait::until(wait::PATIENCE, "the new certificate is shown", async || {
        let (answer, shown) = by_tls(front, "a.test", &other).await?;
        wait::holds(answer == "web" && shown != first, || answer)
    })
    .await;
    by_tls(front, "b.test", &ca)
        .await
        .expect("the other certificate stays");
    let dump = bridge.text("/config_dump?type=sds").await.expect("a dump");
    assert!(
        dump.contains("[redacted]") || dump.contains("W3JlZGFjdGVk"),
        "{dump}"
    );
    assert!(
        !dump.contains("PRIVATE KEY") && !dump.contains("LS0tLS1CRUdJTiBQUklW"),
        "{dump}"
    );
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, 0);

    // A broken file leaves the one before in force.
    std::fs::write(dir.path().join("a.pem"), "no certificate").expect("writing");
    wait::until(wait::PATIENCE, "the broken file is logged", async || {
        let log = bridge.log();
        wait::holds(log.contains("the old ones stay"), || log)
    })
    .await;
    by_tls(front, "a.test", &other)
        .await
        .expect("the certificate before");
    wait::until(wait::PATIENCE, "requests are logged", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.contains("\"authority\":\"a.test\""));
        let right = line.is_some_and(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["response_code"] == 200 && line["upstream_cluster"] == "web"
        });
        wait::holds(right, || text)
    })
    .await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_in_front_names_the_client() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::http("web").await;
    let folder = folder(&server);
    let [port] = process::ports();
    let front = SocketAddr::from(([127, 0, 0, 1], port));
    let log = dir.path().join("access.log");
    let bridge = Bridge::start(&format!(
        "{}[listeners.front]\naddress = \"{front}\"\nproxy_protocol = true\nmax_connection_duration = \"1h\"\n\
         access_log = \"{}\"\naccess_log_format = \"%DOWNSTREAM_REMOTE_ADDRESS% %RESPONSE_CODE%\"\n",
        folder.section(),
        log.display(),
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    let request = "PROXY TCP4 10.9.8.7 127.0.0.1 1000 80\r\nGET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    wait::until(wait::PATIENCE, "the request is answered", async || {
        let answer = raw::exchange(front, request).await?;
        wait::holds(answer == (200, "web".to_owned()), || format!("{answer:?}"))
    })
    .await;
    wait::until(wait::PATIENCE, "the client is in the log", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        wait::holds(text.contains("10.9.8.7:1000 200\n"), || text)
    })
    .await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_read_again_while_requests_go_on() {
    let server = Server::http("web").await;
    let folder = folder(&server);
    let mut bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    wait::until(wait::PATIENCE, "the route is there", async || {
        let answer = raw::get(at, "web", "/").await?;
        wait::holds(answer.0 == 200, || format!("{answer:?}"))
    })
    .await;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let load = tokio::spawn(async move {
        let (mut done, mut failed) = (0, Vec::new());
        while !stopped.is_cancelled() {
            match raw::get(at, "web", "/").await {
                Ok((200, _)) => {}
                other => failed.push(other),
            }
            done += 1;
            tokio::task::yield_now().await;
        }
        (done, failed)
    });
    let before = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let [port] = process::ports();
    let front = SocketAddr::from(([127, 0, 0, 1], port));
    for round in 0..10 {
        // A listener comes with an exposure of its own, and goes.
        let more = format!(
            "[exposures.edge]\nhosts = [\"a.test\"]\nservice_hosts = [\"{{service}}.r{round}\"]\n[listeners.front]\n\
             address = \"{front}\"\nexposure = \"edge\"\n"
        );
        std::fs::write(bridge.file(), format!("{before}{more}")).expect("writing bridge.toml");
        bridge.program().signal("HUP");
        wait::until(wait::PATIENCE, "the new listener serves", async || {
            let answer = raw::get(front, &format!("web.r{round}"), "/").await?;
            wait::holds(answer.0 == 200, || format!("{answer:?}"))
        })
        .await;
        // A file with a mistake changes nothing.
        let seen = bridge.log().matches("the configuration in force stays").count();
        std::fs::write(bridge.file(), format!("{before}[listeners.front]\nport = 1\n"))
            .expect("writing bridge.toml");
        bridge.program().signal("HUP");
        wait::until(wait::PATIENCE, "the mistake is logged", async || {
            let log = bridge.log();
            wait::holds(
                log.matches("the configuration in force stays").count() > seen,
                || log,
            )
        })
        .await;
        assert_eq!(
            raw::get(front, &format!("web.r{round}"), "/").await.map(|a| a.0),
            Ok(200)
        );
    }
    std::fs::write(bridge.file(), &before).expect("writing bridge.toml");
    bridge.program().signal("HUP");
    wait::until(wait::PATIENCE, "the listener is gone", async || {
        let gone = raw::get(front, "web.r9", "/").await.is_err();
        wait::holds(gone, || "it still answers".to_owned())
    })
    .await;
    stop.cancel();
    let (done, failed) = load.await.expect("the load");
    assert!(
        failed.is_empty() && done > 100,
        "{done} requests, failed: {failed:?}"
    );
    bridge.assert_no_nacks().await;
}
