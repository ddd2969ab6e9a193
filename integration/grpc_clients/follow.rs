//! A client follows its service, and loses no call.

use super::{Scene, servers};
use crate::support::grpc::Language;
use crate::support::wait;

/// Started before the service; one instance more, one less, the bridge away.
pub(super) async fn instances(language: Language) {
    let mut scene = Scene::start(language).await;
    // Nobody is there yet: the first call waits, and is answered when somebody comes.
    let streams = "xds_bridge_streams";
    scene.bridge.metric_is(streams, &[], |streams| streams == 1).await;
    let [one, two, three] = &servers(["orders-1", "orders-2", "orders-3"]).await;
    let _first = scene.register(one).await;
    let second = scene.register(two).await;
    scene.client.reaches(&["orders-1", "orders-2"]).await;

    // No call fails. One instance more, then one less: it drains, then it is gone.
    let _third = scene.register(three).await;
    scene.client.reaches(&["orders-1", "orders-2", "orders-3"]).await;
    let leaving = scene.drain(two).await;
    scene.client.reaches(&["orders-1", "orders-3"]).await;
    leaving.remove().await;
    second.remove().await;
    scene.client.assert_clean();

    // Without the bridge it goes on, and follows what changed meanwhile.
    scene.bridge.kill();
    scene.client.goes_on(50).await;
    let _second = scene.register(two).await;
    scene.bridge.restart().await;
    scene.client.reaches(&["orders-1", "orders-2", "orders-3"]).await;
    scene.client.assert_clean();
    let log = scene.bridge.log();
    let connected = log.lines().find(|line| line.contains("client connected"));
    assert!(connected.is_some_and(|line| line.contains("client-1")), "{log}");
    scene.bridge.assert_no_nacks().await;
}

/// Each instance is replaced by a new one: it drains, leaves the registry, and stops.
pub(super) async fn a_rolling_replacement(language: Language) {
    let scene = Scene::start(language).await;
    let mut old = Vec::new();
    for server in servers(["old-1", "old-2", "old-3"]).await {
        let registered = scene.register(&server).await;
        old.push((server, registered));
    }
    scene.client.reaches(&["old-1", "old-2", "old-3"]).await;
    let new = servers(["new-1", "new-2", "new-3"]).await;
    let mut registered = Vec::new();
    let mut names = vec!["old-1", "old-2", "old-3"];
    for (server, (old, lease)) in new.iter().zip(old) {
        registered.push(scene.register(server).await);
        names.push(&server.id);
        scene.client.reaches(&names).await;
        let leaving = scene.drain(&old).await;
        names.remove(0);
        scene.client.reaches(&names).await;
        leaving.remove().await;
        lease.remove().await;
        old.stop().await;
        scene.client.goes_on(20).await;
    }
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}

/// Streams end by `xds.max_stream_age`; the client opens the next one, and changes go on.
pub(super) async fn streams_that_end(language: Language) {
    let scene = Scene::start_with(language, "export XDS_BRIDGE__XDS__MAX_STREAM_AGE=1s").await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    let _first = scene.register(one).await;
    scene.client.reaches(&["orders-1"]).await;
    wait::until(wait::PATIENCE, "three more streams", async || {
        let log = scene.bridge.log();
        let streams = log.matches("client connected").count();
        wait::holds(streams > 3, || format!("{streams} streams"))
    })
    .await;
    let _second = scene.register(two).await;
    scene.client.reaches(&["orders-1", "orders-2"]).await;
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}
