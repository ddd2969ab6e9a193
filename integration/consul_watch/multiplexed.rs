//! The Consul source over HTTP/2 and a real Consul: hundreds of services on few connections.

use serde_json::json;
use xds_bridge::config::{ClientTls, ConsulSource};
use xds_bridge::model::{Health, Status};

use super::support::Watched;
use super::{checked, entry};
use crate::support::agent::Agent;
use crate::support::pki::{Ca, loopback};
use crate::support::wait;

/// Connections of this process to that port of loopback.
fn connections(port: u16) -> usize {
    let text = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let to = format!("0100007F:{port:04X}");
    let established = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(2);
        words.next() == Some(&to) && words.next() == Some("01")
    };
    text.lines().filter(established).count()
}

async fn all_are_seen(services: usize) {
    let ca = Ca::new();
    let agent = Agent::start(|dir, ports| {
        std::fs::write(dir.join("agent-ca.pem"), &ca.pem).unwrap();
        let [certificate, key] = ca.sign(dir, "agent", loopback());
        json!({ "ports": { "https": ports.https }, "cert_file": certificate, "key_file": key })
    })
    .await;
    let name = |n: usize| format!("s{n:03}");
    let register = async |n: usize, port: usize, status: &str| {
        let body = match n % 2 {
            0 => entry(&name(n), n % 50, port),
            _ => checked(&name(n), n % 50, port, status, ""),
        };
        agent.send("PUT", "/v1/catalog/register", &body).await;
    };
    for n in 0..services {
        register(n, 80, "passing").await;
    }
    let mut hub = Watched::of(&ConsulSource {
        tls: Some(ClientTls {
            ca: Some(agent.dir.path().join("agent-ca.pem")),
            identity: None,
            server_name: None,
        }),
        ..ConsulSource::new(format!("https://127.0.0.1:{}", agent.ports.https))
    });
    hub.until("live", |hub| hub.status == Status::Live).await;
    for port in [81, 82] {
        for n in 0..services {
            register(n, port, "passing").await;
        }
        let wanted = u16::try_from(port).unwrap();
        hub.until("all ports", |hub| {
            (0..services).all(|n| hub.ports(&name(n)) == [wanted])
        })
        .await;
    }
    // One for 200 watches, that of the names, and that of the other reads. Reads that began together, before a
    // connection stood, may have opened one more each, which stays for as long as a read blocks on it.
    let right = 1..=2 * (services.div_ceil(200) + 2);
    wait::until(wait::PATIENCE, "few connections", async || {
        let open = connections(agent.ports.https);
        wait::holds(right.contains(&open), || format!("{open}"))
    })
    .await;
    for n in (1..services).step_by(2) {
        register(n, 82, "critical").await;
    }
    hub.until("all checks", |hub| {
        let ill = |n: usize| hub.service(&name(n)).unwrap().instances[0].health == Health::Unhealthy;
        (0..services).all(|n| ill(n) == (n % 2 == 1))
    })
    .await;
    for n in (0..services).step_by(3) {
        let body =
            json!({ "Node": format!("node-{}", n % 50), "ServiceID": format!("{}-{}", name(n), n % 50) });
        agent.send("PUT", "/v1/catalog/deregister", &body).await;
    }
    hub.until("one of three gone", |hub| {
        (0..services).all(|n| hub.service(&name(n)).is_none() == (n % 3 == 0))
    })
    .await;
    assert_eq!((hub.missed, hub.swept, &hub.note), (0, 0, &None));
    assert_eq!(hub.statuses, [Status::Live]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_260_services_take_few_connections() {
    all_are_seen(260).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_500_services_take_few_connections() {
    all_are_seen(500).await;
}
