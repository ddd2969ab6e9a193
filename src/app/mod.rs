//! Wiring: every task, its owner, its name in the log, and the way it ends.

mod changes;
mod descriptors;
mod drains;
mod events;
mod memory;
mod ports;
pub mod reload;
mod restart;
mod rollouts;
mod secrets;
mod sources;
mod tasks;
mod webhooks;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Access, Admin, Reload};
use crate::barrier::{self, Barrier, Left};
use crate::cache::{self, LastKnown};
use crate::clock;
use crate::config::{Cache, Config};
use crate::fanout::Fanout;
use crate::hub::{Hub, INBOX, Overview, SourceInfo};
use crate::intake::Loads;
use crate::metrics::Metrics;
use crate::pilot::{Desk, Pilot};
use crate::source::{Budget, Known};
use crate::state::{self, State};
use crate::webhook::{self, Hooks, Patience};
use crate::{grpc, prober};
pub use changes::Changes;
use changes::changes;
pub use ports::port;
use ports::{reserve, tune};
pub use secrets::{unusable as unusable_secrets, unusable_token};
use sources::{Sources, info};
use tasks::{Ended, Tasks};

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

/// Another configuration, and where to say what it changed.
pub type Another = (Config, oneshot::Sender<Changes>);

/// How the configuration is read again: what comes of it, and the way to ask for it.
#[derive(Debug)]
pub struct Reloads {
    /// Configurations without mistakes.
    pub read: mpsc::Receiver<Another>,
    /// Who asks by the admin port.
    pub asked: mpsc::Sender<Reload>,
}

