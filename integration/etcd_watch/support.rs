//! One etcd, one etcd source, and the hub's side of it, for the tests in `etcd_watch`.
//!
//! Never uses a fixed port, and leaves no process behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, GetOptions, MemberAddOptions, TlsOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use xds_bridge::catalog::Catalog;
use xds_bridge::config::EtcdSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Change, Event, Status};
use xds_bridge::source::etcd::EtcdWatcher;
use xds_bridge::source::{Sink, Source};

use crate::support::bridge::Counted;
use crate::support::http::Http;
use crate::support::process::{self, Program, Start};
use crate::support::wait;

pub(super) const PREFIX: &str = "/services/";
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// One member of an etcd, mostly the only one. Its ports stay the same over restarts, and so does its
/// cluster's id.
pub(super) struct Node {
    program: Program,
    pub(super) folder: tempfile::TempDir,
    pub(super) client: u16,
    peer: u16,
    name: String,
    /// `NAME=URL,…` of all members.
    cluster: String,
    /// Beside the usual ones.
    args: Vec<String>,
    /// How it is reached where it has certificates.
    tls: Option<TlsOptions>,
}

impl Node {
    pub(super) async fn start() -> Self {
        Self::with(tempfile::tempdir().unwrap(), &[], None).await
    }

    /// With further arguments, and with certificates where `tls` says how they are believed.
    pub(super) async fn with(mut folder: tempfile::TempDir, args: &[&str], tls: Option<TlsOptions>) -> Self {
        for _ in 0..process::TRIES {
            let (client, peer) = (free_port(), free_port());
            let cluster = format!("one=http://127.0.0.1:{peer}");
            let mut node = Self::launch("one", [client, peer], cluster, folder, args, tls.clone());
            if node.ready().await == Start::Ready {
                return node;
            }
            let Self {
                program, folder: its, ..
            } = node;
            drop(program);
            folder = its;
        }
        panic!("etcd finds its ports taken");
    }

    /// The members of one cluster.
    pub(super) async fn three() -> [Self; 3] {
        'ports: for _ in 0..process::TRIES {
            let ports: [[u16; 2]; 3] = std::array::from_fn(|_| process::ports());
            let member = |n: usize| format!("m{n}=http://127.0.0.1:{}", ports[n][1]);
            let cluster = [0, 1, 2].map(member).join(",");
            // Processes die here, not machines; and a busy one must not lose its leader to that.
            let args = [
                "--unsafe-no-fsync",
                "--heartbeat-interval=200",
                "--election-timeout=2000",
            ];
            let mut nodes = [0, 1, 2].map(|n| {
                let folder = tempfile::tempdir().unwrap();
                Self::launch(&format!("m{n}"), ports[n], cluster.clone(), folder, &args, None)
            });
            for node in &mut nodes {
                if node.ready().await == Start::Clash {
                    continue 'ports;
                }
            }
            return nodes;
        }
        panic!("etcd finds its ports taken");
    }

    /// A further member, which learns and does not vote; waits until it knows what the others know.
    pub(super) async fn learner(&self) -> Self {
        let [client, peer] = process::ports();
        let url = format!("http://127.0.0.1:{peer}");
        let mut etcd = self.connect().await;
        // Members have to know one another for some seconds before one more may come.
        wait::until(DEADLINE, "a learner may come", async || {
            let learns = MemberAddOptions::new().with_is_learner();
            let added = etcd.member_add([&url], Some(learns)).await;
            added.map(drop).map_err(|e| e.to_string())
        })
        .await;
        let revision = etcd.get("x", None).await.unwrap().header().unwrap().revision();
        let cluster = format!("{},learner={url}", self.cluster);
        let (folder, args) = (tempfile::tempdir().unwrap(), ["--initial-cluster-state=existing"]);
        let mut node = Self::launch("learner", [client, peer], cluster, folder, &args, None);
        let url = node.endpoint();
        let caught_up = node.program.ready(async || {
            let mut etcd = Client::connect([&url], Some(options(None)))
                .await
                .map_err(|e| e.to_string())?;
            let status = etcd.status().await.map_err(|e| e.to_string())?;
            let known = status.header().map_or(0, etcd_client::ResponseHeader::revision);
            wait::holds(status.is_learner() && known >= revision, || {
                format!("revision {known}")
            })
        });
        assert!(caught_up.await == Start::Ready, "its ports are taken");
        node
    }

    fn launch(
        name: &str,
        [client, peer]: [u16; 2],
        cluster: String,
        folder: tempfile::TempDir,
        args: &[&str],
        tls: Option<TlsOptions>,
    ) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let url = url(tls.is_some(), client);
        let all = arguments(name, &folder, &url, peer, &cluster, &args);
        let binary = process::tool("ETCD_BIN", "etcd");
        Self {
            program: Program::start(name, &binary, &all, folder.path()),
            folder,
            client,
            peer,
            name: name.to_owned(),
            cluster,
            args,
            tls,
        }
    }

    async fn ready(&mut self) -> Start {
        let (url, tls) = (self.endpoint(), self.tls.clone());
        self.program
            .ready(async || answers(&url, tls.clone()).await)
            .await
    }

    /// `kill -9`, and again as it was; from now on this is how it is believed.
    pub(super) async fn restart(&mut self, tls: Option<TlsOptions>) {
        self.kill();
        self.tls = tls;
        self.run(self.client).await;
    }

    /// Runs a node that has ended, reachable at `port`.
    pub(super) async fn run(&mut self, port: u16) {
        let (url, tls) = (url(self.tls.is_some(), port), self.tls.clone());
        let args = arguments(
            &self.name,
            &self.folder,
            &url,
            self.peer,
            &self.cluster,
            &self.args,
        );
        self.program.set_args(&args);
        self.program
            .restart(async || answers(&url, tls.clone()).await)
            .await;
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.program.kill();
    }

    /// SIGTERM, and waits for its end.
    pub(super) async fn stop(&mut self) {
        let _ended_by_the_signal = self.program.terminate().await;
    }

    /// SIGSTOP: its connections stay, and nobody answers.
    pub(super) fn freeze(&self) {
        self.program.signal("STOP");
    }

    /// SIGCONT.
    pub(super) fn thaw(&self) {
        self.program.signal("CONT");
    }

    /// Whether somebody watches over this member, as it counts itself; one that does not answer serves nobody.
    pub(super) async fn is_watched(&self) -> bool {
        self.watches().await > 0
    }

    /// How many watches it serves, as it counts them itself.
    pub(super) async fn watches(&self) -> i64 {
        let metrics = Http::fresh().text(&format!("{}/metrics", self.endpoint())).await;
        let metrics = Counted::new(metrics.unwrap_or_default());
        metrics.sum("etcd_debugging_mvcc_watcher_total", &[]).unwrap_or(0)
    }

    /// Whether this member leads, as it says.
    pub(super) async fn leads(&self) -> bool {
        let status = self.connect().await.status().await;
        status.is_ok_and(|s| s.header().is_some_and(|h| h.member_id() == s.leader()))
    }

    pub(super) fn endpoint(&self) -> String {
        url(self.tls.is_some(), self.client)
    }

    pub(super) async fn connect(&self) -> Client {
        connect(self.client).await
    }
}

