//! fabio's commands without tags beside them.

use serde_json::json;

use super::servers::Servers;
use super::{Scene, ask};
use crate::support::consul::Consul;
use crate::support::etcd::Etcd;
use crate::support::wait;

/// `route add` in Consul and in etcd: what a line leads to follows it, and a line that cannot be read costs itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_fabio_lead_to_their_servers() {
    let (consul, etcd, servers) = (Consul::start().await, Etcd::start().await, Servers::start().await);
    let fabio = "kv = \"fabio/config\"\nexpose = [\"edge\"]\n";
    let in_etcd = format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nmax_removal = \"100%\"\nguard_probe = false\n\
         [sources.keys.fabio]\n{fabio}",
        etcd.url()
    );
    for (of_etcd, settings) in [
        (false, format!("[sources.registry.fabio]\n{fabio}")),
        (true, in_etcd),
    ] {
        let put = async |key: &str, text: &str| {
            let text = servers.placed(text);
            if of_etcd {
                etcd.put(key, text).await;
            } else {
                consul.kv(key, &text).await;
            }
        };
        let scene = Scene::start(&consul, &settings).await;
        let answers = async |what: &str, wanted: &[(&str, &str)]| {
            wait::until(wait::PATIENCE, what, async || {
                for (path, wanted) in wanted {
                    let request = json!({ "method": "GET", "host": "a.example.com", "path": path });
                    let answer = ask(scene.edge, &request, None).await?;
                    let label = answer.seen["label"].as_str().map(str::to_owned);
                    let got = label.unwrap_or_else(|| answer.status.to_string());
                    wait::holds(got == *wanted, || format!("{path}: {got}, not {wanted}"))?;
                }
                Ok(())
            })
            .await;
        };
        let all = "route add web a.example.com/ http://127.0.0.1:@p1@/\n";
        put(
            "fabio/config",
            &format!(
                "{all}route ad web a.example.com/x\nroute add web a.example.com/two http://127.0.0.1:@p2@/\n\
                 route add web a.example.com/admin http://127.0.0.1:@p1@/ opts \"auth=basic\"\n\
                 route add web a.example.com/name http://backend.example/\n\
                 route add web a.example.com/old https://www.example.com$path opts \"redirect=301\"\n"
            ),
        )
        .await;
        answers(
            "each line has its own server",
            &[
                ("/", "p1"),
                ("/two/x", "p2"),
                ("/admin", "401"),
                ("/name", "503"),
                ("/old", "301"),
            ],
        )
        .await;
        put("fabio/config", all).await;
        put(
            "fabio/config/blue",
            "route add web a.example.com/two http://127.0.0.1:@p3@/",
        )
        .await;
        answers(
            "another server, and what is gone is the widest's",
            &[("/two", "p3"), ("/admin", "p1"), ("/old", "p1")],
        )
        .await;
        put("fabio/config/green", "route del web a.example.com/two").await;
        answers("keys are read in their order", &[("/two", "p1")]).await;
        scene.bridge.assert_no_nacks().await;
    }
}
