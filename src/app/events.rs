//! What goes into the journal beside what the hub notes, and what becomes of it: decisions of rollouts, when the last client had
//! acknowledged a change, and the file that it is kept in over a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::fanout::{Fanout, Settled};
use crate::files::{read, replace};
use crate::journal::{Acked, Journal, Noted};
use crate::metrics::Metrics;
use crate::pilot::{Desk, Notice};

/// The file, in `cache.folder`.
const NAME: &str = "events.jsonl";
/// The longest that is read; what is kept is shorter by its own bounds.
const LONGEST: u64 = 32 << 20;
/// Between two writes: what a bridge that is killed forgets.
const PACE: Duration = Duration::from_secs(2);
/// After a write, the next one waits this many times as long as it took.
const REST: u32 = 50;
/// Who decides in rollouts, as a source of events.
const ROLLOUTS: &str = "rollouts";

/// Reads what was kept, before anything is noted. A file that is damaged costs what is damaged.
pub(super) async fn begin(journal: &Arc<Journal>, folder: Option<PathBuf>) {
    let reading = tokio::task::spawn_blocking(move || kept(&folder?));
    let kept = reading.await.ok().flatten();
    journal.begin(clock::unix_millis(), kept.as_deref());
}

fn kept(folder: &Path) -> Option<String> {
    let path = folder.join(NAME);
    match read(&path, LONGEST) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "earlier events cannot be read");
            None
        }
    }
}

/// Between those who know something and the journal.
pub(super) struct Keeper {
    pub(super) journal: Arc<Journal>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) desk: Desk,
    pub(super) metrics: Arc<Metrics>,
    /// `None`: events end with the program.
    pub(super) folder: Option<PathBuf>,
}

impl Keeper {
    /// Until `stop`, and once more after it.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut notices = self.desk.notices();
        let mut settling = self.fanout.settling();
        let mut noted = self.journal.follow();
        let (mut save_at, mut rest, mut is_failing) = (None, PACE, false);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                notice = notices.recv() => match notice {
                    Ok(notice) => self.journal.note(vec![decided(&notice)]),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "events: too many decisions of rollouts at once; the log has them");
                    }
                    Err(RecvError::Closed) => {
                        stop.cancelled().await;
                        break;
                    }
                },
                // Both senders live as long as what this holds.
                _ = settling.changed() => self.acked(),
                _ = noted.changed() => {}
                () = clock::until(save_at) => {
                    rest = self.save(&mut is_failing).await;
                    save_at = None;
                    continue;
                }
            }
            save_at = save_at.or_else(|| Some(clock::now() + rest));
        }
        self.acked();
        self.save(&mut is_failing).await;
    }

    fn acked(&self) {
        let (now, unix) = (clock::now(), clock::unix_millis());
        let acked = |settled: Settled| {
            let age = now.saturating_duration_since(settled.at).as_millis();
            Acked {
                from: settled.generations.0,
                to: settled.generations.1,
                at: unix.saturating_sub(u64::try_from(age).unwrap_or_default()),
                clients: settled.streams,
            }
        };
        let all: Vec<Acked> = self.fanout.take_settled().into_iter().map(acked).collect();
        self.journal.acked(&all);
    }

    /// Returns how long to rest after it.
    async fn save(&self, is_failing: &mut bool) -> Duration {
        let Some(folder) = self.folder.clone() else {
            return PACE;
        };
        let (journal, begun) = (self.journal.clone(), clock::now());
        let path = folder.join(NAME);
        let writing = tokio::task::spawn_blocking(move || replace(&folder, NAME, &journal.text()));
        match writing.await.map_err(std::io::Error::other).flatten() {
            Ok(()) => *is_failing = false,
            Err(error) => {
                self.metrics.cache_failures.inc();
                if !std::mem::replace(is_failing, true) {
                    tracing::warn!(path = %path.display(), %error, "events cannot be written, and end with the program");
                }
            }
        }
        PACE.max(clock::now().duration_since(begun) * REST)
    }
}

fn decided(notice: &Notice) -> Noted {
    let event = &notice.event;
    let dry = if event.dry_run { " (dry run)" } else { "" };
    Noted {
        at: event.at,
        source: Some(ROLLOUTS.into()),
        service: Some(notice.service.clone()),
        instance: None,
        what: format!("rollout{dry}: {}", event.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_none_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let noted = || Noted {
            what: "x".to_owned(),
            ..Noted::default()
        };
        let read = async || {
            let journal = Arc::new(Journal::default());
            begin(&journal, Some(folder.path().to_owned())).await;
            journal.note(vec![noted()]);
            journal
        };
        let first = read().await;
        replace(folder.path(), NAME, &first.text()).unwrap();
        let second = read().await;
        let found = second.events(&Default::default(), 9);
        assert_eq!((second.start(), found.events.len()), (first.start(), 2));
        assert!(
            found.newest > 2,
            "numbers that a killed bridge may have given are not given again"
        );
        for damaged in [&b"\xff\xfe\x00"[..], b"", b"{\"events\":9,\"start\":1}\n"] {
            std::fs::write(folder.path().join(NAME), damaged).unwrap();
            assert_eq!(read().await.events(&Default::default(), 9).newest, 1);
        }
    }
}
