//! Services from Consul's catalog and health, by blocking queries.
//!
//! A 200 from Consul can be a partial or empty catalog: a server that restarts answers with
//! what it has loaded so far. So nothing is believed after any error or falling index until
//! the gate (`?consistent`, and canaries) was passed and each service confirmed; a lost
//! instance is always confirmed. How the parts play together:
//!
//! ```text
//! gate ─closes→ circuit ←trips─ follow: names · each service · documents; sweep
//!                  │                        │ news, with their epoch
//!                  └──────epoch───→ keeper ─┴→ ledger (pure) → Sink
//! ```
//!
//! Never: a removal while the circuit is open, a write to Consul, a token in a log.

mod audit;
mod budget;
mod circuit;
mod cuts;
mod document;
mod files;
mod flights;
mod follow;
mod gate;
mod keeper;
mod known;
mod ledger;
mod lengths;
mod link;
mod pace;
mod parse;
mod peering;
mod policies;
mod reads;
mod select;
mod slots;
mod stream;
mod subject;
mod sweep;
mod timing;
mod verdict;
mod waits;
mod wire;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use document::{Document, Documents, document, named};
pub use parse::{Found, Names, Unreadable, health, services};
pub use timing::Timing;

use self::keeper::Keeper;
use self::link::Link;
use super::{HubGone, Sink, Source};
use crate::config::ConsulSource;
use crate::model::Status;
use crate::registry::budget::Budget;
use crate::registry::consul::{Client, Failure, Scope, TlsFiles, Transport};

/// News on the way to the keeper; more wait where they are.
const NEWS: usize = 1024;

/// Watches one Consul agent.
#[derive(Clone, Debug)]
pub struct ConsulWatcher {
    config: ConsulSource,
    timing: Timing,
    budget: Budget,
}

impl ConsulWatcher {
    /// Nothing is connected to before [`Source::run`].
    #[must_use]
    pub fn new(config: &ConsulSource) -> Self {
        Self {
            config: config.clone(),
            timing: Timing::default(),
            budget: Budget::default(),
        }
    }

    /// What its answers hold counts here, with those of other sources.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Other times than those for real agents.
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
        let link = Arc::new(Link::new(
            sink.source().clone(),
            client,
            self.config.selection.clone(),
            &timing,
            news,
        ));
        let (client, source) = (link.client.clone(), link.source.clone());
        tokio::select! {
            ended = Keeper::new(link, sink, self.config.max_watches).run(inbox, stop) => ended,
            () = files::follow(&client, &source, self.timing.look) => Ok(()), // never
        }
    }

    /// Looks whether the files that it names can be used; connects to nothing.
    ///
    /// # Errors
    /// Which cannot, and why.
    pub async fn look_at_files(&self) -> Result<(), String> {
        let look = async { self.client()?.reload_token().await };
        look.await.map(drop).map_err(|error| error.chain())
    }

    fn client(&self) -> Result<Client, Failure> {
        let ConsulSource {
            address,
            token_file,
            datacenter,
            namespace,
            partition,
            peer,
            selection: _,
            max_watches: _,
            wait: _,
            tls,
            guard: _,
        } = self.config.clone();
        let scope = Scope {
            datacenter,
            namespace,
            partition,
            peer,
        };
        let files = tls.map_or_else(TlsFiles::default, |tls| TlsFiles {
            ca: tls.ca,
            identity: tls.identity,
            server_name: tls.server_name,
        });
        let transport = Transport::new(&address, files)?;
        let client = Client::new(transport, scope, token_file, self.timing.slack);
        Ok(client.within(self.budget.clone()))
    }

    /// Tried for ever, since certificates may appear; `None` when stopped.
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
        tracing::warn!(source = %sink.source(), reason, "consul cannot be reached");
        sink.status(Status::Away { reason }).await
    }
}

impl Source for ConsulWatcher {
    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let source = sink.source().clone();
            if let Err(error) = self.watch(sink, &stop).await {
                tracing::debug!(%source, %error, "the consul source ends");
            }
        })
    }
}
