//! Sources as tasks: each is started, replaced and stopped while the rest goes on, and the hub knows of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::reload::{self, Step};
use super::restart::{Reporting, keep_running};
use super::secrets;
use super::tasks::Tasks;
use crate::config::Config;
use crate::hub::{Order, Overview, SourceInfo};
use crate::model::{Event, Secrets};
use crate::source::{self, Budget, Sink};

/// Sources that are removed stay for at most this long while new ones deliver what may have moved to them.
const HANDOVER: Duration = Duration::from_secs(10);

/// The task that follows the files of `[tls.NAME]`.
const SECRETS: &str = "certificates for Envoys";

/// What all sources share.
#[derive(Debug)]
pub(super) struct Sources {
    events: mpsc::Sender<Event>,
    orders: mpsc::Sender<Order>,
    overview: watch::Receiver<Overview>,
    budget: Budget,
    /// What was read last of the files of `[tls.NAME]`.
    secrets: Arc<Mutex<Secrets>>,
}

/// What the hub has to know of a source. `None`: it is not configured.
pub(super) fn info(config: &Config, name: &Arc<str>, budget: &Budget) -> Option<SourceInfo> {
    let source = source::build(config.sources.get(name)?, budget);
    let guard = source.guard();
    Some(SourceInfo {
        kind: source.kind(),
        guard,
        registry: source.registry(),
        priority: config.priorities.get(name).copied().unwrap_or(0),
        ask: guard.map(|_| watch::Sender::new(0)),
    })
}

/// How many file descriptors all of them may need.
pub(super) fn descriptors(config: &Config, budget: &Budget) -> usize {
    let sources = config.sources.values();
    sources
        .map(|section| source::build(section, budget).descriptors())
        .sum()
}

fn task(name: &str) -> String {
    format!("source {name}")
}

impl Sources {
    pub(super) fn new(
        events: mpsc::Sender<Event>,
        orders: mpsc::Sender<Order>,
        overview: watch::Receiver<Overview>,
        budget: Budget,
    ) -> Self {
        Self {
            events,
            orders,
            overview,
            budget,
            secrets: Arc::default(),
        }
    }

    /// Starts a source that the hub awaits.
    pub(super) fn start(&self, tasks: &mut Tasks, config: &Config, name: &Arc<str>, info: SourceInfo) {
        let Some(section) = config.sources.get(name).cloned() else {
            return;
        };
        let (budget, sink) = (self.budget.clone(), Sink::new(name.clone(), self.events.clone()));
        let sink = match &info.ask {
            Some(ask) => sink.asked_by(ask.subscribe()),
            None => sink,
        };
        let reporting = Reporting {
            name: name.clone(),
            info,
            events: self.events.clone(),
            orders: self.orders.clone(),
        };
        let run = move |stop| source::build(&section, &budget).run(sink.clone(), stop);
        tasks.spawn(task(name), |stop| keep_running(run, reporting, stop));
    }

    /// Starts to follow the files of `[tls.NAME]`, where there are any.
    /// `running`: what the discovery port was opened by.
    pub(super) fn follow_secrets(&self, tasks: &mut Tasks, running: &Config, config: &Config) {
        let mut files = config.secrets();
        if files.is_empty() {
            return;
        }
        if !running.xds.may_send_keys() {
            for (name, files) in &mut files {
                if files.identity.take().is_some() {
                    tracing::warn!(
                        tls = &**name,
                        "its key is not given to anybody before a restart: who connects now shows no certificate"
                    );
                }
            }
        }
        let (orders, known) = (self.orders.clone(), self.secrets.clone());
        tasks.spawn(SECRETS, |stop| secrets::follow(files, known, orders, stop));
    }

    /// Does what leads from one configuration to the other. What it cannot do is logged.
    pub(super) async fn apply(&mut self, tasks: &mut Tasks, old: &Config, new: &Config) {
        let steps = reload::steps(old, new);
        let added: Vec<Arc<str>> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Add(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let mut handed_over = added.is_empty();
        if steps.is_empty() {
            tracing::info!("the configuration says what is in force: nothing changes");
        }
        for step in steps {
            match step {
                Step::Network => {
                    let network = Box::new(new.network());
                    self.request(|reply| Order::Network { network, reply }).await;
                }
                // Whoever decides about them has it by another way.
                Step::Rollouts | Step::Streams => {}
                Step::Secrets => {
                    tasks.stop(SECRETS).await;
                    self.follow_secrets(tasks, old, new);
                    if new.secrets().is_empty() {
                        let secrets = Secrets::new();
                        let _ = self.orders.send(Order::Secrets { secrets }).await;
                    }
                }
                Step::Add(name) => self.add(tasks, new, name).await,
                Step::Replace(name) => {
                    tasks.stop(&task(&name)).await;
                    self.add(tasks, new, name).await;
                }
                Step::Remove(name) => {
                    if !std::mem::replace(&mut handed_over, true) {
                        self.until_delivered(&added).await;
                    }
                    // Its events are sent by the time that its task has ended.
                    tasks.stop(&task(&name)).await;
                    self.request(|reply| Order::RemoveSource { name, reply }).await;
                }
                Step::Restart(section) => {
                    tracing::warn!(
                        section,
                        "what changed here takes effect with a restart of the bridge"
                    );
                }
            }
        }
    }

    /// Announces a source to the hub, and starts it.
    async fn add(&self, tasks: &mut Tasks, config: &Config, name: Arc<str>) {
        let Some(info) = info(config, &name, &self.budget) else {
            return;
        };
        let (named, known) = (name.clone(), info.clone());
        let added = self.request(|reply| Order::AddSource {
            name: named,
            info: known,
            reply,
        });
        added.await;
        self.start(tasks, config, &name, info);
    }

    async fn until_delivered(&mut self, names: &[Arc<str>]) {
        let delivered = self.overview.wait_for(|overview| {
            let mut sources = overview.sources.iter();
            !sources.any(|source| names.contains(&source.name) && !source.delivered)
        });
        if tokio::time::timeout(HANDOVER, delivered).await.is_err() {
            tracing::warn!(
                sources = names.join(", "),
                "new sources have not delivered yet; those they replace are removed all the same"
            );
        }
    }

    /// The hub's reply; `None`: the hub has ended, and with it the program.
    async fn request<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(order(reply)).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
