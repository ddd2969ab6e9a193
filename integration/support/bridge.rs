//! The program under test: written a configuration, started, asked, stopped, started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::envoy::Envoy;
use super::http::Http;
use super::process::{self, Program, Start};
use super::wait;

/// One step of the adoption: how much of Envoy's configuration comes from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Endpoints,
    Clusters,
    Listeners,
}

impl Step {
    /// The word on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoints => "endpoints",
            Self::Clusters => "clusters",
            Self::Listeners => "listeners",
        }
    }
}

/// A running bridge.
pub(crate) struct Bridge {
    program: Program,
    /// Where Envoys connect to.
    pub(crate) xds: SocketAddr,
    /// Its admin port.
    pub(crate) admin: SocketAddr,
    /// The address of its only listener, `internal`.
    pub(crate) listener: SocketAddr,
    http: Http,
    dir: TempDir,
}

/// `/metrics` at one time.
#[derive(Clone, Debug)]
pub(crate) struct Counted(String);

impl Bridge {
    /// Starts it with these sources (sections of `bridge.toml`), and waits until it is ready.
    pub(crate) async fn start(sources: &str) -> Self {
        let [listener] = process::ports();
        Self::start_for(sources, SocketAddr::from(([127, 0, 0, 1], listener)), "").await
    }

    /// Another one that tells Envoys of the same listener.
    pub(crate) async fn twin(&self, sources: &str) -> Self {
        Self::start_for(sources, self.listener, "").await
    }

    /// Starts it in a shell that does this first, `ulimit -f 64` for instance.
    pub(crate) async fn start_after(before: &str, sources: &str) -> Self {
        let [listener] = process::ports();
        Self::start_for(sources, SocketAddr::from(([127, 0, 0, 1], listener)), before).await
    }

    async fn start_for(sources: &str, listener: SocketAddr, before: &str) -> Self {
        for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let [xds, admin] = process::ports().map(|p| SocketAddr::from(([127, 0, 0, 1], p)));
            let text = format!(
                "[xds]\nlisten = \"{xds}\"\n\n[admin]\nlisten = \"{admin}\"\n\n{sources}\n\
                 [listeners.internal]\naddress = \"{listener}\"\nexposure = \"internal\"\n"
            );
            let file = dir.path().join("bridge.toml");
            std::fs::write(&file, text).expect("writing bridge.toml");
            let script = format!("{before}\nexec \"$0\" \"$@\"");
            let (program, file) = (binary().display().to_string(), file.display().to_string());
            let args = ["-c", &script, &program, "run", "--config", &file].map(str::to_owned);
            let mut program = Program::start("xds-bridge", Path::new("/bin/sh"), args, dir.path());
            let http = Http::fresh();
            if program.ready(async || ready(&http, admin).await).await == Start::Ready {
                return Self {
                    program,
                    xds,
                    admin,
                    listener,
                    http,
                    dir,
                };
            }
        }
        panic!("xds-bridge finds its ports taken");
    }

    /// An Envoy started from the bootstrap that `xds-bridge bootstrap` prints for this step.
    pub(crate) async fn envoy(&self, step: Step, services: &[&str]) -> Envoy {
        Envoy::start(self.listener, async |admin| self.bootstrap(step, admin, services)).await
    }

    /// What `xds-bridge bootstrap` prints.
    pub(crate) fn bootstrap(&self, step: Step, admin: SocketAddr, services: &[&str]) -> String {
        // Only a file that keeps clusters names services; the program says so of the others.
        let services = if step == Step::Endpoints { services } else { &[] };
        let flags: Vec<&str> = services.iter().flat_map(|s| ["--service", *s]).collect();
        self.bootstrap_with(step, admin, &flags)
    }

    /// The same with other flags.
    pub(crate) fn bootstrap_with(&self, step: Step, admin: SocketAddr, flags: &[&str]) -> String {
        print_bootstrap(&self.file(), step, admin, None, flags)
    }

    /// An Envoy that gets everything from here, and comes by another address (a proxy's).
    pub(crate) async fn envoy_by(&self, way: SocketAddr) -> Envoy {
        Envoy::start(self.listener, async |admin| {
            print_bootstrap(&self.file(), Step::Listeners, admin, Some(way), &[])
        })
        .await
    }

    /// An Envoy that speaks the state-of-the-world variant.
    pub(crate) async fn envoy_sotw(&self, step: Step, services: &[&str]) -> Envoy {
        Envoy::start(self.listener, async |admin| {
            let delta = self.bootstrap(step, admin, services);
            let sotw = delta.replace("api_type: DELTA_GRPC", "api_type: GRPC");
            assert_ne!(delta, sotw, "the bootstrap names its variant in another way");
            sotw
        })
        .await
    }

    /// What `xds-bridge bootstrap --for grpc` prints.
    pub(crate) fn grpc_bootstrap(&self, node: &str) -> String {
        self.grpc_bootstrap_with(node, &[])
    }

    /// The same with more flags.
    pub(crate) fn grpc_bootstrap_with(&self, node: &str, flags: &[&str]) -> String {
        let file = self.file().display().to_string();
        let mut args = vec![
            "bootstrap",
            "--config",
            &file,
            "--for",
            "grpc",
            "--node-id",
            node,
            "--zone",
            "a",
        ];
        args.extend(flags);
        let output = run(&args, self.dir.path());
        assert!(output.status.success(), "xds-bridge {args:?}: {}", output.stderr);
        output.stdout
    }

    /// Its `bridge.toml`.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("bridge.toml")
    }

    /// What `xds-bridge accept SOURCE` says.
    pub(crate) fn accept(&self, source: &str) -> Output {
        self.run(&["accept", source])
    }

    /// What `xds-bridge forget SERVICE` says.
    pub(crate) fn forget(&self, service: &str) -> Output {
        self.run(&["forget", service])
    }

    /// What a command of this bridge's own says.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let file = self.file().display().to_string();
        let args = [args, &["--config", &file]].concat();
        run(&args, self.dir.path())
    }

    /// The same, while everything else goes on.
    pub(crate) async fn command(&self, args: &str) -> Output {
        let args = format!("{args} --config {}", self.file().display());
        let running = tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.split(' ').collect();
            run(&args, Path::new("."))
        });
        running.await.expect("a command that ends")
    }

    /// The child, to be signalled.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        self.program.signal(signal);
    }

    /// SIGTERM; the status it ends with.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.program.terminate().await
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts it again as it was, and waits until it is ready.
    pub(crate) async fn restart(&mut self) {
        let (http, admin) = (self.http.clone(), self.admin);
        self.program.restart(async || ready(&http, admin).await).await;
    }

    /// SIGKILL, then starts it again, and waits until it is ready and an Envoy has come back.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart().await;
        self.metric_is("xds_bridge_streams", &[], |streams| streams >= 1)
            .await;
    }

    /// Starts it again and waits until it is alive, whether ready or not.
    pub(crate) async fn restart_unready(&mut self) {
        let (http, url) = (self.http.clone(), format!("http://{}/healthz", self.admin));
        self.program
            .restart(async || http.text(&url).await.map(drop))
            .await;
    }

    /// What it has logged since its start.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// GET of an admin path.
    pub(crate) async fn text(&self, path: &str) -> Result<String, String> {
        self.http.text(&format!("http://{}{path}", self.admin)).await
    }

    /// All metrics.
    pub(crate) async fn metrics(&self) -> Counted {
        Counted(self.text("/metrics").await.expect("the bridge's metrics"))
    }

    /// The number of the generation that it serves.
    pub(crate) async fn generation(&self) -> i64 {
        let metrics = self.metrics().await;
        metrics.sum("xds_bridge_generation", &[]).expect("a generation")
    }

    /// Fails when an Envoy has refused anything.
    pub(crate) async fn assert_no_nacks(&self) {
        let metrics = self.metrics().await;
        let nacks = metrics.sum("xds_bridge_nacks_total", &[]).unwrap_or(0);
        assert!(nacks == 0, "Envoy refused {nacks} responses:\n{}", self.log());
    }

    /// Waits until a metric (the sum over what the labels leave open) is as wanted.
    pub(crate) async fn metric_is(&self, name: &str, labels: &[(&str, &str)], wanted: impl Fn(i64) -> bool) {
        let what = format!("metric {name}{labels:?} is as wanted");
        wait::until(wait::PATIENCE, &what, async || {
            let metrics = Counted(self.text("/metrics").await?);
            let value = metrics.sum(name, labels);
            wait::holds(value.is_some_and(&wanted), || format!("{value:?}"))
        })
        .await;
    }
}

