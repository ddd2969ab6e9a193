//! Servers that are let go: who left lingers without new requests, and `wait` answers when every client knows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::task::spawn_blocking;

use crate::support::bridge::{self, Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, facts, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

mod meant;

async fn etcd_and_bridge(drain: &str) -> (Etcd, Bridge) {
    let etcd = Etcd::start().await;
    let source = format!(
        "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[drain]\n{drain}\n",
        etcd.url()
    );
    let bridge = Bridge::start(&source).await;
    (etcd, bridge)
}

/// `a` and `b`, registered with these keys.
async fn servers(etcd: &Etcd, keys: [&[(&str, &str)]; 2]) -> (Server, Server) {
    let (a, b) = (Server::http("a").await, Server::http("b").await);
    put(etcd, &a, keys[0]).await;
    put(etcd, &b, keys[1]).await;
    (a, b)
}

async fn put(etcd: &Etcd, server: &Server, keys: &[(&str, &str)]) {
    let key = instance_key("orders", &server.id);
    etcd.put(&key, facts(server, keys).to_string()).await;
}

async fn health_is(envoy: &Envoy, wanted: &[(&Server, &str)]) {
    let wanted: BTreeMap<String, String> = wanted
        .iter()
        .map(|(server, health)| (server.address.to_string(), (*health).to_owned()))
        .collect();
    wait::until(wait::PATIENCE, &format!("Envoy has {wanted:?}"), async || {
        let hosts = envoy.hosts("orders").await;
        wait::holds(hosts == wanted, || format!("{hosts:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_lingers_without_requests_while_another_one_serves() {
    let (etcd, bridge) = etcd_and_bridge("linger = \"3s\"").await;
    let (a, b) = servers(&etcd, [&[], &[]]).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.reaches(&Call::http("orders"), &["a", "b"]).await;
    etcd.delete(&instance_key("orders", "a")).await;
    health_is(&envoy, &[(&a, "DRAINING"), (&b, "HEALTHY")]).await;
    let before = a.requests();
    client.reaches(&Call::http("orders"), &["b"]).await;
    assert_eq!(a.requests(), before, "it gets no request any more");
    health_is(&envoy, &[(&b, "HEALTHY")]).await;
    // It registers again while it lingers: it serves again, and leaves as before.
    put(&etcd, &a, &[]).await;
    health_is(&envoy, &[(&a, "HEALTHY"), (&b, "HEALTHY")]).await;
    etcd.delete(&instance_key("orders", "a")).await;
    health_is(&envoy, &[(&a, "DRAINING"), (&b, "HEALTHY")]).await;
    put(&etcd, &a, &[]).await;
    health_is(&envoy, &[(&a, "HEALTHY"), (&b, "HEALTHY")]).await;
    // Both leave: nobody is kept alive by it.
    etcd.delete(&instance_key("orders", "a")).await;
    etcd.delete(&instance_key("orders", "b")).await;
    health_is(&envoy, &[]).await;
    bridge.assert_no_nacks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_answers_when_each_client_has_it_and_names_those_that_have_not() {
    let (etcd, bridge) = etcd_and_bridge("grace = \"4s\"\nin_flight = \"1s\"").await;
    let (a, b) = (Server::http("a").await, Server::http("b").await);
    put(&etcd, &a, &[]).await;
    let mut envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["a"]).await;
    // Nobody registered it yet: `wait` sees it come.
    let serving = async {
        put(&etcd, &b, &[]).await;
    };
    let (answer, ()) = tokio::join!(bridge.command("wait --serving orders/b --clients 1"), serving);
    assert!(answer.status.success(), "{}", answer.stderr);
    assert_eq!(answer.stdout, "orders/b: serving: 1 client has it\n");
    envoy.client().reaches(&Call::http("orders"), &["a", "b"]).await;

    let answer = bridge.command("wait --drained orders/a --timeout 300ms").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("it is healthy, not draining"),
        "{}",
        answer.stderr
    );
    put(&etcd, &a, &[("state", "drain")]).await;
    let answer = bridge.command("wait --drained orders/a").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    let before = a.requests();
    envoy.client().reaches(&Call::http("orders"), &["b"]).await;
    assert_eq!(a.requests(), before);

    let answer = bridge.command("status envoy-1").await;
    assert!(answer.status.success(), "{} {}", answer.stdout, answer.stderr);
    assert!(
        answer
            .stdout
            .contains(" 1 client connected, 1 in sync\nin sync  envoy-1 (proof)  127.0.0.1:"),
        "{}",
        answer.stdout
    );

    // An Envoy that is frozen is named, and nobody lies about it.
    envoy.program().signal("STOP");
    put(&etcd, &a, &[]).await;
    let answer = bridge.command("wait --serving orders/a --timeout 1s").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stdout);
    assert!(
        answer.stderr.contains("1 client has not acknowledged it: "),
        "{}",
        answer.stderr
    );
    let answer = bridge.command("status").await;
    assert_eq!(
        answer.status.code(),
        Some(3),
        "{} {}",
        answer.stdout,
        answer.stderr
    );
    assert!(
        answer.stdout.contains("1 behind\nbehind  envoy-1 (proof)") && answer.stdout.contains("1 eds for "),
        "{}",
        answer.stdout
    );
    let answer = bridge.command("status envoy-9").await;
    assert_eq!(
        answer.status.code(),
        Some(1),
        "{} {}",
        answer.stdout,
        answer.stderr
    );
    envoy.program().signal("CONT");
    let answer = bridge.command("wait --serving orders/a").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    let acknowledged = "xds_bridge_registry_to_ack_seconds_count";
    bridge
        .metric_is(acknowledged, &[("type", "eds")], |changes| changes > 0)
        .await;

    // One that has gone may go on with what it had for a while, and is named.
    put(&etcd, &b, &[("state", "drain")]).await;
    assert!(bridge.command("wait --drained orders/b").await.status.success());
    drop(envoy);
    put(&etcd, &b, &[]).await;
    put(&etcd, &a, &[("state", "drain")]).await;
    let answer = bridge.command("wait --drained orders/a --timeout 1s").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stdout);
    assert!(
        answer.stderr.contains("1 client disconnected without it: envoy-"),
        "{}",
        answer.stderr
    );
    let answer = bridge.command("wait --drained orders/a --json").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    let view: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
    assert_eq!(view["result"], json!("done"));
    let given_up = &view["instances"][0]["given_up"]["clients"][0];
    assert_eq!(given_up["node"], json!("envoy-1"), "{view:#}");
    // Nobody else serves: whoever drains gets requests all the same.
    etcd.delete(&instance_key("orders", "b")).await;
    let answer = bridge.command("wait --drained orders/a --timeout 1s").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stdout);
    assert!(
        answer.stderr.contains("nobody else of the service serves"),
        "{}",
        answer.stderr
    );
    for (args, words) in [
        ("wait --serving orders/zz --timeout 100ms", "has no instance `zz`"),
        ("wait --drained nobody/a", "no service is called `nobody`"),
        ("wait --drained orders", "write SERVICE/ID"),
    ] {
        let answer = bridge.command(args).await;
        assert_eq!(answer.status.code(), Some(1), "{}", answer.stderr);
        assert!(answer.stderr.contains(words), "{args}: {}", answer.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_goes_on_across_a_restart_of_the_bridge() {
    let (etcd, mut bridge) = etcd_and_bridge("grace = \"1s\"\nin_flight = \"1s\"").await;
    let (a, _b) = servers(&etcd, [&[], &[]]).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["a", "b"]).await;
    let file = bridge.file().display().to_string();
    let waiting = spawn_blocking(move || {
        let args = ["wait", "--drained", "orders/a", "--config", &file];
        bridge::run(&args, Path::new("."))
    });
    bridge.terminate().await;
    bridge.restart().await;
    put(&etcd, &a, &[("state", "drain")]).await;
    let answer = waiting.await.expect("a command that ends");
    assert!(answer.status.success(), "{}", answer.stderr);
    let before = a.requests();
    envoy.client().reaches(&Call::http("orders"), &["b"]).await;
    assert_eq!(a.requests(), before);
    // The answer comes by HTTP, too: one JSON document, with a status that scripts understand.
    put(&etcd, &a, &[]).await;
    let answer = bridge.text("/wait?serving=orders/a&timeout=20s").await;
    assert!(
        answer.as_ref().is_ok_and(|text| text.contains("\"done\"")),
        "{answer:?}"
    );
    let late = bridge.text("/wait?drained=orders/a&timeout=100ms").await;
    assert!(late.as_ref().is_err_and(|text| text.contains("504")), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_drains_on_all_bridges_and_knows_when_it_is_safe() {
    let (etcd, bridge) = etcd_and_bridge("grace = \"1s\"").await;
    let (a, b) = servers(&etcd, [&[("zone", "z1")], &[("zone", "z2")]]).await;
    let other = Bridge::start(&format!(
        "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[drain]\ngrace = \"1s\"\n",
        etcd.url()
    ))
    .await;
    let (one, two) = (
        bridge.envoy(Step::Listeners, &[]).await,
        other.envoy(Step::Listeners, &[]).await,
    );
    for envoy in [&one, &two] {
        envoy.client().reaches(&Call::http("orders"), &["a", "b"]).await;
    }
    // The other bridge's Envoy is frozen: it is named here.
    let mut two = two;
    two.program().signal("STOP");
    let answer = bridge.command("drain orders/a --wait --timeout 16s").await;
    assert_eq!(
        answer.status.code(),
        Some(3),
        "{} {}",
        answer.stdout,
        answer.stderr
    );
    let named = "the clients of this bridge are done; the bridge on ";
    let why = ": 1 client has not acknowledged it: envoy-";
    assert!(
        answer.stderr.contains(named) && answer.stderr.contains(why),
        "{}",
        answer.stderr
    );
    two.program().signal("CONT");
    let answer = bridge.command("drain orders/a --wait").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    assert!(
        answer
            .stdout
            .contains(&format!("safe to stop at {}: 2 clients know", a.address)),
        "{}",
        answer.stdout
    );
    let before = a.requests();
    for envoy in [&one, &two] {
        envoy.client().reaches(&Call::http("orders"), &["b"]).await;
        health_is(envoy, &[(&a, "DRAINING"), (&b, "HEALTHY")]).await;
    }
    assert_eq!(a.requests(), before, "neither bridge's Envoy sends it any");
    let answer = other.command("wait --serving orders/a --timeout 100ms").await;
    assert_eq!(answer.status.code(), Some(3), "{}", answer.stdout);
    let words = "it is draining, not healthy (it is drained by command, which `undrain` ends)";
    assert!(answer.stderr.contains(words), "{}", answer.stderr);

    // The last one that serves is not drained by accident.
    let answer = bridge.command("drain --zone z2").await;
    assert_eq!(answer.status.code(), Some(1), "{}", answer.stdout);
    assert!(
        answer
            .stderr
            .contains("nobody else of the service serves: orders/b"),
        "{}",
        answer.stderr
    );
    // A registration of its own ends the drain.
    etcd.delete(&instance_key("orders", "a")).await;
    put(&etcd, &a, &[("zone", "z1")]).await;
    for envoy in [&one, &two] {
        health_is(envoy, &[(&a, "HEALTHY"), (&b, "HEALTHY")]).await;
    }
    let none = async || {
        let text = bridge.text("/drains").await?;
        let view: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        wait::holds(view["drains"] == json!([]), || text.clone())
    };
    wait::until(wait::PATIENCE, "no drain is left", none).await;

    // So does a command, also for a zone; the drain survives a restart meanwhile.
    let answer = bridge.command("drain --zone z1").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    health_is(&two, &[(&a, "DRAINING"), (&b, "HEALTHY")]).await;
    let mut bridge = bridge;
    bridge.kill_and_restart().await;
    let third = bridge.envoy(Step::Listeners, &[]).await;
    health_is(&third, &[(&a, "DRAINING"), (&b, "HEALTHY")]).await;
    assert!(bridge.command("undrain --zone z1").await.status.success());
    for envoy in [&one, &two, &third] {
        health_is(envoy, &[(&a, "HEALTHY"), (&b, "HEALTHY")]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_are_waited_for() {
    let (etcd, bridge) = etcd_and_bridge("grace = \"1s\"").await;
    let (a, b) = servers(&etcd, [&[], &[]]).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.reaches(&Call::http("orders"), &["a", "b"]).await;
    let slow = Duration::from_secs(8);
    a.answer_after(slow);
    b.answer_after(slow);
    // One is at `a`, however they are spread.
    let before = a.requests();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let client = envoy.client();
            tokio::spawn(async move { client.call(&Call::http("orders")).await })
        })
        .collect();
    wait::until(wait::PATIENCE, "a request is under way at a", async || {
        wait::holds(a.requests() > before, || "none".to_owned())
    })
    .await;
    let answer = bridge.command("drain orders/a --wait --timeout 3s").await;
    assert_eq!(
        answer.status.code(),
        Some(4),
        "{} {}",
        answer.stdout,
        answer.stderr
    );
    assert!(answer.stderr.contains("under way"), "{}", answer.stderr);
    let answer = bridge.command("drain orders/a --wait --timeout 60s").await;
    assert!(answer.status.success(), "{}", answer.stderr);
    // It said yes: nothing is lost now.
    drop(a);
    for call in calls {
        call.await.expect("a call").expect("an answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_drain_the_last_two_at_once_do_not_both_succeed() {
    let (etcd, bridge) = etcd_and_bridge("grace = \"1s\"").await;
    let other = Bridge::start(&format!(
        "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
        etcd.url()
    ))
    .await;
    let (a, b) = servers(&etcd, [&[], &[]]).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["a", "b"]).await;
    for bridge in [&bridge, &other] {
        assert!(bridge.command("wait --serving orders/a").await.status.success());
        assert!(bridge.command("wait --serving orders/b").await.status.success());
    }
    for _ in 0..3 {
        let (one, two) = tokio::join!(bridge.command("drain orders/a"), other.command("drain orders/b"));
        let done = [&one, &two].into_iter().filter(|answer| answer.status.success());
        assert!(done.count() < 2, "{} {}", one.stdout, two.stdout);
        // Also when both are refused nobody is left drained.
        for answer in [&one, &two].into_iter().filter(|answer| !answer.status.success()) {
            assert!(
                answer.stderr.contains("nobody else of the service serves"),
                "{}",
                answer.stderr
            );
        }
        for name in ["orders/a", "orders/b"] {
            let answer = bridge.command(&format!("undrain {name}")).await;
            assert!(answer.status.success(), "{}", answer.stderr);
        }
        health_is(&envoy, &[(&a, "HEALTHY"), (&b, "HEALTHY")]).await;
        let answer = other.command("wait --serving orders/a").await;
        assert!(answer.status.success(), "{}", answer.stderr);
        let answer = other.command("wait --serving orders/b").await;
        assert!(answer.status.success(), "{}", answer.stderr);
    }
}

/// A zone is waited for as a whole: also whoever joins it in the meantime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_joins_a_zone_that_drains_is_waited_for() {
    let (etcd, bridge) = etcd_and_bridge("grace = \"1s\"\nin_flight = \"2s\"").await;
    let (a, b) = servers(&etcd, [&[("zone", "z1")], &[("zone", "z2")]]).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.reaches(&Call::http("orders"), &["a", "b"]).await;
    let slow = Duration::from_secs(4);
    a.answer_after(slow);
    b.answer_after(slow);
    let call = Call::http("orders");
    let calls = futures::future::join_all((0..4).map(|_| client.call(&call)));
    let c = Server::http("c").await;
    let joins = async {
        put(&etcd, &c, &[("zone", "z1")]).await;
    };
    let drain = bridge.command("drain --zone z1 --wait --json");
    let (answer, (), calls) = tokio::join!(drain, joins, calls);
    assert!(answer.status.success(), "{}", answer.stderr);
    let view: serde_json::Value = serde_json::from_str(&answer.stdout).expect("JSON");
    let of = |instance: &serde_json::Value| instance["instance"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = view["instances"]
        .as_array()
        .into_iter()
        .flatten()
        .map(of)
        .collect();
    names.sort();
    assert_eq!(names, ["orders/a", "orders/c"], "{view:#}");
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
}
