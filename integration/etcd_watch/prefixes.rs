//! Two prefixes with different formats in one source, against a real etcd.

use etcd_client::{Client, CompactionOptions};
use xds_bridge::config::{EtcdPrefix, EtcdSource, Format};

use super::support::{Bridge, Node, connect, free_port, ports, value};

const OURS: &str = "/services/";
const PLAIN: &str = "/plain/";

/// Instances of `s0`, and of others, as JSON below the one prefix and as text below the other.
fn ours(service: &str, port: usize) -> (String, String) {
    (format!("{OURS}{service}/instances/{port}"), value(port))
}

fn plain(service: &str, port: usize) -> (String, String) {
    (format!("{PLAIN}{service}/{port}"), format!("127.0.0.1:{port}"))
}

async fn put(client: &mut Client, (key, value): (String, String)) {
    client.put(key, value, None).await.unwrap();
}

async fn delete(client: &mut Client, (key, _): (String, String)) {
    let deleted = client.delete(key, None).await.unwrap().deleted();
    assert_eq!(deleted, 1);
}

fn config(node: &Node) -> EtcdSource {
    let plain = EtcdPrefix {
        prefix: PLAIN.to_owned(),
        format: Format::preset("host-port").unwrap(),
        keys: None,
    };
    EtcdSource {
        prefixes: vec![EtcdPrefix::native(OURS), plain],
        ..EtcdSource::new(vec![node.endpoint()], OURS)
    }
}

#[tokio::test]
async fn servers_move_between_two_prefixes_with_formats_of_their_own() {
    let node = Node::start().await;
    let mut client = node.connect().await;
    for one in [ours("s0", 1), ours("s0", 2), plain("s0", 3), plain("s1", 4)] {
        put(&mut client, one).await;
    }
    let mut bridge = Bridge::of(&config(&node));
    bridge.live().await;
    let all = ports([("s0", &[1, 2, 3]), ("s1", &[4])]);
    assert_eq!(bridge.ports(), all);

    // Known below both, then below the other one only; each way, and the server is there all the time.
    put(&mut client, plain("s0", 1)).await;
    put(&mut client, plain("s2", 5)).await;
    bridge
        .until("what came after it", |b| b.ports().contains_key("s2"))
        .await;
    delete(&mut client, ours("s0", 1)).await;
    put(&mut client, ours("s0", 3)).await;
    put(&mut client, ours("s3", 6)).await;
    bridge
        .until("what came after it", |b| b.ports().contains_key("s3"))
        .await;
    delete(&mut client, plain("s0", 3)).await;
    put(&mut client, plain("s4", 7)).await;
    bridge
        .until("what came after it", |b| b.ports().contains_key("s4"))
        .await;
    let after = ports([
        ("s0", &[1, 2, 3]),
        ("s1", &[4]),
        ("s2", &[5]),
        ("s3", &[6]),
        ("s4", &[7]),
    ]);
    assert_eq!(bridge.ports(), after);
    let s0 = bridge.catalog.service(&"s0".into()).unwrap();
    let mut ids: Vec<_> = s0.instances.iter().map(|i| i.id.to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["/plain/1", "2", "3"], "each where it is registered now");
    assert!(bridge.lost.is_empty(), "{:?}", bridge.lost);

    // The last one of each prefix.
    delete(&mut client, plain("s0", 1)).await;
    bridge.until("gone", |b| b.ports()["s0"] == [2, 3].into()).await;
    delete(&mut client, plain("s1", 4)).await;
    bridge.until("gone", |b| !b.ports().contains_key("s1")).await;
    bridge.stop().await;
}

#[tokio::test]
async fn a_compaction_hits_both_prefixes_and_both_are_listed_anew() {
    let mut node = Node::start().await;
    let mut client = node.connect().await;
    for one in [ours("s0", 1), ours("s0", 2), plain("s0", 3), plain("s1", 4)] {
        put(&mut client, one).await;
    }
    let mut bridge = Bridge::of(&config(&node));
    bridge.live().await;
    node.kill();
    // At a port that the bridge does not know, history moves on without it, and is forgotten.
    let elsewhere = free_port();
    node.run(elsewhere).await;
    let mut client = connect(elsewhere).await;
    delete(&mut client, ours("s0", 1)).await;
    delete(&mut client, plain("s1", 4)).await;
    put(&mut client, plain("s0", 5)).await;
    put(&mut client, ours("s2", 6)).await;
    let revision = client.get("x", None).await.unwrap().header().unwrap().revision();
    let physical = CompactionOptions::new().with_physical();
    client.compact(revision, Some(physical)).await.unwrap();
    node.kill();
    node.run(node.client).await;
    let wanted = ports([("s0", &[2, 3, 5]), ("s2", &[6])]);
    bridge.until("listed anew", |b| b.ports() == wanted).await;
    bridge.live().await;
    assert_eq!(
        bridge.lost,
        ["s0", "s1"].map(Into::into).into(),
        "what was deleted, only"
    );
    let mut client = node.connect().await;
    put(&mut client, ours("s0", 7)).await;
    put(&mut client, plain("s1", 8)).await;
    let wanted = ports([("s0", &[2, 3, 5, 7]), ("s1", &[8]), ("s2", &[6])]);
    bridge
        .until("both are watched again", |b| b.ports() == wanted)
        .await;
    bridge.stop().await;
}
