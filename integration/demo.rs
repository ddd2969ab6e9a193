//! `make demo`: proof 1 for a person. Starts etcd, Consul, the bridge and Envoy on
//! loopback, lets servers register themselves, and says in plain words what happens. Stops
//! by itself; ends with 0 only when each step was seen.
#![allow(clippy::print_stdout, reason = "it talks to a person")]
#![allow(
    clippy::expect_used,
    reason = "what fails here ends the demo, with a sentence"
)]

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
        () = demo() => ExitCode::SUCCESS,
        _ = tokio::signal::ctrl_c() => {
            println!("\nStopped; everything that was started has ended.");
            ExitCode::from(130)
        }
    }
}

async fn demo() {
    let began = now();
    println!("xds-bridge: servers register themselves, and a real Envoy follows. All on 127.0.0.1.\n");

    say("Two registries start: an etcd and a Consul.");
    let (etcd, consul) = tokio::join!(Etcd::start(), Consul::start());
    tell(&[
        &format!("etcd     {}", etcd.url()),
        &format!("consul   {}   (its page: /ui)", consul.url()),
    ]);

    say("The bridge watches both. This is all of its bridge.toml:");
    let bridge = Bridge::start(&sources(&etcd, &consul)).await;
    let text = std::fs::read_to_string(bridge.file()).expect("reading bridge.toml");
    tell(&text.lines().collect::<Vec<_>>());
    tell(&[&format!("try      curl http://{}/metrics", bridge.admin)]);

    say("Envoy starts from what `xds-bridge bootstrap --step listeners` prints. No service is in it.");
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let client = envoy.client();
    let (orders, users) = (Call::http("orders"), Call::grpc("shop.Users"));
    client.is_refused(&orders, "http 404").await;
    tell(&[
        &format!("try      curl -i -H 'Host: orders' http://{}/", envoy.listener()),
        "answer   404: nobody has registered yet",
    ]);

    say("Two HTTP servers of `orders` register themselves in etcd, each under a lease it keeps alive.");
    let mut servers = vec![Server::http("orders-1").await, Server::http("orders-2").await];
    let mut leases = Vec::new();
    for server in &servers {
        tell(&[&format!("put      {} {}", key(server), etcd::facts(server, &[]))]);
        leases.push(etcd.register("orders", server, &[], TTL).await);
    }
    seen(&client, &orders, &["orders-1", "orders-2"]).await;

    say("Two gRPC servers of `users` register themselves with their Consul agent, and say what they serve.");
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

    say("A third server of `orders` comes, and gets its share.");
    servers.push(Server::http("orders-3").await);
    leases.push(etcd.register("orders", &servers[2], &[], TTL).await);
    seen(&client, &orders, &["orders-1", "orders-2", "orders-3"]).await;

    say("orders-2 falls silent: its lease of two seconds runs out. users-2 too: its check fails.");
    leases[1].fall_silent();
    ill.fall_silent();
    seen(&client, &orders, &["orders-1", "orders-3"]).await;
    seen(&client, &users, &["users-1"]).await;

    say("All of `orders` leave. Their host is gone; `users` is not touched.");
    let before = envoy.cluster("users").await;
    for lease in leases {
        lease.revoke().await;
    }
    client.is_refused(&orders, "http 404").await;
    seen(&client, &users, &["users-1"]).await;
    assert_eq!(
        envoy.cluster("users").await,
        before,
        "Envoy's cluster `users` was touched"
    );
    tell(&["answer   404 for orders; Envoy's cluster `users` has the version and the counters it had"]);

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

fn key(server: &Server) -> String {
    etcd::instance_key("orders", &server.id)
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

fn say(what: &str) {
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
