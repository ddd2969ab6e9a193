//! The hooks of docs/deploys.md, taken from the document and run as systemd, Kubernetes, a shell and Nomad run them,
//! under load: whoever is stopped by them loses nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::killed::Mortal;
use super::scene::Service;
use crate::support::bridge::{Bridge, Step, binary};
use crate::support::client::Call;
use crate::support::consul::{Check, Consul};
use crate::support::envoy::Envoy;
use crate::support::etcd::{Etcd, Lease};
use crate::support::load::Load;

const TTL: Duration = Duration::from_secs(10);

/// The blocks of this language below the heading of hooks, in their order.
fn blocks(language: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploys.md");
    let text = std::fs::read_to_string(file).expect("the document");
    let (_, hooks) = text.split_once("\n## Hooks\n").expect("its hooks");
    let hooks = hooks.split("\n## ").next().expect("a part");
    let fence = format!("```{language}\n");
    hooks
        .split(&fence)
        .skip(1)
        .map(|block| block.split("```").next().expect("a block").to_owned())
        .collect()
}

struct Scene {
    etcd: Etcd,
    bridge: Bridge,
    servers: Mutex<BTreeMap<String, (Mortal, Lease)>>,
    _dir: TempDir,
}

impl Scene {
    /// A bridge as the hooks want it: with a token, and a name.
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let token = dir.path().join("token");
        std::fs::write(&token, "of-the-hooks\n").expect("a token");
        let etcd = Etcd::start().await;
        let admin = format!("token_file = \"{}\"\nhosts = [\"bridge\"]\n", token.display());
        let source = format!(
            "[sources.etcd]\nkind = \"etcd\"\nendpoints = [\"{}\"]\n",
            etcd.url()
        );
        let bridge = Bridge::start(&format!("{admin}{source}[drain]\ngrace = \"1s\"\n")).await;
        let scene = Self {
            etcd,
            bridge,
            servers: Mutex::default(),
            _dir: dir,
        };
        scene.serve("orders-7").await;
        scene
    }

    async fn serve(&self, id: &str) {
        let mortal = Mortal::start(Service::Web, id).await;
        let lease = self.etcd.register("orders", mortal.server(), &[], TTL).await;
        self.servers.lock().await.insert(id.to_owned(), (mortal, lease));
    }

    /// As whoever ran the hook does it then. It deregisters, as a server that is stopped in order.
    async fn kill(&self, id: &str) {
        let (mortal, lease) = self.servers.lock().await.remove(id).expect("it serves");
        mortal.kill();
        lease.revoke().await;
    }

    /// An Envoy, and short and slow calls by it.
    async fn load(&self) -> (Envoy, Load) {
        let envoy = self.bridge.envoy(Step::Listeners, &[]).await;
        let load = load(&envoy).await;
        (envoy, load)
    }
}

async fn load(envoy: &Envoy) -> Load {
    envoy.client().reaches(&Call::http("orders"), &["orders-7"]).await;
    let slow = Call::Http {
        host: "orders".to_owned(),
        path: "/after/900".to_owned(),
    };
    Load::start(envoy.listener(), &[Call::http("orders"), slow], 40, 4)
}

