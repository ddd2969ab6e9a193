//! What `analyze` finds of things that are really wrong, with codes that a pipeline can rely on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::bridge::{Bridge, Step};
use crate::support::etcd::{Etcd, instance_key};
use crate::support::servers::Server;
use crate::support::wait;

/// How many findings of each code there are.
fn counts(text: &str) -> BTreeMap<String, u64> {
    let view: Value = serde_json::from_str(text).unwrap_or_default();
    let codes = view["codes"].as_array().into_iter().flatten();
    let one = |code: &Value| Some((code["code"].as_str()?.to_owned(), code["count"].as_u64()?));
    codes.filter_map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_is_wrong_has_its_code_and_the_exit_code_says_so() {
    let etcd = Etcd::start().await;
    let server = Server::http("web-1").await;
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[listeners.lost]\naddress = \"127.0.0.1:0\"\n\
         exposure = \"internal\"\nfleets = [\"nobody\"]\n",
        etcd.url()
    )
    .replace("127.0.0.1:0", "127.0.0.1:19999");
    let put = async |service: &str, id: &str, value: Value| {
        etcd.put(&instance_key(service, id), value.to_string()).await;
    };
    let (ip, port) = (server.address.ip().to_string(), server.address.port());
    put(
        "web",
        "a",
        json!({ "address": ip, "port": port, "route": "host=api.x path=/shop" }),
    )
    .await;
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let found = async |what: &str, wanted: &[(&str, u64)], code: i32| {
        wait::until(wait::PATIENCE, what, async || {
            let output = bridge.command("analyze --json").await;
            let (found, exit) = (counts(&output.stdout), output.status.code());
            let fits = wanted.iter().all(|(code, n)| found.get(*code) >= Some(n));
            wait::holds(fits && exit == Some(code), || format!("{exit:?} {found:?}"))?;
            Ok(found)
        })
        .await
    };

    // A warning is no error.
    let clean = found("a listener that nobody uses", &[("listener-unused", 1)], 0).await;
    assert_eq!(clean.len(), 1, "{clean:?}");
    assert_eq!(bridge.command("analyze --strict").await.status.code(), Some(3));
    let ignored = bridge.command("analyze --strict --ignore listener-unused").await;
    assert_eq!(
        (ignored.status.code(), ignored.stdout.as_str()),
        (Some(0), "nothing is wrong\n")
    );
    assert!(
        !bridge
            .command("analyze --ignore no-such-code")
            .await
            .status
            .success()
    );

    // What services declare, each in its own way.
    put(
        "solo",
        "a",
        json!({
            "address": ip, "port": port,
            "route": "host=solo.x path=/shop priority=9", "route-2": "host=solo.x path=/shop/never respond=410",
        }),
    )
    .await;
    put(
        "zeta",
        "a",
        json!({ "address": ip, "port": port, "route": "host=api.x path=/shop" }),
    )
    .await;
    put("wrong", "a", json!({ "address": "nowhere.example", "port": 1 })).await;
    put(
        "odd",
        "a",
        json!({ "address": "127.0.0.9", "port": 1, "timeuot": "3s", "weight": "much" }),
    )
    .await;
    put(
        "lost",
        "a",
        json!({ "address": "127.0.0.9", "port": 2, "expose": "nowhere", "route": "path=/" }),
    )
    .await;
    put(
        "split",
        "a",
        json!({ "address": "127.0.0.9", "port": 3, "timeout": "1s" }),
    )
    .await;
    put(
        "split",
        "b",
        json!({ "address": "127.0.0.9", "port": 4, "timeout": "2s" }),
    )
    .await;
    put(
        "off",
        "a",
        json!({ "address": "127.0.0.9", "port": 6, "state": "off" }),
    )
    .await;
    etcd.put("/services/what/ever/is/this", "x").await;
    let wanted = [
        ("route-contested", 1),
        ("route-shadowed", 1),
        ("entry-rejected", 1),
        ("key-unknown", 1),
        ("value-unreadable", 1),
        ("exposure-unknown", 1),
        ("values-disagree", 1),
        ("all-off", 1),
        ("key-misplaced", 1),
    ];
    found("what services declare", &wanted, 3).await;
    let text = bridge.command("analyze").await.stdout;
    assert!(
        text.contains("error   route-contested: zeta: route: ")
            && text.contains("error   entry-rejected: registry: "),
        "{text}"
    );
    let line = text
        .lines()
        .position(|line| line.starts_with("warning"))
        .expect("a warning");
    assert!(
        text.lines().skip(line).all(|line| !line.starts_with("error")),
        "errors come first: {text}"
    );

    // What a registry that is away means.
    drop(etcd);
    found("the registry is away", &[("source-away", 1)], 3).await;
    drop(envoy);
}
