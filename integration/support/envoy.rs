//! A real Envoy, started from a bootstrap, and what its admin port tells: statistics,
//! the configuration it holds, the hosts of its clusters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::http::Http;
use super::process::{self, Program, Start};
use super::wait;

/// Where its admin port tells of clusters and their hosts.
pub(crate) const CLUSTERS: &str = "/clusters?format=json";

/// One Envoy with one worker.
pub(crate) struct Envoy {
    program: Program,
    admin: SocketAddr,
    listener: SocketAddr,
    http: Http,
    dir: TempDir,
}

/// What Envoy holds of one cluster: compare two to see whether it was touched in between.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClusterState {
    /// Version and time of the cluster as CDS gave it; `None` for a static one.
    pub(crate) dynamic: Option<(String, String)>,
    /// Its EDS counters and membership.
    pub(crate) stats: BTreeMap<String, u64>,
}

impl Envoy {
    /// Starts it from the bootstrap that `bootstrap` makes for an admin address, and waits
    /// until it is ready. Requests go to its `listener`.
    pub(crate) async fn start(
        listener: SocketAddr,
        bootstrap: impl AsyncFnMut(SocketAddr) -> String,
    ) -> Self {
        Self::start_by(&[], listener, bootstrap).await
    }

    /// The same with this Envoy.
    pub(crate) async fn start_program(
        binary: &Path,
        listener: SocketAddr,
        bootstrap: impl AsyncFnMut(SocketAddr) -> String,
    ) -> Self {
        Self::start_words(&[binary.display().to_string()], listener, bootstrap).await
    }

    /// The same; its command line begins with `before`, a program that starts the next.
    pub(crate) async fn start_by(
        before: &[String],
        listener: SocketAddr,
        bootstrap: impl AsyncFnMut(SocketAddr) -> String,
    ) -> Self {
        let binary = process::tool("ENVOY_BIN", "envoy").display().to_string();
        let words: Vec<String> = before.iter().cloned().chain([binary]).collect();
        Self::start_words(&words, listener, bootstrap).await
    }

    /// These words begin its command line.
    async fn start_words(
        words: &[String],
        listener: SocketAddr,
        mut bootstrap: impl AsyncFnMut(SocketAddr) -> String,
    ) -> Self {
        let http = Http::fresh();
        for _ in 0..process::TRIES {
            let dir = tempfile::tempdir().expect("a folder");
            let [port] = process::ports();
            let admin = SocketAddr::from(([127, 0, 0, 1], port));
            let file = dir.path().join("envoy.yaml");
            std::fs::write(&file, bootstrap(admin).await).expect("writing a bootstrap");
            let file = file.display().to_string();
            // Without hot restart there is no shared memory to be left behind by SIGKILL.
            // The start at `info` fills a screen with the names of extensions.
            let quiet = [
                "--log-level",
                "warning",
                "--component-log-level",
                "upstream:info,config:info",
            ];
            let args = ["-c", &file, "--concurrency", "1", "--disable-hot-restart"];
            let args = words.iter().map(String::as_str).chain(args).chain(quiet);
            let mut program = Program::start("envoy", Path::new("env"), args, dir.path());
            let url = format!("http://{admin}/ready");
            if program.ready(async || http.text(&url).await.map(drop)).await == Start::Ready {
                return Self {
                    program,
                    admin,
                    listener,
                    http,
                    dir,
                };
            }
        }
        panic!("envoy finds its ports taken");
    }

