//! Between the steps of adoption: what docs/adoption.md adds to a bootstrap. Routes that nobody can declare stay in
//! Envoy's file and all others lead to the bridge's listener inside the same Envoy; clusters of one's own take the endpoints.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::process;
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;

/// The YAML below a heading of the document, with what stands in the place of what is shown.
fn addition(heading: &str, places: &[(&str, String)]) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adoption.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, part) = text.split_once(heading).unwrap();
    let (_, block) = part.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut block = block.to_owned();
    for (shown, instead) in places {
        assert_eq!(block.matches(shown).count(), 1, "{shown}");
        block = block.replace(shown, instead);
    }
    serde_yaml_ng::from_str(&block).unwrap()
}

/// Puts the lists of `more` into those of `static_resources`, in the place of what has the same name.
fn added(bootstrap: &str, more: &Value) -> String {
    let mut whole: Value = serde_yaml_ng::from_str(bootstrap).unwrap();
    let resources = whole["static_resources"].as_mapping_mut().unwrap();
    for (kind, list) in more.as_mapping().unwrap() {
        let all = resources
            .entry(kind.clone())
            .or_insert(Value::Sequence(Vec::new()));
        let all = all.as_sequence_mut().unwrap();
        for one in list.as_sequence().unwrap() {
            all.retain(|other| other["name"] != one["name"]);
            all.push(one.clone());
        }
    }
    serde_yaml_ng::to_string(&whole).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_declare_stays_in_the_file() {
    let registry = Registry::start(Kind::Etcd).await;
    let edge = "[exposures.edge]\nhosts = [\"*\"]\n[listeners.edge]\ninternal = true\nexposure = \"edge\"\n";
    let bridge = Bridge::start(&format!("{}\n{edge}", registry.source("registry"))).await;
    let (web, users) = (
        Server::http("web").await,
        Server::grpc("users", "shop.Users").await,
    );
    let legacy = Server::http("legacy").await;
    let at_edge = [("expose", "edge"), ("route", "path=/")];
    let _web = registry.register("web", &web, &at_edge).await;
    let users_at_edge = [
        ("protocol", "grpc"),
        ("expose", "edge"),
        ("route", "grpc=shop.Users"),
    ];
    let _users = registry.register("users", &users, &users_at_edge).await;

    let [port] = process::ports();
    let listener = SocketAddr::from(([127, 0, 0, 1], port));
    let more = addition(
        "## Routes that cannot be declared",
        &[
            ("port_value: 10000", format!("port_value: {port}")),
            (
                "port_value: 8081",
                format!("port_value: {}", legacy.address.port()),
            ),
        ],
    );
    let envoy = Envoy::start(listener, async |admin| {
        added(&bridge.bootstrap(Step::Listeners, admin, &[]), &more)
    })
    .await;
    let client = envoy.client();
    client.reaches(&Call::http("api.example.com"), &["web"]).await;
    client.reaches(&Call::grpc("shop.Users"), &["users"]).await;
    let old = Call::Http {
        host: "api.example.com".to_owned(),
        path: "/v1/legacy/orders".to_owned(),
    };
    client.reaches(&old, &["legacy"]).await;
    bridge.assert_no_nacks().await;
}

/// A server that was deregistered, and is well, is out of traffic although Envoy checks it itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_ones_own_that_checks_health_follows_who_leaves() {
    let registry = Registry::start(Kind::Etcd).await;
    let bridge = Bridge::start(&registry.source("registry")).await;
    let (one, two) = (Server::http("one").await, Server::http("two").await);
    let _one = registry.register("web", &one, &[]).await;
    let leaves = registry.register("web", &two, &[]).await;
    let interval = ("interval: 5s", "interval: 600s".to_owned()); // no check will notice
    let more = addition("### Clusters of your own", &[interval]);
    let envoy = Envoy::start(bridge.listener, async |admin| {
        added(&bridge.bootstrap(Step::Endpoints, admin, &["web"]), &more)
    })
    .await;
    let (client, web) = (envoy.client(), Call::http("web"));
    client.reaches(&web, &["one", "two"]).await;
    leaves.remove().await;
    client.reaches(&web, &["one"]).await;
}
