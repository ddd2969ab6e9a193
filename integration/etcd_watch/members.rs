//! A counter in one key, written on and on, while the members of a real etcd of three end one after the other:
//! what the source says of it never goes back, and ends at the last write that was acknowledged.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::support::{Bridge, DEADLINE, Node, PREFIX, connect, key};
use crate::support::wait;
use xds_bridge::model::Status;

/// Keys that each write goes to in turn, so that a lost event leaves an old one behind.
const SLOTS: u64 = 200;

/// So many further writes have to arrive after each trouble.
const FURTHER: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_never_goes_back_while_members_end_one_after_the_other() {
    let mut nodes = Node::three().await;
    let ports = nodes.each_ref().map(|node| node.client);
    let mut writer = Writer::start(&ports);
    let mut bridge = Bridge::start(&nodes.each_ref());
    let counter = Counter::default();
    bridge.live().await;
    counter.goes_on(&mut bridge, &writer).await;

    for kind in ["killed", "stopped"] {
        let member = watched(&mut bridge, &counter, &nodes).await;
        end(&mut nodes[member], kind).await;
        counter.goes_on(&mut bridge, &writer).await;
        let next = watched(&mut bridge, &counter, &nodes).await;
        assert_ne!(next, member, "{kind}");
        counter.is_whole(&mut bridge, &mut writer, ports[next]).await;
        again(&mut bridge, &counter, &mut nodes[member]).await;
    }

    let leader = leader(&nodes).await;
    nodes[leader].kill();
    counter.goes_on(&mut bridge, &writer).await;
    counter
        .is_whole(&mut bridge, &mut writer, ports[(leader + 1) % 3])
        .await;
    again(&mut bridge, &counter, &mut nodes[leader]).await;

    for node in &mut nodes {
        end(node, "stopped").await;
        again(&mut bridge, &counter, node).await;
        counter.goes_on(&mut bridge, &writer).await;
    }
    counter.is_whole(&mut bridge, &mut writer, ports[0]).await;
    bridge.live().await;
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);
    bridge.stop().await;
}

async fn end(node: &mut Node, kind: &str) {
    match kind {
        "killed" => node.kill(),
        _ => node.stop().await,
    }
}

/// The member comes back, and the source is heard meanwhile.
async fn again(bridge: &mut Bridge, counter: &Counter, node: &mut Node) {
    let port = node.client;
    bridge.meanwhile(node.run(port), |b| counter.see(b)).await;
}

/// The member that the source watches; it may be on its way to one.
async fn watched(bridge: &mut Bridge, counter: &Counter, nodes: &[Node]) -> usize {
    let found = wait::until(DEADLINE, "one member is watched", async || {
        let mut watched = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            if node.is_watched().await {
                watched.push(n);
            }
        }
        match watched[..] {
            [one] => Ok(one),
            _ => Err(format!("{watched:?}")),
        }
    });
    bridge.meanwhile(found, |b| counter.see(b)).await
}

async fn leader(nodes: &[Node]) -> usize {
    wait::until(DEADLINE, "one member leads", async || {
        for (n, node) in nodes.iter().enumerate() {
            if node.leads().await {
                return Ok(n);
            }
        }
        Err("none".to_owned())
    })
    .await
}

/// What the source has said of the counter.
#[derive(Default)]
struct Counter(Cell<u64>);

impl Counter {
    fn look(&self, bridge: &Bridge) -> u64 {
        let now = versions(bridge).remove("counter").unwrap_or(0);
        assert!(now >= self.0.get(), "from {} back to {now}", self.0.get());
        self.0.set(now);
        now
    }

    fn see(&self, bridge: &Bridge) {
        let _never_back = self.look(bridge);
    }

    /// Waits until writes of after now have arrived.
    async fn goes_on(&self, bridge: &mut Bridge, writer: &Writer) {
        let wanted = *writer.acknowledged.borrow() + FURTHER;
        let far = |b: &Bridge| self.look(b) >= wanted;
        bridge.until(&format!("the counter is at {wanted}"), far).await;
    }

