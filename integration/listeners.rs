//! What listeners of ours do beside their routes, through a real Envoy: TLS with certificates that change, access
//! logs, the PROXY protocol; and a configuration that is read again while requests go on.

use std::net::SocketAddr;

use rcgen::SanType;
use tokio_util::sync::CancellationToken;

use crate::support::bridge::{Bridge, Step};
use crate::support::envoy::Envoy;
use crate::support::folder::Folder;
use crate::support::pki::Ca;
use crate::support::servers::Server;
use crate::support::{process, raw, tls, wait};

/// One service of HTTP, with two hosts.
fn folder(server: &Server) -> Folder {
    Folder::of(&[("web", server.address, &[("route", "host=a.test,b.test")])])
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
            let (answer, _) = tls::get(front, host, &ca).await?;
            wait::holds(answer == "web", || answer)
        })
        .await;
    }
    assert!(
        tls::get(front, "c.test", &ca).await.is_err(),
        "no certificate is for it"
    );
    let (_, first) = tls::get(front, "a.test", &ca).await.expect("an answer");

    // New files: new connections get them, and nothing else changes. The key is never shown.
    sign(&other, "a");
    wait::until(wait::PATIENCE, "the new certificate is shown", async || {
        let (answer, shown) = tls::get(front, "a.test", &other).await?;
        wait::holds(answer == "web" && shown != first, || answer)
    })
    .await;
    tls::get(front, "b.test", &ca)
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
    tls::get(front, "a.test", &other)
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

/// A bootstrap of an Envoy that takes requests by HTTP/1 and sends them on by HTTP/3.
fn by_http3(admin: SocketAddr, at: SocketAddr, to: SocketAddr, ca: &std::path::Path) -> String {
    format!(
        r#"
admin: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
static_resources:
  listeners:
  - name: in
    address: {{ socket_address: {{ address: {}, port_value: {} }} }}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts: [ {{ name: all, domains: ["*"], routes: [ {{ match: {{ prefix: / }}, route: {{ cluster: quic }} }} ] }} ]
          http_filters:
          - name: router
            typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
  clusters:
  - name: quic
    load_assignment:
      cluster_name: quic
      endpoints: [ {{ lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }} }} ] }} ]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http3_protocol_options: {{}} }}
    transport_socket:
      name: envoy.transport_sockets.quic
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport
        upstream_tls_context:
          sni: a.test
          common_tls_context: {{ validation_context: {{ trusted_ca: {{ filename: "{}" }} }} }}
"#,
        admin.ip(),
        admin.port(),
        at.ip(),
        at.port(),
        to.ip(),
        to.port(),
        ca.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http3_is_served_beside_and_clients_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (server, ca) = (Server::http("web").await, Ca::new());
    let host = SanType::DnsName("a.test".try_into().expect("a name"));
    let [certificate, key] = ca.sign(dir.path(), "a", host);
    let trusted = dir.path().join("ca.pem");
    std::fs::write(&trusted, &ca.pem).expect("writing a CA");
    let folder = folder(&server);
    let [front, at] = process::ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let bridge = Bridge::start(&format!(
        "{}[tls.a]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n[listeners.front]\naddress = \"{front}\"\n\
         http3 = true\nhttp3_port = 443\n[listeners.front.tls]\ncertificates = [\"a\"]\n",
        folder.section(),
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let _client = Envoy::start(at, async |admin| by_http3(admin, at, front, &trusted)).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    wait::until(wait::PATIENCE, "a request by HTTP/3", async || {
        let (_, answer) = raw::whole(at, request).await?;
        let told = answer.to_lowercase().contains("alt-svc: h3=\":443\"; ma=86400");
        wait::holds(
            answer.contains("200 OK") && answer.ends_with("web") && told,
            || answer,
        )
    })
    .await;
    assert!(envoy.stat("http.front.downstream_rq_http3_total").await > 0);
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected").await, 0);
    bridge.assert_no_nacks().await;
}
