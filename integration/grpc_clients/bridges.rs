//! Two bridges: whoever follows the one that gets into trouble is to follow the other soon. Each bridge is in
//! a network namespace of its own, so that it can be cut off without a word.
//!
//! The tables of docs/clients.md ("Several bridges") are what these print with `--nocapture`. What takes
//! minutes is ignored by default: `cargo test --test integration -- --ignored --nocapture two_bridges`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::servers;
use crate::chaos::etcd::network::{End, Network};
use crate::support::bridge::{Counted, Step, binary, print_bootstrap, run};
use crate::support::client::Call;
use crate::support::envoy::Envoy;
use crate::support::grpc::{Caller, Language};
use crate::support::http::Http;
use crate::support::process::{self, Program, Start};
use crate::support::servers::Server;
use crate::support::wait;

/// For the tables in the docs only: nothing is asserted of times.
#[expect(clippy::disallowed_methods, reason = "a table of times has no other source")]
fn now() -> Instant {
    Instant::now()
}

/// The name that has both addresses.
const NAME: &str = "bridge.test";

/// In each namespace the ports are free.
const XDS: u16 = 18000;

/// What becomes of the bridge that the client follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// SIGKILL: connections are closed, new ones refused.
    Killed,
    /// SIGSTOP: connections stay and are silent, new ones too.
    Frozen,
    /// All packets are dropped.
    CutOff,
    /// Started again, and its source has not delivered yet.
    NotReady,
}

/// Two bridges over one folder.
struct Pair {
    bridges: [Program; 2],
    catalogs: [PathBuf; 2],
    addresses: [SocketAddr; 2],
    http: Http,
    dir: TempDir,
    network: Network,
}

impl Pair {
    async fn start(listener: SocketAddr) -> Self {
        let (dir, network, http) = (tempfile::tempdir().unwrap(), Network::new(), Http::fresh());
        std::fs::create_dir(dir.path().join("catalog")).unwrap();
        let addresses = [0, 1].map(|n| SocketAddr::from((network.address(n), XDS)));
        let catalogs = [0, 1].map(|n| {
            let link = dir.path().join(format!("catalog-{n}"));
            std::os::unix::fs::symlink("catalog", &link).unwrap();
            link
        });
        let bridges = [0, 1].map(|n| {
            let text = format!(
                "[xds]\nlisten = \"{}\"\nallow_plaintext = true\n\n[admin]\nlisten = \"{}\"\n\n\
                 [sources.files]\nkind = \"file\"\npath = \"{}\"\n\n\
                 [listeners.internal]\naddress = \"{listener}\"\nexposure = \"internal\"\n",
                addresses[n],
                admin(addresses[n]),
                catalogs[n].display()
            );
            let file = dir.path().join(format!("bridge-{n}.toml"));
            std::fs::write(&file, text).unwrap();
            let args = vec!["run".into(), "--config".into(), file.display().to_string()];
            let (program, args) = network.inside(n, &binary(), args);
            Program::start(&format!("xds-bridge-{n}"), &program, args, dir.path())
        });
        let mut pair = Self {
            bridges,
            catalogs,
            addresses,
            http,
            dir,
            network,
        };
        pair.serve(&[]);
        for n in 0..2 {
            let (http, url) = (pair.http.clone(), pair.url(n, "/readyz"));
            let started = pair.bridges[n].ready(async || http.text(&url).await.map(drop));
            assert_eq!(
                started.await,
                Start::Ready,
                "the ports of a new namespace are free"
            );
        }
        pair
    }

