//! One service that is rolled out: a registry, a bridge, an Envoy, the first version with one server, and load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::bridge::{Bridge, Step};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::load::Load;
use crate::support::registry::{Kind, Registered, Registry};
use crate::support::servers::Server;
use crate::support::wait;

/// Requests a second.
pub(super) const RATE: u32 = 200;
/// Longer than a registry is away in a test.
const TTL: Duration = Duration::from_secs(60);
/// What a decision, and a lead that ends by its time, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub(super) struct Scene {
    pub(super) registry: Registry,
    pub(super) bridge: Bridge,
    pub(super) envoy: Envoy,
    pub(super) first: Version,
    servers: AtomicUsize,
}

/// One server of a version.
pub(super) struct Version {
    pub(super) server: Server,
    keys: Vec<(String, String)>,
    registered: Registered,
}

/// What happens, as it is read.
pub(super) struct Events(mpsc::UnboundedReceiver<Value>);

/// How often what is measured is repeated.
pub(super) fn runs() -> usize {
    let asked = std::env::var("ROLLOUT_RUNS").ok();
    asked.map_or(1, |n| n.parse().expect("ROLLOUT_RUNS is a number"))
}

/// One word for how it stands.
pub(super) fn is(view: &Value, phase: &str) -> bool {
    view["phase"] == phase
}

/// `bridge.toml` but for its ports, with these keys of `[rollouts]`.
pub(super) fn config(registry: &Registry, rollouts: &str) -> String {
    let prefix = match registry {
        Registry::Etcd(_) => "prefix = \"/services/\"\n",
        Registry::Consul(_) => "",
    };
    let grace = if rollouts.contains("grace") {
        ""
    } else {
        "grace = \"1s\"\n"
    };
    format!(
        "{}{prefix}[drain]\nlinger = \"1s\"\n[services.\"orders\"]\nrollout = \"auto\"\n[rollouts]\n{grace}{rollouts}",
        registry.source("registry")
    )
}

impl Version {
    pub(super) async fn start(registry: &Registry, id: &str, keys: &[(&str, &str)]) -> Self {
        let server = Server::http(id).await;
        Self {
            registered: registry.register_for("orders", &server, keys, TTL).await,
            keys: keys
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            server,
        }
    }

    /// It deregisters.
    pub(super) async fn leave(self) {
        self.registered.remove().await;
    }

    /// It deregisters and registers again, and is there again.
    pub(super) async fn again(self, scene: &Scene) {
        let keys: Vec<(&str, &str)> = self.keys.iter().map(|(k, v)| (&**k, &**v)).collect();
        self.registered.remove().await;
        let again = scene
            .registry
            .register_for("orders", &self.server, &keys, TTL)
            .await;
        let version = keys[0].1;
        scene
            .until(&format!("{version} is there again"), |view| {
                view["instances"][version]["healthy"] == 1
            })
            .await;
        drop(again);
    }
}

impl Scene {
    /// The first version serves, and is known to be the stable one.
    pub(super) async fn start(kind: Kind, rollouts: &str) -> Self {
        Self::start_with(kind, rollouts, &[]).await
    }

    /// The same, and its servers declare this, too.
    pub(super) async fn start_with(kind: Kind, rollouts: &str, keys: &[(&str, &str)]) -> Self {
        let registry = Registry::start(kind).await;
        let bridge = Bridge::start(&config(&registry, rollouts)).await;
        let keys = [&[("version", "1")], keys].concat();
        let first = Version::start(&registry, "1-0", &keys).await;
        let envoy = bridge.envoy(Step::Listeners, &[]).await;
        let scene = Self {
            registry,
            bridge,
            envoy,
            first,
            servers: AtomicUsize::new(0),
        };
        scene.stable_is("1").await;
        scene
            .envoy
            .client()
            .reaches(&Call::http("orders"), &["1-0"])
            .await;
        scene
    }

