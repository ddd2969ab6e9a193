//! Who writes the last known states, and how often: a small one at most once a second, a large one less
//! often, and each once more at the end. Never keeps a core or a disk busy with what changes all the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{CacheError, Snapshot, decisions, decisions_file, file, store};
use crate::clock;
use crate::metrics::Metrics;
use crate::plan::Decisions;

/// After a writing, the next one waits this many times as long as it took: a fiftieth of a core, however
/// large the state is.
const REST: u32 = 50;

/// But never longer.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What is written.
#[derive(Debug)]
pub enum Saved {
    /// The state of a source.
    State(Snapshot),
    /// What was decided between services.
    Decisions(Decisions),
}

impl Saved {
    /// What is written, at this time: seconds since 1970.
    ///
    /// # Errors
    /// [`CacheError::Damaged`] when something cannot be written as JSON.
    pub fn text(&self, written: u64) -> Result<String, CacheError> {
        match self {
            Self::State(snapshot) => super::encode(snapshot, written),
            Self::Decisions(decisions) => decisions::encode(decisions, written),
        }
    }

    fn path(&self, folder: &Path) -> PathBuf {
        match self {
            Self::State(snapshot) => file(folder, &snapshot.source),
            Self::Decisions(_) => decisions_file(folder),
        }
    }

    fn store(&self, folder: &Path) -> Result<(), CacheError> {
        match self {
            Self::State(snapshot) => store(folder, snapshot),
            Self::Decisions(decisions) => decisions::store(folder, decisions),
        }
    }
}

/// Where states are written.
#[derive(Debug)]
pub struct Writer {
    snapshots: mpsc::Sender<Saved>,
    rest: watch::Receiver<Duration>,
}

/// The other end of a [`Writer`], for [`write`](write()).
#[derive(Debug)]
pub struct Inbox {
    snapshots: mpsc::Receiver<Saved>,
    rest: watch::Sender<Duration>,
}

/// A writer, and what is to be run for it.
#[must_use]
pub fn writer() -> (Writer, Inbox) {
    let ((give, take), (pause, rest)) = (mpsc::channel(1), watch::channel(Duration::ZERO));
    let (snapshots, inbox) = (
        give,
        Inbox {
            snapshots: take,
            rest: pause,
        },
    );
    (Writer { snapshots, rest }, inbox)
}

impl Inbox {
    /// What was handed over and not taken yet.
    pub fn take(&mut self) -> Option<Saved> {
        self.snapshots.try_recv().ok()
    }
}

impl Writer {
    /// Hands a state over. False: the writer is busy.
    #[must_use]
    pub fn offer(&self, saved: Saved) -> bool {
        self.snapshots.try_send(saved).is_ok()
    }

    /// Hands a state over, when the writer has time.
    pub async fn hand(&self, saved: Saved) {
        let _ = self.snapshots.send(saved).await; // it has ended: so does the program
    }

    /// How long to wait from one state to the next, by what the last writing took.
    #[must_use]
    pub fn rest(&self) -> Duration {
        *self.rest.borrow()
    }
}

/// How long to rest after a write that took this time.
fn rest(took: Duration) -> Duration {
    (took * REST).min(LONGEST_REST)
}

/// Writes what it is given until `stop`, and what it was given before. A full disk is reported once,
/// counted, and survived.
pub async fn write(folder: PathBuf, mut inbox: Inbox, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut failing = false;
    // Whoever gives ends at `stop`, with what it has to give last.
    while let Some(saved) = inbox.snapshots.recv().await {
        let (to, path) = (folder.clone(), saved.path(&folder));
        let begun = clock::now();
        let is_state = matches!(saved, Saved::State(_));
        let done = tokio::task::spawn_blocking(move || saved.store(&to)).await;
        if is_state {
            inbox.rest.send_replace(rest(clock::now().duration_since(begun)));
        }
        let error = match done {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(crate::text::chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        match error {
            None if std::mem::take(&mut failing) => {
                tracing::info!(folder = %folder.display(), "the last known state is written again");
            }
            None => {}
            Some(error) => {
                metrics.cache_failures.inc();
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(path = %path.display(), error, "the last known state cannot be written");
                }
            }
        }
    }
    stop.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Saved {
        Saved::State(Snapshot {
            source: "etcd".into(),
            registry: "etcd /services/".into(),
            services: Vec::new(),
        })
    }

    #[test]
    fn a_small_state_is_written_each_second_and_a_large_one_less_often() {
        let ms = Duration::from_millis;
        assert!(rest(ms(5)) < ms(1_000));
        assert_eq!(rest(ms(300)), ms(15_000));
        assert_eq!(rest(ms(10_000)), LONGEST_REST);
    }

    #[tokio::test]
    async fn what_was_handed_over_is_written_although_all_is_stopping() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let (writer, inbox) = writer();
        assert!(writer.offer(snapshot()));
        assert!(!writer.offer(snapshot()), "one waits already");
        stop.cancel();
        drop(writer);
        write(folder.path().to_owned(), inbox, Arc::default(), stop).await;
        assert!(file(folder.path(), "etcd").is_file());
    }
}
