//! What is deployed again and again, and how: three services, each with short, slow and streamed calls without pause.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::killed::Mortal;
use crate::support::bridge::{self, Bridge, Output, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, Lease, instance_key};
use crate::support::load::{Load, Report};
use crate::support::servers::Server;

/// What a lease is given.
const TTL: Duration = Duration::from_secs(5);
/// What slow calls take.
const SLOW: &str = "900";

/// What is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// By HTTP/1.1, up to the server.
    Web,
    /// By HTTP/2, up to the server.
    Api,
    /// gRPC.
    Carts,
}

impl Service {
    pub(super) const ALL: [Self; 3] = [Self::Web, Self::Api, Self::Carts];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Api => "api",
            Self::Carts => "carts",
        }
    }

    pub(super) async fn server(self, id: &str) -> Server {
        match self {
            Self::Carts => Server::grpc(id, "shop.Carts").await,
            Self::Web | Self::Api => Server::http(id).await,
        }
    }

    /// One that is short, one that takes almost a second, and a stream.
    pub(super) fn calls(self) -> [Call; 3] {
        let stream = if is_long() { "4000" } else { "1500" };
        let host = self.name().to_owned();
        let paths = [
            "/".to_owned(),
            format!("/after/{SLOW}"),
            format!("/stream/{stream}"),
        ];
        match self {
            Self::Web => paths.map(|path| Call::Http {
                host: host.clone(),
                path,
            }),
            Self::Api => paths.map(|path| Call::Http2 {
                host: host.clone(),
                path,
            }),
            Self::Carts => {
                let methods = [
                    "Get".to_owned(),
                    format!("After-{SLOW}"),
                    format!("Watch-{stream}"),
                ];
                methods.map(|method| Call::Grpc {
                    service: "shop.Carts".to_owned(),
                    method,
                })
            }
        }
    }

    pub(super) const fn keys(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Web => &[],
            Self::Api => &[("protocol", "http2")],
            Self::Carts => &[("route", "grpc=shop.Carts")],
        }
    }
}

/// The number of rolling restarts: `DEPLOY_ROUNDS`, or a few.
pub(super) fn rounds(few: usize) -> usize {
    let asked = std::env::var("DEPLOY_ROUNDS").ok();
    asked.map_or(few, |n| n.parse().expect("DEPLOY_ROUNDS is a number"))
}

/// The numbers of rounds, each with the way in which servers go: all ways, one after the other, and few of them.
pub(super) fn ways() -> impl Iterator<Item = (usize, Way)> {
    let ways = [Way::Command, Way::Deregister, Way::Lease];
    let all = ways
        .into_iter()
        .flat_map(|way| std::iter::repeat_n(way, rounds(1)));
    (1..).zip(all)
}

/// Whether the long run was asked for.
pub(super) fn is_long() -> bool {
    std::env::var_os("DEPLOY_ROUNDS").is_some()
}

/// A row of the table in docs/deploys.md: `--nocapture` shows it.
pub(super) fn tell(what: &str, rounds: usize, report: &Report) {
    let (sent, failed) = (report.sent, report.failures.len());
    eprintln!("| {what} | {rounds} | {sent} | {failed} |");
}

/// No request of this load failed, and there were enough.
pub(super) async fn clean(what: &str, rounds: usize, load: Load) {
    let report = load.finish().await;
    tell(what, rounds, &report);
    report.assert_clean(200);
}

/// All kinds of calls to all services, without pause.
pub(super) fn load(envoy: &Envoy) -> Load {
    let calls: Vec<Call> = Service::ALL.into_iter().flat_map(Service::calls).collect();
    Load::start(envoy.listener(), &calls, 40, 4)
}

/// The same, more of it: some 400 requests a second.
pub(super) fn busy_load(envoy: &Envoy) -> Load {
    let calls: Vec<Call> = Service::ALL.into_iter().flat_map(Service::calls).collect();
    Load::start(envoy.listener(), &calls, 130, 6)
}

/// Runs commands of a bridge that may be restarted meanwhile.
#[derive(Clone)]
pub(super) struct Commands(PathBuf);

impl Commands {
    pub(super) fn of(bridge: &Bridge) -> Self {
        Self(bridge.file())
    }

    pub(super) async fn run(&self, args: &str) -> Output {
        let args = format!("{args} --config {}", self.0.display());
        let running = spawn_blocking(move || {
            let args: Vec<&str> = args.split(' ').collect();
            bridge::run(&args, Path::new("."))
        });
        running.await.expect("a command that ends")
    }

    /// Runs one about an instance, which must succeed.
    pub(super) async fn done(&self, command: &str, service: Service, id: &str) {
        self.until(&format!("{command} {}/{id}", service.name())).await;
    }