    pub(super) fn load(&self) -> Load {
        Load::start(self.envoy.listener(), &[Call::http("orders")], RATE, 8)
    }

    /// A server of a version: `2-0`.
    pub(super) async fn version(&self, version: &str) -> Version {
        self.version_with(version, &[("version", version)]).await
    }

    pub(super) async fn version_with(&self, version: &str, keys: &[(&str, &str)]) -> Version {
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        Version::start(&self.registry, &format!("{version}-{number}"), keys).await
    }

    /// What `/rollouts/orders` says.
    pub(super) async fn view(&self) -> Value {
        view(&self.bridge).await.expect("the rollout of orders")
    }

    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        until(&self.bridge, what, wanted).await;
    }

    pub(super) async fn stable_is(&self, version: &str) {
        self.until(&format!("{version} is the stable version"), |view| {
            view["record"]["stable"] == version
        })
        .await;
    }

    /// It was taken back, and is remembered for that.
    pub(super) async fn taken_back(&self, version: &str) {
        taken_back(&self.bridge, version).await;
    }

    /// A rollout goes on, or stays where it is for now.
    pub(super) async fn is_under_way(&self) {
        self.until("a rollout is under way", |view| {
            is(view, "running") || is(view, "held")
        })
        .await;
    }

    pub(super) async fn phase_is(&self, phase: &str) {
        self.until(phase, |view| is(view, phase)).await;
    }

    /// It waits, and says what for.
    pub(super) async fn waits(&self, version: &str) {
        self.until(&format!("{version} waits"), |view| {
            let waiting = view["record"]["waiting"].as_array();
            waiting.is_some_and(|all| all.iter().any(|one| one["version"] == version))
        })
        .await;
    }

    /// `xds-bridge rollout …`, which must succeed; what it prints.
    pub(super) async fn order(&self, args: &str) -> String {
        let output = self.bridge.command(&format!("rollout {args}")).await;
        assert!(output.status.success(), "{args}: {}", output.stderr);
        output.stdout
    }

    pub(super) async fn say_data(&self, number: u32) {
        let output = self.bridge.command(&format!("data orders {number}")).await;
        assert!(output.status.success(), "{}", output.stderr);
    }

    /// What happens from now on, and what has happened lately.
    pub(super) async fn events(&self) -> Events {
        let stream = TcpStream::connect(self.bridge.admin)
            .await
            .expect("the admin port");
        let (sender, events) = mpsc::unbounded_channel();
        let request = format!(
            "GET /rollouts/orders/events HTTP/1.1\r\nhost: {}\r\n\r\n",
            self.bridge.admin
        );
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            stream.write_all(request.as_bytes()).await.expect("a request");
            let mut lines = stream.lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(data) = line.strip_prefix("data: ") else {
                    continue;
                };
                let event = serde_json::from_str(data).expect("JSON");
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Events(events)
    }
}

impl Events {
    /// All up to this one.
    pub(super) async fn until(mut self, last: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        let reading = async {
            while let Some(event) = self.0.recv().await {
                let is_last = event["event"] == last;
                seen.push(event);
                if is_last {
                    return;
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, reading).await;
        assert!(outcome.is_ok(), "no event {last}: {seen:#?}");
        seen
    }
}

pub(super) async fn view(bridge: &Bridge) -> Result<Value, String> {
    let text = bridge.text("/rollouts/orders").await?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

pub(super) async fn until(bridge: &Bridge, what: &str, wanted: impl Fn(&Value) -> bool) {
    wait::until(PATIENCE, what, async || {
        let view = view(bridge).await?;
        wait::holds(wanted(&view), || format!("{view:#}"))
    })
    .await;
}

pub(super) async fn taken_back(bridge: &Bridge, version: &str) {
    until(bridge, &format!("{version} is taken back"), |view| {
        let rejected = view["record"]["rejected"].as_array();
        rejected.is_some_and(|all| all.iter().any(|one| one["version"] == version))
    })
    .await;
}
