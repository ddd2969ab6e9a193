//! Wiring: every task, its owner, its name in the log, and the way it ends.

mod descriptors;
mod memory;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Access, Admin};
use crate::cache::{self, LastKnown};
use crate::config::{Cache, ClientRule, Config, SourceConfig, TlsFiles, Xds};
use crate::fanout::Fanout;
use crate::hub::{Hub, INBOX, Overview, SourceInfo};
use crate::metrics::Metrics;
use crate::model::Network;
use crate::source::consul::ConsulWatcher;
use crate::source::etcd::EtcdWatcher;
use crate::source::file::FileWatcher;
use crate::source::{Budget, Known, Sink, Source};
use crate::xds::Limits;
use crate::{clock, grpc, prober};

/// Why the bridge ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A port is taken or not ours.
    #[error("listening on {address} for {what} (another bridge running? change `{key}` in bridge.toml)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Which port.
        what: &'static str,
        /// Its key.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate, key or client CA of the discovery port.
    #[error("[xds.tls] in bridge.toml")]
    Tls(#[from] grpc::TlsError),
    /// A task ended that should not.
    #[error("the task {0} ended")]
    TaskEnded(String),
    /// A task panicked.
    #[error("the task {name} panicked")]
    Panicked {
        /// Its name.
        name: String,
        /// How.
        source: tokio::task::JoinError,
    },
}

/// Connections that nobody has accepted yet.
const BACKLOG: u32 = 1024;

/// Tasks by name.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    names: BTreeMap<Id, String>,
}

impl Tasks {
    fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name.into());
    }

    /// The next task that ends, and how.
    async fn next(&mut self) -> Option<(String, Result<(), tokio::task::JoinError>)> {
        let ended = self.set.join_next_with_id().await?;
        let (id, result) = match ended {
            Ok((id, ())) => (id, Ok(())),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.remove(&id).unwrap_or_default(), result))
    }
}

