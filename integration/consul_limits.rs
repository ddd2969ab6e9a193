//! A client agent of Consul that limits its requests by the second (`limits.rpc_rate`): the source is ready as
//! fast as the limit allows, each service keeps its watch, and the status says which limit it is.

use serde_json::json;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::{Measured, Status};

use crate::support::agent::{Agent, Watched};

const SERVICES: u16 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "printed, never asserted")]
async fn a_client_agent_with_five_requests_a_second_is_no_outage() {
    let server = Agent::start(|_, _| json!({})).await;
    let name = |n: u16| format!("s{n:02}");
    for n in 0..SERVICES {
        server.enter(&name(n), 100 + n, json!({})).await;
        server.enter(&name(n), 200 + n, json!({})).await;
    }
    let join = format!("127.0.0.1:{}", server.ports.lan);
    let agent = Agent::start(|_, _| {
        json!({ "server": false, "bootstrap_expect": 0, "node_name": "limited", "retry_join": [join.as_str()],
            "retry_interval": "1s", "limits": { "rpc_rate": 5, "rpc_max_burst": 5 } })
    })
    .await;
    let began = std::time::Instant::now();
    let mut watched = Watched::start(&ConsulSource::new(agent.address()));
    watched.until_live().await;
    println!("ready after {:?}", began.elapsed());
    for n in 0..SERVICES {
        assert_eq!(watched.addresses(&name(n)).len(), 2, "{n}");
    }
    watched
        .until("the limit is named", |w| {
            w.note.as_ref().is_some_and(|n| n.contains("limits.rpc_rate"))
        })
        .await;
    let mut added = Vec::new();
    let mut removed = Vec::new();
    for n in 0..10 {
        let name = name(n * 4);
        let began = std::time::Instant::now();
        server.enter(&name, 300 + n, json!({})).await;
        watched.until("added", |w| w.addresses(&name).len() == 3).await;
        added.push(began.elapsed().as_millis());
        let began = std::time::Instant::now();
        server.leave(&name, 300 + n).await;
        watched.until("removed", |w| w.addresses(&name).len() == 2).await;
        removed.push(began.elapsed().as_millis());
    }
    println!("added seen after (ms) {added:?}\nremoved seen after (ms) {removed:?}");
    let began = std::time::Instant::now();
    server.leave(&name(0), 100).await;
    server.leave(&name(0), 200).await;
    watched.until_served(&name(0), &[]).await;
    println!("the last two seen after {:?}", began.elapsed());
    // Many at once.
    let began = std::time::Instant::now();
    for n in 10..20 {
        server.enter(&name(n), 400 + n, json!({})).await;
    }
    watched
        .until("ten more", |w| (10..20).all(|n| w.addresses(&name(n)).len() == 3))
        .await;
    println!("ten at once seen after {:?}", began.elapsed());
    let began = std::time::Instant::now();
    for n in 10..20 {
        server.leave(&name(n), 400 + n).await;
    }
    watched
        .until("ten fewer", |w| {
            (10..20).all(|n| w.addresses(&name(n)).len() == 2)
        })
        .await;
    println!("ten removals at once seen after {:?}", began.elapsed());
    let swept = |m: &Measured| matches!(m, Measured::Swept(n) if *n > 0);
    assert!(!watched.measured.iter().any(swept), "each keeps its watch");
    assert_eq!(watched.statuses, [Status::Live]);
}
