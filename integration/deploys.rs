//! Rolling deploys under load, each server killed as soon as the bridge says that it is safe. `DEPLOY_ROUNDS=20` is the
//! long run of docs/deploys.md.

use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, Lease, instance_key};
use crate::support::load::Load;
use crate::support::servers::Server;

/// What a lease is given.
const TTL: Duration = Duration::from_secs(5);

/// A server that can be killed: its connections end at once, whatever is under way.
struct Mortal {
    runtime: Option<Runtime>,
    server: Option<Server>,
}

impl Mortal {
    async fn start(service: Service, id: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let name = id.to_owned();
        let server = runtime.spawn(async move {
            let server = match service {
                Service::Grpc => Server::grpc(&name, "shop.Carts").await,
                Service::Short | Service::Slow => Server::http(&name).await,
            };
            if matches!(service, Service::Slow) {
                server.answer_after(Duration::from_millis(900));
            }
            server
        });
        Self {
            server: Some(server.await.expect("a server")),
            runtime: Some(runtime),
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it lives")
    }
}

/// As by SIGKILL.
impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What is deployed again and again.
#[derive(Clone, Copy)]
enum Service {
    /// Answers at once.
    Short,
    /// Takes almost a second.
    Slow,
    /// Calls of gRPC.
    Grpc,
}

impl Service {
    const ALL: [Self; 3] = [Self::Short, Self::Slow, Self::Grpc];

    const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Slow => "slow",
            Self::Grpc => "carts",
        }
    }

    fn call(self) -> Call {
        match self {
            Self::Grpc => Call::grpc("shop.Carts"),
            Self::Short | Self::Slow => Call::http(self.name()),
        }
    }

    const fn keys(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Grpc => &[("route", "grpc=shop.Carts")],
            Self::Short | Self::Slow => &[],
        }
    }
}

fn rounds() -> usize {
    let asked = std::env::var("DEPLOY_ROUNDS").ok();
    asked.map_or(2, |n| n.parse().expect("DEPLOY_ROUNDS is a number"))
}

/// Runs a command about an instance, which must succeed.
async fn done(bridge: &Bridge, command: &str, service: Service, id: &str) {
    let args = format!("{command} {}/{id} --timeout 60s", service.name());
    let output = bridge.command(&args).await;
    assert!(output.status.success(), "{args}: {}", output.stderr);
}

fn load(envoy: &Envoy) -> Load {
    let calls = Service::ALL.map(Service::call);
    Load::start(envoy.listener(), &calls, 60, 8)
}

async fn reached(envoy: &Envoy, ids: &[&str]) {
    for service in Service::ALL {
        let names: Vec<String> = ids.iter().map(|id| format!("{}-{id}", service.name())).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        envoy.client().reaches(&service.call(), &names).await;
    }
}

/// What a deploy does with etcd: servers with a lease each.
struct InEtcd {
    etcd: Etcd,
    bridge: Bridge,
}

impl InEtcd {
    async fn start() -> Self {
        let etcd = Etcd::start().await;
        let source = format!(
            "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[drain]\ngrace = \"1s\"\n",
            etcd.url()
        );
        let bridge = Bridge::start(&source).await;
        Self { etcd, bridge }
    }

    async fn deploy(&self, service: Service, n: usize) -> (Mortal, Lease) {
        let id = format!("{}-{n}", service.name());
        let mortal = Mortal::start(service, &id).await;
        let lease = self
            .etcd
            .register(service.name(), mortal.server(), service.keys(), TTL)
            .await;
        done(&self.bridge, "wait --serving", service, &id).await;
        (mortal, lease)
    }
}

/// How an old server goes.
#[derive(Clone, Copy)]
enum Way {
    /// `drain --wait`, then kill.
    Command,
    /// It is deregistered, lingers, and is killed when nobody calls it any more.
    Deregister,
    /// Its lease runs out while it still serves.
    Lease,
}

async fn rolling_with_etcd(way: Way) {
    let scene = InEtcd::start().await;
    let mut old = Vec::new();
    for service in Service::ALL {
        old.push((service, scene.deploy(service, 0).await));
    }
    let envoy = scene.bridge.envoy(Step::Listeners, &[]).await;
    reached(&envoy, &["0"]).await;
    let load = load(&envoy);
    for n in 1..=rounds() {
        for (service, before) in &mut old {
            let next = scene.deploy(*service, n).await;
            let (mortal, lease) = std::mem::replace(before, next);
            let id = mortal.server().id.clone();
            match way {
                Way::Command => done(&scene.bridge, "drain --wait", *service, &id).await,
                Way::Deregister => {
                    scene.etcd.delete(&instance_key(service.name(), &id)).await;
                    done(&scene.bridge, "wait --drained", *service, &id).await;
                }
                Way::Lease => {
                    lease.fall_silent();
                    done(&scene.bridge, "wait --drained", *service, &id).await;
                }
            }
            drop(mortal);
            load.goes_on(20).await;
        }
    }
    load.finish().await.assert_clean(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_by_the_commands_lose_nothing() {
    rolling_with_etcd(Way::Command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_by_deregistration_lose_nothing() {
    rolling_with_etcd(Way::Deregister).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_by_leases_that_run_out_lose_nothing() {
    rolling_with_etcd(Way::Lease).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_by_maintenance_in_consul_lose_nothing() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&format!("{}\n[drain]\ngrace = \"1s\"\n", consul.section())).await;
    let deploy = async |service: Service, n: usize| {
        let id = format!("{}-{n}", service.name());
        let mortal = Mortal::start(service, &id).await;
        let registered = consul
            .register(service.name(), mortal.server(), service.keys(), Check::None)
            .await;
        done(&bridge, "wait --serving", service, &id).await;
        (mortal, registered)
    };
    let mut old = Vec::new();
    for service in Service::ALL {
        old.push((service, deploy(service, 0).await));
    }
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    reached(&envoy, &["0"]).await;
    let load = load(&envoy);
    for n in 1..=rounds() {
        for (service, before) in &mut old {
            let next = deploy(*service, n).await;
            let (mortal, registered) = std::mem::replace(before, next);
            let id = mortal.server().id.clone();
            let path = format!("/v1/agent/service/maintenance/{id}?enable=true&reason=deploy");
            consul.put(&path, &json!(null)).await;
            done(&bridge, "wait --drained", *service, &id).await;
            drop(mortal);
            drop(registered);
            load.goes_on(20).await;
        }
    }
    load.finish().await.assert_clean(200);
}