    /// Runs one that waits, which must succeed.
    pub(super) async fn until(&self, command: &str) {
        let args = format!("{command} --timeout 90s");
        let output = self.run(&args).await;
        assert!(output.status.success(), "{args}: {}", output.stderr);
    }
}

/// An instance that serves now.
pub(super) struct Deployed {
    pub(super) service: Service,
    pub(super) mortal: Mortal,
    pub(super) lease: Lease,
}

impl Deployed {
    pub(super) fn id(&self) -> String {
        self.mortal.server().id.clone()
    }
}

/// etcd, a bridge on it, and an Envoy.
pub(super) struct Scene {
    pub(super) etcd: Etcd,
    pub(super) bridge: Bridge,
    pub(super) commands: Commands,
}

/// The sections of a bridge on this etcd, with these lines in `[drain]`.
pub(super) fn sources(etcd: &Etcd, drain: &str) -> String {
    format!(
        "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n[drain]\n{drain}\n",
        etcd.url()
    )
}

impl Scene {
    pub(super) async fn start(drain: &str) -> Self {
        let etcd = Etcd::start().await;
        let bridge = Bridge::start(&sources(&etcd, drain)).await;
        let commands = Commands::of(&bridge);
        Self {
            etcd,
            bridge,
            commands,
        }
    }

    /// An Envoy of this bridge that reaches all that is deployed.
    pub(super) async fn envoy(&self, deployed: &[Deployed]) -> Envoy {
        let envoy = self.bridge.envoy(Step::Listeners, &[]).await;
        reached(&envoy, deployed).await;
        envoy
    }

    /// Another one.
    pub(super) async fn further_envoy(&self, node: &str) -> Envoy {
        Envoy::start(self.bridge.listener, async |admin| {
            let bootstrap = self.bridge.bootstrap(Step::Listeners, admin, &[]);
            bootstrap.replace("envoy-1", node)
        })
        .await
    }

    /// Starts a server, which registers; not waited for.
    pub(super) async fn begin(&self, service: Service, n: usize) -> Deployed {
        let id = format!("{}-{n}", service.name());
        let mortal = Mortal::start(service, &id).await;
        let server = mortal.server();
        let lease = self.etcd.register(service.name(), server, service.keys(), TTL);
        Deployed {
            service,
            lease: lease.await,
            mortal,
        }
    }

    /// Deploys one: all clients have it.
    pub(super) async fn deploy(&self, service: Service, n: usize) -> Deployed {
        let deployed = self.begin(service, n).await;
        let id = deployed.id();
        self.commands.done("wait --serving", service, &id).await;
        deployed
    }

    /// Deploys all.
    pub(super) async fn deploy_all(&self, n: usize) -> Vec<Deployed> {
        let all = Service::ALL.map(|service| self.deploy(service, n));
        futures::future::join_all(all).await
    }

    /// It leaves by this way, and is killed as soon as that is safe.
    pub(super) async fn retire(&self, old: Deployed, way: Way) {
        let (service, id) = (old.service, old.id());
        if way == Way::Command {
            self.commands.done("drain --wait", service, &id).await;
        } else {
            self.leave(&old, way).await;
            self.commands.done("wait --drained", service, &id).await;
        }
        old.mortal.kill();
    }

    /// Says that it goes; not waited for.
    async fn leave(&self, old: &Deployed, way: Way) {
        let (service, id) = (old.service.name(), old.id());
        match way {
            Way::Command => {
                let args = format!("drain {service}/{id}");
                let answer = self.commands.run(&args).await;
                assert!(answer.status.success(), "{args}: {}", answer.stderr);
            }
            Way::Deregister => {
                old.lease.fall_silent();
                self.etcd.delete(&instance_key(service, &id)).await;
            }
            Way::Lease => old.lease.fall_silent(),
        }
    }

    /// All of them say so.
    pub(super) async fn leave_all(&self, all: &[Deployed], way: Way) {
        futures::future::join_all(all.iter().map(|one| self.leave(one, way))).await;
    }

    /// The next version of all of them, and none before.
    pub(super) async fn roll(&self, old: &mut Vec<Deployed>, n: usize, way: Way) {
        let next = self.deploy_all(n).await;
        let before = std::mem::replace(old, next);
        let all = before.into_iter().map(|one| self.retire(one, way));
        futures::future::join_all(all).await;
    }
}

/// How an old server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `drain --wait`, then kill.
    Command,
    /// It is deregistered, lingers, and is killed when nobody calls it any more.
    Deregister,
    /// Its lease runs out while it still serves.
    Lease,
}

/// Waits until this Envoy has all that is deployed.
pub(super) async fn reached(envoy: &Envoy, deployed: &[Deployed]) {
    for one in deployed {
        let [short, ..] = one.service.calls();
        envoy.client().reaches(&short, &[&one.id()]).await;
    }
}
