//! One etcd, one etcd source, and the hub's side of it, for the tests in `etcd_watch`.
//!
//! Never uses a fixed port, and leaves no process behind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, GetOptions, TlsOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use xds_bridge::config::EtcdSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Catalog, Change, Event, Status};
use xds_bridge::source::etcd::EtcdWatcher;
use xds_bridge::source::{Sink, Source};

pub(super) const PREFIX: &str = "/services/";
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// One etcd with one member. Its ports stay the same over restarts, and so does its cluster id.
pub(super) struct Node {
    pub(super) folder: tempfile::TempDir,
    pub(super) client: u16,
    peer: u16,
    child: Option<Child>,
    /// Beside the usual ones.
    args: Vec<String>,
    /// How it is reached where it has certificates.
    tls: Option<TlsOptions>,
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn binary() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/etcd");
    let path = std::env::var_os("ETCD_BIN").map_or(own, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

impl Node {
    pub(super) async fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), &[], None).await
    }

    /// With further arguments, and with certificates where `tls` says how they are believed.
    pub(super) async fn with(folder: tempfile::TempDir, args: &[&str], tls: Option<TlsOptions>) -> Self {
        let mut node = Self {
            folder,
            client: free_port(),
            peer: free_port(),
            child: None,
            args: args.iter().map(ToString::to_string).collect(),
            tls,
        };
        node.run(node.client).await;
        node
    }

    /// `kill -9`, and again as it was; from now on this is how it is believed.
    pub(super) async fn restart(&mut self, tls: Option<TlsOptions>) {
        self.kill();
        self.tls = tls;
        self.run(self.client).await;
    }

    /// Runs the node, reachable at `port`.
    pub(super) async fn run(&mut self, port: u16) {
        let client = self.url(port);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let child = Command::new(binary())
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("default={peer}"),
                "--log-level",
                "error",
            ])
            .args(&self.args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let ready = async {
            while !self.answers(&client).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, ready).await.expect("etcd starts");
    }

    /// Whether it has a leader; one with users says that it wants to know ours.
    async fn answers(&self, url: &str) -> bool {
        let options = options(self.tls.clone());
        let Ok(mut client) = Client::connect([url], Some(options)).await else {
            return false;
        };
        match client.get("ready", None).await {
            Ok(_) => true,
            Err(error) => error.to_string().contains("user name is empty"),
        }
    }

    fn url(&self, port: u16) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(super) fn endpoint(&self) -> String {
        self.url(self.client)
    }

    pub(super) async fn connect(&self) -> Client {
        connect(self.client).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn options(tls: Option<TlsOptions>) -> ConnectOptions {
    let options = ConnectOptions::new().with_timeout(Duration::from_secs(5));
    match tls {
        Some(tls) => options.with_tls(tls),
        None => options,
    }
}

pub(super) async fn connect(port: u16) -> Client {
    Client::connect([format!("http://127.0.0.1:{port}")], Some(options(None)))
        .await
        .unwrap()
}

/// A source at work, and the hub's side of it.
pub(super) struct Bridge {
    events: mpsc::Receiver<Event>,
    pub(super) catalog: Catalog,
    pub(super) status: Status,
    /// Names of services that lost an instance, in any change seen so far.
    pub(super) lost: BTreeSet<Arc<str>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Service → ports.
pub(super) type Ports = BTreeMap<String, BTreeSet<u16>>;

impl Bridge {
    pub(super) fn start(nodes: &[&Node]) -> Self {
        let endpoints = nodes.iter().map(|n| n.endpoint()).collect();
        Self::of(&EtcdSource::new(endpoints, PREFIX))
    }

    /// With a whole configuration.
    pub(super) fn of(config: &EtcdSource) -> Self {
        let (sender, events) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let sink = Sink::new("etcd".into(), sender);
        let task = tokio::spawn(Box::new(EtcdWatcher::new(config)).run(sink, stop.clone()));
        let (catalog, status) = (Catalog::new([("etcd".into(), None)]), Status::Connecting);
        Self {
            events,
            catalog,
            status,
            lost: BTreeSet::new(),
            stop,
            task,
        }
    }

    /// The next event, applied; its change, if it is one.
    pub(super) async fn next(&mut self) -> Option<Change> {
        let event = timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("no panic");
        let before = self.ports();
        self.catalog.apply(event.clone(), Duration::ZERO);
        let after = self.ports();
        for (service, ports) in before {
            if after.get(&service).is_none_or(|new| !ports.is_subset(new)) {
                self.lost.insert(service.as_str().into());
            }
        }
        match event.what {
            What::Change(change) => Some(change),
            What::Status(status) => {
                self.status = status;
                None
            }
            What::Note(_) | What::Measured(_) | What::Verified(_) => None,
        }
    }

    pub(super) fn ports(&self) -> Ports {
        // Every name that these tests use; the catalog does not list its services.
        (0..20)
            .filter_map(|n| {
                let name: Arc<str> = format!("s{n}").into();
                let service = self.catalog.service(&name)?;
                Some((
                    name.to_string(),
                    service.instances.iter().map(|i| i.address.port()).collect(),
                ))
            })
            .collect()
    }

    pub(super) async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                self.next().await;
            }
        };
        let last = timeout(DEADLINE, wait).await;
        assert!(last.is_ok(), "{what}: {:?} {:?}", self.status, self.ports());
    }

    pub(super) async fn live(&mut self) {
        self.until("live", |b| b.status == Status::Live).await;
    }

    /// Away, for a reason with this in it.
    pub(super) async fn away(&mut self, word: &str) {
        let away = |b: &Self| matches!(&b.status, Status::Away { reason } if reason.contains(word));
        self.until(&format!("away: {word}"), away).await;
    }

    /// Whether a source says nothing for so long.
    pub(super) async fn is_quiet(&mut self, time: Duration) -> bool {
        timeout(time, self.events.recv()).await.is_err()
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(2), self.task)
            .await
            .expect("ends promptly")
            .unwrap();
    }
}

pub(super) fn key(service: usize, id: impl std::fmt::Display) -> String {
    format!("{PREFIX}s{service}/instances/{id}")
}

pub(super) fn value(port: usize) -> String {
    format!(r#"{{"address":"127.0.0.1","port":{port}}}"#)
}

pub(super) fn ports<const N: usize>(all: [(&str, &[u16]); N]) -> Ports {
    all.into_iter()
        .map(|(name, ports)| (name.to_owned(), ports.iter().copied().collect()))
        .collect()
}

/// What etcd itself holds.
pub(super) async fn stored(client: &mut Client) -> Ports {
    let mut ports = Ports::new();
    for kv in client
        .get(PREFIX, Some(GetOptions::new().with_prefix()))
        .await
        .unwrap()
        .kvs()
    {
        let service = kv.key_str().unwrap().split('/').nth(2).unwrap().to_owned();
        let value: serde_json::Value = serde_json::from_slice(kv.value()).unwrap();
        ports
            .entry(service)
            .or_default()
            .insert(value["port"].as_u64().unwrap().try_into().unwrap());
    }
    ports
}
