//! The Consul source and a real server that is killed and started again: a server that loads its
//! catalog answers 200 with a part of it, and none of that may reach the hub.
//!
//! Needs consul in target/tools/bin (`make tools`) or in `CONSUL_BIN`. Uses ports that the
//! kernel gives, and a data directory of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt as _;
use rs_consul::{
    Consul, CreateOrUpdateKeyRequest, DeregisterEntityPayload, RegisterEntityPayload, RegisterEntityService,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use xds_bridge::catalog::Catalog;
use xds_bridge::config::ConsulSource;
use xds_bridge::model::change::What;
use xds_bridge::model::{Event, Instance, Protocol, Status};
use xds_bridge::source::consul::ConsulWatcher;
use xds_bridge::source::{Sink, Source as _};

use crate::support::consul_version;

/// More than the watches that an agent's 200 connections allow, so that the sweep is in it too.
const SERVICES: usize = 520;
const INSTANCES: usize = 2;
const DEADLINE: Duration = Duration::from_secs(120);

/// A single server with a data directory, so that it comes back with its catalog.
struct Server {
    data: TempDir,
    ports: Vec<u16>,
    child: Child,
}

fn program() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/consul");
    let path = std::env::var_os("CONSUL_BIN").map_or(own, PathBuf::from);
    assert!(path.exists(), "{} is missing: run `make tools`", path.display());
    path
}

impl Server {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        // All held at once, so that they differ.
        let held: Vec<_> = (0..5)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held.iter().map(|l| l.local_addr().unwrap().port()).collect();
        drop(held);
        let child = spawn(&data, &ports);
        Self { data, ports, child }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    fn again(&mut self) {
        self.child = spawn(&self.data, &self.ports);
    }
}

