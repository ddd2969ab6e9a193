//! `make demo`: proof 1 for a person. Starts etcd, Consul, the bridge and Envoy on
//! loopback, lets servers register themselves, and says in plain words what happens. Stops
//! by itself; ends with 0 only when each step was seen. `DEMO_PAUSE=20 make demo` leaves so
//! many seconds after each step, to try the commands it prints. `DEMO=rollout`: a good and a bad commit, rolled out.
#![allow(clippy::print_stdout, reason = "it talks to a person")]
#![allow(
    clippy::expect_used,
    reason = "what fails here ends the demo, with a sentence"
)]

#[path = "demo/rollout.rs"]
mod rollout;
#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::bridge::{Bridge, Step};
use support::client::{Call, Client};
use support::consul::{Check, Consul};
use support::etcd::{self, Etcd};
use support::servers::Server;

/// A lease this short runs out while one watches.
const TTL: Duration = Duration::from_secs(2);

const USERS: [(&str, &str); 2] = [("protocol", "grpc"), ("route", "grpc=shop.Users")];

#[tokio::main]
async fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|why| {
        let text = why
            .payload()
            .downcast_ref::<String>()
            .map_or("see above", String::as_str);
        println!("\nThis step was not seen: {text}");
    }));
    // Whatever ends it, the children end with it: they are dropped with the future.
    tokio::select! {
        () = chosen() => ExitCode::SUCCESS,
        _ = tokio::signal::ctrl_c() => {
            println!("\nStopped; everything that was started has ended.");
            ExitCode::from(130)
        }
    }
}

/// By `DEMO`.
async fn chosen() {
    match std::env::var("DEMO").as_deref() {
        Ok("rollout") => {
            let began = now();
            rollout::demo().await;
            let seconds = now().duration_since(began).as_secs_f64();
            println!("\nEach step was seen, in {seconds:.1} s. Everything that was started ends now.");
        }
        _ => demo().await,
    }
}

async fn demo() {
    let began = now();
    println!("xds-bridge: servers register themselves, and a real Envoy follows. All on 127.0.0.1.");

    step("Two registries start: an etcd and a Consul.").await;
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    tell(&[
        &format!("etcd     {}", etcd.url()),
        &format!("consul   {}   (its page: /ui)", consul.url()),
    ]);

    step("The bridge watches both. This is all of its bridge.toml:").await;
    let bridge = Bridge::start(&sources(&etcd, &consul)).await;
    let text = std::fs::read_to_string(bridge.file()).expect("reading bridge.toml");
    tell(&text.lines().collect::<Vec<_>>());
    tell(&["", &format!("try      curl http://{}/metrics", bridge.admin)]);

    step("Envoy starts from what `xds-bridge bootstrap --step listeners` prints. No service is in it.").await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let (orders, users) = (Call::http("orders"), Call::grpc("shop.Users"));
    client.is_refused(&orders, "http 404").await;
    tell(&[
        &format!("try      curl -i -H 'Host: orders' http://{}/", envoy.listener()),
        "answer   404: nobody has registered yet",
    ]);

    step("Two HTTP servers of `orders` register themselves in etcd, each under a lease it keeps alive.")
        .await;
    let mut servers = vec![Server::http("orders-1").await, Server::http("orders-2").await];
    let mut leases = Vec::new();
    for server in &servers {
        let key = etcd::instance_key("orders", &server.id);
        tell(&[&format!("put      {key} '{}'", etcd::facts(server, &[]))]);
        leases.push(etcd.register("orders", server, &[], TTL).await);
    }
    seen(&client, &orders, &["orders-1", "orders-2"]).await;
    tell(&[
        &format!("try      curl -H 'Host: orders' http://{}/", envoy.listener()),
        &format!(
            "try      target/tools/bin/etcdctl --endpoints {} get --prefix /services/",
            etcd.url()
        ),
    ]);

    step("Two gRPC servers of `users` register themselves with their Consul agent, and say what they serve.")
        .await;
    let (one, two) = (
        Server::grpc("users-1", "shop.Users").await,
        Server::grpc("users-2", "shop.Users").await,
    );
    let _one = consul.register("users", &one, &USERS, Check::Ttl(TTL)).await;
    let ill = consul.register("users", &two, &USERS, Check::Ttl(TTL)).await;
    tell(&[
        "Meta     xds-protocol = grpc",
        "Meta     xds-route = grpc=shop.Users",
        &format!("try      curl {}/v1/health/service/users", consul.url()),
    ]);
    seen(&client, &users, &["users-1", "users-2"]).await;

    step("A third server of `orders` comes, and gets its share.").await;
    servers.push(Server::http("orders-3").await);
    leases.push(etcd.register("orders", &servers[2], &[], TTL).await);
    seen(&client, &orders, &["orders-1", "orders-2", "orders-3"]).await;

    step("orders-2 falls silent: its lease of two seconds runs out. users-2 too: its check fails.").await;
    leases[1].fall_silent();
    ill.fall_silent();
    seen(&client, &orders, &["orders-1", "orders-3"]).await;
    seen(&client, &users, &["users-1"]).await;

    step("All of `orders` leave. Their route stays for an hour and answers 503; `users` is not touched.")
        .await;
    let before = envoy.cluster("users").await;
    for lease in leases {
        lease.revoke().await;
    }
    client.is_refused(&orders, "http 503").await;
    seen(&client, &users, &["users-1"]).await;
    assert_eq!(
        envoy.cluster("users").await,
        before,
        "Envoy's cluster `users` was touched"
    );
    tell(&["answer   503 for orders; Envoy's cluster `users` has the version and the counters it had"]);

    let seconds = now().duration_since(began).as_secs_f64();
    println!("\nEach step was seen, in {seconds:.1} s. Everything that was started ends now.");
    println!("The other two steps: `xds-bridge bootstrap --step endpoints` and `--step clusters`.");
}

fn sources(etcd: &Etcd, consul: &Consul) -> String {
    format!(
        "[sources.keys]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n\n\
         [sources.agents]\nkind = \"consul\"\naddress = \"{}\"\n",
        etcd.url(),
        consul.url()
    )
}

/// Waits until exactly these answer, and says how often each did.
async fn seen(client: &Client, call: &Call, wanted: &[&str]) {
    let began = now();
    client.reaches(call, wanted).await;
    let after = now().duration_since(began).as_secs_f64();
    let who = client.who(call).await.expect("a call that was just answered");
    let who: Vec<String> = who
        .iter()
        .map(|(name, times)| format!("{name} {times}×"))
        .collect();
    tell(&[&format!(
        "answer   {call}: {}   (seen after {after:.2} s)",
        who.join(", ")
    )]);
}

/// Leaves time to read the step before (and to try its commands), and opens the next one.
async fn step(what: &str) {
    let seconds = std::env::var("DEMO_PAUSE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    println!("\n* {what}");
}

fn tell(lines: &[&str]) {
    for line in lines {
        println!("    {line}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person wants to know how long it took"
)]
fn now() -> Instant {
    Instant::now()
}