    /// The writer rests: the source says what this member has, and that is the last write.
    async fn is_whole(&self, bridge: &mut Bridge, writer: &mut Writer, member: u16) {
        let turn = writer.turn.clone();
        let rest = bridge.meanwhile(turn.lock(), |b| self.see(b)).await;
        let last = *writer.acknowledged.borrow();
        let stored = stored(&mut connect(member).await).await;
        assert_eq!(
            stored.get("counter"),
            Some(&last),
            "what was acknowledged is in etcd"
        );
        let whole = |b: &Bridge| self.look(b) == last && versions(b) == stored;
        bridge
            .until(&format!("all that was written up to {last}"), whole)
            .await;
        assert_eq!(bridge.status, Status::Live);
        drop(rest);
    }
}

/// Writes the next number, and the next only when that one is acknowledged.
struct Writer {
    acknowledged: watch::Receiver<u64>,
    /// Held for each write.
    turn: Arc<Mutex<()>>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(ports: &[u16]) -> Self {
        let (told, acknowledged) = watch::channel(0);
        let turn = Arc::new(Mutex::new(()));
        let (ports, turns) = (ports.to_vec(), turn.clone());
        let task = tokio::spawn(async move {
            let mut members = ports.iter().cycle();
            let mut client = connect(ports[0]).await;
            for n in 1.. {
                let _turn = turns.lock().await;
                while timeout(Duration::from_secs(2), write(&mut client, n)).await != Ok(Ok(())) {
                    // Not only the counter has its time on this machine.
                    sleep(Duration::from_millis(50)).await;
                    client = connect(*members.next().expect("there are some")).await;
                }
                told.send_replace(n);
            }
        });
        Self {
            acknowledged,
            turn,
            task,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Goes on only from the number before: a write that nobody answered may be applied much later.
async fn write(client: &mut Client, n: u64) -> Result<(), String> {
    let (counter, slot) = (key(0, "counter"), n % SLOTS);
    let text = |e: etcd_client::Error| e.to_string();
    let unchanged = match n {
        1 => Compare::version(counter.as_str(), CompareOp::Equal, 0),
        _ => Compare::value(counter.as_str(), CompareOp::Equal, value(0, n - 1)),
    };
    let puts = [
        TxnOp::put(counter.as_str(), value(0, n), None),
        TxnOp::put(
            format!("{PREFIX}s{}/instances/{slot}", 1 + slot % 10),
            value(slot, n),
            None,
        ),
    ];
    let done = client
        .txn(Txn::new().when([unchanged]).and_then(puts))
        .await
        .map_err(text)?;
    if done.succeeded() {
        return Ok(());
    }
    let found = client.get(counter, None).await.map_err(text)?;
    let written = found
        .kvs()
        .first()
        .is_some_and(|kv| kv.value() == value(0, n).as_bytes());
    wait::holds(written, || "another number".to_owned())
}

fn value(slot: u64, n: u64) -> String {
    format!(r#"{{"address":"127.0.0.1","port":{},"version":"{n}"}}"#, 1 + slot)
}

/// Id → the number that was written to it last, as the source says.
fn versions(bridge: &Bridge) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for n in 0..=10 {
        let service = bridge.catalog.service(&format!("s{n}").into());
        for instance in service.iter().flat_map(|s| &s.instances) {
            all.insert(instance.id.to_string(), instance.version.parse().unwrap());
        }
    }
    all
}

/// The same, as etcd says.
async fn stored(client: &mut Client) -> BTreeMap<String, u64> {
    let all = client
        .get(PREFIX, Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    let one = |kv: &etcd_client::KeyValue| {
        let id = kv.key_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let value: serde_json::Value = serde_json::from_slice(kv.value()).unwrap();
        (id, value["version"].as_str().unwrap().parse().unwrap())
    };
    all.kvs().iter().map(one).collect()
}
