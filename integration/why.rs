//! "Why does this request get 503?": real questions, set up with the real programs, and answered by one command.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::etcd::{Etcd, instance_key};
use crate::support::folder::Folder;
use crate::support::servers::Server;
use crate::support::{raw, wait};

const TTL: Duration = Duration::from_secs(120);

/// The command's answer, once it holds these words.
async fn answers(bridge: &Bridge, args: &[&str], words: &[&str]) -> String {
    wait::until(wait::PATIENCE, &format!("{args:?}: {words:?}"), async || {
        let output = bridge.run(&[&["why"], args].concat());
        let text = format!("{}{}", output.stdout, output.stderr);
        wait::holds(words.iter().all(|word| text.contains(word)), || text.clone())?;
        Ok(text)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_route_or_with_the_route_of_another_is_explained() {
    let server = Server::http("web-1").await;
    let declared = |name, route| (name, server.address, route);
    let folder = Folder::of(&[
        declared(
            "orders",
            &[("route", "host=api.x path=/orders header=x-canary:1")][..],
        ),
        declared("web", &[("route", "host=api.x path=/shop")][..]),
        // Sorts later, and asks for the same.
        declared("zeta", &[("route", "host=api.x path=/shop")][..]),
    ]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    let get = |path: &str| ["--request".to_owned(), format!("GET http://api.x{path}")];
    let asked = async |path: &str, words: &[&str]| {
        let args = get(path);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        answers(&bridge, &args, words).await
    };

    // 404: which route would have been it, and why it is not.
    asked(
        "/orders/7",
        &[
            "! listener internal",
            "404: none of the 2 routes of the host `api.x` takes it",
            "not path=/orders header=x-canary:1 (orders): the header `x-canary` is missing, and must be `1`",
        ],
    )
    .await;
    assert_eq!(
        raw::get(at, "api.x", "/orders/7").await.expect("an answer").0,
        404
    );

    // Taken by another.
    asked(
        "/shop",
        &[
            "✓ listener internal",
            "it goes to `web` (1 healthy of 1 endpoints)",
            "about zeta: route",
        ],
    )
    .await;
    answers(
        &bridge,
        &["zeta"],
        &["1 of 1 instances get requests", "! route", "`web`"],
    )
    .await;

    // A host that nobody has.
    answers(
        &bridge,
        &["--request", "GET http://nobody.x/"],
        &["404: none of", "hosts is `nobody.x`"],
    )
    .await;

    // Not connected, and not registered.
    let args = ["--request", "GET http://api.x/shop", "--client", "edge-9"];
    answers(
        &bridge,
        &args,
        &["no client with node.id `edge-9` is connected; 1 are, such as"],
    )
    .await;
    answers(
        &bridge,
        &["nobody"],
        &[
            "no source knows a service `nobody`",
            "folder (file): live, 3 services",
        ],
    )
    .await;
    answers(&bridge, &["web/web-9"], &["`web` has no instance `web-9`"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_traffic_and_an_envoy_with_older_endpoints_are_explained() {
    let etcd = Etcd::start().await;
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nguard_probe = false\n[drain]\nlinger = \"0s\"\n",
        etcd.url()
    );
    let (one, two) = (Server::http("orders-1").await, Server::http("orders-2").await);
    let lease = etcd.register("orders", &one, &[("state", "off")], TTL).await;
    let second = etcd.register("orders", &two, &[], TTL).await;
    let bridge = Bridge::start(&source).await;
    let mut envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    client.reaches(&Call::http("orders"), &["orders-2"]).await;
    answers(
        &bridge,
        &["orders"],
        &[
            "orders: 1 of 2 instances get requests",
            "! orders-1 127.0.0.1:",
            "it declares state=off",
            "1 clients have its present endpoints",
        ],
    )
    .await;
    let output = bridge.command("drain orders/orders-2 --force").await;
    assert!(output.status.success(), "{}", output.stderr);
    answers(
        &bridge,
        &["orders/orders-2"],
        &["it is drained by", "nobody else is healthy"],
    )
    .await;

    // It hangs: what it has is what it had.
    envoy.program().signal("STOP");
    let output = bridge.command("undrain orders/orders-2").await;
    assert!(output.status.success(), "{}", output.stderr);
    answers(
        &bridge,
        &["orders"],
        &["has not acknowledged them, for", "it has older ones"],
    )
    .await;
    envoy.program().signal("CONT");
    answers(&bridge, &["orders"], &["1 clients have its present endpoints"]).await;

    // 503: nobody is left, and the route is kept.
    second.revoke().await;
    lease.revoke().await;
    client.is_refused(&Call::http("orders"), "http 503").await;
    answers(
        &bridge,
        &["--request", "GET http://orders/"],
        &[
            "503: `orders` has no endpoint",
            "about orders: it has no instances any more; its routes are kept",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_withheld_and_what_another_fleet_gets_is_explained() {
    let etcd = Etcd::start().await;
    let server = Server::http("orders-1").await;
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nguard_probe = false\nmax_removal_hold = \"1h\"\n\
         [exposures.edge]\nhosts = [\"api.x\"]\n\
         [listeners.edge]\naddress = \"127.0.0.1:0\"\nexposure = \"edge\"\nfleets = [\"edge\"]\n",
        etcd.url()
    );
    let [port] = crate::support::process::ports();
    let source = source.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    for n in 0..20_u16 {
        let value = json!({
            "address": if n == 0 { "127.0.0.1" } else { "127.0.0.9" },
            "port": if n == 0 { server.address.port() } else { 1000 + n },
            "state": if n == 0 { "up" } else { "drain" },
            "expose": "edge,internal", "route": "host=api.x path=/"
        });
        etcd.put(&instance_key("orders", &n.to_string()), value.to_string())
            .await;
    }
    let bridge = Bridge::start(&source).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-1"]).await;

    // Envoys of the tests are of the fleet `proof`.
    let streams: serde_json::Value =
        serde_json::from_str(&bridge.text("/streams").await.expect("an answer")).expect("JSON");
    let node = streams["streams"][0]["node"].as_str().expect("a node");
    let request = "GET http://api.x/";
    let all = answers(&bridge, &["--request", request], &["✓ listener edge (127.0.0.1:"]).await;
    assert!(all.contains("listener internal"), "{all}");
    let mine = answers(
        &bridge,
        &["--request", request, "--client", node],
        &["listener internal"],
    )
    .await;
    assert!(
        !mine.contains("✓ listener edge") && mine.contains("! listener edge is only for the fleets edge"),
        "of another fleet: {mine}"
    );

    let mut keys = etcd.client().await;
    let prefix = etcd_client::DeleteOptions::new().with_prefix();
    keys.delete("/services/", Some(prefix))
        .await
        .expect("etcd deletes");
    answers(
        &bridge,
        &["orders"],
        &[
            "its registry no longer lists",
            "which is not believed yet (xds-bridge accept registry)",
        ],
    )
    .await;
}

/// `why --request` finds the route that Envoy found: of the services `s0` and so on, with the routes that each
/// declares, and requests with what came of them.
pub(crate) async fn replayed<'a>(
    bridge: &Bridge,
    cases: impl Iterator<Item = (&'a [&'a str], &'a [(&'a str, &'a str)])>,
) {
    let mut wrong = Vec::new();
    for (n, (routes, requests)) in cases.enumerate() {
        let mut routes_by_mark: BTreeMap<String, String> = BTreeMap::new();
        for (request, wanted) in requests {
            let mut parts = request.split(' ');
            let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let headers = parts.map(|header| match header.split_once(':') {
                Some(("cookie", value)) => format!(" -H 'cookie:{}'", value.replace('_', " ")),
                _ => format!(" -H '{header}'"),
            });
            let text: String = headers.collect();
            let text = format!("{method} 'http://s{n}{path}'{text}");
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
            let answer = bridge.text(&format!("/why?json=true&request={encoded}")).await;
            let answer: serde_json::Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
            let way = &answer["ways"][0];
            let status: Option<u16> = wanted.split(' ').next().and_then(|word| word.parse().ok());
            // A server's own failure is none of the route's.
            let works = status.is_none_or(|status| status < 400) || path.starts_with("/status/");
            if way["ending"]["works"] != works {
                wrong.push(format!("{routes:?}: {text}: {way:#}, and Envoy: {wanted}"));
            }
            // The route with this mark is this one, and no other.
            let mark = wanted.split(' ').find(|word| word.starts_with("t-r="));
            let route = way["route"].as_str().unwrap_or_default();
            if let Some(mark) = mark {
                let known = routes_by_mark
                    .entry(mark.to_owned())
                    .or_insert_with(|| route.to_owned());
                let declared: Vec<&str> = route
                    .split(' ')
                    .filter(|word| word.starts_with("header") && !word.contains("=cookie:"))
                    .collect();
                if known != route
                    || declared
                        .iter()
                        .any(|word| !routes.iter().any(|r| r.contains(word)))
                {
                    wrong.push(format!(
                        "{routes:?}: {text}: `{route}`, and for {mark} it was `{known}`"
                    ));
                }
            } else if routes_by_mark.values().any(|known| known == route) {
                wrong.push(format!(
                    "{routes:?}: {text}: `{route}`, and Envoy chose another: {wanted}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_write_to_a_registry_is_an_event() {
    let etcd = Etcd::start().await;
    let source = format!(
        "[sources.registry]\nkind = \"etcd\"\nendpoints = [\"{}\"]\nguard_probe = false\n",
        etcd.url()
    );
    let server = Server::http("orders-1").await;
    let lease = etcd.register("orders", &server, &[], TTL).await;
    let bridge = Bridge::start(&source).await;
    let events = async |args: &str, words: &[&str]| {
        wait::until(wait::PATIENCE, &format!("events {args}: {words:?}"), async || {
            let output = bridge.command(format!("events {args}").trim_end()).await;
            let text = format!("{}{}", output.stdout, output.stderr);
            wait::holds(words.iter().all(|word| text.contains(word)), || text.clone())?;
            Ok(text)
        })
        .await
    };
    events("", &["registry: delivered for the first time: 1 services"]).await;
    let put = async |id: &str, value: serde_json::Value| {
        etcd.put(&instance_key("orders", id), value.to_string()).await;
    };
    put("b", json!({ "address": "127.0.0.9", "port": 1, "version": "v1" })).await;
    events(
        "",
        &["registry: orders/b registered, 127.0.0.9:1 healthy, version v1 [generation"],
    )
    .await;
    put(
        "b",
        json!({ "address": "127.0.0.9", "port": 1, "version": "v2", "weight": 7, "timeout": "2s" }),
    )
    .await;
    events(
        "--service orders --since 10m",
        &[
            "orders/b version `v2` (was `v1`)",
            "orders/b weight `7` (was `1`)",
            "orders/b timeout `2s`",
        ],
    )
    .await;
    lease.revoke().await;
    events("", &["orders/orders-1 left (127.0.0.1:"]).await;
    assert!(bridge.command("drain orders/b --force").await.status.success());
    events("", &["operator: orders/b drained by an operator"]).await;
    let none = bridge.command("events --service nobody").await;
    assert_eq!(none.stdout, "");

    // A hundred writes, in their order, each once.
    for n in 0..100 {
        put("c", json!({ "address": "127.0.0.8", "port": 1000 + n })).await;
        put(
            "c",
            json!({ "address": "127.0.0.8", "port": 1000 + n, "weight": 2 }),
        )
        .await;
        let key = instance_key("orders", "c");
        etcd.client().await.delete(key, None).await.expect("etcd deletes");
    }
    let text = events("--service orders", &["orders/c left (127.0.0.8:1099)"]).await;
    let of_c = |word: &str| {
        text.lines()
            .filter(|line| line.contains("orders/c ") && line.contains(word))
            .count()
    };
    assert!(
        of_c("left") + of_c("registered") + of_c("weight") <= 300,
        "{text}"
    );
    let log = bridge.log();
    assert!(
        log.contains("changed source=\"registry\" service=\"orders\" instance=\"b\""),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_no_request_reaches_is_marked() {
    let server = Server::http("web-1").await;
    let keys: &[_] = &[
        ("route", "host=api.x path=/shop priority=10"),
        ("route-2", "host=api.x path=/shop/never respond=410"),
        ("route-3", "host=api.x path=/other respond=418"),
    ];
    let folder = Folder::of(&[("web", server.address, keys)]);
    let bridge = Bridge::start(&folder.section()).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let at = envoy.listener();
    wait::until(wait::PATIENCE, "Envoy has the routes", async || {
        let (status, text) = raw::get(at, "api.x", "/other").await?;
        wait::holds(status == 418, || format!("{status} {text}"))
    })
    .await;
    let status = async |path| raw::get(at, "api.x", path).await.expect("an answer").0;
    assert_eq!((status("/shop").await, status("/shop/never").await), (200, 200));
    let listed = bridge.command("routes --host api.x").await;
    let marked: Vec<&str> = listed
        .stdout
        .lines()
        .filter(|line| line.contains(" ! "))
        .collect();
    let [marked] = marked[..] else {
        panic!("one is marked: {}", listed.stdout)
    };
    assert!(
        marked.contains("path=/shop/never")
            && marked.ends_with("! no request reaches it: path=/shop (web) takes all before it"),
        "{marked}"
    );
}