fn succeeded(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// systemd starts a command without a shell, in the root folder, with hardly a variable.
async fn as_systemd(unit: &str, setting: &str, instance: &str, scene: &Scene) {
    let mut lines = unit.lines().filter_map(|line| line.strip_prefix(setting));
    let line = lines
        .next()
        .expect("a line of this setting")
        .replace("%i", instance);
    let line = line.replace("/usr/local/bin/xds-bridge", &binary().display().to_string());
    let line = line.replace(
        "/etc/xds-bridge/bridge.toml",
        &scene.bridge.file().display().to_string(),
    );
    let mut words = line.split(' ');
    let program = words.next().expect("a program");
    assert!(program.starts_with('/'), "{program}: a whole path");
    let mut command = Command::new(program);
    command
        .args(words)
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let output = command.output().await.expect("a program that runs");
    succeeded(&line, &output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unit_of_systemd_restarts_without_a_lost_request() {
    let scene = Scene::start().await;
    let (_envoy, load) = scene.load().await;
    let unit = &blocks("ini")[0];
    scene.serve("orders-8").await;
    as_systemd(unit, "ExecStartPost=", "8", &scene).await;
    as_systemd(unit, "ExecStop=", "7", &scene).await;
    scene.kill("orders-7").await;
    load.goes_on(50).await;
    // And the same one comes back, as by `restart`.
    scene.serve("orders-7").await;
    as_systemd(unit, "ExecStartPost=", "7", &scene).await;
    as_systemd(unit, "ExecStop=", "8", &scene).await;
    scene.kill("orders-8").await;
    load.goes_on(50).await;
    load.finish().await.assert_clean(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pre_stop_of_kubernetes_lets_a_pod_go_without_a_lost_request() {
    let scene = Scene::start().await;
    let (_envoy, load) = scene.load().await;
    scene.serve("orders-8").await;
    let serving = scene.bridge.command("wait --serving orders/orders-8").await;
    assert!(serving.status.success(), "{}", serving.stderr);
    let pod: serde_json::Value = serde_yaml_ng::from_str(&blocks("yaml")[0]).expect("YAML");
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["env"][0]["name"], "TOKEN");
    let command = &container["lifecycle"]["preStop"]["exec"]["command"];
    let words: Vec<String> = serde_json::from_value(command.clone()).expect("a command");
    // What the name leads to is another port here; everything else is as it stands.
    let home = tempfile::tempdir().expect("a folder");
    let leads = format!("connect-to = \"bridge:18001:{}\"\n", scene.bridge.admin);
    std::fs::write(home.path().join(".curlrc"), leads).expect("a file for curl");
    let run = async |token: &str| {
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .env("HOSTNAME", "orders-7")
            .env("TOKEN", token);
        command.output().await.expect("a shell")
    };
    let refused = run("guessed").await;
    assert!(!refused.status.success(), "only with the token");
    succeeded("preStop", &run("of-the-hooks").await);
    scene.kill("orders-7").await;
    load.goes_on(50).await;
    load.finish().await.assert_clean(100);
}

/// Programs that the hooks call, in a folder for the PATH: each hands its words on, and ends when that is done.
struct StandIns {
    dir: TempDir,
    calls: mpsc::Receiver<(Vec<String>, oneshot::Sender<()>)>,
    _stop: DropGuard,
}

impl StandIns {
    async fn start(names: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (called, calls) = mpsc::channel(1);
        let handler = move |RawQuery(query): RawQuery| {
            let called = called.clone();
            async move {
                let words = query.unwrap_or_default();
                let words = words.split('+').skip(1).map(str::to_owned).collect();
                let (done, is_done) = oneshot::channel();
                called.send((words, done)).await.expect("the test runs");
                is_done
                    .await
                    .map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::OK)
            }
        };
        let stop = CancellationToken::new();
        let serving = axum::serve(listener, Router::new().fallback(handler));
        let serving = serving.with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(async move { serving.await.expect("a server in this process") });
        let dir = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(binary(), dir.path().join("xds-bridge")).expect("a link");
        for name in names {
            let script = format!(
                "#!/bin/sh\nwords=$(echo \"$0 $*\" | tr ' ' '+')\nexec curl -fsS \"http://{address}/?$words\"\n"
            );
            let file = dir.path().join(name);
            std::fs::write(&file, script).expect("a script");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        }
        Self {
            dir,
            calls,
            _stop: stop.drop_guard(),
        }
    }

    /// A shell runs these lines where `bridge.toml` is; `does` is what the programs do.
    async fn shell(&mut self, lines: &str, bridge: &Bridge, mut does: impl AsyncFnMut(&[&str])) {
        let mut command = Command::new("sh");
        let file = bridge.file();
        command
            .args(["-c", lines])
            .current_dir(file.parent().expect("its folder"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.dir.path().display()));
        let calls = async {
            while let Some((words, done)) = self.calls.recv().await {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                does(&words).await;
                let _ = done.send(());
            }
        };
        tokio::select! {
            output = command.output() => succeeded(lines, &output.expect("a shell")),
            () = calls => panic!("nobody calls any more"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_for_any_ci_replace_a_container_without_a_lost_request() {
    let scene = Scene::start().await;
    let (envoy, load) = scene.load().await;
    let mut docker = StandIns::start(&["docker"]).await;
    let does = async |words: &[&str]| match words {
        ["run", "--detach", "--name", id, ..] => scene.serve(id).await,
        ["stop", id] => scene.kill(id).await,
        _ => panic!("docker {words:?}"),
    };
    docker.shell(&blocks("sh")[0], &scene.bridge, does).await;
    load.goes_on(50).await;
    envoy.client().reaches(&Call::http("orders"), &["orders-8"]).await;
    let servers: Vec<String> = scene.servers.lock().await.keys().cloned().collect();
    assert_eq!(servers, ["orders-8"], "the old one was stopped");
    load.finish().await.assert_clean(100);
}

/// It deregisters first, waits for `shutdown_delay`, and stops the task then. In this time it is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nomads_shutdown_delay_is_long_enough_and_its_nodes_drain_before() {
    let consul = Consul::start().await;
    let bridge = Bridge::start(&format!("{}\n[drain]\ngrace = \"1s\"\n", consul.section())).await;
    let mut started = Vec::new();
    for id in ["orders-7", "orders-8"] {
        started.push(Mortal::start(Service::Web, id).await);
    }
    let [seven, eight] = <[Mortal; 2]>::try_from(started).unwrap_or_else(|_| unreachable!("two"));
    let registered = consul.register("orders", seven.server(), &[], Check::None).await;
    let envoy = bridge.envoy(Step::Listeners, &[]).await;
    let load = load(&envoy).await;
    let _eight = consul.register("orders", eight.server(), &[], Check::None).await;
    let serving = bridge.command("wait --serving orders/orders-8").await;
    assert!(serving.status.success(), "{}", serving.stderr);
    registered.remove().await;
    let group = &blocks("hcl")[0];
    let (_, delay) = group.split_once("shutdown_delay = \"").expect("a delay");
    let (delay, _) = delay.split_once('"').expect("its end");
    let args = format!("wait --drained orders/orders-7 --timeout {delay}");
    let drained = bridge.command(&args).await;
    assert!(drained.status.success(), "{args}: {}", drained.stderr);
    seven.kill();
    load.goes_on(50).await;
    // The machine `web-3` goes: all that is on it.
    let nine = Mortal::start(Service::Web, "orders-9").await;
    let entry = json!({
        "Node": "web-3", "Address": "127.0.0.1",
        "Service": { "ID": "orders-9", "Service": "orders",
            "Address": "127.0.0.1", "Port": nine.server().address.port() },
    });
    consul.put("/v1/catalog/register", &entry).await;
    let serving = bridge.command("wait --serving orders/orders-9").await;
    assert!(serving.status.success(), "{}", serving.stderr);
    let mut nine = Some(nine);
    let mut nomad = StandIns::start(&["nomad"]).await;
    let does = async |words: &[&str]| {
        assert_eq!(words, ["node", "drain", "-enable", "-self", "-yes"]);
        nine.take().expect("it serves").kill();
    };
    nomad.shell(&blocks("sh")[1], &bridge, does).await;
    assert!(nine.is_none(), "it was stopped");
    load.goes_on(50).await;
    load.finish().await.assert_clean(200);
}
