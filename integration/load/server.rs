//! The program under measurement, started by itself.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, ChildStderr, Command};

use crate::numbers::now;
use crate::support::http::Http;
use crate::support::{bridge, envoy, process};

/// A start that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running bridge; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where clients connect to.
    pub(crate) xds: SocketAddr,
    /// Its admin port.
    pub(crate) admin: SocketAddr,
    listener: SocketAddr,
    dir: TempDir,
    /// From its start until `/readyz` said yes.
    pub(crate) start_to_ready: Duration,
}

impl Server {
    /// Starts it with these sources. Warnings go to this program's own standard error.
    pub(crate) async fn start(sources: &str) -> Self {
        Self::start_with(sources, "warn", Stdio::inherit()).await
    }

    /// Starts it with all that it logs about discovery in a pipe.
    pub(crate) async fn start_talking(sources: &str) -> (Self, ChildStderr) {
        let mut server = Self::start_with(sources, "xds_bridge=debug", Stdio::piped()).await;
        let log = server.child.stderr.take().expect("a pipe");
        (server, log)
    }

    /// Starts it with its warnings in a pipe.
    pub(crate) async fn start_warning(sources: &str) -> (Self, ChildStderr) {
        let mut server = Self::start_with(sources, "warn", Stdio::piped()).await;
        let log = server.child.stderr.take().expect("a pipe");
        (server, log)
    }

    async fn start_with(sources: &str, filter: &str, stderr: Stdio) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let [xds, admin, listener] = process::ports().map(|p| SocketAddr::from(([127, 0, 0, 1], p)));
        let text = format!(
            "[xds]\nlisten = \"{xds}\"\n\n[admin]\nlisten = \"{admin}\"\n\n{sources}\n\
             [listeners.internal]\naddress = \"{listener}\"\nexposure = \"internal\"\n\n\
             [log]\nfilter = \"{filter}\"\nformat = \"json\"\n"
        );
        let file = dir.path().join("bridge.toml");
        std::fs::write(&file, text).expect("writing bridge.toml");
        let mut command = Command::new(bridge::binary());
        for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("XDS_BRIDGE__")) {
            command.env_remove(key);
        }
        command.arg("run").arg("--config").arg(&file);
        command.stdin(Stdio::null()).stderr(stderr).kill_on_drop(true);
        let began = now();
        let mut child = command.spawn().expect("starting xds-bridge");
        let http = Http::fresh();
        let url = format!("http://{admin}/readyz");
        while http.text(&url).await.is_err() {
            if let Some(status) = child.try_wait().expect("asking for its status") {
                panic!("xds-bridge ended at its start, {status}");
            }
            assert!(now() - began < PATIENCE, "xds-bridge is not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self {
            child,
            xds,
            admin,
            listener,
            dir,
            start_to_ready: now() - began,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// An Envoy that takes everything from it.
    pub(crate) async fn envoy(&self) -> envoy::Envoy {
        envoy::Envoy::start(self.listener, async |admin| {
            let file = self.dir.path().join("bridge.toml").display().to_string();
            let admin = admin.to_string();
            let args = ["bootstrap", "--config", &file, "--admin", &admin];
            let output = bridge::run(&args, self.dir.path());
            assert!(output.status.success(), "xds-bridge {args:?}: {}", output.stderr);
            output.stdout
        })
        .await
    }
}
