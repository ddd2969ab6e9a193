//! Fields of Envoy's own messages that an operator lays over ours, through a real Envoy.

use crate::support::bridge::{Bridge, Step};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::{raw, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_reach_envoy_and_wrong_ones_cost_nothing_else() {
    let server = Server::http("web").await;
    let folder = Folder::of(&[("web", server.address, &[]), ("other", server.address, &[])]);
    let overlay = |name: &str, of: &str, json: &str| {
        format!("[[overlay]]\ntype = \"{of}\"\nname = \"{name}\"\njson = '{json}'\n")
    };
    let wrong = overlay(
        "other",
        "cluster",
        r#"{"outlier_detection": {"interval": "soon"}}"#,
    );
    let mut bridge = Bridge::start(&format!(
        "{}{}{}{wrong}",
        folder.section(),
        overlay("w*", "cluster", r#"{"alt_stat_name": "first"}"#),
        overlay("internal", "listener", r#"{"stat_prefix": "front"}"#),
    ))
    .await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let counted = async |stat: &str| {
        wait::until(wait::PATIENCE, stat, async || {
            for host in ["web", "other"] {
                let answer = raw::get(envoy.listener(), host, "/").await?;
                wait::holds(answer == (200, "web".to_owned()), || format!("{answer:?}"))?;
            }
            let count = envoy.stat(&format!("cluster.{stat}.upstream_rq_total")).await;
            wait::holds(count > 0, || count.to_string())
        })
        .await;
    };
    counted("first").await;
    assert!(envoy.stat("listener.front.downstream_cx_total").await > 0);
    let log = bridge.log();
    assert!(
        log.contains("outlier_detection.interval") && log.contains("it is served without"),
        "{log}"
    );

    // Another file, the same services.
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    std::fs::write(bridge.file(), text.replace("\"first\"", "\"second\"")).expect("writing bridge.toml");
    bridge.program().signal("HUP");
    counted("second").await;
    let dump = bridge.text("/config_dump?type=cds").await.expect("a dump");
    assert!(
        dump.contains("\"second\"") && !dump.contains("\"first\""),
        "{dump}"
    );
    bridge.assert_no_nacks().await;
}
