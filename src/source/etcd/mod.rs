//! The etcd source: list at a revision, watch from the next one, and again after each break.
//!
//! Never removes anything because etcd cannot be reached, never takes a quiet store for one that is away, and
//! never trusts a header for where to resume: only the last event tells (a header ran 1,300 revisions ahead of it).
//!
//! ```text
//! link (member, connection) ← session per prefix (state, pulse) ─┐
//!                           ← session per prefix (state, pulse) ─┴→ union (pure) → Sink
//! ```

mod attend;
mod backoff;
mod entries;
mod fields;
mod foreign;
mod items;
mod kept;
mod keys;
mod link;
mod news;
mod pulse;
mod reason;
mod room;
mod session;
mod state;
mod timing;
mod union;
mod value;

use std::sync::Arc;

use futures::future::{BoxFuture, join_all};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error_span};

pub use timing::Timing;

use self::link::Link;
pub use self::link::access;
pub use self::news::news;
use self::session::{News, Outlet, Session};
pub use self::state::{Relisting, State};
use self::union::Union;
use super::{FEW_DESCRIPTORS, HubGone, Sink, Source};
use crate::config::{EtcdPrefix, EtcdSource};
use crate::model::GuardRule;
use crate::registry::budget::Budget;
use crate::text::chain;

/// Watches the keys below some prefixes of one cluster, each as its format says.
#[derive(Clone, Debug)]
pub struct EtcdWatcher {
    config: EtcdSource,
    timing: Timing,
    budget: Budget,
}

impl EtcdWatcher {
    /// A source for this section of `bridge.toml`; connects when it runs.
    #[must_use]
    pub fn new(config: &EtcdSource) -> Self {
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

    /// Other times than those for real clusters.
    #[must_use]
    pub const fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// All prefixes at once, until the hub is gone.
    async fn watch(&self, sink: Sink) {
        let link = Arc::new(Link::new(&self.config, self.timing, self.budget.clone()));
        // Bounded: a session that is ahead of the hub waits.
        let (outlet, inbox) = mpsc::channel(1);
        let session = |(nth, prefix): (usize, &EtcdPrefix)| {
            let outlet = Outlet {
                nth,
                union: outlet.clone(),
                asked: sink.asked(),
            };
            // Of the highest level, so that no filter takes the names from what is logged.
            let span = error_span!("etcd", source = %sink.source(), prefix = prefix.prefix);
            Session::new(link.clone(), prefix, outlet).run().instrument(span)
        };
        let sessions = join_all(self.config.prefixes.iter().enumerate().map(session));
        let union = Union::new(self.config.prefixes.iter().map(|p| p.prefix.as_str().into()));
        tokio::select! {
            _hubs_gone = sessions => {}
            _hub_gone = pass_on(inbox, union, &sink) => {}
        }
    }

    /// A password that anybody on the way can read is worth a word.
    fn warn_of_plaintext(&self, source: &str) {
        let plain = self.config.endpoints.iter().find(|e| e.starts_with("http:"));
        if let (Some(endpoint), Some(login)) = (plain, &self.config.login) {
            tracing::warn!(
                source,
                endpoint,
                user = login.user,
                "the password goes to etcd unencrypted: use https:// endpoints"
            );
        }
    }
}

/// What the prefixes say, as one source.
async fn pass_on(
    mut inbox: mpsc::Receiver<(usize, News)>,
    mut union: Union,
    sink: &Sink,
) -> Result<(), HubGone> {
    let mut verified = 0;
    while let Some((nth, news)) = inbox.recv().await {
        match news {
            News::Change(change) => {
                if let Some(change) = union.change(nth, change) {
                    sink.change(change).await?;
                }
            }
            News::Status(status) => {
                if let Some(status) = union.status(nth, status) {
                    sink.status(status).await?;
                }
            }
            News::Listed(asked) => {
                let all = union.listed(nth, asked);
                if std::mem::replace(&mut verified, all) < all {
                    sink.verified(all).await?;
                }
            }
        }
    }
    Ok(())
}

impl Source for EtcdWatcher {
    fn kind(&self) -> &'static str {
        "etcd"
    }

    fn guard(&self) -> Option<GuardRule> {
        Some(self.config.guard)
    }

    fn registry(&self) -> Option<String> {
        Some(self.config.registry())
    }

    fn descriptors(&self) -> usize {
        FEW_DESCRIPTORS
    }

    fn check_files(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let checked = access(&self.config).look_at_files().await;
            checked.map_err(|error| chain(&error))
        })
    }

    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.warn_of_plaintext(sink.source());
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.watch(sink) => {}
            }
        })
    }
}
