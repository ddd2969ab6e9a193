//! Ten questions that users of every control plane ask: each is set up with the real programs, and one `xds-bridge why …`
//! answers it with the reason.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::folder::Folder;
use crate::support::http::Http;
use crate::support::process::Program;
use crate::support::servers::Server;
use crate::support::versions::Versions;
use crate::support::{process, raw, wait};

const TTL: Duration = Duration::from_secs(120);
/// `node.id` of the Envoys; their fleet is `proof`.
const NODE: &str = "envoy-1";

fn source(etcd: &Etcd, more: &str) -> String {
    format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nguard_probe = false\n{more}",
        etcd.url()
    )
}

/// One command, which gives this reason in words, and the same as JSON. It is asked again until then: what it is about
/// may still be on its way.
async fn why(bridge: &Bridge, args: &[&str], reason: &[&str]) -> Value {
    let words = [&["why"], args].concat();
    wait::until(wait::PATIENCE, &format!("{args:?}: {reason:?}"), async || {
        let output = bridge.run(&words);
        let text = format!("{}{}", output.stdout, output.stderr);
        wait::holds(reason.iter().all(|part| text.contains(part)), || text.clone())
    })
    .await;
    let output = bridge.run(&[&words[..], &["--json"]].concat());
    serde_json::from_str(&output.stdout).unwrap_or_default()
}

