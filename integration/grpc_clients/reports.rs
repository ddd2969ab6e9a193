//! What a client reports of its calls: sums of a locality, nothing of single instances.

use serde_json::Value;

use super::{Scene, servers};
use crate::support::grpc::Language;
use crate::support::wait;

/// A report each 10 s, and the first one lists what is there by then.
pub(super) async fn load(language: Language) {
    let scene = Scene::start(language).await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    let (_one, _two) = (scene.register(one).await, scene.register(two).await);
    scene.client.reaches(&["orders-1", "orders-2"]).await;
    if language == Language::Rust {
        // Long enough to have seen the others do it.
        scene.client.goes_on(200).await;
        scene
            .bridge
            .metric_is("xds_bridge_load_streams", &[], |streams| streams == 0)
            .await;
        return;
    }
    wait::until(2 * wait::PATIENCE, "a report of the client", async || {
        let text = scene.bridge.text("/loads?service=orders").await?;
        let view: Value = serde_json::from_str(&text).expect("JSON");
        let (client, cluster) = (&view["clients"][0], &view["clusters"][0]);
        let end = &cluster["endpoints"][0];
        let counts = &end["reported_by"]["grpc"];
        let right = client["node"] == "client-1"
            && client["reports_endpoints"] == false
            && cluster["name"] == "orders"
            && end["address"].is_null()
            && counts["successes"].as_u64() > Some(0)
            && counts["issued"].as_u64() >= counts["successes"].as_u64()
            && counts["errors"] == 0;
        wait::holds(right, || text.clone())
    })
    .await;
    scene.client.assert_clean();
    scene.bridge.assert_no_nacks().await;
}
