//! A real etcd behind a real `etcd grpc-proxy`: it answers no progress requests, confirms the second watch of a
//! range itself (its header names no cluster), and keeps a watch open whatever became of the member behind it.

use std::time::Duration;

use etcd_client::CompactionOptions;
use xds_bridge::config::EtcdSource;
use xds_bridge::model::Status;

use super::support::{Bridge, Node, PREFIX, answers, connect, free_port, key, ports, url, value};
use crate::support::process::{self, Program, Start};
use crate::support::wait;

/// Several of the bridge's own bounds, one after the other: a probe, a comparison, a watch that is not confirmed.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the proxy says of a progress request.
const REFUSED: &str = "not supported request type";

/// `etcd grpc-proxy`, which answers for some members and balances over them.
struct Proxy {
    program: Program,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// In front of these.
    async fn before(nodes: &[&Node]) -> Self {
        let members: Vec<String> = nodes.iter().map(|n| format!("127.0.0.1:{}", n.client)).collect();
        for _ in 0..process::TRIES {
            let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
            let data = folder.path().join("proxy").display().to_string();
            let args = [
                "grpc-proxy".to_owned(),
                "start".to_owned(),
                format!("--endpoints={}", members.join(",")),
                format!("--listen-addr=127.0.0.1:{port}"),
                // It connects to this one, too, and ends after 5 s when nobody is there.
                format!("--advertise-client-url=127.0.0.1:{port}"),
                format!("--data-dir={data}"),
            ];
            let binary = process::tool("ETCD_BIN", "etcd");
            let mut proxy = Self {
                program: Program::start("proxy", &binary, args, folder.path()),
                port,
                _folder: folder,
            };
            let url = proxy.endpoint();
            if proxy.program.ready(async || answers(&url, None).await).await == Start::Ready {
                return proxy;
            }
        }
        panic!("etcd grpc-proxy finds its port taken");
    }

    fn endpoint(&self) -> String {
        url(false, self.port)
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.program.kill();
    }

    /// Runs it again.
    async fn run(&mut self) {
        let url = self.endpoint();
        self.program.restart(async || answers(&url, None).await).await;
    }

    /// How often its log has this in it.
    fn logged(&self, word: &str) -> usize {
        self.program.log().matches(word).count()
    }
}

fn through(proxy: &Proxy) -> Bridge {
    Bridge::of(&EtcdSource::new(vec![proxy.endpoint()], PREFIX))
}

/// Longer than an unanswered member would be believed, with nothing written and with writes elsewhere.
#[tokio::test]
async fn a_quiet_store_behind_a_proxy_is_not_away() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let proxy = Proxy::before(&[&node]).await;
    let mut bridge = through(&proxy);
    bridge.live().await;
    assert!(
        bridge.is_quiet(Duration::from_secs(32)).await,
        "{:?}",
        bridge.status
    );
    assert_eq!(proxy.logged(REFUSED), 0, "a store that stands still owes nothing");
    for _ in 0..4 {
        client.put("/elsewhere", "x", None).await.unwrap();
        assert!(
            bridge.is_quiet(Duration::from_secs(12)).await,
            "{:?}",
            bridge.status
        );
    }
    assert_eq!(proxy.logged(REFUSED), 1, "it is remembered that it answers none");
    client.put(key(0, "a"), value(1), None).await.unwrap();
    let change = bridge.next().await.expect("a change, and no status before it");
    assert_eq!(change.services.len(), 1);
    bridge.stop().await;
}

/// The proxy adds the second one to the watch of the first, and confirms it without a word about etcd.
#[tokio::test]
async fn two_bridges_behind_one_proxy_share_its_watch() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    client.put(key(0, "a"), value(1), None).await.unwrap();
    let proxy = Proxy::before(&[&node]).await;
    let mut bridges = Vec::new();
    for _ in 0..3 {
        let mut bridge = through(&proxy);
        bridge.live().await;
        bridges.push(bridge);
    }
    for n in 2..5 {
        client.put(key(0, n), value(n), None).await.unwrap();
        for bridge in &mut bridges {
            let all = |b: &Bridge| b.ports()["s0"].len() == n;
            bridge.until("one more", all).await;
            assert_eq!(bridge.status, Status::Live);
        }
    }
    for bridge in bridges {
        assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
        bridge.stop().await;
    }
}