impl Counted {
    /// What the program's registry prints.
    pub(crate) const fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of all series of this name with these labels (whole numbers); `None` without any.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<i64> {
        let values: Vec<i64> = self
            .0
            .lines()
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (found, its) = series.split_once('{').unwrap_or((series, ""));
                let has = |(k, v): &(&str, &str)| its.contains(&format!("{k}=\"{v}\""));
                (found == name && labels.iter().all(has))
                    .then(|| value.strip_suffix(".0").unwrap_or(value).parse().ok())
                    .flatten()
            })
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// What `xds-bridge bootstrap` prints for an Envoy that comes by `way`.
pub(crate) fn print_bootstrap(
    file: &Path,
    step: Step,
    admin: SocketAddr,
    way: Option<SocketAddr>,
    flags: &[&str],
) -> String {
    let (file, admin) = (file.display().to_string(), admin.to_string());
    let way = way.map(|way| way.to_string());
    let mut args = vec!["bootstrap", "--config", &file, "--step", step.as_str()];
    args.extend([
        "--admin",
        &admin,
        "--node-id",
        "envoy-1",
        "--node-cluster",
        "proof",
    ]);
    args.extend(way.iter().flat_map(|way| ["--bridge", way]));
    args.extend(flags);
    let output = run(&args, Path::new("."));
    assert!(output.status.success(), "xds-bridge {args:?}: {}", output.stderr);
    output.stdout
}

async fn ready(http: &Http, admin: SocketAddr) -> Result<(), String> {
    http.text(&format!("http://{admin}/readyz")).await.map(drop)
}

/// What a command printed.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `xds-bridge` to its end.
pub(crate) fn run(args: &[&str], dir: &Path) -> Output {
    let output = Command::new(binary())
        .args(args)
        .current_dir(dir)
        .output()
        .expect("running xds-bridge");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Output {
        status: output.status,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The binary that cargo built for the tests; for the demo the one beside it. Or another
/// one, by `XDS_BRIDGE_BIN`: the proofs then hold for that one.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("XDS_BRIDGE_BIN") {
        return PathBuf::from(path);
    }
    if let Some(path) = option_env!("CARGO_BIN_EXE_xds-bridge") {
        return PathBuf::from(path);
    }
    let demo = std::env::current_exe().expect("the path of this program");
    let beside = demo
        .parent()
        .and_then(Path::parent)
        .map(|profile| profile.join("xds-bridge"));
    let path = beside.filter(|p| p.is_file());
    path.expect("xds-bridge is not built: run `cargo build --bin xds-bridge` (or `make demo`)")
}
