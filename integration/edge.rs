//! What an ordinary client may expect of the listeners and routes that we make, through a real Envoy.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::folder::Folder;
use crate::support::process;
use crate::support::raw::{self, RawServer};
use crate::support::servers::Server;
use crate::support::wait;

/// Waits until a GET is answered so.
async fn answers(address: SocketAddr, host: &str, path: &str, wanted: (u16, &str)) {
    let what = format!("GET {path} of {host} is answered with {wanted:?}");
    wait::until(wait::PATIENCE, &what, async || {
        let (status, body) = raw::get(address, host, path).await?;
        let right = status == wanted.0 && (wanted.1.is_empty() || body == wanted.1);
        wait::holds(right, || format!("{status} {body}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_to_a_service_of_http1_and_to_no_other() {
    let (chat, calls) = (
        RawServer::start("chat").await,
        Server::grpc("calls", "shop.Calls").await,
    );
    let folder = Folder::of(&[
        ("chat", chat.address, &[]),
        ("calls", calls.address, &[("protocol", "grpc")]),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    for step in [Step::Listeners, Step::Endpoints] {
        let envoy = bridge.envoy(step, &["chat", "calls:grpc"]).await;
        answers(envoy.listener(), "chat", "/", (200, "chat")).await;
        let mut stream = raw::upgrade(envoy.listener(), "chat").await.expect("a websocket");
        for word in ["ping", "pong"] {
            stream
                .write_all(word.as_bytes())
                .await
                .expect("an open connection");
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).await.expect("bytes of the server");
            assert_eq!(echo, word.as_bytes());
        }
        let refused = raw::upgrade(envoy.listener(), "calls").await;
        assert_eq!(refused.map(drop), Err("403".to_owned()), "{step:?}");
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_takes_as_long_as_it_takes_unless_a_timeout_is_declared() {
    let server = RawServer::start("slow").await;
    let folder = Folder::of(&[
        ("free", server.address, &[]),
        ("bound", server.address, &[("timeout", "300ms")]),
        ("silent", server.address, &[("stream-idle-timeout", "300ms")]),
        (
            "routed",
            server.address,
            &[
                ("timeout", "300ms"),
                ("route", "host=routed path=/after timeout=0s"),
            ],
        ),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    for host in ["free", "bound", "silent", "routed"] {
        answers(at, host, "/", (200, "slow")).await;
    }
    // Envoy's own limit is 15 s.
    let (free, bound, silent, routed) = tokio::join!(
        raw::get(at, "free", "/after/16500"),
        raw::get(at, "bound", "/after/16500"),
        raw::get(at, "silent", "/after/16500"),
        raw::get(at, "routed", "/after/1500"),
    );
    let status = |answer: Result<(u16, String), String>| answer.map(|(status, _)| status);
    assert_eq!(status(free), Ok(200));
    assert_eq!(status(bound), Ok(504), "timeout");
    assert_eq!(status(silent), Ok(504), "stream-idle-timeout");
    assert_eq!(status(routed), Ok(200), "the route's own word counts");
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_a_trailing_dot_and_http10_are_served() {
    let server = Server::http("web").await;
    let folder = Folder::of(&[("web", server.address, &[])]);
    let [strict] = process::ports();
    let strict = SocketAddr::from(([127, 0, 0, 1], strict));
    let bridge = Bridge::start(&format!(
        "{}\n[listeners.strict]\naddress = \"{strict}\"\nexposure = \"internal\"\nhttp10 = false\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    for host in ["web", "web.", "WEB.", "web.:10001"] {
        answers(at, host, "/", (200, "web")).await;
    }
    answers(strict, "web.", "/", (200, "web")).await;
    let http10 = "GET / HTTP/1.0\r\nHost: web\r\n\r\n";
    assert_eq!(raw::exchange(at, http10).await, Ok((200, "web".to_owned())));
    let refused = raw::exchange(strict, http10).await.map(|(status, _)| status);
    assert_eq!(refused, Ok(426));
    let hostless = raw::exchange(at, "GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(hostless.map(|(status, _)| status), Ok(400));
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_on_any_address_takes_ipv4_and_ipv6() {
    let server = Server::http("web").await;
    let folder = Folder::of(&[("web", server.address, &[])]);
    let [port] = process::ports();
    let bridge = Bridge::start(&format!(
        "{}\n[listeners.any]\naddress = \"[::]:{port}\"\nexposure = \"internal\"\n",
        folder.section()
    ))
    .await;
    for step in [Step::Listeners, Step::Clusters] {
        let envoy = bridge.envoy(step, &[]).await;
        answers(SocketAddr::from(([127, 0, 0, 1], port)), "web", "/", (200, "web")).await;
        let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        answers(six, "web", "/", (200, "web")).await;
        drop(envoy);
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_are_compared_by_whole_segments() {
    let names = ["web", "orders", "open", "below", "archive"];
    let mut servers = Vec::new();
    for name in names {
        servers.push(Server::http(name).await);
    }
    let edge = ("expose", "edge");
    let routes = [
        "path=/",
        "path=/orders",
        "path=/open*",
        "path=/below/*",
        "path=/archive/",
    ];
    let keys: Vec<[(&str, &str); 2]> = routes.iter().map(|route| [edge, ("route", *route)]).collect();
    let services: Vec<_> = names
        .iter()
        .zip(&servers)
        .zip(&keys)
        .map(|((name, server), keys)| (*name, server.address, &keys[..]))
        .collect();
    let folder = Folder::of(&services);
    let [port] = process::ports();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let bridge = Bridge::start(&format!(
        "{}\n[exposures.edge]\nhosts = [\"api.example\"]\n\n[listeners.edge]\naddress = \"{at}\"\nexposure = \"edge\"\n",
        folder.section()
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    for (path, wanted) in [
        ("/orders", "orders"),
        ("/orders/", "orders"),
        ("/orders/7", "orders"),
        ("/orders?x=/", "orders"),
        ("/orders-internal", "web"),
        ("/ordersx/7", "web"),
        ("/open", "open"),
        ("/open-house", "open"),
        ("/below/", "below"),
        ("/below/7", "below"),
        ("/below", "web"),
        ("/archive", "archive"),
        ("/archive/", "archive"),
        ("/archive/2024", "archive"),
        ("/archives", "web"),
        ("/", "web"),
        ("/?/orders", "web"),
    ] {
        answers(at, "api.example", path, (200, wanted)).await;
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_closes_idle_connections_before_the_server_does() {
    let (usual, own) = (RawServer::start("usual").await, RawServer::start("own").await);
    let folder = Folder::of(&[
        ("usual", usual.address, &[]),
        ("own", own.address, &[("idle-timeout", "200ms")]),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    for step in [Step::Listeners, Step::Endpoints] {
        let envoy = bridge.envoy(step, &["usual", "own"]).await;
        for (name, server) in [("usual", &usual), ("own", &own)] {
            if (step, name) == (Step::Endpoints, "own") {
                continue; // what it declares stands in no registry at this step
            }
            let before = server.closed();
            answers(envoy.listener(), name, "/", (200, name)).await;
            let what = format!("Envoy closes its idle connection to {name}, {step:?}");
            wait::until(wait::PATIENCE, &what, async || {
                wait::holds(server.closed() > before, || "it is open".to_owned())
            })
            .await;
        }
    }
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_a_part_of_the_host_of_another_service() {
    let names = ["web", "thief", "auth"];
    let mut servers = Vec::new();
    for name in names {
        servers.push(Server::http(name).await);
    }
    let folder = Folder::of(&[
        ("web", servers[0].address, &[]),
        (
            "thief",
            servers[1].address,
            &[
                ("route", "host=web path=/login"),
                ("route-2", "host=free path=/login"),
            ],
        ),
        (
            "auth",
            servers[2].address,
            &[("route", "host=web path=/auth/token")],
        ),
    ]);
    let bridge = Bridge::start(&format!(
        "{}\n[exposures.internal.owners]\n\"web/auth\" = \"auth\"\n",
        folder.section()
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    answers(at, "free", "/login", (200, "thief")).await;
    answers(at, "web", "/login", (200, "web")).await;
    answers(at, "web", "/auth/token", (200, "auth")).await;
    let labels = [("source", "catalog"), ("entry", "thief")];
    bridge
        .metric_is("xds_bridge_entry_issue", &labels, |n| n == 1)
        .await;
    let log = bridge.log();
    assert!(log.contains("host `web` is that of the service `web`"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_route_makes_the_protocol() {
    let server = Server::grpc("users", "shop.Users").await;
    let folder = Folder::of(&[
        ("users", server.address, &[("route", "grpc=shop.Users")]),
        (
            "odd",
            server.address,
            &[("protocol", "http1"), ("route", "grpc=shop.Odd")],
        ),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy
        .client()
        .reaches(&Call::grpc("shop.Users"), &["users"])
        .await;
    let labels = [("source", "catalog"), ("entry", "odd")];
    bridge
        .metric_is("xds_bridge_entry_issue", &labels, |n| n == 1)
        .await;
    bridge.assert_no_nacks().await;
}
