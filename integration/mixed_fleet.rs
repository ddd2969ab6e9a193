//! Envoys of several versions on one bridge, each in both variants of the protocol: none refuses anything, none
//! meets a field that it does not know, all hold the same, and a change reaches every one.
//!
//! The versions are the programs that `XDS_TEST_ENVOYS` lists, separated by `:`, as `make compat` does. Without it
//! there is one, the Envoy of all other tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::process;
use crate::support::servers::Server;
use crate::support::wait;

/// One Envoy, and how it is named where two differ.
struct Member {
    name: String,
    envoy: Envoy,
}

/// Kind and name of a resource, and what Envoy made of it.
type Held = BTreeMap<String, Value>;

fn programs() -> Vec<PathBuf> {
    let listed = std::env::var_os("XDS_TEST_ENVOYS");
    let programs: Vec<PathBuf> = listed.map_or_else(
        || vec![process::tool("ENVOY_BIN", "envoy")],
        |listed| std::env::split_paths(&listed).collect(),
    );
    for program in &programs {
        assert!(program.is_file(), "no program: {}", program.display());
    }
    programs
}

/// An instance of `orders` more or less; the rest has one of each that is written in another way: zones, weights,
/// routes of every sort, timeouts, gRPC, HTTP/2, TCP, and what is taken out.
fn catalog(orders: &[&Server], users: &Server) -> String {
    let mut instances = String::new();
    for (n, server) in orders.iter().enumerate() {
        let (id, port) = (&server.id, server.address.port());
        let (weight, zone) = (n + 1, ["a", "b"][n % 2]);
        let _ = write!(
            instances,
            "[[services.orders.instances]]\nid = \"{id}\"\naddress = \"127.0.0.1\"\nport = {port}\n\
             weight = {weight}\nzone = \"{zone}\"\nversion = \"v{n}\"\n"
        );
    }
    let users = users.address.port();
    format!(
        "[services.orders]\nroute = \"path=/orders/ timeout=2s\"\nroute-2 = \"host=orders.example path=/ header=x-canary:1\"\n\
         all-unhealthy = \"closed\"\n{instances}\
         [services.users]\nprotocol = \"grpc\"\nroute = \"grpc=shop.Users\"\nroute-2 = \"grpc=shop.Users/Get timeout=1s\"\n\
         all-unhealthy = \"drop\"\n[[services.users.instances]]\naddress = \"127.0.0.1\"\nport = {users}\n\
         [services.stock]\nprotocol = \"http2\"\nall-unhealthy = \"open\"\n\
         [[services.stock.instances]]\naddress = \"127.0.0.1\"\nport = 9\nstate = \"drain\"\n\
         [[services.stock.instances]]\naddress = \"127.0.0.1\"\nport = 10\nweight = 0\n\
         [services.database]\nprotocol = \"tcp\"\n[[services.database.instances]]\naddress = \"127.0.0.1\"\nport = 11\n"
    )
}

async fn start(bridge: &Bridge, program: PathBuf, delta: bool, number: usize) -> Member {
    let envoy = Envoy::start_program(&program, bridge.listener, async |admin| {
        let text = bridge.bootstrap(Step::Listeners, admin, &[]);
        let text = text.replace("envoy-1", &format!("envoy-{number}"));
        if delta {
            text
        } else {
            text.replace("api_type: DELTA_GRPC", "api_type: GRPC")
        }
    })
    .await;
    let version = envoy.json("/server_info").await["version"].to_string();
    let variant = if delta { "delta" } else { "state of the world" };
    Member {
        name: format!("{variant}, {version}"),
        envoy,
    }
}

/// Everything dynamic that it holds, without the time at which it came and its version.
async fn held(envoy: &Envoy) -> Held {
    let dump = envoy.json("/config_dump?include_eds").await;
    let mut held = Held::new();
    for config in dump["configs"].as_array().into_iter().flatten() {
        for (list, body) in [
            ("dynamic_active_clusters", "cluster"),
            ("dynamic_endpoint_configs", "endpoint_config"),
            ("dynamic_listeners", "active_state"),
            ("dynamic_route_configs", "route_config"),
        ] {
            for entry in config[list].as_array().into_iter().flatten() {
                let mut value = entry[body].clone();
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("last_updated");
                    fields.remove("version_info"); // each variant numbers in its own way
                }
                let name = [&value["name"], &value["cluster_name"], &value["listener"]["name"]]
                    .into_iter()
                    .find_map(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                held.insert(format!("{list} {name}"), value);
            }
        }
    }
    held
}

/// Waits until all hold the same, with these hosts of `orders`.
async fn all_hold(fleet: &[Member], orders: &[&Server]) -> Held {
    let addresses: Vec<_> = orders.iter().map(|server| server.address).collect();
    for member in fleet {
        member.envoy.has_hosts("orders", &addresses).await;
    }
    let what = "all Envoys hold the same resources";
    wait::until(wait::PATIENCE, what, async || {
        let first = held(&fleet[0].envoy).await;
        for kind in [
            "dynamic_active_clusters orders",
            "dynamic_endpoint_configs orders",
            "dynamic_listeners internal",
            "dynamic_route_configs internal",
        ] {
            wait::holds(first.contains_key(kind), || {
                format!("{}: no {kind} in {:?}", fleet[0].name, first.keys())
            })?;
        }
        for member in &fleet[1..] {
            let its = held(&member.envoy).await;
            let differs: Vec<_> = first
                .keys()
                .chain(its.keys())
                .filter(|key| first.get(*key) != its.get(*key))
                .map(|key| format!("{key}:\n  {:?}\n  {:?}", first.get(key), its.get(key)))
                .collect();
            wait::holds(differs.is_empty(), || {
                format!(
                    "{} against {}: {}",
                    fleet[0].name,
                    member.name,
                    differs.join("\n")
                )
            })?;
        }
        Ok(first)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_versions_and_variants_hold_the_same() {
    let (one, two) = tokio::join!(Server::http("orders-1"), Server::http("orders-2"));
    let users = Server::grpc("users-1", "shop.Users").await;
    let folder = tempfile::tempdir().expect("a folder");
    let put = |text: String| {
        let (new, file) = (folder.path().join("new"), folder.path().join("shop.toml"));
        std::fs::write(&new, text).expect("writing the catalog");
        std::fs::rename(new, file).expect("putting the catalog in its place");
    };
    put(catalog(&[&one], &users));
    let bridge = Bridge::start(&format!(
        "[sources.files]\nkind = \"file\"\npath = \"{}\"\n",
        folder.path().display()
    ))
    .await;

    let mut fleet = Vec::new();
    for program in programs() {
        for delta in [true, false] {
            fleet.push(start(&bridge, program.clone(), delta, fleet.len()).await);
        }
    }
    let before = all_hold(&fleet, &[&one]).await;
    put(catalog(&[&one, &two], &users));
    let after = all_hold(&fleet, &[&one, &two]).await;
    assert_ne!(before, after, "the change is in what they hold");

    // They listen on one port together, so each request is for any of them.
    let client = fleet[0].envoy.client();
    client
        .reaches(&Call::http("orders"), &["orders-1", "orders-2"])
        .await;
    client.reaches(&Call::grpc("shop.Users"), &["users-1"]).await;
    bridge.assert_no_nacks().await;
    for member in &fleet {
        let unknown = member.envoy.stat("server.dynamic_unknown_fields").await;
        assert_eq!(unknown, 0, "{}: fields it does not know", member.name);
    }
}