#[tokio::test]
async fn a_compaction_while_the_proxy_is_away_lists_anew() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    client.put(key(0, "a"), value(1), None).await.unwrap();
    client.put(key(1, "a"), value(2), None).await.unwrap();
    let mut proxy = Proxy::before(&[&node]).await;
    let mut bridge = through(&proxy);
    bridge.live().await;
    proxy.kill();
    client.delete(key(0, "a"), None).await.unwrap();
    for n in 0..20 {
        client.put(key(2, "a"), value(100 + n), None).await.unwrap();
    }
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    proxy.run().await;
    let wanted = ports([("s1", &[2]), ("s2", &[119])]);
    bridge.until("listed anew", |b| b.ports() == wanted).await;
    bridge.live().await;
    client.put(key(1, "b"), value(3), None).await.unwrap();
    bridge
        .until("watching again", |b| b.ports()["s1"].len() == 2)
        .await;
    bridge.stop().await;
}

/// The proxy follows the restored etcd by itself, and its watch waits for the new history to pass the old one.
#[tokio::test]
async fn a_backup_that_is_restored_behind_a_proxy_is_found() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..50 {
        client.put(key(n % 5, "a"), value(100 + n), None).await.unwrap();
    }
    let proxy = Proxy::before(&[&node]).await;
    let mut bridge = through(&proxy);
    bridge.live().await;
    node.kill();
    // The same ports make the same cluster id; the history begins again.
    std::fs::remove_dir_all(node.folder.path().join("data")).unwrap();
    node.run(node.client).await;
    let mut client = node.connect().await;
    client.put(key(7, "a"), value(9), None).await.unwrap();
    bridge
        .timed("restored behind a proxy", |b| b.ports() == ports([("s7", &[9])]))
        .await;
    bridge.live().await;
    client.put(key(7, "b"), value(10), None).await.unwrap();
    bridge
        .until("a later change", |b| b.ports() == ports([("s7", &[9, 10])]))
        .await;
    bridge.stop().await;
}

/// The member that the proxy watches is frozen. Its other members answer reads, and the proxy keeps the watch open:
/// what changes arrives, through the proxy alone as well as by way of another endpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_freezes_behind_a_proxy_is_found() {
    let nodes = Node::three().await;
    let proxy = Proxy::before(&nodes.each_ref()).await;
    // It has watches of its own to begin with, perhaps on another member.
    let counts = async || {
        [
            nodes[0].watches().await,
            nodes[1].watches().await,
            nodes[2].watches().await,
        ]
    };
    let (mut before, mut same) = ([0; 3], 0);
    wait::until(PATIENCE, "the proxy has its own watches", async || {
        let now = counts().await;
        same = if now == before { same + 1 } else { 0 };
        before = now;
        wait::holds(same >= 20 && now != [0; 3], || format!("{now:?}"))
    })
    .await;
    let mut alone = through(&proxy);
    alone.live().await;
    let watched = wait::until(PATIENCE, "one member is watched for us", async || {
        let now = counts().await;
        let more = (0..3).find(|n| now[*n] > before[*n]);
        more.ok_or_else(|| format!("{before:?} and {now:?}"))
    })
    .await;
    let (frozen, other) = (&nodes[watched], &nodes[(watched + 1) % 3]);
    let endpoints = vec![proxy.endpoint(), other.endpoint()];
    let mut several = Bridge::of(&EtcdSource::new(endpoints, PREFIX));
    several.live().await;
    frozen.freeze();
    wait::until(PATIENCE, "there is a leader, perhaps a new one", async || {
        let mut client = connect(other.client).await;
        let written = client.put(key(0, "a"), value(1), None).await;
        written.map(drop).map_err(|e| e.to_string())
    })
    .await;
    let begun = xds_bridge::clock::now();
    for (bridge, way) in [
        (&mut several, "another endpoint"),
        (&mut alone, "the proxy alone"),
    ] {
        bridge
            .until_within(PATIENCE, "what was written meanwhile", |b| {
                b.ports() == ports([("s0", &[1])])
            })
            .await;
        let took = xds_bridge::clock::now().duration_since(begun);
        eprintln!("frozen behind a proxy, by way of {way}: {took:?}");
    }
    several
        .until_within(PATIENCE, "watched elsewhere", |b| b.status == Status::Live)
        .await;
    frozen.thaw();
    other
        .connect()
        .await
        .put(key(0, "b"), value(2), None)
        .await
        .unwrap();
    for mut bridge in [several, alone] {
        bridge
            .until_within(PATIENCE, "live again, with all", |b| {
                b.ports() == ports([("s0", &[1, 2])]) && b.status == Status::Live
            })
            .await;
        assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
        bridge.stop().await;
    }
}