async fn answers(envoy: &Envoy, host: &str, path: &str, wanted: u16) {
    wait::until(wait::PATIENCE, &format!("{host}{path}: {wanted}"), async || {
        let (status, text) = raw::get(envoy.listener(), host, path).await?;
        wait::holds(status == wanted, || format!("{status} {text}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_why_does_this_server_get_no_traffic() {
    let etcd = Etcd::start().await;
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let _first = etcd.register("orders", &one, &[("state", "off")], TTL).await;
    let _second = etcd.register("orders", &two, &[], TTL).await;
    let bridge = Bridge::start(&source(&etcd, "")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-2"]).await;
    let answer = why(
        &bridge,
        &["orders/orders-1"],
        &["orders/orders-1 gets no new requests: it declares state=off"],
    )
    .await;
    assert_eq!(answer["instances"][0]["gets_requests"], false, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_why_is_this_request_404() {
    let server = Server::http("orders-1").await;
    let keys: &[_] = &[("route", "host=api.x path=/orders header=x-canary:1")];
    let folder = Folder::of(&[("orders", server.address, keys)]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;
    answers(&envoy, "api.x", "/orders/7", 404).await;
    let answer = why(
        &bridge,
        &["--request", "GET http://api.x/orders/7"],
        &[
            "404: none of the 1 routes of the host `api.x` takes it",
            "the header `x-canary` is missing, and must be `1`",
        ],
    )
    .await;
    assert_eq!(answer["ways"][0]["ending"]["works"], false, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn third_why_is_this_request_503() {
    let etcd = Etcd::start().await;
    let server = Server::http("orders-1").await;
    let lease = etcd.register("orders", &server, &[], TTL).await;
    let bridge = Bridge::start(&source(&etcd, "[drain]\nlinger = \"0s\"\n")).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;
    lease.revoke().await;
    answers(&envoy, "orders", "/", 503).await;
    let answer = why(
        &bridge,
        &["--request", "GET http://orders/", "--client", NODE],
        &[
            "503: `orders` has no endpoint",
            "about orders: it has no instances any more; its routes are kept",
        ],
    )
    .await;
    assert_eq!(answer["ways"][0]["ending"]["works"], false, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fourth_why_does_the_wrong_version_answer() {
    let (old, new) = (Server::http("old").await, Server::http("new").await);
    let versions = Versions::of(&[], &[(&old, "1", &[]), (&new, "2", &[("share", "0%")])]);
    let bridge = Bridge::start(&versions.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["old"]).await;
    why(
        &bridge,
        &["orders/new"],
        &[
            "orders/new gets no new requests: healthy, but its version has no share of the requests",
            "only requests with the header x-version: 2 go there",
        ],
    )
    .await;
    // And asked the other way round: where this request goes.
    let answer = why(
        &bridge,
        &["--request", "GET http://orders/"],
        &["it goes to `orders@1`", "cluster orders@1"],
    )
    .await;
    let targets = &answer["ways"][0]["ending"]["outcome"]["clusters"];
    assert_eq!(targets[0]["cluster"], "orders@1", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifth_why_does_this_envoy_use_an_old_endpoint() {
    let etcd = Etcd::start().await;
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let lease = etcd.register("orders", &one, &[], TTL).await;
    let bridge = Bridge::start(&source(&etcd, "[drain]\nlinger = \"0s\"\n")).await;
    let mut envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;
    // It hangs while its server is replaced.
    envoy.program().signal("STOP");
    let _second = etcd.register("orders", &two, &[], TTL).await;
    lease.revoke().await;
    let request = ["--request", "GET http://orders/", "--client", NODE];
    let answer = why(
        &bridge,
        &request,
        &["envoy-1 has not acknowledged the endpoints `orders`: it goes on with what it had"],
    )
    .await;
    assert_eq!(answer["clients_without_it"][0]["state"], "behind", "{answer}");
    why(
        &bridge,
        &["orders"],
        &["envoy-1 has not acknowledged them, for", "it has older ones"],
    )
    .await;
    envoy.program().signal("CONT");
    envoy.client().reaches(&Call::http("orders"), &["orders-2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixth_why_does_another_service_get_my_route() {
    let (web, zeta) = (Server::http("web-1").await, Server::http("zeta-1").await);
    let keys: &[_] = &[("route", "host=api.x path=/shop")];
    let folder = Folder::of(&[("web", web.address, keys), ("zeta", zeta.address, keys)]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    answers(&envoy, "api.x", "/shop", 200).await;
    let (_, served_by) = raw::get(envoy.listener(), "api.x", "/shop")
        .await
        .expect("an answer");
    let (has, lost) = if served_by == "web-1" {
        ("web", "zeta")
    } else {
        ("zeta", "web")
    };
    let answer = why(
        &bridge,
        &["--request", "GET http://api.x/shop"],
        &[
            &format!("it goes to `{has}`"),
            &format!("about {lost}: route"),
            &format!("`{has}`"),
        ],
    )
    .await;
    assert!(answer["about"][lost].is_array(), "{answer}");
    why(&bridge, &[lost], &["! route", &format!("`{has}`")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventh_why_is_a_server_there_that_its_registry_does_not_list() {
    let etcd = Etcd::start().await;
    let server = Server::http("orders-1").await;
    for n in 0..20_u16 {
        let value = json!({
            "address": "127.0.0.1",
            "port": if n == 0 { server.address.port() } else { 1000 + n },
        });
        let key = instance_key("orders", &format!("orders-{n}"));
        etcd.put(&key, value.to_string()).await;
    }
    let bridge = Bridge::start(&source(&etcd, "max_removal_hold = \"1h\"\n")).await;
    let mut keys = etcd.client().await;
    let prefix = etcd_client::DeleteOptions::new().with_prefix();
    keys.delete("/services/", Some(prefix))
        .await
        .expect("etcd deletes");
    let answer = why(
        &bridge,
        &["orders/orders-0"],
        &[
            "its registry no longer lists it, which is not believed yet",
            "(xds-bridge accept registry)",
        ],
    )
    .await;
    assert_eq!(answer["instances"][0]["id"], "orders-0", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eighth_what_does_envoy_refuse() {
    let server = Server::http("orders-1").await;
    let folder = Folder::of(&[("orders", server.address, &[]), ("web", server.address, &[])]);
    let overlay =
        "[[overlay]]\ntype = \"cluster\"\nname = \"orders\"\njson = '{\"connect_timeout\": \"-1s\"}'\n";
    let bridge = Bridge::start(&format!("{}{overlay}", folder.section())).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    answers(&envoy, "web", "/", 200).await;
    let refused = "envoy-1 refuses the cluster `orders`, and goes on with what it had: ";
    for args in [
        &["orders"][..],
        &["--request", "GET http://orders/", "--client", NODE],
    ] {
        let answer = why(&bridge, args, &[refused]).await;
        let first = &answer["clients_without_it"][0];
        assert_eq!(
            (&first["state"], &first["type"], &first["name"], &first["client"]),
            (&json!("refused"), &json!("cds"), &json!("orders"), &json!(NODE)),
            "{answer}"
        );
        let message = first["message"].as_str().unwrap_or_default();
        assert!(message.contains("duration"), "in Envoy's words: {message}");
    }
    // Of another service nothing is refused.
    let other = why(&bridge, &["web"], &["1 of 1 instances get requests"]).await;
    assert_eq!(other["clients_without_it"], json!([]), "{other}");

    // What all services share: a listener whose port somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("its address");
    let text = std::fs::read_to_string(bridge.file()).expect("bridge.toml");
    let listener = format!("[listeners.taken]\naddress = \"{at}\"\nexposure = \"internal\"\n");
    std::fs::write(bridge.file(), format!("{text}{listener}")).expect("bridge.toml");
    assert!(bridge.command("reload").await.status.success());
    why(
        &bridge,
        &["web"],
        &["envoy-1 refuses the listener `taken`, and goes on with what it had: "],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ninth_why_does_this_envoy_know_nothing() {
    let server = Server::http("orders-1").await;
    let folder = Folder::of(&[("orders", server.address, &[])]);
    let bridge = Bridge::start(&folder.section()).await;
    // Its bootstrap names a port where no bridge is.
    let [nobody] = process::ports();
    let request = ["--request", "GET http://orders/", "--client", NODE];
    let dir = tempfile::tempdir().expect("a folder");
    let [admin] = process::ports().map(|port| std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    let bootstrap = bridge.bootstrap(Step::Listeners, admin, &[]);
    let port = format!("port_value: {}", bridge.xds.port());
    let other = bootstrap.replace(&port, &format!("port_value: {nobody}"));
    assert_ne!(other, bootstrap);
    std::fs::write(dir.path().join("envoy.yaml"), other).expect("a bootstrap");
    let file = dir.path().join("envoy.yaml").display().to_string();
    let args = [
        "-c",
        &file,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
    ];
    let envoy = process::tool("ENVOY_BIN", "envoy");
    let mut lost = Program::start("envoy", &envoy, args, dir.path());
    // It is not ready before it has given up waiting; its admin port answers before that.
    let http = Http::fresh();
    let _ = lost
        .ready(async || http.text(&format!("http://{admin}/server_info")).await.map(drop))
        .await;
    why(
        &bridge,
        &request,
        &[
            "no client with node.id `envoy-1` is connected: none is",
            "xds-bridge doctor envoy.yaml",
        ],
    )
    .await;
    why(&bridge, &["orders"], &["no client is connected to this bridge"]).await;
    drop(lost);
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;
    why(&bridge, &request, &["it goes to `orders`"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenth_why_does_this_envoy_not_listen() {
    let server = Server::http("orders-1").await;
    let keys: &[_] = &[("expose", "edge"), ("route", "host=api.x path=/")];
    let folder = Folder::of(&[("orders", server.address, keys), ("hidden", server.address, &[])]);
    let [port] = process::ports();
    let bridge = Bridge::start(&format!(
        "{}[exposures.edge]\nhosts = [\"api.x\"]\n[listeners.edge]\naddress = \"127.0.0.1:{port}\"\nexposure = \"edge\"\n\
         fleets = [\"edge\"]\n[fleets.proof]\nservices = [\"orders\"]\n",
        folder.section()
    ))
    .await;
    let _envoy = bridge.envoy(Step::Listeners, &[]).await;
    bridge
        .metric_is("xds_bridge_streams", &[], |streams| streams == 1)
        .await;
    let answer = why(
        &bridge,
        &["--request", "GET http://api.x/", "--client", NODE],
        &[
            "listener edge is only for the fleets edge (`listeners.edge.fleets`)",
            "this client is of the fleet `proof` (its node.cluster)",
        ],
    )
    .await;
    assert_eq!(
        answer["other_fleets"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    // Without a client: nobody is there for whom the listener is.
    why(
        &bridge,
        &["--request", "GET http://api.x/"],
        &["listener edge is only for the fleets edge, of which no client is connected (node.cluster of those that are: proof)"],
    )
    .await;
    // A service that this fleet does not see.
    why(
        &bridge,
        &["--request", "GET http://hidden/", "--client", NODE],
        &["`hidden` is outside of what the fleet `proof` sees ([fleets] in bridge.toml)"],
    )
    .await;
}
