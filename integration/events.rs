//! "What changed, by whose word, and who has it?": each write to a registry is named, with the moment at which the last client
//! had it, and all of it is known over a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, Step};
use crate::support::etcd::{Etcd, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

const TTL: Duration = Duration::from_secs(300);
/// Random writes.
const WRITES: usize = 1_000;

fn source(etcd: &Etcd) -> String {
    format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nguard_probe = false\n",
        etcd.url()
    )
}

/// Numbers that look random, and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

async fn api(bridge: &Bridge, path: &str) -> Value {
    serde_json::from_str(&bridge.text(path).await.expect("an answer")).expect("JSON")
}

/// An instance as it is registered: its port, weight, version and timeout.
type Registered = (u64, u64, u64, u64);

/// What the next write to an instance says, and the words of its event.
fn next(random: &mut Random, was: Option<&Registered>) -> (Option<Registered>, String) {
    let Some(was) = was else {
        let new = (1_000 + random.below(50_000), 1, 1, 1);
        return (
            Some(new),
            format!("registered, 127.0.0.9:{} healthy, version v1", new.0),
        );
    };
    let mut is = *was;
    let words = match random.below(4) {
        0 => return (None, format!("left (127.0.0.9:{})", was.0)),
        1 => {
            is.1 = 1 + (was.1 + random.below(90)) % 100;
            format!("weight `{}` (was `{}`)", is.1, was.1)
        }
        2 => {
            is.2 = was.2 + 1;
            format!("version `v{}` (was `v{}`)", is.2, was.2)
        }
        _ => {
            is.3 = was.3 + 1;
            format!("timeout `{}s` (was `{}s`)", is.3, was.3)
        }
    };
    (Some(is), words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_thousand_random_writes_is_named() {
    let etcd = Etcd::start().await;
    // What stays: a service that loses its last instance is another matter.
    for n in 0..4 {
        let stays = json!({ "address": "127.0.0.8", "port": 80, "timeout": "1s" }).to_string();
        etcd.put(&instance_key(&format!("s{n}"), "stays"), stays).await;
    }
    let bridge = Bridge::start(&source(&etcd)).await;
    let mut random = Random(7);
    let mut registered: BTreeMap<(u64, u64), Registered> = BTreeMap::new();
    let mut newest = api(&bridge, "/events").await["newest"]
        .as_u64()
        .expect("a number");
    for write in 0..WRITES {
        let at = (random.below(4), random.below(5));
        let (service, id) = (format!("s{}", at.0), format!("i{}", at.1));
        let (is, words) = next(&mut random, registered.get(&at));
        let key = instance_key(&service, &id);
        if let Some((port, weight, version, timeout)) = is {
            let value = json!({
                "address": "127.0.0.9", "port": port, "weight": weight, "version": format!("v{version}"),
                "timeout": format!("{timeout}s"),
            });
            etcd.put(&key, value.to_string()).await;
            registered.insert(at, (port, weight, version, timeout));
        } else {
            etcd.client().await.delete(key, None).await.expect("etcd deletes");
            registered.remove(&at);
        }
        let named = |event: &Value| {
            event["source"] == "registry"
                && event["service"] == *service
                && event["instance"] == *id
                && event["what"].as_str().is_some_and(|what| what == words)
        };
        let mut seen: Vec<Value> = Vec::new();
        while !seen.iter().any(named) {
            let answer = api(&bridge, &format!("/events?after={newest}&wait=20s")).await;
            let more = answer["events"].as_array().cloned().unwrap_or_default();
            assert!(
                !more.is_empty(),
                "write {write}: {service}/{id}: {words}: not among {seen:#?}"
            );
            newest = answer["newest"].as_u64().expect("a number");
            seen.extend(more);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_says_when_the_last_client_had_it_and_is_there_after_a_restart() {
    let etcd = Etcd::start().await;
    let server = Server::http("orders-1").await;
    let _registered = etcd.register("orders", &server, &[], TTL).await;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let config = format!("{}[cache]\nfolder = \"{}\"\n", source(&etcd), cache.display());
    let mut bridge = Bridge::start(&config).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let second = Server::http("orders-2").await;
    envoy.has_hosts("orders", &[server.address]).await;
    let lease = etcd.register("orders", &second, &[], TTL).await;
    let event = wait::until(wait::PATIENCE, "the Envoy had it", async || {
        let answer = api(&bridge, "/events?service=orders").await;
        let all = answer["events"].as_array().cloned().unwrap_or_default();
        let event = all
            .into_iter()
            .find(|event| event["instance"] == "orders-2")
            .unwrap_or_default();
        wait::holds(event["clients"] == 1, || format!("{answer:#}"))?;
        Ok(event)
    })
    .await;
    assert!(event["acked_at"].as_u64() >= event["at"].as_u64(), "{event}");
    let shown = bridge.command("events --service orders --since 1h").await.stdout;
    assert!(shown.contains(", its client had it after "), "{shown}");

    // Killed, once it is on disk: all of it is there again, and numbers go on.
    let file = cache.join("events.jsonl");
    wait::until(wait::PATIENCE, "it is on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        wait::holds(text.contains("\"clients\":1"), || text.clone())
    })
    .await;
    bridge.kill_and_restart().await;
    let again = api(&bridge, "/events?service=orders").await;
    let all = again["events"].as_array().cloned().unwrap_or_default();
    assert!(all.contains(&event), "{again:#}");
    lease.revoke().await;
    wait::until(wait::PATIENCE, "what comes has a later number", async || {
        let answer = api(
            &bridge,
            &format!("/events?service=orders&after={}", again["newest"]),
        )
        .await;
        let last = answer["events"]
            .as_array()
            .and_then(|all| all.last().cloned())
            .unwrap_or_default();
        let later = last["id"].as_u64() > again["newest"].as_u64();
        wait::holds(
            later && last["what"].as_str().is_some_and(|what| what.starts_with("left")),
            || format!("{answer:#}"),
        )
    })
    .await;

    // A torn file costs what is torn, and never a start.
    assert!(bridge.terminate().await.success());
    let text = std::fs::read(&file).expect("the file");
    std::fs::write(&file, &text[..text.len() / 2]).expect("a torn file");
    bridge.restart().await;
    let torn = api(&bridge, "/events").await;
    let count = torn["events"].as_array().map_or(0, Vec::len);
    assert!(count > 0, "{torn:#}");
}