/// Runs the bridge until `stop`; `ready` is told once streams are admitted.
///
/// # Errors
/// [`AppError`]
pub async fn run(
    config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(&Config) + Send + 'static,
) -> Result<(), AppError> {
    let mut port = port(&config.xds)?;
    let share = descriptors::share(port.max_connections, config.sources.values());
    port.max_connections = share.connections;
    memory::warn_of_little(config.limits.source_memory);
    let access = Access {
        hosts: config.admin.hosts.clone(),
        connections: share.admin,
    };
    let xds = reserve(config.xds.listen, "Envoys", "xds.listen")?;
    let admin_listener = reserve(config.admin.listen, "operators", "admin.listen")?.listen()?;
    let metrics = Arc::new(Metrics::default());
    let fanout = Arc::new(Fanout::new(config.xds.max_streams, config.xds.hold_rejected));
    let info = |(name, source): (&Arc<str>, &SourceConfig)| {
        let info = SourceInfo {
            kind: source.kind(),
            guard: source.guard(),
            registry: source.registry(),
            priority: config.priorities.get(name).copied().unwrap_or(0),
            ask: source.guard().map(|_| watch::Sender::new(0)),
        };
        (name.clone(), info)
    };
    let infos: BTreeMap<Arc<str>, SourceInfo> = config.sources.iter().map(info).collect();
    let asked: BTreeMap<Arc<str>, watch::Receiver<u64>> = infos
        .iter()
        .filter_map(|(name, info)| Some((name.clone(), info.ask.as_ref()?.subscribe())))
        .collect();
    let network = Network {
        clusters: config.clusters.clone(),
        exposures: config.exposures.clone(),
        listeners: config.listeners.clone(),
    };
    let settle = (config.xds.settle, config.xds.settle_max);
    let (mut hub, overview) = Hub::new(infos, network, settle, fanout.clone(), metrics.clone());
    let (events, inbox) = mpsc::channel(INBOX);
    let (orders, orders_in) = mpsc::channel(1);

    let mut tasks = Tasks::default();
    let child = || stop.child_token();
    if let Some(cache) = &config.cache {
        let (writer, to_write) = cache::writer();
        let folder = cache.folder.clone();
        let decisions = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || cache::load_decisions(&folder)).await
        };
        let states = last_known(cache.clone(), &config.sources).await;
        hub = hub.remembering(states, decisions.unwrap_or_default(), writer);
        tasks.spawn(
            "cache writer",
            cache::write(folder, to_write, metrics.clone(), child()),
        );
    }
    let (asking, shell) = prober::channels(config.sources.len());
    tasks.spawn("prober", prober::run(shell, child()));
    let budget = Budget::new(config.limits.source_memory);
    tasks.spawn(
        "withheld instances",
        weigh_withheld(hub.withheld_in_all(), budget.known(), child()),
    );
    tasks.spawn("hub", hub.run(inbox, orders_in, asking, child()));
    for (name, source) in &config.sources {
        let source: Box<dyn Source> = match source {
            SourceConfig::File(file) => Box::new(FileWatcher::new(file)),
            SourceConfig::Etcd(etcd) => Box::new(EtcdWatcher::new(etcd).within(budget.clone())),
            SourceConfig::Consul(consul) => Box::new(ConsulWatcher::new(consul).within(budget.clone())),
        };
        let mut sink = Sink::new(name.clone(), events.clone());
        if let Some(asked) = asked.get(name) {
            sink = sink.asked_by(asked.clone());
        }
        tasks.spawn(format!("source {name}"), source.run(sink, child()));
    }
    drop(events);
    let admin = Admin {
        fanout: fanout.clone(),
        metrics: metrics.clone(),
        overview: overview.clone(),
        orders,
        certificate: port
            .tls
            .as_ref()
            .map_or_else(|| watch::channel(None).1, |tls| tls.note()),
    };
    tasks.spawn(
        "admin port",
        report("admin port", admin::serve(admin_listener, admin, access, child())),
    );
    let (is_ready, stopped) = (overview.clone(), child());
    tasks.spawn("discovery port", async move {
        if stopped.run_until_cancelled(until_ready(is_ready)).await != Some(true) {
            return;
        }
        match xds.listen() {
            Ok(xds) => report("discovery port", grpc::serve(xds, fanout, metrics, port, stopped)).await,
            Err(error) => tracing::error!(error = crate::render::chain(&error), "cannot listen"),
        }
    });
    let timeout = config.xds.shutdown_timeout;
    tasks.spawn("greeting", greet(overview, config, ready));

    let outcome = watch_over(&mut tasks, &stop).await;
    stop.cancel();
    finish(tasks, timeout).await;
    outcome
}

/// What is withheld takes the room of what is known: who registers others again and again must not fill the memory
/// with those of before.
async fn weigh_withheld(mut instances: watch::Receiver<usize>, mut known: Known, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(instances.changed()).await {
        known.set_instances(*instances.borrow_and_update());
    }
    stop.cancelled().await;
}

/// What `[xds]` says about the discovery port.
///
/// # Errors
/// [`AppError::Tls`]: its files are read here.
pub fn port(xds: &Xds) -> Result<grpc::Options, AppError> {
    let rule = |r: &ClientRule| grpc::Rule::new(&r.san, r.node_ids.clone(), r.fleets.clone());
    let files = |files: &TlsFiles| grpc::Files {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        client_ca: files.client_ca.clone(),
        crl: files.crl.clone(),
    };
    let tls = xds.tls.as_ref().map(|tls| grpc::Tls::load(files(tls)));
    Ok(grpc::Options {
        engine: Limits {
            names: xds.max_names,
            ..Limits::default()
        },
        tls: tls.transpose()?.map(Arc::new),
        rules: xds.clients.iter().map(rule).collect(),
        max_connections: xds.max_connections,
        max_streams_per_connection: xds.max_streams_per_connection,
        max_request_bytes: xds.max_request_bytes,
        max_request_memory: xds.max_request_memory,
        max_requests_per_second: xds.max_requests_per_second,
        new_streams_per_second: xds.new_streams_per_second,
        max_first_responses: xds.max_first_responses,
        max_stream_age: xds.max_stream_age,
    })
}