pub(super) fn url(tls: bool, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://127.0.0.1:{port}")
}

fn arguments(
    name: &str,
    folder: &tempfile::TempDir,
    client: &str,
    peer: u16,
    cluster: &str,
    more: &[String],
) -> Vec<String> {
    let data = folder.path().join("data").display().to_string();
    let peer = url(false, peer);
    let pairs = [
        ("--name", name),
        ("--data-dir", &data),
        ("--listen-client-urls", client),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", cluster),
        ("--log-level", "error"),
    ];
    let usual = pairs.into_iter().flat_map(|(key, value)| [key, value]);
    usual.map(str::to_owned).chain(more.iter().cloned()).collect()
}

/// Whether it has a leader; one with users says that it wants to know ours.
pub(super) async fn answers(url: &str, tls: Option<TlsOptions>) -> Result<(), String> {
    let connected = Client::connect([url], Some(options(tls))).await;
    let mut client = connected.map_err(|e| e.to_string())?;
    match client.get("ready", None).await {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("user name is empty") => Ok(()),
        Err(error) => Err(error.to_string()),
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

pub(super) fn free_port() -> u16 {
    let [port] = process::ports();
    port
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
        self.take(event)
    }

    fn take(&mut self, event: Event) -> Option<Change> {
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
        self.until_within(DEADLINE, what, done).await;
    }

    /// The same, where it takes several of the bridge's own bounds of time.
    pub(super) async fn until_within(&mut self, time: Duration, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                let event = self.events.recv().await.expect("no panic");
                self.take(event);
            }
        };
        let last = timeout(time, wait).await;
        assert!(last.is_ok(), "{what}: {:?} {:?}", self.status, self.ports());
    }

    /// The same, and prints how long it took: what docs/etcd-outages.md says comes from here.
    pub(super) async fn timed(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = xds_bridge::clock::now();
        self.until(what, done).await;
        let took = xds_bridge::clock::now().duration_since(begun);
        eprintln!("{what}: {took:?}");
    }

    pub(super) async fn live(&mut self) {
        self.until("live", |b| b.status == Status::Live).await;
    }

    /// What it hears while this goes on; after each event `look` is called.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>, look: impl Fn(&Self)) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                event = self.events.recv() => self.take(event.expect("no panic")),
            };
            look(self);
        }
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
