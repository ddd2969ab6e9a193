//! Hard moments of the protocol with the real Envoy: a connection cut while clusters warm,
//! a cluster that changes, a bad resource among good ones, a removal, the state-of-the-world
//! variant, and a move to another bridge. Numbers of rules are those of docs/xds-rules.md.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use envoy_types::pb::google::protobuf::Duration as ProtoDuration;
use prost::Message as _;
use serde_json::json;
use tempfile::TempDir;
use xds_bridge::xds::{Draft, Kind, Reach, Update};

use crate::adoption_steps::{Variant, adopt};
use crate::support::bridge::{Bridge, Counted, Step, print_bootstrap};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::gate::Gate;
use crate::support::load::Load;
use crate::support::registry;
use crate::support::served::{Served, cluster, no_endpoints};
use crate::support::servers::Server;
use crate::support::wait;

/// An Envoy that waits in vain for endpoints gives up after 15 s. This is a third of that.
const PROMPT: Duration = Duration::from_secs(5);

/// The word in each message that carries endpoints.
const ENDPOINTS: &str = "ClusterLoadAssignment";

#[expect(
    clippy::disallowed_methods,
    reason = "how long Envoy took is what is measured"
)]
fn now() -> Instant {
    Instant::now()
}

/// A folder of services that the file source watches.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn source(&self) -> String {
        let path = self.0.path().display();
        format!("[sources.files]\nkind = \"file\"\npath = \"{path}\"\n")
    }

    /// A service with one instance.
    fn put(&self, service: &str, server: &Server, policy: &[(&str, &str)]) {
        let (address, port) = (server.address.ip().to_string(), server.address.port());
        let mut entry = json!({"instances": [{"id": server.id, "address": address, "port": port}]});
        for (key, value) in policy {
            entry[key] = json!(value);
        }
        let text = json!({"services": {service: entry}}).to_string();
        std::fs::write(self.0.path().join(format!("{service}.json")), text).expect("writing a service");
    }

    fn remove(&self, service: &str) {
        std::fs::remove_file(self.0.path().join(format!("{service}.json"))).expect("removing a service");
    }
}

/// How many resources of each type were sent.
fn sent(metrics: &Counted) -> [(&'static str, i64); 4] {
    ["cds", "eds", "lds", "rds"].map(|kind| {
        let sum = metrics.sum("xds_bridge_resources_sent_total", &[("type", kind)]);
        (kind, sum.unwrap_or(0))
    })
}

/// A route that changes nothing but the route configuration; a sign that Envoy has heard everything.
const SIGN: [(&str, &str); 1] = [("route", "path=/sign/")];

fn sign() -> Call {
    Call::Http {
        host: "any.example".to_owned(),
        path: "/sign/".to_owned(),
    }
}

async fn warming(envoy: &Envoy) -> u64 {
    envoy.stat("cluster_manager.warming_clusters").await
}

/// Waits until Envoy speaks HTTP/2 to the service, which it does once the changed cluster is warm.
async fn speaks_http2(envoy: &Envoy, service: &str) {
    let client = envoy.client();
    let what = format!("Envoy has warmed the changed cluster {service}");
    wait::until(PROMPT, &what, async || {
        client
            .call(&Call::http(service))
            .await
            .map_err(|why| why.to_string())?;
        let connections = envoy
            .stat(&format!("cluster.{service}.upstream_cx_http2_total"))
            .await;
        let warming = warming(envoy).await;
        wait::holds(connections > 0 && warming == 0, || {
            format!("{connections} connections, {warming} warming clusters")
        })
    })
    .await;
}

/// Rule 41. The bridge dies between the clusters and their endpoints: an Envoy that starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_while_it_warms_at_its_start() {
    let (files, one) = (Files::new(), Server::http("orders-1").await);
    files.put("orders", &one, &[]);
    let mut bridge = Bridge::start(&files.source()).await;
    let gate = Gate::to(bridge.xds).await;
    gate.cut_before(ENDPOINTS);
    let (file, way, listener) = (bridge.file(), gate.address, bridge.listener);
    let start = Envoy::start(listener, async |admin| {
        print_bootstrap(&file, Step::Listeners, admin, Some(way), &[])
    });
    let again = async {
        gate.has_cut().await;
        bridge.kill();
        bridge.restart().await;
        gate.open(bridge.xds);
        now()
    };
    let (envoy, opened) = tokio::join!(start, again);
    let took = now().duration_since(opened);
    assert!(
        took < PROMPT,
        "Envoy was ready {took:?} after it could connect again"
    );
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;
    bridge.assert_no_nacks().await;
}