    /// A client that sends requests through it.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.listener)
    }

    /// Where it takes requests.
    pub(crate) const fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// Its admin port.
    pub(crate) const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The child, to be signalled.
    pub(crate) fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// GET of an admin path.
    pub(crate) async fn text(&self, path: &str) -> String {
        self.http
            .text(&format!("http://{}{path}", self.admin))
            .await
            .expect("an answer of Envoy")
    }

    /// GET of an admin path, as JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).expect("JSON of Envoy")
    }

    /// Counters and gauges whose whole name matches one of these, `*` for any part.
    pub(crate) async fn stats(&self, names: &[&str]) -> BTreeMap<String, u64> {
        let text = self.text("/stats").await;
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let wanted = names.iter().any(|pattern| matches(pattern, name));
            Some((name.to_owned(), value.parse().ok()?)).filter(|_| wanted)
        });
        pairs.collect()
    }

    /// One counter or gauge; 0 when Envoy has not counted yet.
    pub(crate) async fn stat(&self, name: &str) -> u64 {
        self.stats(&[name]).await.into_values().next().unwrap_or(0)
    }

    /// Addresses of a cluster's hosts with their EDS health, `HEALTHY`; empty without the cluster.
    pub(crate) async fn hosts(&self, cluster: &str) -> BTreeMap<String, String> {
        hosts_of(&self.json(CLUSTERS).await, cluster)
    }

    /// How many hosts all clusters of the bridge have together.
    pub(crate) async fn all_hosts(&self) -> usize {
        let totals = self.stats(&["cluster.*.membership_total"]).await;
        let of_services = totals
            .iter()
            .filter(|(name, _)| !name.starts_with("cluster.xds-bridge."));
        usize::try_from(of_services.map(|(_, hosts)| hosts).sum::<u64>()).expect("some thousands")
    }

    /// What it holds of a cluster.
    pub(crate) async fn cluster(&self, name: &str) -> ClusterState {
        let dump = self.json("/config_dump?resource=dynamic_active_clusters").await;
        let clusters = dump["configs"].as_array().cloned().unwrap_or_default();
        let dynamic = clusters
            .iter()
            .find(|c| c["cluster"]["name"] == name)
            .map(|c| (c["version_info"].to_string(), c["last_updated"].to_string()));
        let stat = |last: &str| format!("cluster.{name}.{last}");
        let wanted = [
            "update_success",
            "update_rejected",
            "update_empty",
            "membership_change",
            "membership_total",
        ];
        let wanted: Vec<String> = wanted.iter().map(|w| stat(w)).collect();
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        ClusterState {
            dynamic,
            stats: self.stats(&wanted).await,
        }
    }

    /// Waits until a cluster has exactly these hosts, whatever their health. One that is not wanted may still drain: it
    /// left a moment ago.
    pub(crate) async fn has_hosts(&self, cluster: &str, wanted: &[SocketAddr]) {
        let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        wanted.sort();
        let what = format!("Envoy's cluster {cluster} has the hosts {wanted:?}");
        wait::until(wait::PATIENCE, &what, async || {
            let hosts = self.hosts(cluster).await;
            let stays =
                |(address, health): &(&String, &String)| wanted.contains(address) || *health != "DRAINING";
            let names: Vec<&String> = hosts.iter().filter(stays).map(|(address, _)| address).collect();
            wait::holds(names == wanted.iter().collect::<Vec<_>>(), || {
                format!("{hosts:?}")
            })
        })
        .await;
    }
}

/// The hosts of a cluster in what [`CLUSTERS`] answers.
pub(crate) fn hosts_of(clusters: &Value, cluster: &str) -> BTreeMap<String, String> {
    let all = clusters["cluster_statuses"].as_array().into_iter().flatten();
    all.filter(|c| c["name"] == cluster)
        .flat_map(|c| c["host_statuses"].as_array().into_iter().flatten())
        .map(|host| {
            let socket = &host["address"]["socket_address"];
            let address = format!(
                "{}:{}",
                socket["address"].as_str().unwrap_or("?"),
                socket["port_value"]
            );
            let health = host["health_status"]["eds_health_status"]
                .as_str()
                .unwrap_or("HEALTHY");
            (address, health.to_owned())
        })
        .collect()
}

/// `*` stands for any part of a name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(tail) = name.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len()).any(|at| tail.is_char_boundary(at) && matches(rest, &tail[at..]))
}
