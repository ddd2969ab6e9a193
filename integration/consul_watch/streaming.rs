//! The Consul source and agents that stream (Consul 1.10 and newer, by default): servers and client agents answer
//! health reads with an index from a copy of their own. With an older Consul the same without.

use serde_json::json;
use xds_bridge::config::{ClientTls, ConsulSource};
use xds_bridge::model::Status;

use super::support::Watched;
use super::{entry, register};
use crate::support::consul::Consul;
use crate::support::consul_version;
use crate::support::many::{self, Catalog, PORT};
use crate::support::pki::{Ca, loopback};

/// Each is seen, and no answer is taken for that of an agent without a leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_changes_again_and_again_is_seen_each_time() {
    let servers = [Consul::start().await];
    let agent = Consul::agent_of(&servers).await;
    let server = &servers[0];
    register(server, &entry("x", 0, 80)).await;
    let mut watched = [Watched::start(server), Watched::start(&agent)];
    for hub in &mut watched {
        hub.until("live", |hub| hub.status == Status::Live).await;
    }
    for port in 81..101 {
        register(server, &entry("x", 0, port)).await;
        let wanted = u16::try_from(port).unwrap();
        for hub in &mut watched {
            hub.until("the port", |hub| hub.ports("x") == [wanted]).await;
        }
    }
    for hub in &watched {
        assert_eq!((hub.missed, &hub.statuses[..]), (0, &[Status::Live][..]));
    }
}

/// An id that is registered again under another name leaves its service without any trace in the index of
/// reads that are not streamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_goes_over_to_another_service_leaves_its_own() {
    let servers = [Consul::start().await];
    let agent = Consul::agent_of(&servers).await;
    let server = &servers[0];
    for number in [0, 1] {
        register(server, &entry("x", number, 80)).await;
    }
    let mut hub = Watched::start(&agent);
    hub.until("live", |hub| hub.status == Status::Live).await;
    let mut moved = entry("x", 1, 80);
    moved["Service"]["Service"] = json!("y");
    register(server, &moved).await;
    hub.until("it is in the other", |hub| hub.instances("y") == 1)
        .await;
    // What happens to the rest of its service is seen as before.
    register(server, &entry("x", 0, 81)).await;
    hub.until("the other one changed", |hub| hub.ports("x") == [81])
        .await;
    assert_eq!(hub.statuses, [Status::Live]);
    hub.assert_as(server).await;
}

/// Streamed reads are not woken by a restore. An audit alone would come to the last of so many services
/// after ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_snapshot_is_found_among_two_thousand_services() {
    const SERVICES: usize = 2_000;
    let (dir, ca) = (tempfile::tempdir().unwrap(), Ca::new());
    let [certificate, key] = ca.sign(dir.path(), "consul", loopback());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).unwrap();
    let secure = json!({ "cert_file": certificate, "key_file": key });
    let servers = [Consul::start_as(&secure).await];
    let server = &servers[0];
    let streaming = Consul::agent_of(&servers).await;
    let mut keys = consul_version::unstreamed();
    keys["node_name"] = json!("plain");
    let plain = Consul::agent_with(&servers, &keys).await;

    let catalog = Catalog::of(server.url());
    catalog.fill(SERVICES, 1).await;
    let snapshot = dir.path().join("snapshot");
    server.save(&snapshot).await;
    let (last, before) = (SERVICES - 1, SERVICES - 2);
    catalog.register(last, 1, PORT, true).await;
    catalog.register(before, 0, PORT + 1, true).await;

    let over_http_2 = ConsulSource {
        tls: Some(ClientTls {
            ca: Some(ca_file),
            identity: None,
            server_name: None,
        }),
        ..ConsulSource::new(format!("https://{}", server.https))
    };
    let mut watched = [
        Watched::of(&over_http_2),
        Watched::start(&streaming),
        Watched::start(&plain),
    ];
    for hub in &mut watched {
        hub.until("live", |hub| hub.status == Status::Live).await;
        assert_eq!(hub.instances(&many::name(last)), 2);
        assert_eq!(hub.ports(&many::name(before)), [PORT + 1]);
    }
    server.restore(&snapshot).await;
    for hub in &mut watched {
        hub.until("what the snapshot holds", |hub| {
            hub.instances(&many::name(last)) == 1 && hub.ports(&many::name(before)) == [PORT]
        })
        .await;
    }
    // And it goes on.
    catalog.register(before, 0, PORT + 2, true).await;
    for hub in &mut watched {
        hub.until("a change after it", |hub| {
            hub.ports(&many::name(before)) == [PORT + 2]
        })
        .await;
    }
}
