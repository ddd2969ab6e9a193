//! What Envoy finds out about servers by itself.

use super::Scene;
use crate::support::client::Call;
use crate::support::servers::Server;
use crate::support::{raw, wait};

const OFTEN: (&str, &str) = (
    "health-check",
    "http:/healthz interval=100ms timeout=5s unhealthy=1 healthy=1",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_its_check_gets_no_requests() {
    let (one, two) = tokio::join!(Server::http("one"), Server::http("two"));
    let (third, fourth) = tokio::join!(
        Server::grpc("third", "shop.Calls"),
        Server::grpc("fourth", "shop.Calls")
    );
    let calls = [("protocol", "grpc"), OFTEN, ("route", "grpc=shop.Calls")];
    let scene = Scene::start(&[
        ("web", one.address, &[OFTEN]),
        ("web", two.address, &[OFTEN]),
        ("calls", third.address, &calls),
        ("calls", fourth.address, &calls),
    ])
    .await;
    let client = scene.envoy.client();
    let (web, calls) = (Call::http("web"), Call::grpc("shop.Calls"));
    client.reaches(&web, &["one", "two"]).await;
    client.reaches(&calls, &["third", "fourth"]).await;
    for server in [&one, &third] {
        server.set_well(false);
    }
    scene.marked("web", "failed_active_health_check", 1).await;
    scene.marked("calls", "failed_active_health_check", 1).await;
    client.reaches(&web, &["two"]).await;
    client.reaches(&calls, &["fourth"]).await;
    for server in [&one, &third] {
        server.set_well(true);
    }
    client.reaches(&web, &["one", "two"]).await;
    client.reaches(&calls, &["third", "fourth"]).await;
    // What the registry no longer has leaves, though it passes.
    scene.folder.write(&[("web", two.address, &[OFTEN])]);
    scene.envoy.has_hosts("web", &[two.address]).await;
    client.reaches(&web, &["two"]).await;
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_by_grpc_and_tcp_are_made() {
    // Neither of these speaks `grpc.health.v1`.
    let calls = Server::grpc("calls", "shop.Calls").await;
    let bytes = Server::http("bytes").await;
    let [often, closed] = [
        (
            "health-check",
            "grpc:shop.Calls interval=100ms timeout=5s unhealthy=1",
        ),
        ("all-unhealthy", "closed"),
    ];
    let keys = [("protocol", "grpc"), ("route", "grpc=shop.Calls"), often, closed];
    let scene = Scene::start(&[
        ("calls", calls.address, &keys),
        (
            "bytes",
            bytes.address,
            &[("health-check", "tcp interval=100ms timeout=5s")],
        ),
    ])
    .await;
    scene.marked("calls", "failed_active_health_check", 1).await;
    let client = scene.envoy.client();
    client
        .is_refused(&Call::grpc("shop.Calls"), "grpc Unavailable")
        .await;
    scene.stat_is("bytes", "health_check.success", |n| n > 1).await;
    client.reaches(&Call::http("bytes"), &["bytes"]).await;
    scene.bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_requests_is_ejected() {
    let (one, two) = tokio::join!(Server::http("one"), Server::http("two"));
    let keys = [("outlier", "errors=3 ejection=1h")];
    let off = [("outlier", "off")];
    let scene = Scene::start(&[
        ("web", one.address, &keys),
        ("web", two.address, &keys),
        ("free", one.address, &off),
        ("free", two.address, &off),
    ])
    .await;
    let client = scene.envoy.client();
    for host in ["web", "free"] {
        client.reaches(&Call::http(host), &["one", "two"]).await;
    }
    one.set_well(false); // its /healthz answers 503, to requests as well
    wait::until(wait::PATIENCE, "one is ejected", async || {
        for host in ["web", "free"] {
            raw::get(scene.envoy.listener(), host, "/healthz").await?;
        }
        let ejected = scene
            .envoy
            .stat("cluster.web.outlier_detection.ejections_active")
            .await;
        wait::holds(ejected == 1, || ejected.to_string())
    })
    .await;
    scene.marked("web", "failed_outlier_check", 1).await;
    client.reaches(&Call::http("web"), &["two"]).await;
    client.reaches(&Call::http("free"), &["one", "two"]).await;
    scene.bridge.assert_no_nacks().await;
}
