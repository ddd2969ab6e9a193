//! What the operating system reports about a folder (inotify and the like), gathered until it is quiet.
//!
//! Hints only: whatever is lost here is found by the next rescan.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A writer that never pauses is read after this time nevertheless.
const LONGEST: Duration = Duration::from_millis(500);
/// Notices kept while the folder is being read.
const QUEUE: usize = 256;

/// The notices of one folder.
pub(super) struct Notices {
    folder: PathBuf,
    watcher: Result<RecommendedWatcher, String>,
    queue: mpsc::Receiver<Vec<PathBuf>>,
    /// Keeps the queue open when there is no watcher.
    _sender: mpsc::Sender<Vec<PathBuf>>,
}

impl Notices {
    /// Begins to listen.
    pub(super) fn new(folder: &Path) -> Self {
        let (sender, queue) = mpsc::channel(QUEUE);
        let tell = sender.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let paths = match event {
                Ok(event) if is_news(event.kind) => event.paths,
                Ok(_) => return,
                Err(_) => Vec::new(),
            };
            // Full: the reader knows already.
            let _ = tell.try_send(paths);
        });
        let mut notices = Self {
            folder: folder.to_owned(),
            watcher: watcher.map_err(|e| e.to_string()),
            queue,
            _sender: sender,
        };
        notices.arm();
        notices
    }

    /// Why there are no notices at all.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.watcher.as_ref().err().map(String::as_str)
    }

    /// Listens to what stands at the folder's path now. A folder that is missing is tried again later.
    pub(super) fn arm(&mut self) {
        if let Ok(watcher) = &mut self.watcher {
            let _ = watcher.watch(&self.folder, RecursiveMode::NonRecursive);
        }
    }

    /// Waits for a notice.
    pub(super) async fn wake(&mut self) -> Vec<PathBuf> {
        self.queue.recv().await.unwrap_or_default()
    }

    /// Waits until nothing happens for this time, and names the files of all notices, `first` included.
    /// A file that is being written is read as a whole only then.
    pub(super) async fn settle(&mut self, mut first: Vec<PathBuf>, quiet: Duration) -> Vec<OsString> {
        let gather = async {
            while let Ok(Some(more)) = timeout(quiet, self.queue.recv()).await {
                first.extend(more);
            }
        };
        let _ = timeout(LONGEST, gather).await;
        first
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_owned()))
            .collect()
    }
}

/// Reading is no news, or our own reading would wake us.
fn is_news(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
