//! Clients say by their bootstrap where they are: they call the servers of their zone, and when some of these fail, the
//! bridge gives the others their part, because these clients would not.

use std::time::Duration;

use serde_json::json;

use super::{call, servers};
use crate::support::bridge::Bridge;
use crate::support::consul::{Check, Consul};
use crate::support::grpc::Language;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(600);

/// Calls from which shares are read.
const MANY: usize = 400;

/// The bootstrap says zone `a`.
pub(super) async fn zones(language: Language) {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&consul.section()).await;
    let [one, two, far] = &servers(["near-1", "near-2", "far"]).await;
    let mut all = Vec::new();
    for (server, zone) in [(one, "a"), (two, "a"), (far, "b")] {
        let keys = [("protocol", "grpc"), ("locality", "prefer"), ("zone", zone)];
        let registered = consul.register("orders", server, &keys, Check::Ttl(TTL)).await;
        registered.fall_silent();
        all.push(registered);
    }
    let tell = async |word: &str, id: &str| {
        let path = format!("/v1/agent/check/{word}/service:{id}");
        consul.put(&path, &json!(null)).await;
    };
    let client = call(language, &bridge);
    client.reaches(&["near-1", "near-2"]).await;

    // One of two is healthy: its zone keeps 70 %.
    tell("fail", "near-1").await;
    client.reaches(&["near-2", "far"]).await;
    if language != Language::Rust {
        let from = client.calls().answers.len();
        client.goes_on(MANY).await;
        let answers = client.calls().answers;
        let far = answers[from..].iter().filter(|answer| *answer == "far").count();
        let percent = 100 * far / (answers.len() - from);
        assert!(
            (18..=42).contains(&percent),
            "{percent} % of 29 went to the other zone"
        );
    }
    tell("fail", "near-2").await;
    client.reaches(&["far"]).await;
    tell("pass", "near-1").await;
    tell("pass", "near-2").await;
    client.reaches(&["near-1", "near-2"]).await;

    // The whole zone leaves.
    let _far = all.pop();
    for registered in all {
        registered.remove().await;
    }
    client.reaches(&["far"]).await;
    client.assert_clean();
    bridge.assert_no_nacks().await;
}
