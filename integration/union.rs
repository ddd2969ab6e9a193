//! Proof 2: a service that is registered in etcd and in Consul is the union of both.

use std::time::Duration;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::etcd::Etcd;
use crate::support::servers::Server;

/// Long enough to outlive the test.
const TTL: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_and_consul_are_one_service() {
    let (etcd, mut consul) = tokio::join!(Etcd::start(), Consul::start());
    let sources = format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n\
         [sources.agents]\nkind = \"consul\"\naddress = \"{}\"\n",
        etcd.url(),
        consul.url()
    );
    let bridge = Bridge::start(&sources).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let orders = Call::http("orders");

    // One in etcd, one in Consul, and one in both: three hosts.
    let (one, two, both) = (
        Server::http("orders-1").await,
        Server::http("orders-2").await,
        Server::http("orders-3").await,
    );
    let in_etcd = etcd.register("orders", &one, &[], TTL).await;
    let _in_consul = consul.register("orders", &two, &[], Check::None).await;
    let both_in_etcd = etcd.register("orders", &both, &[], TTL).await;
    let _both_in_consul = consul.register("orders", &both, &[], Check::None).await;
    client
        .reaches(&orders, &["orders-1", "orders-2", "orders-3"])
        .await;
    envoy
        .has_hosts("orders", &[one.address, two.address, both.address])
        .await;

    // What one registry forgets stays as long as the other knows it.
    both_in_etcd.revoke().await;
    in_etcd.revoke().await;
    client.reaches(&orders, &["orders-2", "orders-3"]).await;
    envoy.has_hosts("orders", &[two.address, both.address]).await;

    // A registry that is away has forgotten nothing, and does not hold up the other one.
    consul.kill();
    bridge
        .metric_is("xds_bridge_source_up", &[("source", "agents")], |up| up == 0)
        .await;
    let _again = etcd.register("orders", &one, &[], TTL).await;
    client
        .reaches(&orders, &["orders-1", "orders-2", "orders-3"])
        .await;
    bridge
        .metric_is("xds_bridge_source_up", &[("source", "keys")], |up| up == 1)
        .await;
    bridge.assert_no_nacks().await;
}
