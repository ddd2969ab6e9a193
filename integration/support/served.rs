//! The discovery service alone, in this process: a test publishes what it likes, also what
//! no generator would ever make.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds_bridge::fanout::Fanout;
use xds_bridge::intake::Loads;
use xds_bridge::metrics::Metrics;
use xds_bridge::model::{Clusters, Effective, Service};
use xds_bridge::translate::{cluster::message, endpoints::endpoints};
use xds_bridge::xds::Update;
use xds_bridge::{clock, grpc};

use super::bridge::{self, Counted, Step};
use super::envoy::Envoy;
use super::process;

/// A served [`Fanout`]; it ends with the test.
pub(crate) struct Served {
    address: SocketAddr,
    fanout: Arc<Fanout>,
    metrics: Arc<Metrics>,
    loads: Arc<Loads>,
    dir: TempDir,
    _stop: DropGuard,
}

/// The clusters of the generator, as it makes them by default.
pub(crate) fn cluster(name: &str) -> envoy_types::pb::envoy::config::cluster::v3::Cluster {
    let settings = Effective::of(&Service::default(), &Clusters::DEFAULT).cluster;
    message(name, &settings)
}

/// The endpoints of a service without instances.
pub(crate) fn no_endpoints(name: &str) -> Update {
    let service = Service {
        name: name.into(),
        ..Service::default()
    };
    Update::Put(endpoints(&service, Clusters::DEFAULT.on_all_unhealthy))
}

impl Served {
    /// Serves these resources.
    pub(crate) async fn start(updates: &[Update]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (fanout, metrics) = (Arc::new(Fanout::new(100, false)), Arc::new(Metrics::default()));
        fanout.publish(updates, clock::now());
        let loads = Arc::new(Loads::default());
        let stop = CancellationToken::new();
        let serving = grpc::serve(
            listener,
            fanout.clone(),
            loads.clone(),
            metrics.clone(),
            grpc::Options::default(),
            stop.clone(),
        );
        tokio::spawn(async move { serving.await.expect("a discovery server in this process") });
        Self {
            address,
            fanout,
            metrics,
            loads,
            dir: tempfile::tempdir().expect("a folder"),
            _stop: stop.drop_guard(),
        }
    }

    /// Publishes the next generation.
    pub(crate) fn publish(&self, updates: &[Update]) {
        self.fanout.publish(updates, clock::now());
    }

    /// Its metrics.
    pub(crate) fn metrics(&self) -> Counted {
        Counted::new(self.metrics.text())
    }

    /// What it serves.
    pub(crate) const fn fanout(&self) -> &Arc<Fanout> {
        &self.fanout
    }

    /// What its clients report.
    pub(crate) const fn loads(&self) -> &Arc<Loads> {
        &self.loads
    }

    /// An Envoy whose clusters and listeners come from here.
    pub(crate) async fn envoy(&self) -> Envoy {
        let [port] = process::ports();
        self.envoy_at(SocketAddr::from(([127, 0, 0, 1], port))).await
    }

    /// The same; it is asked at the address of a listener that comes from here.
    pub(crate) async fn envoy_at(&self, listener: SocketAddr) -> Envoy {
        let file: PathBuf = self.dir.path().join("bridge.toml");
        let text = "[sources.none]\nkind = \"file\"\npath = \".\"\n";
        std::fs::write(&file, text).expect("writing bridge.toml");
        Envoy::start(listener, async |admin| {
            bridge::print_bootstrap(&file, Step::Listeners, admin, Some(self.address), &[])
        })
        .await
    }

    /// An Envoy whose listener and clusters of these services stand in its file; endpoints come from here.
    pub(crate) async fn envoy_with(&self, services: &[&str]) -> Envoy {
        let [port] = process::ports();
        let listener = SocketAddr::from(([127, 0, 0, 1], port));
        let file: PathBuf = self.dir.path().join("with.toml");
        let sections = "[sources.none]\nkind = \"file\"\npath = \".\"\n";
        let text = format!("{sections}[listeners.main]\naddress = \"{listener}\"\n");
        std::fs::write(&file, text).expect("writing a bridge.toml");
        let flags: Vec<&str> = services.iter().flat_map(|s| ["--service", *s]).collect();
        Envoy::start(listener, async |admin| {
            bridge::print_bootstrap(&file, Step::Endpoints, admin, Some(self.address), &flags)
        })
        .await
    }
}