/// Rule 41. The same with a cluster that changes: this Envoy claims the endpoints it holds,
/// and must get them again all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_while_a_changed_cluster_warms() {
    let (files, one) = (Files::new(), Server::http("orders-1").await);
    files.put("orders", &one, &[]);
    let mut bridge = Bridge::start(&files.source()).await;
    let gate = Gate::to(bridge.xds).await;
    let envoy = bridge.envoy_by(gate.address).await;
    let orders = Call::http("orders");
    envoy.client().reaches(&orders, &["orders-1"]).await;
    let load = Load::start(envoy.listener(), std::slice::from_ref(&orders), 40, 2);

    gate.cut_before(ENDPOINTS);
    files.put("orders", &one, &[("protocol", "http2")]);
    gate.has_cut().await;
    wait::until(PROMPT, "Envoy warms the changed cluster", async || {
        let warming = warming(&envoy).await;
        wait::holds(warming == 1, || format!("{warming} warming clusters"))
    })
    .await;
    bridge.kill();
    bridge.restart().await;
    gate.open(bridge.xds);
    speaks_http2(&envoy, "orders").await;
    assert_eq!(
        sent(&bridge.metrics().await)[1],
        ("eds", 1),
        "the endpoints are sent again"
    );
    load.goes_on(20).await;
    load.finish().await.assert_clean(20);
    bridge.assert_no_nacks().await;
}

/// Rule 41, the other half: who is not in the middle of warming gets no endpoints again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_reconnect_resends_nothing() {
    let (files, one) = (Files::new(), Server::http("orders-1").await);
    let two = Server::grpc("users-1", "shop.Users").await;
    files.put("orders", &one, &[]);
    files.put(
        "users",
        &two,
        &[("protocol", "grpc"), ("route", "grpc=shop.Users")],
    );
    let mut bridge = Bridge::start(&files.source()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.reaches(&Call::http("orders"), &["orders-1"]).await;
    client.reaches(&Call::grpc("shop.Users"), &["users-1"]).await;
    assert_eq!(
        sent(&bridge.metrics().await)[2],
        ("lds", 1),
        "an Envoy does not see the listener for gRPC clients"
    );
    bridge.kill();
    bridge.restart().await;
    bridge
        .metric_is("xds_bridge_streams", &[], |streams| streams >= 1)
        .await;
    files.put("orders", &one, &SIGN);
    client.reaches(&sign(), &["orders-1"]).await;
    client.reaches(&Call::grpc("shop.Users"), &["users-1"]).await;
    assert_eq!(
        sent(&bridge.metrics().await),
        [("cds", 0), ("eds", 0), ("lds", 0), ("rds", 1)]
    );
    bridge.assert_no_nacks().await;
}

/// Rule 45: endpoints follow their cluster, though they did not change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_cluster_is_warm_at_once() {
    let (files, one) = (Files::new(), Server::http("orders-1").await);
    files.put("orders", &one, &[]);
    let bridge = Bridge::start(&files.source()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let orders = Call::http("orders");
    envoy.client().reaches(&orders, &["orders-1"]).await;
    let load = Load::start(envoy.listener(), std::slice::from_ref(&orders), 40, 2);
    load.goes_on(10).await;
    files.put("orders", &one, &[("protocol", "http2")]);
    speaks_http2(&envoy, "orders").await;
    load.goes_on(10).await;
    load.finish().await.assert_clean(20);
    bridge.assert_no_nacks().await;
}

/// A cluster that Envoy refuses.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// A field out of its bounds: the whole response is lost.
    Field,
    /// What it says makes no sense: the others in the response are taken.
    Sense,
}

fn put(cluster: &Cluster) -> Update {
    Update::Put(Draft {
        kind: Kind::Cluster,
        name: cluster.name.as_str().into(),
        body: cluster.encode_to_vec(),
        needs: vec![cluster.name.as_str().into()],
        reach: Reach::All,
        local: None,
    })
}

async fn holds(envoy: &Envoy, names: &[&str]) {
    let what = format!("Envoy has the clusters {names:?}");
    wait::until(PROMPT, &what, async || {
        for name in names {
            let there = envoy.cluster(name).await.dynamic.is_some();
            wait::holds(there, || format!("{name} is missing"))?;
        }
        Ok(())
    })
    .await;
}

