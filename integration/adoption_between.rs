//! Between the steps of adoption: what docs/adoption.md adds to the bootstrap keeps routes in Envoy's file that nobody
//! can declare, and leads all others to the bridge's listener inside the same Envoy.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::process;
use crate::support::registry::{Kind, Registry};
use crate::support::servers::Server;

/// What the document adds, with this listener and this legacy server.
fn addition(listener: SocketAddr, legacy: SocketAddr) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adoption.md");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, part) = text.split_once("## Routes that cannot be declared").unwrap();
    let (_, block) = part.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let port = |shown: &str, port: u16| format!("{}{port}", shown.trim_end_matches(char::is_numeric));
    let mut block = block.to_owned();
    for (shown, address) in [("port_value: 10000", listener), ("port_value: 8081", legacy)] {
        assert_eq!(block.matches(shown).count(), 1, "{shown}");
        block = block.replace(shown, &port(shown, address.port()));
    }
    serde_yaml_ng::from_str(&block).unwrap()
}

/// Puts the lists of `more` behind those of `static_resources`.
fn added(bootstrap: &str, more: &Value) -> String {
    let mut whole: Value = serde_yaml_ng::from_str(bootstrap).unwrap();
    let resources = whole["static_resources"].as_mapping_mut().unwrap();
    for (name, list) in more.as_mapping().unwrap() {
        let all = resources
            .entry(name.clone())
            .or_insert(Value::Sequence(Vec::new()));
        let list = list.as_sequence().unwrap().clone();
        all.as_sequence_mut().unwrap().extend(list);
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
    let more = addition(listener, legacy.address);
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
