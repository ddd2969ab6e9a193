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
pub(crate) struct Metrics(String);

impl Bridge {
    /// Starts it with these sources (sections of `bridge.toml`), and waits until it is ready.
    pub(crate) async fn start(sources: &str) -> Self {
        for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let [xds, admin, listener] = process::ports().map(|p| SocketAddr::from(([127, 0, 0, 1], p)));
            let text = format!(
                "[xds]\nlisten = \"{xds}\"\n\n[admin]\nlisten = \"{admin}\"\n\n{sources}\n\
                 [listeners.internal]\naddress = \"{listener}\"\nexposure = \"internal\"\n"
            );
            let file = dir.path().join("bridge.toml");
            std::fs::write(&file, text).expect("writing bridge.toml");
            let args = ["run", "--config", &file.display().to_string()].map(str::to_owned);
            let mut program = Program::start("xds-bridge", &binary(), args, dir.path());
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
        let flags: Vec<&str> = services.iter().flat_map(|s| ["--service", *s]).collect();
        self.bootstrap_with(step, admin, &flags)
    }

    /// The same with other flags.
    pub(crate) fn bootstrap_with(&self, step: Step, admin: SocketAddr, flags: &[&str]) -> String {
        let admin = admin.to_string();
        let file = self.file().display().to_string();
        let mut args = vec![
            "bootstrap",
            "--config",
            &file,
            "--step",
            step.as_str(),
            "--admin",
            &admin,
        ];
        args.extend(["--node-id", "envoy-1", "--node-cluster", "proof"]);
        args.extend(flags);
        let output = run(&args, self.dir.path());
        assert!(output.status.success(), "xds-bridge {args:?}: {}", output.stderr);
        output.stdout
    }

    /// Its `bridge.toml`.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("bridge.toml")
    }

    /// The child, to be signalled.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
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

    /// What it has logged since its start.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// GET of an admin path.
    pub(crate) async fn text(&self, path: &str) -> Result<String, String> {
        self.http.text(&format!("http://{}{path}", self.admin)).await
    }

    /// All metrics.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(self.text("/metrics").await.expect("the bridge's metrics"))
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
            let metrics = Metrics(self.text("/metrics").await?);
            let value = metrics.sum(name, labels);
            wait::holds(value.is_some_and(&wanted), || format!("{value:?}"))
        })
        .await;
    }
}

impl Metrics {
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
