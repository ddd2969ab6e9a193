//! mTLS between the bridge and etcd, while the certificates of both change, for the worse and for the better.

use super::cluster::{Cluster, Tls};
use super::scene::Scene;
use crate::support::pki::{Ca, loopback};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_on_both_sides() {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), &ca.pem).expect("writing a CA");
    let [certificate, key] = ca.sign(dir.path(), "etcd", loopback());
    let own = ca.sign(dir.path(), "bridge", loopback());
    let tls = Tls {
        certificate,
        key,
        client_ca: path("ca.pem"),
    };
    let section = format!(
        "\n[sources.registry.tls]\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        path("ca.pem"),
        own[0],
        own[1]
    );
    let mut scene = Scene::with_source(Cluster::start_with_tls(&tls).await, &section).await;

    // New ones of the same authority, on both sides; the next connection uses them.
    ca.sign(dir.path(), "etcd", loopback());
    ca.sign(dir.path(), "bridge", loopback());
    let watched = scene.watched().expect("the log names a member");
    scene.cluster.kill(watched);
    scene.registers("news-1").await;
    scene.news_are(&["news-0", "news-1"]).await;
    scene.known(&["news-0", "news-1"]).await;
    scene.bridge_dies().await;
    scene.cluster.restart(&[watched]).await;
    scene.source_is(true).await;

    // Ours of a stranger: what stands goes on, no new connection is made, and nothing is lost.
    let stranger = Ca::new();
    stranger.sign(dir.path(), "bridge", loopback());
    scene.registers("news-2").await;
    scene.news_are(&["news-0", "news-1", "news-2"]).await;
    scene.known(&["news-0", "news-1", "news-2"]).await;
    let watched = scene.watched().expect("the log names a member");
    scene.cluster.kill(watched);
    scene.source_is(false).await;
    scene.registers("news-3").await;
    scene.bridge_dies().await;
    scene.deregisters("news-2").await;
    ca.sign(dir.path(), "bridge", loopback());
    scene.news_are(&["news-0", "news-1", "news-3"]).await;
    scene.cluster.restart(&[watched]).await;
    scene.source_is(true).await;
    scene.known(&["news-0", "news-1", "news-3"]).await;

    // Theirs of a stranger: the bridge does not believe them.
    stranger.sign(dir.path(), "etcd", loopback());
    for n in 0..3 {
        scene.cluster.kill(n);
    }
    scene.cluster.restart(&[0, 1, 2]).await;
    scene.source_is(false).await;
    scene.bridge_dies().await;
    scene.registers("news-4").await;
    scene.deregisters("news-3").await;
    let ready = scene.bridge.text("/readyz").await.expect("an answer");
    assert!(ready.contains("last known"), "{ready}");
    ca.sign(dir.path(), "etcd", loopback());
    scene.news_are(&["news-0", "news-1", "news-4"]).await;
    scene.finish(&["news-0", "news-1", "news-4"]).await;
}