    /// What both serve.
    fn serve(&self, servers: &[&Server]) {
        let instance = |server: &&Server| {
            format!(
                "\n[[services.orders.instances]]\nid = \"{}\"\naddress = \"{}\"\nport = {}\n",
                server.id,
                server.address.ip(),
                server.address.port()
            )
        };
        let instances: String = servers.iter().map(instance).collect();
        let text =
            format!("[services.orders]\nprotocol = \"grpc\"\nroute = \"grpc=shop.Orders\"\n{instances}");
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.path().join("catalog/orders.toml")).unwrap();
    }

    /// The same, and waits until both do. Clients fail at once where a service has no instance.
    async fn serve_first(&self, server: &Server) {
        self.serve(&[server]);
        for n in 0..2 {
            wait::until(wait::PATIENCE, "the bridge serves the instance", async || {
                let text = self.http.text(&self.url(n, "/metrics")).await?;
                let instances = Counted::new(text).sum("xds_bridge_source_instances", &[]);
                wait::holds(instances == Some(1), || format!("{instances:?}"))
            })
            .await;
        }
    }

    fn url(&self, n: usize, path: &str) -> String {
        format!("http://{}{path}", admin(self.addresses[n]))
    }

    /// The one that has this client's stream. (Others may connect: what a killed run has left.)
    async fn followed(&self, node: &str) -> usize {
        wait::until(wait::PATIENCE, "one bridge has the stream", async || {
            let mut found = Vec::new();
            for n in 0..2 {
                let text = self.http.text(&self.url(n, "/streams")).await?;
                let streams: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
                let streams = streams["streams"].as_array().into_iter().flatten();
                found.extend(streams.filter(|s| s["node"] == node).map(|_| n));
            }
            match found[..] {
                [n] => Ok(n),
                _ => Err(format!("{found:?}")),
            }
        })
        .await
    }

    fn trouble(&mut self, n: usize, trouble: Trouble) {
        match trouble {
            Trouble::Killed => self.bridges[n].kill(),
            Trouble::Frozen => self.bridges[n].signal("STOP"),
            Trouble::CutOff => self.network.cut(End::Here, End::Member(n)),
            Trouble::NotReady => {
                std::fs::remove_file(&self.catalogs[n]).unwrap();
                self.bridges[n].kill();
                self.bridges[n].start_again();
            }
        }
    }

    /// Any of the two configurations: they differ in what a bootstrap does not read.
    fn file(&self) -> PathBuf {
        self.dir.path().join("bridge-0.toml")
    }

    /// A program whose `/etc/hosts` gives the name both addresses, and these before them, begins with this.
    fn with_name(&self, before: &str) -> Vec<String> {
        let hosts = self.dir.path().join("hosts");
        let lines = self.addresses.map(|at| format!("{} {NAME}\n", at.ip()));
        std::fs::write(&hosts, format!("{before}{}", lines.concat())).unwrap();
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let words = ["unshare", "--mount", "sh", "-c", script];
        let mut words: Vec<String> = words.map(str::to_owned).into();
        words.push(hosts.display().to_string());
        words
    }
}

fn admin(xds: SocketAddr) -> SocketAddr {
    SocketAddr::new(xds.ip(), XDS + 1)
}

fn nowhere() -> SocketAddr {
    let [port] = process::ports();
    ([127, 0, 0, 1], port).into()
}

/// A gRPC client by one name with both addresses.
async fn grpc(language: Language, trouble: Trouble, within: Duration) {
    if !language.is_here() {
        return;
    }
    let mut pair = Pair::start(nowhere()).await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    pair.serve_first(one).await;
    let file = pair.file().display().to_string();
    let bridge = format!("{NAME}:{XDS}");
    let node = format!("client-{}", one.address.port());
    let args = [
        "bootstrap",
        "--config",
        &file,
        "--for",
        "grpc",
        "--bridge",
        &bridge,
        "--node-id",
        &node,
    ];
    let printed = run(&args, Path::new("."));
    assert!(printed.status.success(), "{}", printed.stderr);
    let (target, method) = ("xds:///orders", "/shop.Orders/Get");
    let client = Caller::start_by(&pair.with_name(""), language, &printed.stdout, target, method);
    client.reaches(&["orders-1"]).await;
    let followed = pair.followed(&node).await;
    pair.trouble(followed, trouble);
    let begin = now();
    pair.serve(&[one, two]);
    wait::until(within, "the client follows the other bridge", async || {
        let seen = client.calls().answers.iter().any(|name| name == "orders-2");
        wait::holds(seen, || {
            format!("the last failure {:?}", client.calls().failures.last())
        })
    })
    .await;
    let (taken, calls) = (now() - begin, client.calls());
    println!(
        "{language:?}, {trouble:?}: {:.1} s, {} of {} calls failed",
        taken.as_secs_f64(),
        calls.failures.len(),
        calls.answers.len() + calls.failures.len()
    );
    client.assert_clean();
}

