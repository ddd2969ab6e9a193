//! Services from Consul's catalog and health, by blocking queries.
//!
//! A 200 from Consul can be a partial or empty catalog: a server that restarts answers with what it has loaded so far. So
//! nothing is believed after an error or a falling index until the gate (`?consistent`, and canaries) was passed and each
//! service was confirmed; that an instance is gone is always confirmed. The parts, each importing only those above it:
//!
//! ```text
//! decode      pure: what Consul answers, as records of the model
//! news        what readers send to the supervisor
//! capacity    how much the agent can take; all requests go through it
//! trust       the circuit, the gate that closes it, rights, peerings
//! context     what all tasks share: capacity, trust, what was found last, the way to the supervisor
//! watch       follows names, services and documents; sweeps; audits
//! ledger      pure: what was found and what was delivered
//! supervisor  starts and stops watches; delivers to the hub
//! ```
//!
//! Never: a removal while the circuit is open, a write to Consul, a token in a log.

mod capacity;
mod context;
mod decode;
mod files;
mod keys;
mod ledger;
mod news;
mod supervisor;
mod timing;
mod trust;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use decode::{Document, Documents, Found, Names, Unreadable, document, health, named, services};
pub use timing::Timing;

use self::context::Context;
use self::supervisor::Supervisor;
use super::{FEW_DESCRIPTORS, HubGone, Sink, Source};
use crate::config::ConsulSource;
use crate::model::{GuardRule, Status};
use crate::registry::budget::Budget;
use crate::registry::consul::{Client, Failure, Scope, TlsFiles, Transport};

/// News that may wait for the supervisor; readers with more wait.
const NEWS: usize = 1024;

/// Connections of reads beside the watches.
const READS: usize = 50;

/// Watches one Consul agent.
#[derive(Clone, Debug)]
pub struct ConsulWatcher {
    config: ConsulSource,
    timing: Timing,
    budget: Budget,
}

impl ConsulWatcher {
    /// Connects to nothing before [`Source::run`].
    #[must_use]
    pub fn new(config: &ConsulSource) -> Self {
        Self {
            config: config.clone(),
            timing: Timing::default(),
            budget: Budget::default(),
        }
    }

    /// Its answers count towards this budget, with those of other sources.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Other times than the default, which is right for real agents.
    #[must_use]
    pub const fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    async fn watch(self, sink: Sink, stop: &CancellationToken) -> Result<(), HubGone> {
        let Some(client) = self.connect(&sink, stop).await? else {
            return Ok(());
        };
        let (news, inbox) = mpsc::channel(NEWS);
        let timing = Timing {
            wait: self.config.wait.unwrap_or(self.timing.wait),
            ..self.timing
        };
        let context = Arc::new(Context::new(
            client.clone(),
            self.config.selection.clone(),
            &timing,
            self.config.max_watches,
            news,
        ));
        tokio::select! {
            ended = Supervisor::new(context, sink).run(inbox, stop) => ended,
            () = files::watch(&client, self.timing.look) => Ok(()), // never
        }
    }

    fn client(&self) -> Result<Client, Failure> {
        client(&self.config, self.timing.slack, &self.budget)
    }

    /// Tries forever, since certificates may appear; `None` when stopped.
    async fn connect(&self, sink: &Sink, stop: &CancellationToken) -> Result<Option<Client>, HubGone> {
        let mut delays = self.timing.tries();
        loop {
            match self.client() {
                Ok(client) => return Ok(Some(client)),
                Err(error) => self.away(&error, sink).await?,
            }
            let pause = tokio::time::sleep(self.timing.next(&mut delays));
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(None);
            }
        }
    }

    async fn away(&self, error: &Failure, sink: &Sink) -> Result<(), HubGone> {
        let reason = error.chain();
        tracing::warn!(reason, "consul cannot be reached");
        sink.status(Status::Away { reason }).await
    }
}

/// Connections to the agent of this section. Connects to nothing yet, and blocks on a disk for its certificates.
///
/// # Errors
/// What is wrong with the files of its `tls` section.
pub fn client(config: &ConsulSource, slack: Duration, budget: &Budget) -> Result<Client, Failure> {
    let scope = Scope {
        datacenter: config.datacenter.clone(),
        namespace: config.namespace.clone(),
        partition: config.partition.clone(),
        peer: config.peer.clone(),
    };
    let files = config.tls.clone().map_or_else(TlsFiles::default, |tls| TlsFiles {
        ca: tls.ca,
        identity: tls.identity,
        server_name: tls.server_name,
    });
    let transport = Transport::new(&config.address, files)?;
    let client = Client::new(transport, scope, config.token_file.clone(), slack);
    Ok(client.within(budget.clone()))
}

impl Source for ConsulWatcher {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn guard(&self) -> Option<GuardRule> {
        Some(self.config.guard)
    }

    fn registry(&self) -> Option<String> {
        Some(self.config.registry())
    }

    /// Over HTTP/1.1 each watch has its own connection.
    fn descriptors(&self) -> usize {
        if self.config.address.starts_with("https://") {
            FEW_DESCRIPTORS
        } else {
            self.config.max_watches + READS
        }
    }

    fn check_files(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let check = async { self.client()?.reload_token().await };
            check.await.map(drop).map_err(|error| error.chain())
        })
    }

    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // Of the highest level, so that no filter takes the name from what is logged.
            let span = tracing::error_span!("consul", source = %sink.source());
            let run = async {
                if let Err(error) = self.watch(sink, &stop).await {
                    tracing::debug!(%error, "the consul source ends");
                }
            };
            run.instrument(span).await;
        })
    }
}
