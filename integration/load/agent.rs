//! `load agent`: one Consul server and one client agent of it in their default settings (since Consul 1.10 they
//! stream), ten changes a second over 60 services. From the write until the bridge has served it, and until
//! a plain blocking query to the same agent has brought it; and how often the source was away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStderr;
use tokio::task::JoinSet;

use crate::agents;
use crate::awaited::Awaited;
use crate::numbers::{Table, figures, now};
use crate::server::Server;
use crate::support::consul::Consul;
use crate::support::many::{self, Catalog, PORT};
use crate::support::mirror::Mirror;
use crate::support::pki::{Ca, loopback};
use crate::support::procfs;

const SERVICES: usize = 60;
const INSTANCES: usize = 3;

/// Between two changes.
const PACE: Duration = Duration::from_millis(100);

/// Prints the table.
pub(crate) async fn measure(quick: bool) {
    let changes = if quick { 60 } else { 600 };
    let title = format!(
        "Behind a client agent: {changes} changes over {SERVICES} services, ten a second, from the begin of a write: p50 / p99 / max, ms"
    );
    let columns = [
        "the bridge reads by",
        "a plain blocking query sees it",
        "the bridge has served it",
        "away",
        "agent CPU, % of a core",
        "server CPU",
        "bridge CPU",
    ];
    let mut table = Table::new(title, &columns);
    for multiplexed in [false, true] {
        table.row(one(multiplexed, changes).await);
    }
    println!("{table}");
}

async fn one(multiplexed: bool, changes: usize) -> Vec<String> {
    let (dir, ca) = (tempfile::tempdir().expect("a folder"), Ca::new());
    let [certificate, key] = ca.sign(dir.path(), "consul", loopback());
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, &ca.pem).expect("a file");
    let mut servers = [Consul::start().await];
    let more = json!({ "node_name": "agent", "cert_file": certificate, "key_file": key });
    let mut agent = Consul::agent_with(&servers, &more).await;
    let catalog = Catalog::of(servers[0].url());
    catalog.fill(SERVICES, INSTANCES).await;

    let section = if multiplexed {
        format!(
            "address = \"https://{}\"\n[sources.agents.tls]\nca = \"{}\"\n",
            agent.https,
            ca_file.display()
        )
    } else {
        format!("address = \"{}\"\n", agent.url())
    };
    let (bridge, log) =
        Server::start_warning(&format!("[sources.agents]\nkind = \"consul\"\n{section}")).await;
    let away = Arc::new(AtomicUsize::new(0));
    let reader = tokio::spawn(count(log, away.clone()));
    let (by_bridge, by_plain) = (Awaited::default(), Awaited::default());
    let heard = by_bridge.clone();
    let on_change = move |name: &str, has: &BTreeMap<SocketAddr, bool>| {
        heard.saw(name, has.keys().map(SocketAddr::port));
    };
    let mirror = Mirror::of(bridge.xds, on_change).await;
    let mut plain = JoinSet::new();
    agents::watch_all(&mut plain, agent.address(), SERVICES, &by_plain).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // what follows a start is over

    let pids = [agent.program().id(), servers[0].program().id(), bridge.pid()];
    let (began, before) = (now(), pids.map(procfs::cpu));
    let mut ticks = tokio::time::interval(PACE);
    let mut writes = JoinSet::new();
    for n in 0..changes {
        ticks.tick().await;
        let service = n * 7 % SERVICES;
        let port = PORT + 1 + u16::try_from(n).expect("so many changes");
        for awaited in [&by_bridge, &by_plain] {
            awaited.begins(many::name(service), port);
        }
        let catalog = catalog.clone();
        writes.spawn(async move { catalog.register(service, 0, port, true).await });
    }
    writes.join_all().await;
    let (by_bridge, by_plain) = (by_bridge.all().await, by_plain.all().await);
    let wall = (now() - began).as_secs_f64();
    let shares = pids
        .into_iter()
        .zip(before)
        .map(|(pid, then)| figures(100.0 * procfs::cpu(pid).since(&then).as_secs_f64() / wall));
    let how = if multiplexed { "HTTP/2" } else { "HTTP/1.1" };
    let first = [
        how.to_owned(),
        by_plain.three(),
        by_bridge.three(),
        away.load(Ordering::Relaxed).to_string(),
    ];
    let row = first.into_iter().chain(shares).collect();
    drop((plain, mirror, bridge));
    reader.abort();
    row
}

/// How often the source was away; whatever else is warned of is shown.
async fn count(log: ChildStderr, away: Arc<AtomicUsize>) {
    let mut lines = BufReader::new(log).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("consul is away") {
            away.fetch_add(1, Ordering::Relaxed);
        }
        eprintln!("{line}");
    }
}
