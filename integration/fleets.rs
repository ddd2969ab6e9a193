//! A fleet that is misspelt in `bridge.toml`: the listener is removed from Envoys that hold it, and no Envoy is
//! for it. Both are said.

use crate::support::bridge::{Bridge, Step};
use crate::support::process;
use crate::support::wait;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_no_envoy_is_for_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let [port] = process::ports();
    // Envoys of the tests are of the fleet `proof`.
    let edge = format!(
        "[listeners.edge]\naddress = \"127.0.0.1:{port}\"\nfleets = [\"proof\"]\n\n\
         [sources.files]\nkind = \"file\"\npath = \"{}\"\n\n",
        folder.path().display()
    );
    let mut bridge = Bridge::start(&edge).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let holds = async |wanted: bool| {
        let what = format!("Envoy holds the listener edge: {wanted}");
        wait::until(wait::PATIENCE, &what, async || {
            let listeners = envoy.text("/listeners").await;
            wait::holds(listeners.contains("edge::") == wanted, || listeners)
        })
        .await;
    };
    holds(true).await;
    bridge.kill();
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    std::fs::write(bridge.file(), text.replace("\"proof\"", "\"porof\"")).expect("a slip");
    bridge.restart().await;
    holds(false).await;
    bridge
        .metric_is("xds_bridge_listeners_unused", &[], |n| n == 1)
        .await;
    let log = bridge.log();
    for words in [
        "a listener is removed from connected Envoys",
        "no connected Envoy is of the fleets",
    ] {
        let lines = log
            .lines()
            .filter(|line| line.contains(words) && line.contains("edge"));
        assert_eq!(lines.count(), 1, "{words}: {log}");
    }
    let ready = bridge.text("/readyz").await.expect("an answer");
    assert!(
        ready.contains("listener edge: no connected Envoy is of its fleets (porof); they are of: proof"),
        "{ready}"
    );
}
