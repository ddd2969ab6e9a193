//! Shared state of real bridges: each says that it runs, on either registry; whoever is killed is gone by itself, and
//! whoever may not write says what is missing.

use std::time::Duration;

use serde_json::json;
use xds_bridge::registry::store::Store;

use crate::store::scene::of as store;
use crate::support::agent::{Agent, MASTER};
use crate::support::bridge::Bridge;
use crate::support::registry::{Kind, Registry};
use crate::support::wait;

/// Consul ends a session between 15 s and 30 s after its last sign of life.
const GONE: Duration = Duration::from_secs(60);

fn section(registry: &Registry) -> String {
    match registry {
        Registry::Etcd(_) => format!("{}prefix = \"/services/\"\n", registry.source("registry")),
        Registry::Consul(_) => registry.source("registry"),
    }
}

/// Until this number of bridges run, as the registry says.
async fn replicas(store: &Store, within: Duration, wanted: usize) {
    wait::until(within, &format!("{wanted} running bridges"), async || {
        let entries = store.list().await.map_err(|error| error.to_string())?;
        let keys: Vec<_> = entries
            .iter()
            .filter(|e| e.key.starts_with("replicas/"))
            .collect();
        wait::holds(keys.len() == wanted, || format!("{keys:?}"))
    })
    .await;
}

async fn says(bridge: &Bridge, words: &str) {
    wait::until(GONE, &format!("/readyz says: {words}"), async || {
        let text = bridge.text("/readyz").await?;
        wait::holds(text.contains(words), || text.clone())
    })
    .await;
}

async fn each_bridge_says_that_it_runs(kind: Kind) {
    let registry = Registry::start(kind).await;
    let store = store(&registry);
    let sources = section(&registry);
    let mut one = Bridge::start(&sources).await;
    let mut two = one.twin(&sources).await;
    replicas(&store, wait::PATIENCE, 2).await;
    says(&one, "shared state: live (registry, below xds-bridge/)\n").await;
    // In order: at once, long before its time.
    assert!(one.terminate().await.success());
    replicas(&store, Duration::from_secs(5), 1).await;
    two.kill();
    replicas(&store, GONE, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bridge_on_etcd_says_that_it_runs() {
    each_bridge_says_that_it_runs(Kind::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bridge_on_consul_says_that_it_runs() {
    each_bridge_says_that_it_runs(Kind::Consul).await;
}

/// It may read services and nothing else: it serves, and says what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_write_all_else_works() {
    const READ: &str = "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" } \
                        key_prefix \"xds\" { policy = \"read\" }";
    const WRITE: &str =
        "key_prefix \"xds-bridge/\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" }";
    let agent = Agent::start(|_, _| {
        json!({ "acl": { "enabled": true, "default_policy": "deny",
            "tokens": { "master": MASTER, "agent": MASTER } } })
    })
    .await;
    let policy = json!({ "Name": "bridge", "Rules": READ });
    let policy = agent.send("PUT", "/v1/acl/policy", &policy).await;
    let token = json!({ "Policies": [{ "ID": policy["ID"] }] });
    let token = agent.send("PUT", "/v1/acl/token", &token).await;
    let file = agent.dir.path().join("token");
    std::fs::write(&file, token["SecretID"].as_str().unwrap()).unwrap();
    let sources = format!(
        "[sources.registry]\nkind = \"consul\"\naddress = \"{}\"\ntoken_file = \"{}\"\n",
        agent.address(),
        file.display()
    );
    let mut bridge = Bridge::start(&sources).await;
    let missing = "shared state: live (registry, below xds-bridge/); it cannot be written, what is missing: \
                   session_prefix \"\" { policy = \"write\" }";
    says(&bridge, missing).await;
    let log = bridge.program().log();
    assert!(log.contains("shared state cannot be written"), "{log}");
    let path = format!("/v1/acl/policy/{}", policy["ID"].as_str().unwrap());
    let policy = json!({ "ID": policy["ID"], "Name": "bridge", "Rules": format!("{READ} {WRITE}") });
    agent.send("PUT", &path, &policy).await;
    says(&bridge, "live (registry, below xds-bridge/)\n").await;
}