/// Runs the bridge until `stop`; `ready` is called once streams are admitted. A configuration that comes by `reloads`
/// takes effect at once, but for what needs a restart ([`reload::Step::Restart`]).
///
/// # Errors
/// [`AppError`]
pub async fn run(
    config: Config,
    reloads: Reloads,
    stop: CancellationToken,
    ready: impl FnOnce(&Config) + Send + 'static,
) -> Result<(), AppError> {
    let Reloads { mut read, asked } = reloads;
    let mut port = port(&config.xds, config.admin.token_file.clone())?;
    let budget = Budget::new(config.limits.source_memory);
    let share = descriptors::share(port.max_connections, descriptors_of_registries(&config, &budget));
    port.max_connections = share.connections;
    memory::warn_of_little(config.limits.source_memory);
    let access = Access {
        hosts: config.admin.hosts.clone(),
        connections: share.admin,
        token_file: config.admin.token_file.clone(),
    };
    let demands = grpc::Demands::from(port.clone());
    let xds = reserve(config.xds.listen, "Envoys", "xds.listen")?;
    let admin_listener = reserve(config.admin.listen, "operators", "admin.listen")?.listen()?;
    let metrics = Arc::new(Metrics::default());
    let fanout = Arc::new(Fanout::new(config.xds.max_streams, config.xds.hold_rejected));
    let loads = Arc::new(Loads::default());
    let infos: BTreeMap<Arc<str>, SourceInfo> = config
        .sources
        .keys()
        .filter_map(|name| Some((name.clone(), info(&config, name, &budget)?)))
        .collect();
    let settle = (config.xds.settle, config.xds.settle_max);
    let network = config.network();
    let (mut hub, overview) = Hub::new(infos.clone(), network, settle, fanout.clone(), metrics.clone());
    let (changes, inbox) = mpsc::channel(INBOX);
    let (orders, orders_in) = mpsc::channel(1);

    let mut tasks = Tasks::new(stop.clone(), config.xds.shutdown_timeout);
    if let Some(cache) = &config.cache {
        let (writer, to_write) = cache::writer();
        let folder = cache.folder.clone();
        let decisions = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || cache::load_decisions(&folder)).await
        };
        let states = last_known(cache.clone(), &infos).await;
        hub = hub.remembering(states, decisions.unwrap_or_default(), writer);
        let metrics = metrics.clone();
        tasks.spawn("cache writer", |stop| {
            cache::write(folder, to_write, metrics, stop)
        });
    }
    let (asking, shell) = prober::channels(config.sources.len());
    tasks.spawn("prober", |stop| prober::run(shell, stop));
    let (withheld, known) = (hub.withheld_in_all(), budget.known());
    tasks.spawn("withheld instances", |stop| weigh_withheld(withheld, known, stop));
    let journal = hub.journal();
    let events_folder = config.cache.as_ref().map(|cache| cache.folder.clone());
    events::begin(&journal, events_folder.clone()).await;
    let (ended, versions) = (hub.ended_drains(), hub.versions());
    tasks.spawn("hub", |stop| hub.run(inbox, orders_in, asking, stop));
    let shared = State::new(&config, &budget, &state::random_id());
    let task = state::Task::new(shared.clone());
    tasks.spawn("shared state", |stop| task.run(stop));
    let (known, drained) = watch::channel(false);
    let follow = drains::run(shared.clone(), orders.clone(), ended, known, stop.child_token());
    tasks.spawn("drains", |_| follow);
    let (policy, policies) = watch::channel(Arc::new(config.rollouts.clone()));
    let desk = Desk::new(shared.clone(), orders.clone(), policies);
    let pilot = Pilot {
        desk: desk.clone(),
        loads: loads.clone(),
        versions: versions.clone(),
        orders: orders.clone(),
    };
    let (shared_out, rolled) = watch::channel(false);
    tasks.spawn("rollouts", |stop| pilot.run(shared_out, stop));
    let (hooks, sending) = Hooks::new(&config.webhooks, Patience::default(), metrics.clone());
    tasks.spawn("webhooks", |stop| webhook::run(sending, stop));
    let handed_on = webhooks::Source {
        desk: desk.clone(),
        loads: loads.clone(),
        metrics: metrics.clone(),
        hooks,
    };
    tasks.spawn("events for webhooks", |stop| handed_on.run(stop));
    let keeper = events::Keeper {
        journal: journal.clone(),
        fanout: fanout.clone(),
        desk: desk.clone(),
        metrics: metrics.clone(),
        folder: events_folder,
    };
    tasks.spawn("events", |stop| keeper.run(stop));
    let mut sources = Sources::new(changes, orders.clone(), overview.clone(), budget);
    for (name, info) in infos {
        sources.start(&mut tasks, &config, &name, info);
    }
    sources.follow_secrets(&mut tasks, &config, &config);
    let (opened, listens) = watch::channel(false);
    let hub_orders = orders.clone();
    let (lost, began) = watch::channel(None);
    let lost = Arc::new(lost);
    let open = lost.clone();
    let barrier = Barrier {
        left: Left::default(),
        fanout: fanout.clone(),
        loads: loads.clone(),
        orders: orders.clone(),
        overview: overview.clone(),
        state: shared.clone(),
        began,
        origin: clock::now(),
    };
    let (answering, state) = (barrier.clone(), shared.clone());
    tasks.spawn("answers to other bridges", |stop| {
        barrier::answer_others(answering, stop)
    });
    tasks.spawn("other bridges", |stop| barrier::follow_losses(state, lost, stop));
    let admin = Admin {
        fanout: fanout.clone(),
        loads: loads.clone(),
        metrics: metrics.clone(),
        overview: overview.clone(),
        barrier,
        orders,
        certificate: port
            .tls
            .as_ref()
            .map_or_else(|| watch::channel(None).1, |tls| tls.note()),
        listens: listens.clone(),
        state: shared,
        journal,
        rollouts: desk,
        reloads: asked,
    };
    tasks.spawn("admin port", |stop| {
        report("admin port", admin::serve(admin_listener, admin, access, stop))
    });
    let (tuned, streams) = (fanout.clone(), demands.clone());
    tasks.spawn("discovery port", async move |stop| {
        if stop.run_until_cancelled(until_ready(overview)).await != Some(true) {
            return;
        }
        rollouts::known(rolled).await;
        drains::served(&hub_orders, drained).await;
        match xds.listen() {
            Ok(xds) => {
                open.send_replace(Some(clock::now()));
                opened.send_replace(true);
                let serving = grpc::serve(xds, fanout, loads, metrics, demands, stop);
                report("discovery port", serving).await;
            }
            Err(error) => tracing::error!(error = crate::text::chain(&error), "cannot listen"),
        }
    });
    tasks.spawn_short("greeting", greet(listens, config.clone(), ready));

    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        outcome = supervise(&mut tasks, &mut sources, config, &mut read, |new| {
            tune(&streams, &tuned, &new.xds);
            policy.send_replace(Arc::new(new.rollouts.clone()));
        }) => outcome,
    };
    stop.cancel();
    tasks.finish().await;
    outcome
}

