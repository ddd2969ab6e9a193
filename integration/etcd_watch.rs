//! The etcd source and client against a real etcd: nothing is lost, nothing is removed by an outage.
//!
//! Never uses a fixed port, and leaves no process behind. Waits for states, with deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, CompactionOptions, GetOptions, PutOptions, Txn, TxnOp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use xds_bridge::config::EtcdSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Catalog, Change, Event, Status};
use xds_bridge::registry::etcd::{Error, Etcd, Message};
use xds_bridge::source::etcd::EtcdWatcher;
use xds_bridge::source::{Sink, Source};

const PREFIX: &str = "/services/";
const DEADLINE: Duration = Duration::from_secs(60);

/// One etcd with one member. Its ports stay the same over restarts, and so does its cluster id.
struct Node {
    folder: tempfile::TempDir,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn binary() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/etcd");
    let path = std::env::var_os("ETCD_BIN").map_or(own, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Self {
            folder,
            client: free_port(),
            peer: free_port(),
            child: None,
        };
        node.run(node.client).await;
        node
    }

    /// Runs the node, reachable at `port`.
    async fn run(&mut self, port: u16) {
        let (client, peer) = (
            format!("http://127.0.0.1:{port}"),
            format!("http://127.0.0.1:{}", self.peer),
        );
        let child = Command::new(binary())
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("default={peer}"),
                "--log-level",
                "error",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let ready = async {
            while connect(port).await.get("ready", None).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, ready).await.expect("etcd starts");
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    async fn connect(&self) -> Client {
        connect(self.client).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn connect(port: u16) -> Client {
    let options = etcd_client::ConnectOptions::new().with_timeout(Duration::from_secs(5));
    Client::connect([format!("http://127.0.0.1:{port}")], Some(options))
        .await
        .unwrap()
}

/// A source at work, and the hub's side of it.
struct Bridge {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    status: Status,
    /// Names of services that lost an instance, in any change seen so far.
    lost: BTreeSet<Arc<str>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Service → ports.
type Ports = BTreeMap<String, BTreeSet<u16>>;

impl Bridge {
    fn start(nodes: &[&Node]) -> Self {
        let endpoints = nodes.iter().map(|n| n.endpoint()).collect();
        let config = EtcdSource {
            endpoints,
            prefix: PREFIX.to_owned(),
        };
        let (sender, events) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let sink = Sink::new("etcd".into(), sender);
        let task = tokio::spawn(Box::new(EtcdWatcher::new(&config)).run(sink, stop.clone()));
        let (catalog, status) = (Catalog::new(["etcd".into()]), Status::Connecting);
        Self {
            events,
            catalog,
            status,
            lost: BTreeSet::new(),
            stop,
            task,
        }
    }

    /// The next event, applied; its change, if it is one.
    async fn next(&mut self) -> Option<Change> {
        let event = timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("no panic");
        let before = self.ports();
        self.catalog.apply(event.clone());
        let after = self.ports();
        for (service, ports) in before {
            if after.get(&service).is_none_or(|new| !ports.is_subset(new)) {
                self.lost.insert(service.as_str().into());
            }
        }
        match event.what {
            What::Change(change) => Some(change),
            What::Status(status) => {
                self.status = status;
                None
            }
        }
    }

    fn ports(&self) -> Ports {
        self.names()
            .into_iter()
            .filter_map(|name| {
                let service = self.catalog.service(&name)?;
                Some((
                    name.to_string(),
                    service.instances.iter().map(|i| i.address.port()).collect(),
                ))
            })
            .collect()
    }

    /// Every name that these tests use; the catalog does not list its services.
    fn names(&self) -> Vec<Arc<str>> {
        (0..20).map(|n| format!("s{n}").into()).collect()
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                self.next().await;
            }
        };
        let last = timeout(DEADLINE, wait).await;
        assert!(last.is_ok(), "{what}: {:?} {:?}", self.status, self.ports());
    }

    async fn live(&mut self) {
        self.until("live", |b| b.status == Status::Live).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(2), self.task)
            .await
            .expect("ends promptly")
            .unwrap();
    }
}

fn key(service: usize, id: impl std::fmt::Display) -> String {
    format!("{PREFIX}s{service}/instances/{id}")
}

fn value(port: usize) -> String {
    format!(r#"{{"address":"127.0.0.1","port":{port}}}"#)
}

fn ports<const N: usize>(all: [(&str, &[u16]); N]) -> Ports {
    all.into_iter()
        .map(|(name, ports)| (name.to_owned(), ports.iter().copied().collect()))
        .collect()
}

/// What etcd itself holds.
async fn stored(client: &mut Client) -> Ports {
    let mut ports = Ports::new();
    for kv in client
        .get(PREFIX, Some(GetOptions::new().with_prefix()))
        .await
        .unwrap()
        .kvs()
    {
        let service = kv.key_str().unwrap().split('/').nth(2).unwrap().to_owned();
        let value: serde_json::Value = serde_json::from_slice(kv.value()).unwrap();
        ports
            .entry(service)
            .or_default()
            .insert(value["port"].as_u64().unwrap().try_into().unwrap());
    }
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn listing_and_watching_under_writers_ends_equal_to_etcd() {
    let node = Node::start().await;
    let mut writers = Vec::new();
    for writer in 0..4_usize {
        let mut client = node.connect().await;
        writers.push(tokio::spawn(async move {
            for n in 0..1250_usize {
                let key = key((n * 7 + writer) % 20, n % 13);
                if n % 5 == 4 {
                    client.delete(key, None).await.unwrap();
                } else {
                    client
                        .put(key, value(1 + (n * 31 + writer * 7919) % 60_000), None)
                        .await
                        .unwrap();
                }
            }
        }));
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    for writer in writers {
        // The hub's side must go on reading, or the source waits for it.
        while !writer.is_finished() {
            let _ = timeout(Duration::from_millis(5), bridge.next()).await;
        }
        writer.await.unwrap();
    }
    let wanted = stored(&mut node.connect().await).await;
    assert!(wanted.len() == 20, "{wanted:?}");
    bridge.until("equal to etcd", |b| b.ports() == wanted).await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_transaction_is_one_change() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    let first = bridge.next().await.expect("facts come before the status");
    assert!(first.complete && first.services.is_empty(), "reachable and empty");
    bridge.live().await;
    let puts = [(0, "a", 1), (0, "b", 2), (1, "a", 3)]
        .map(|(s, id, port)| TxnOp::put(key(s, id), value(port), None));
    client.txn(Txn::new().and_then(puts)).await.unwrap();
    let change = bridge.next().await.unwrap();
    assert_eq!(change.services.len(), 2, "{change:?}");
    assert_eq!(bridge.ports(), ports([("s0", &[1, 2]), ("s1", &[3])]));
    bridge.stop().await;
}

#[tokio::test]
async fn a_bad_value_and_a_stray_key_cost_nobody_else() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    client.put(key(0, "a"), value(1), None).await.unwrap();
    bridge.until("s0", |b| b.ports() == ports([("s0", &[1])])).await;
    client.put(key(0, "a"), vec![b'x'; 1 << 20], None).await.unwrap();
    client.put(b"/services/\xff".as_slice(), "x", None).await.unwrap();
    client.put(key(1, "a"), value(2), None).await.unwrap();
    bridge
        .until("s1", |b| b.ports() == ports([("s0", &[1]), ("s1", &[2])]))
        .await;
    let (_, state) = bridge.catalog.sources().next().unwrap();
    let entries: BTreeSet<_> = state.issues().map(|i| i.entry.as_str()).collect();
    assert_eq!(
        entries,
        BTreeSet::from(["/services/\u{fffd}", "/services/s0/instances/a"])
    );
    client.delete(key(0, "a"), None).await.unwrap();
    bridge
        .until("s0 is gone", |b| b.ports() == ports([("s1", &[2])]))
        .await;
}

#[tokio::test]
async fn compaction_while_away_lists_anew() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    client.put(key(0, "a"), value(1), None).await.unwrap();
    client.put(key(1, "a"), value(2), None).await.unwrap();
    bridge.until("both", |b| b.ports().len() == 2).await;
    bridge.live().await;
    node.kill();
    // At a port that the bridge does not know, history moves on without it, and is forgotten.
    let elsewhere = free_port();
    node.run(elsewhere).await;
    let mut client = connect(elsewhere).await;
    client.delete(key(0, "a"), None).await.unwrap();
    for n in 0..50 {
        client.put(key(2, "a"), value(100 + n), None).await.unwrap();
    }
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    client
        .compact(revision, Some(CompactionOptions::new().with_physical()))
        .await
        .unwrap();
    let mut etcd = Etcd::new(&[format!("http://127.0.0.1:{elsewhere}")]);
    let mut watch = etcd.watch(PREFIX, 2).await.unwrap();
    let error = watch.next().await.unwrap_err();
    assert!(
        matches!(error, Error::Compacted { before } if before == revision),
        "{error:?}"
    );
    node.kill();
    node.run(node.client).await;
    bridge
        .until("listed anew", |b| {
            b.ports() == ports([("s1", &[2]), ("s2", &[149])])
        })
        .await;
    bridge.live().await;
    connect(node.client)
        .await
        .put(key(1, "b"), value(3), None)
        .await
        .unwrap();
    bridge
        .until("watching again", |b| b.ports()["s1"].len() == 2)
        .await;
    bridge.stop().await;
}

#[tokio::test]
async fn an_expired_lease_removes_its_instance() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    let mut bridge = Bridge::start(&[&node]);
    let lease = client.lease_grant(2, None).await.unwrap().id();
    client
        .put(key(0, "a"), value(1), Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    client.put(key(0, "b"), value(2), None).await.unwrap();
    bridge
        .until("both", |b| b.ports() == ports([("s0", &[1, 2])]))
        .await;
    bridge.until("one", |b| b.ports() == ports([("s0", &[2])])).await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_killed_etcd_removes_nothing_and_later_changes_arrive() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..10 {
        client.put(key(n, "a"), value(100 + n), None).await.unwrap();
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    for round in 0..2_usize {
        node.kill();
        bridge
            .until("away", |b| matches!(b.status, Status::Away { .. }))
            .await;
        assert_eq!(bridge.ports().len(), 10 + round);
        node.run(node.client).await;
        bridge.live().await;
        node.connect()
            .await
            .put(key(10 + round, "a"), value(7), None)
            .await
            .unwrap();
        bridge
            .until("a later change", |b| b.ports().len() == 11 + round)
            .await;
    }
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
}

#[tokio::test]
async fn a_restored_backup_lists_anew() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..50 {
        client.put(key(n % 5, "a"), value(100 + n), None).await.unwrap();
    }
    let mut bridge = Bridge::start(&[&node]);
    bridge.live().await;
    node.kill();
    // The same ports make the same cluster id; the history begins anew.
    std::fs::remove_dir_all(node.folder.path().join("data")).unwrap();
    node.run(node.client).await;
    node.connect()
        .await
        .put(key(7, "a"), value(9), None)
        .await
        .unwrap();
    bridge
        .until("the restored state", |b| b.ports() == ports([("s7", &[9])]))
        .await;
    bridge.live().await;
    bridge.stop().await;
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_refused() {
    let (mut ours, other) = (Node::start().await, Node::start().await);
    ours.connect()
        .await
        .put(key(0, "a"), value(1), None)
        .await
        .unwrap();
    other
        .connect()
        .await
        .put(key(1, "a"), value(2), None)
        .await
        .unwrap();
    let mut bridge = Bridge::start(&[&ours, &other]);
    bridge.live().await;
    ours.kill();
    let refused =
        |b: &Bridge| matches!(&b.status, Status::Away { reason } if reason.contains("belongs to cluster"));
    bridge.until("refused", refused).await;
    ours.run(ours.client).await;
    bridge.live().await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    assert!(bridge.lost.is_empty());
    bridge.stop().await;
}

#[tokio::test]
async fn a_dead_first_endpoint_is_passed_over() {
    let (mut dead, node) = (Node::start().await, Node::start().await);
    dead.kill();
    node.connect()
        .await
        .put(key(0, "a"), value(1), None)
        .await
        .unwrap();
    let mut bridge = Bridge::start(&[&dead, &node]);
    bridge
        .until("away first", |b| matches!(b.status, Status::Away { .. }))
        .await;
    bridge.live().await;
    assert_eq!(bridge.ports(), ports([("s0", &[1])]));
    bridge.stop().await;
}

#[tokio::test]
async fn a_long_catch_up_comes_whole() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for n in 0..200 {
        client.put(key(0, n), vec![b'x'; 60 * 1024], None).await.unwrap();
    }
    // 12 MiB: more than one message of etcd, and more than tonic decodes by default.
    let mut etcd = Etcd::new(&[node.endpoint()]);
    let listing = etcd.list(PREFIX).await.unwrap();
    assert_eq!((listing.kvs.len(), listing.revision), (200, 201));
    let mut watch = etcd.watch(PREFIX, 2).await.unwrap();
    let mut revisions = Vec::new();
    while revisions.len() < 200 {
        if let Message::Events(events) = timeout(DEADLINE, watch.next()).await.unwrap().unwrap() {
            revisions.extend(events.iter().map(xds_bridge::registry::etcd::Event::mod_revision));
        }
    }
    assert_eq!(revisions, (2..=201).collect::<Vec<_>>());
    watch.request_progress().await.unwrap();
    assert_eq!(
        timeout(DEADLINE, watch.next()).await.unwrap().unwrap(),
        Message::Alive
    );
    let error = etcd.watch(PREFIX, 1000).await.unwrap_err();
    assert!(matches!(error, Error::Rewound { known: 999 }), "{error:?}");
}

#[tokio::test]
async fn a_listing_of_several_pages_is_one_revision() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for hundred in 0..250_usize {
        let puts: Vec<_> = (0..100)
            .map(|n| TxnOp::put(key(0, hundred * 100 + n), "x", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let listing = Etcd::new(&[node.endpoint()]).list(PREFIX).await.unwrap();
    assert_eq!((listing.kvs.len(), listing.revision), (25_000, 251));
    assert!(
        listing.kvs.is_sorted_by(|a, b| a.key < b.key),
        "each key once, in order"
    );
}
