//! The number of connections and requests, and how connections are made.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Scene;
use crate::support::client::Call;
use crate::support::raw::{self, RawServer};
use crate::support::servers::Server;
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_above_a_limit_fail_at_once() {
    let server = RawServer::start("slow").await;
    let scene = Scene::start(&[
        ("narrow", server.address, &[("limits", "requests=1")]),
        ("wide", server.address, &[]),
    ])
    .await;
    for host in ["narrow", "wide"] {
        let call = Call::http(host);
        scene.envoy.client().reaches(&call, &["slow"]).await;
        let at = scene.envoy.listener();
        let first = tokio::spawn(async move { raw::get(at, host, "/after/5000").await });
        scene.stat_is(host, "upstream_rq_active", |n| n == 1).await;
        let (status, body) = raw::get(at, host, "/").await.expect("an answer");
        if host == "narrow" {
            assert!(
                status == 503 && body.ends_with("reset reason: overflow"),
                "{status} {body}"
            );
        } else {
            assert_eq!((status, body.as_str()), (200, "slow"));
        }
        let first = first.await.expect("a task of this test");
        assert_eq!(first, Ok((200, "slow".to_owned())), "{host}");
    }
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_end_by_age_and_by_requests() {
    let server = RawServer::start("web").await;
    let scene = Scene::start(&[
        ("short", server.address, &[("max-connection-duration", "200ms")]),
        ("once", server.address, &[("max-requests-per-connection", "1")]),
    ])
    .await;
    for host in ["short", "once"] {
        scene.envoy.client().reaches(&Call::http(host), &["web"]).await;
    }
    scene
        .stat_is("short", "upstream_cx_max_duration_reached", |n| n > 0)
        .await;
    scene.stat_is("once", "upstream_cx_max_requests", |n| n > 1).await;
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_system_probes_silent_connections() {
    let (web, plain) = (RawServer::start("web").await, RawServer::start("plain").await);
    let scene = Scene::start(&[
        (
            "web",
            web.address,
            &[("tcp-keepalive", "600s"), ("idle-timeout", "0s")],
        ),
        ("plain", plain.address, &[("idle-timeout", "0s")]),
    ])
    .await;
    for (host, server, wanted) in [("web", &web, true), ("plain", &plain, false)] {
        scene.envoy.client().reaches(&Call::http(host), &[host]).await;
        let what = format!("connections to {host} have keepalive timers: {wanted}");
        wait::until(wait::PATIENCE, &what, async || {
            let timers = timers(server.address);
            let right = !timers.is_empty() && timers.iter().all(|timer| (timer == "02") == wanted);
            wait::holds(right, || format!("{timers:?}"))
        })
        .await;
    }
    scene.bridge.assert_no_nacks().await;
}

/// The kind of timer of each open connection to this address: 02 is that of keepalive.
fn timers(server: SocketAddr) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let port = format!(":{:04X}", server.port());
    let rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let open = rows.filter(|row| row.len() > 5 && row[2].ends_with(&port) && row[3] == "01");
    open.map(|row| row[5][..2].to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_http2_takes_as_many_streams_as_declared() {
    let server = Server::grpc("calls", "shop.Calls").await;
    let keys = [
        ("protocol", "grpc"),
        ("route", "grpc=shop.Calls"),
        (
            "http2",
            "streams=1 window=128KiB keepalive=1s keepalive-timeout=5s",
        ),
    ];
    let scene = Scene::start(&[("calls", server.address, &keys)]).await;
    let client = scene.envoy.client();
    let call = Call::grpc("shop.Calls");
    client.reaches(&call, &["calls"]).await;
    server.answer_after(Duration::from_secs(3));
    let together = tokio::join!(client.call(&call), client.call(&call), client.call(&call));
    let calls = || Ok("calls".to_owned());
    assert_eq!(together, (calls(), calls(), calls()));
    scene.stat_is("calls", "upstream_cx_total", |n| n >= 3).await;
    scene.bridge.assert_no_nacks().await;
}

/// Answers each request with what its connection began with.
async fn first_bytes() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(say_how_it_began(stream));
        }
    });
    address
}

async fn say_how_it_began(mut stream: TcpStream) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    // The signature of the second version begins as a head ends.
    while bytes.len() <= 4 || !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await?);
    }
    let began = match bytes.as_slice() {
        [
            b'\r',
            b'\n',
            b'\r',
            b'\n',
            b'\0',
            b'\r',
            b'\n',
            b'Q',
            b'U',
            b'I',
            b'T',
            b'\n',
            ..,
        ] => "v2".to_owned(),
        text => String::from_utf8_lossy(text)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        began.len()
    );
    stream.write_all((head + &began).as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_begin_with_the_clients_address() {
    let server = first_bytes().await;
    let scene = Scene::start(&[
        ("first", server, &[("proxy-protocol", "v1")]),
        ("second", server, &[("proxy-protocol", "v2")]),
        ("none", server, &[]),
    ])
    .await;
    for (host, wanted) in [
        ("first", "PROXY TCP4 127.0.0.1 127.0.0.1 "),
        ("second", "v2"),
        ("none", "GET / HTTP/1.1"),
    ] {
        let what = format!("connections to {host} begin with {wanted}");
        wait::until(wait::PATIENCE, &what, async || {
            let (status, began) = raw::get(scene.envoy.listener(), host, "/").await?;
            wait::holds(status == 200 && began.starts_with(wanted), || began)
        })
        .await;
    }
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_holds_what_no_request_shows() {
    let server = Server::http("web").await;
    let scene = Scene::start(&[
        (
            "slow",
            server.address,
            &[("slow-start", "30s"), ("connect-timeout", "250ms")],
        ),
        (
            "busy",
            server.address,
            &[("slow-start", "30s"), ("lb", "least_request")],
        ),
    ])
    .await;
    wait::until(wait::PATIENCE, "both clusters are active", async || {
        let active = scene.active().await?;
        let find = |name: &str| {
            let found = active.iter().find(|cluster| cluster["name"] == name);
            found.ok_or_else(|| format!("no cluster {name}"))
        };
        let (slow, busy) = (find("slow")?, find("busy")?);
        let first = &busy["load_balancing_policy"]["policies"][0]["typed_extension_config"]["typed_config"];
        let right = slow["round_robin_lb_config"]["slow_start_config"]["slow_start_window"] == "30s"
            && slow["connect_timeout"] == "0.250s"
            && first["slow_start_config"]["slow_start_window"] == "30s";
        wait::holds(right, || format!("{slow} {busy}"))
    })
    .await;
    scene.bridge.assert_no_nacks().await;
}