/// One bad resource blocks no other, and is not repeated until it is mended.
async fn refused(wrong: Wrong) {
    let pair = |name: &str| [put(&cluster(name)), no_endpoints(name)];
    let served = Served::start(&pair("a")).await;
    let envoy = served.envoy().await;
    holds(&envoy, &["a"]).await;

    let mut bad = cluster("bad");
    match wrong {
        Wrong::Field => {
            bad.connect_timeout = Some(ProtoDuration {
                seconds: -1,
                nanos: 0,
            });
        }
        Wrong::Sense => {
            bad.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32));
            bad.eds_cluster_config = None;
            bad.lb_policy = LbPolicy::ClusterProvided as i32;
        }
    }
    let [before, after] = [pair("b"), pair("c")];
    served.publish(&[&before[..], &[put(&bad), no_endpoints("bad")], &after].concat());
    holds(&envoy, &["a", "b", "c"]).await;
    let nacks = || served.metrics().sum("xds_bridge_nacks_total", &[]).unwrap_or(0);
    wait::until(PROMPT, "the bad cluster alone is refused", async || {
        wait::holds(nacks() == 2, || format!("{} refusals", nacks()))
    })
    .await;

    // Others come and go; what was refused is not said again.
    served.publish(&pair("d"));
    holds(&envoy, &["a", "b", "c", "d"]).await;
    assert_eq!(nacks(), 2, "once in the batch, once alone");
    assert_eq!(envoy.cluster("bad").await.dynamic, None);

    served.publish(&[put(&cluster("bad"))]);
    holds(&envoy, &["a", "b", "c", "d", "bad"]).await;
    assert_eq!(nacks(), 2);
    assert_eq!(warming(&envoy).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_field_among_good_clusters() {
    refused(Wrong::Field).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_senseless_cluster_among_good_ones() {
    refused(Wrong::Sense).await;
}

/// Rule 44: a service goes, under load on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_costs_the_others_nothing() {
    let files = Files::new();
    let mut servers = Vec::new();
    for service in ["orders", "stock", "web"] {
        let server = Server::http(&format!("{service}-1")).await;
        files.put(service, &server, &[]);
        servers.push(server);
    }
    let source = format!("[clusters]\nkeep_routes = \"0s\"\n\n{}", files.source());
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let [orders, stock, web] = ["orders", "stock", "web"].map(Call::http);
    client.reaches(&stock, &["stock-1"]).await;
    let before = envoy.cluster("orders").await;
    let load = Load::start(envoy.listener(), &[orders.clone(), web.clone()], 100, 4);
    load.goes_on(40).await;
    for _ in 0..3 {
        files.remove("stock");
        client.is_refused(&stock, "http 404").await;
        load.goes_on(20).await;
        files.put("stock", &servers[1], &[]);
        client.reaches(&stock, &["stock-1"]).await;
    }
    load.finish().await.assert_clean(100);
    assert_eq!(
        envoy.cluster("orders").await,
        before,
        "the removal touched another service"
    );
    bridge.assert_no_nacks().await;
}

/// Proof 1 in the state-of-the-world variant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_the_world_everything() {
    adopt(registry::Kind::Etcd, Step::Listeners, Variant::Sotw).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_the_world_endpoints_only() {
    adopt(registry::Kind::Etcd, Step::Endpoints, Variant::Sotw).await;
}

/// Versions are equal in two processes: an Envoy that moves to the other one gets nothing again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_to_another_bridge_resends_nothing() {
    let (files, one) = (Files::new(), Server::http("orders-1").await);
    let two = Server::grpc("users-1", "shop.Users").await;
    files.put("orders", &one, &[]);
    files.put(
        "users",
        &two,
        &[("protocol", "grpc"), ("route", "grpc=shop.Users")],
    );
    let first = Bridge::start(&files.source()).await;
    let second = first.twin(&files.source()).await;
    let gate = Gate::to(first.xds).await;
    let envoy = first.envoy_by(gate.address).await;
    let client = envoy.client();
    let calls = [Call::http("orders"), Call::grpc("shop.Users")];
    client.reaches(&calls[0], &["orders-1"]).await;
    client.reaches(&calls[1], &["users-1"]).await;
    let load = Load::start(envoy.listener(), &calls, 40, 2);
    load.goes_on(20).await;
    gate.open(second.xds);
    second
        .metric_is("xds_bridge_streams", &[], |streams| streams >= 1)
        .await;
    files.put("orders", &one, &SIGN);
    client.reaches(&sign(), &["orders-1"]).await;
    assert_eq!(
        sent(&second.metrics().await),
        [("cds", 0), ("eds", 0), ("lds", 0), ("rds", 1)]
    );
    load.goes_on(20).await;
    load.finish().await.assert_clean(40);
    second.assert_no_nacks().await;
}