fn spawn(data: &TempDir, ports: &[u16]) -> Child {
    let port = |flag: &str, port: u16| format!("-{flag}-port={port}");
    let grpc_tls = consul_version::has_grpc_tls().then(|| port("grpc-tls", ports[4]));
    Command::new(program())
        .args([
            "agent",
            "-server",
            "-bootstrap-expect=1",
            "-bind=127.0.0.1",
            "-client=127.0.0.1",
        ])
        .args([
            "-node=server",
            "-dns-port=-1",
            "-grpc-port=-1",
            "-hcl=performance { raft_multiplier = 1 }",
        ])
        .arg(format!("-data-dir={}", data.path().display()))
        .args([port("http", ports[0]), port("server", ports[1])])
        .args([port("serf-lan", ports[2]), port("serf-wan", ports[3])])
        .args(grpc_tls)
        .args(consul_version::streaming().map(|on| format!("-hcl=use_streaming_backend = {on}")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn client(address: &str) -> Consul {
    let config = rs_consul::Config {
        address: address.to_owned(),
        ..rs_consul::Config::default()
    };
    Consul::new(config)
}

/// Registers; tried again until the server has a leader. All instances with the same number share a
/// node and differ by port, so that no address stands twice in one service.
async fn register(consul: &Consul, service: usize, instance: usize) {
    let entry = RegisterEntityService::builder()
        .ID(format!("s{service}-{instance}"))
        .Service(format!("s{service}"))
        .Tags(vec!["xds.version=1".to_owned()])
        .Port(u16::try_from(10_000 + service).unwrap())
        .build();
    let payload = RegisterEntityPayload::builder()
        .Node(format!("node-{instance}"))
        .Address(format!("10.1.0.{}", 1 + instance))
        .Service(entry)
        .build();
    let tries = async {
        while consul.register_entity(&payload).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await; // polls a program, waits for a level
        }
    };
    tokio::time::timeout(DEADLINE, tries).await.expect("registering");
}

struct Hub {
    events: mpsc::Receiver<Event>,
    catalog: Catalog,
    status: Status,
    /// Services that a change removed or left with fewer instances than they had.
    lost: Vec<String>,
    completes: usize,
}

impl Hub {
    async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let outcome = tokio::time::timeout(DEADLINE, self.listen(wanted)).await;
        assert!(outcome.is_ok(), "not in time: {what} ({:?})", self.status);
    }

    async fn listen(&mut self, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            let event = self.events.recv().await.expect("the source ended");
            match &event.what {
                What::Status(status) => self.status = status.clone(),
                What::Note(_) | What::Measured(_) | What::Verified(_) => {}
                What::Change(change) => {
                    self.completes += usize::from(change.complete);
                    for (name, record) in &change.services {
                        let before = self.instances(name);
                        if record.as_ref().map_or(0, |r| r.instances.len()) < before {
                            self.lost.push(name.to_string());
                        }
                    }
                }
            }
            self.catalog.apply(event, Duration::ZERO);
        }
    }

    fn instances(&self, name: &str) -> usize {
        self.catalog
            .service(&name.into())
            .map_or(0, |s| s.instances.len())
    }

    fn protocol(&self, name: &str) -> Protocol {
        self.catalog.service(&name.into()).unwrap().protocol()
    }

    fn live(&self) -> bool {
        self.status == Status::Live
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_and_restarted_server_removes_nothing() {
    let mut server = Server::start();
    let consul = client(&server.address());
    register(&consul, 0, 0).await;
    let all = (0..SERVICES).flat_map(|s| (0..INSTANCES).map(move |i| (s, i)));
    futures::stream::iter(all)
        .for_each_concurrent(16, |(s, i)| register(&consul, s, i))
        .await;

    let (sender, events) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let config = ConsulSource::new(server.address());
    let source =
        tokio::spawn(Box::new(ConsulWatcher::new(&config)).run(Sink::new("c".into(), sender), stop.clone()));
    let catalog = Catalog::new([("c".into(), None)]);
    let mut hub = Hub {
        events,
        catalog,
        status: Status::Connecting,
        lost: Vec::new(),
        completes: 0,
    };
    hub.until("live", Hub::live).await;
    assert_eq!(hub.catalog.sources().next().unwrap().1.services(), SERVICES);

    let orders = hub.catalog.service(&"s1".into()).unwrap();
    let facts = |i: &Instance| (i.address.to_string(), i.weight, i.version.to_string());
    assert_eq!(
        facts(&orders.instances[0]),
        ("10.1.0.1:10001".into(), 1, "1".into())
    );
    let key = CreateOrUpdateKeyRequest::builder().key("xds/s1/policy").build();
    consul
        .create_or_update_key(key, br#"{"protocol":"grpc"}"#.to_vec())
        .await
        .unwrap();
    hub.until("the policy document", |hub| hub.protocol("s1") == Protocol::Grpc)
        .await;

    for round in 0..2 {
        server.kill().await;
        hub.until("away", |hub| !hub.live()).await;
        server.again();
        hub.until("live again", Hub::live).await;
        assert_eq!(hub.lost, [""; 0], "round {round}");
        assert_eq!(hub.protocol("s1"), Protocol::Grpc);
    }

    // And changes still come through, watched and swept, also the removal that is a real one.
    for service in [0, SERVICES - 1] {
        register(&consul, service, INSTANCES).await;
        let name = format!("s{service}");
        hub.until("a new instance", |hub| hub.instances(&name) == INSTANCES + 1)
            .await;
        for instance in 0..=INSTANCES {
            let payload = DeregisterEntityPayload::builder()
                .Node(format!("node-{instance}"))
                .ServiceID(format!("s{service}-{instance}"))
                .build();
            consul.deregister_entity(&payload).await.unwrap();
        }
        let gone = |hub: &Hub| hub.catalog.service(&name.as_str().into()).is_none();
        hub.until("the service gone", gone).await;
    }
    assert_eq!(hub.catalog.sources().next().unwrap().1.services(), SERVICES - 2);
    assert_eq!(hub.completes, 1);
    assert!(hub.live(), "the agent's connections suffice: {:?}", hub.status);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), source)
        .await
        .expect("ends promptly")
        .unwrap();
}
