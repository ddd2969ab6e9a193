//! The file source: a watched folder of `*.toml` and `*.json`, for a start without a registry and for tests.
//!
//! Never removes anything because the folder cannot be read or a file is broken: the last good content
//! stays. A file that is gone takes its services with it. One that is written to all the time does not
//! keep the others back.

mod document;
mod files;
mod folder;
mod notices;

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, error_span, info, warn};

pub use self::document::{Document, Syntax, read};
use self::folder::{Folder, Seen};
use self::notices::Notices;
use super::{FEW_DESCRIPTORS, HubGone, Sink, Source};
use crate::clock;
use crate::config::FileSource;
use crate::model::{GuardRule, Status};

/// The folder is looked through so often, whatever the system tells or fails to tell.
const RESCAN: Duration = Duration::from_secs(5);
/// A folder that is missing cannot tell that it is back.
const RESCAN_AWAY: Duration = Duration::from_secs(1);
/// Nothing must happen for this time before a file counts as written.
const QUIET: Duration = Duration::from_millis(20);

/// Watches one folder.
#[derive(Clone, Debug)]
pub struct FileWatcher {
    config: FileSource,
}

impl FileWatcher {
    /// A source for this section of `bridge.toml`; opens nothing before it runs.
    #[must_use]
    pub fn new(config: &FileSource) -> Self {
        Self {
            config: config.clone(),
        }
    }
}

impl Source for FileWatcher {
    fn kind(&self) -> &'static str {
        "file"
    }

    /// A folder is under the operator's own hand.
    fn guard(&self) -> Option<GuardRule> {
        None
    }

    fn registry(&self) -> Option<String> {
        None
    }

    fn descriptors(&self) -> usize {
        FEW_DESCRIPTORS
    }

    fn check_files(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let path = &self.config.path;
            let there = tokio::fs::metadata(path).await.is_ok_and(|found| found.is_dir());
            there
                .then_some(())
                .ok_or_else(|| format!("path: {} is not there", path.display()))
        })
    }

    fn run(self: Box<Self>, sink: Sink, stop: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let session = Session {
                sink,
                status: Status::Connecting,
            };
            // Of the highest level, so that no filter takes the name from what is logged.
            let span = error_span!("file", source = %session.sink.source());
            tokio::select! {
                () = stop.cancelled() => {}
                _hub_gone = session.run(self.config).instrument(span) => {}
            }
        })
    }
}

/// One source at work.
struct Session {
    sink: Sink,
    status: Status,
}

impl Session {
    /// Watches until the hub is gone.
    async fn run(mut self, config: FileSource) -> HubGone {
        let mut notices = Notices::new(&config.path);
        if let Some(reason) = notices.trouble() {
            warn!("changes are found each {RESCAN:?} only: {reason}");
        }
        let mut folder = Folder::new(&config.path);
        let mut pause = Duration::ZERO;
        loop {
            let first = tokio::select! {
                first = notices.wake() => first,
                () = sleep(pause) => Vec::new(),
            };
            // The folder may have been replaced by another one of its name.
            notices.arm();
            let dirty = notices.settle(first, QUIET).await;
            // Reading and parsing may take seconds for a large file: not on the runtime's threads.
            let now = clock::now();
            let task = tokio::task::spawn_blocking(move || {
                let seen = folder.look(&dirty, now);
                (folder, seen)
            });
            let seen = match task.await {
                Ok((back, seen)) => {
                    folder = back;
                    seen.map_err(|e| format!("folder {}: {e}", config.path.display()))
                }
                Err(e) => {
                    error!("reading the folder failed: {e}");
                    folder = Folder::new(&config.path);
                    Err("reading the folder failed by a mistake of this program".to_owned())
                }
            };
            pause = match &seen {
                Ok(seen) if seen.unsettled => Duration::ZERO,
                Ok(_) => RESCAN,
                Err(_) => RESCAN_AWAY,
            };
            if let Err(gone) = self.deliver(seen).await {
                return gone;
            }
        }
    }

    async fn deliver(&mut self, seen: Result<Seen, String>) -> Result<(), HubGone> {
        let status = match seen {
            Ok(seen) => {
                if let Some(change) = seen.change {
                    self.sink.change(change).await?;
                }
                Status::Live
            }
            Err(reason) => Status::Away { reason },
        };
        if status != self.status {
            if let Status::Away { reason } = &status {
                warn!("away: {reason}");
            } else {
                info!("the folder is read");
            }
            self.status = status.clone();
            self.sink.status(status).await?;
        }
        Ok(())
    }
}