/// An Envoy by both addresses.
async fn envoy(trouble: Trouble) {
    let listener = nowhere();
    let mut pair = Pair::start(listener).await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    pair.serve_first(one).await;
    let bridges = pair.addresses.map(|at| at.to_string());
    let flags = ["--bridge", &bridges[0], "--bridge", &bridges[1]];
    let file = pair.file();
    let envoy = Envoy::start(listener, async |admin| {
        print_bootstrap(&file, Step::Listeners, admin, None, &flags)
    })
    .await;
    let (client, orders) = (envoy.client(), Call::grpc("shop.Orders"));
    client.reaches(&orders, &["orders-1"]).await;
    let followed = pair.followed("envoy-1").await;
    pair.trouble(followed, trouble);
    let begin = now();
    pair.serve(&[one, two]);
    envoy.has_hosts("orders", &[one.address, two.address]).await;
    let resent = envoy.stat("cluster_manager.cluster_modified").await;
    println!(
        "Envoy, {trouble:?}: {:.1} s, {resent} clusters modified",
        (now() - begin).as_secs_f64()
    );
    client.reaches(&orders, &["orders-1", "orders-2"]).await;
    assert_eq!(resent, 0, "what it held already was sent again");
}

/// An Envoy by a name. It has an IPv6 address, too, where nobody listens: what `localhost` is to a bridge
/// on 127.0.0.1, and by default Envoy would know no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_by_a_name() {
    let listener = nowhere();
    let mut pair = Pair::start(listener).await;
    let [one, two] = &servers(["orders-1", "orders-2"]).await;
    pair.serve_first(one).await;
    let bridge = format!("{NAME}:{XDS}");
    let (file, before) = (pair.file(), pair.with_name(&format!("::1 {NAME}\n")));
    let envoy = Envoy::start_by(&before, listener, async |admin| {
        print_bootstrap(&file, Step::Listeners, admin, None, &["--bridge", &bridge])
    })
    .await;
    envoy.has_hosts("orders", &[one.address]).await;
    let followed = pair.followed("envoy-1").await;
    pair.trouble(followed, Trouble::Killed);
    pair.serve(&[one, two]);
    envoy.has_hosts("orders", &[one.address, two.address]).await;
}

/// A client that gets nothing from a bridge that is frozen or cut off notices it by its own pings, after minutes.
const MINUTES: Duration = Duration::from_secs(600);

macro_rules! each_trouble {
    ($($name:ident: $trouble:ident $slow:tt for $($test:ident $language:ident),+;)+) => { $(
        mod $name {
            use super::*;
            each_trouble!(@ $trouble $slow $($test $language),+);

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn envoy() {
                super::envoy(Trouble::$trouble).await;
            }
        }
    )+ };
    (@ $trouble:ident $slow:tt $($test:ident $language:ident),+) => {
        $(each_trouble!(@@ $test $language $trouble $slow);)+
    };
    (@@ $test:ident $language:ident $trouble:ident [$($slow:meta)?]) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$slow])?
        async fn $test() {
            grpc(Language::$language, Trouble::$trouble, MINUTES).await;
        }
    };
}

mod two_bridges {
    use super::*;

    each_trouble! {
        one_is_killed: Killed [] for python Python, node Node, rust Rust, go Go, java Java;
        one_is_not_ready: NotReady [] for python Python, node Node, rust Rust, go Go, java Java;
        // Not Java and Rust: they had not left a frozen bridge after 450 s (docs/clients.md).
        one_is_frozen: Frozen [ignore = "minutes: gRPC clients ping every five"] for
            python Python, node Node, go Go;
        one_is_cut_off: CutOff [ignore = "minutes: gRPC clients ping every five"] for
            python Python, node Node, rust Rust, go Go, java Java;
    }
}