fn descriptors_of_registries(config: &Config, budget: &Budget) -> usize {
    sources::descriptors(config, budget) + state::DESCRIPTORS
}

/// Until a task ends before its time; configurations that come are applied.
async fn supervise(
    tasks: &mut Tasks,
    sources: &mut Sources,
    mut config: Config,
    reloads: &mut mpsc::Receiver<Another>,
    in_force: impl Fn(&Config),
) -> Result<(), AppError> {
    loop {
        tokio::select! {
            ended = tasks.next() => return match ended {
                None => Ok(()),
                Some(Ended { name, outcome: Ok(()) }) => Err(AppError::TaskEnded(name.to_string())),
                Some(Ended { name, outcome: Err(source) }) => Err(AppError::Panicked {
                    name: name.to_string(),
                    source,
                }),
            },
            Some((new, done)) = reloads.recv() => {
                let changes = changes(&config, &new);
                for text in &changes.now {
                    tracing::info!("the configuration changes: {text}");
                }
                sources.apply(tasks, &config, &new).await;
                // What takes a restart is in force as it was.
                config = Config {
                    xds: reload::in_force(&config.xds, &new.xds),
                    admin: config.admin,
                    log: config.log,
                    cache: config.cache,
                    limits: config.limits,
                    state: config.state,
                    webhooks: config.webhooks,
                    ..new
                };
                in_force(&config);
                let _ = done.send(changes); // whoever asked may have gone
            }
        }
    }
}

/// What is withheld takes the room of what is known: who registers others again and again must not fill the memory
/// with those of before.
async fn weigh_withheld(mut instances: watch::Receiver<usize>, mut known: Known, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(instances.changed()).await {
        known.set_instances(*instances.borrow_and_update());
    }
    stop.cancelled().await;
}

/// What is on disk of each source.
async fn last_known(cache: Cache, sources: &BTreeMap<Arc<str>, SourceInfo>) -> BTreeMap<Arc<str>, LastKnown> {
    let registries: Vec<(Arc<str>, String)> = sources
        .iter()
        .filter_map(|(name, source)| Some((name.clone(), source.registry.clone()?)))
        .collect();
    let load = move || {
        let states = registries.into_iter().filter_map(|(name, registry)| {
            let state = cache::load(&cache.folder, &name, &registry, cache.max_age)?;
            Some((name, state))
        });
        states.collect()
    };
    tokio::task::spawn_blocking(load).await.unwrap_or_default()
}

async fn report<E: std::error::Error + 'static>(name: &str, serving: impl Future<Output = Result<(), E>>) {
    if let Err(error) = serving.await {
        tracing::error!(task = name, error = crate::text::chain(&error), "stopped serving");
    }
}

/// Until each source has delivered: before that the discovery port refuses connections. A client with the
/// addresses of several bridges takes the next one then; a stream that is refused on an open connection
/// makes most gRPC clients ask the same bridge again, forever (docs/clients.md).
///
/// False when that will never be.
async fn until_ready(mut overview: watch::Receiver<Overview>) -> bool {
    overview.wait_for(|o| o.ready).await.is_ok()
}

async fn greet(mut listens: watch::Receiver<bool>, config: Config, ready: impl FnOnce(&Config)) {
    if listens.wait_for(|listens| *listens).await.is_ok() {
        ready(&config);
    }
}
