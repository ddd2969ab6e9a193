//! The etcd source: list at a revision, watch from the next one, and again after each break.
//!
//! Never removes anything because etcd cannot be reached, and never trusts a header for where to resume:
//! only the last event tells (a header ran 1,300 revisions ahead of it).

mod backoff;
mod keys;
mod native;
mod session;
mod state;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use super::{Sink, Source};
use crate::config::EtcdSource;

/// Watches the keys below one prefix, in the `native` format.
#[derive(Clone, Debug)]
pub struct EtcdWatcher {
    config: EtcdSource,
}

impl EtcdWatcher {
    /// A source for this section of `bridge.toml`; connects when it runs.
    #[must_use]
    pub fn new(config: &EtcdSource) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

impl Source for EtcdWatcher {
    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let session = Session::new(&self.config, sink);
            tokio::select! {
                () = stop.cancelled() => {}
                _hub_gone = session.run() => {}
            }
        })
    }
}