/// What is on disk of each source.
async fn last_known(
    cache: Cache,
    sources: &BTreeMap<Arc<str>, SourceConfig>,
) -> BTreeMap<Arc<str>, LastKnown> {
    let registries: Vec<(Arc<str>, String)> = sources
        .iter()
        .filter_map(|(name, source)| Some((name.clone(), source.registry()?)))
        .collect();
    let load = move || {
        let one = |(name, registry): (Arc<str>, String)| {
            let state = cache::load(&cache.folder, &name, &registry, cache.max_age)?;
            Some((name, state))
        };
        registries.into_iter().filter_map(one).collect()
    };
    tokio::task::spawn_blocking(load).await.unwrap_or_default()
}

/// A port that is ours, and closed: connections are refused until it listens.
struct Reserved {
    socket: TcpSocket,
    refused: Box<dyn Fn(std::io::Error) -> AppError + Send>,
}

impl Reserved {
    fn listen(self) -> Result<TcpListener, AppError> {
        self.socket.listen(BACKLOG).map_err(self.refused)
    }
}

/// Takes a port, so that one that another program has is found at once.
fn reserve(address: SocketAddr, what: &'static str, key: &'static str) -> Result<Reserved, AppError> {
    let refused = move |source| AppError::Listen {
        address,
        what,
        key,
        source,
    };
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A bridge that was killed leaves connections behind, which do not block its successor.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    Ok(Reserved {
        socket: bound().map_err(refused)?,
        refused: Box::new(refused),
    })
}

/// Until `stop`, or a task that ends before its time.
async fn watch_over(tasks: &mut Tasks, stop: &CancellationToken) -> Result<(), AppError> {
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = tasks.next() => ended,
        };
        match ended {
            Some((name, Ok(()))) if name == "greeting" => {}
            Some((name, Err(source))) => return Err(AppError::Panicked { name, source }),
            Some((_, Ok(()))) if stop.is_cancelled() => return Ok(()),
            Some((name, Ok(()))) => return Err(AppError::TaskEnded(name)),
            None => return Ok(()),
        }
    }
}

/// Waits for all tasks, and names those that are late.
async fn finish(mut tasks: Tasks, timeout: Duration) {
    let deadline = clock::now() + timeout;
    loop {
        match tokio::time::timeout_at(deadline, tasks.next()).await {
            Ok(Some((name, Ok(())))) => tracing::debug!(task = name, "ended"),
            Ok(Some((name, Err(error)))) => tracing::error!(task = name, %error, "ended badly"),
            Ok(None) => return,
            Err(_) => {
                let late: Vec<&str> = tasks.names.values().map(String::as_str).collect();
                tracing::warn!(tasks = late.join(", "), ?timeout, "did not end in time; cut off");
                return;
            }
        }
    }
}

async fn report<E: std::error::Error>(name: &str, serving: impl Future<Output = Result<(), E>>) {
    if let Err(error) = serving.await {
        tracing::error!(
            task = name,
            error = crate::render::chain(&error),
            "stopped serving"
        );
    }
}

/// Until each source has delivered: before that the discovery port refuses connections. A client with the
/// addresses of several bridges takes the next one then; a stream that is refused on a connection that
/// stands makes most gRPC clients ask the same bridge again, for ever (docs/clients.md).
///
/// False when that will never be.
async fn until_ready(mut overview: watch::Receiver<Overview>) -> bool {
    overview.wait_for(|o| o.ready).await.is_ok()
}

async fn greet(overview: watch::Receiver<Overview>, config: Config, ready: impl FnOnce(&Config)) {
    if until_ready(overview).await {
        ready(&config);
    }
}
