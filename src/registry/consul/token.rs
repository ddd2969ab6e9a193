//! The ACL token: read from its file when first needed, after a refusal, and at each check. Never logged, never part of
//! an error.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_128;

use super::error::Failure;
use crate::files::{Steady, read_small_aside};

/// A token that may be rotated at any time.
#[derive(Debug)]
pub(super) struct Token {
    path: Option<PathBuf>,
    held: ArcSwapOption<Secret>,
    steady: Mutex<Steady>,
    /// Counts the tokens after the first.
    rotations: watch::Sender<u64>,
}

/// Keeps the text out of `Debug`.
#[derive(PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Token {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            held: ArcSwapOption::empty(),
            steady: Mutex::new(Steady::new(0)),
            rotations: watch::Sender::new(0),
        }
    }

    /// The token; `None` when none is configured.
    pub(super) async fn get(&self) -> Result<Option<Arc<Secret>>, Failure> {
        if self.path.is_some() && self.held.load().is_none() {
            self.reload().await?;
        }
        Ok(self.held.load_full())
    }

    /// Reads the file again. True when it holds another token than before.
    pub(super) async fn reload(&self) -> Result<bool, Failure> {
        let Some(path) = &self.path else { return Ok(false) };
        let fresh = read(path).await?;
        Ok(self.hold(fresh))
    }

    /// The same for a token that was not refused: only content that was the same at the last check counts, since a file
    /// that is being written may hold a part of one.
    pub(super) async fn check(&self) -> Result<bool, Failure> {
        let Some(path) = &self.path else { return Ok(false) };
        let fresh = read(path).await?;
        let seen = xxh3_128(fresh.0.as_bytes());
        let news = self
            .steady
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_news(seen);
        Ok(news && self.hold(fresh))
    }

    /// Changes with each token after the first.
    pub(super) fn rotations(&self) -> watch::Receiver<u64> {
        self.rotations.subscribe()
    }

    fn hold(&self, fresh: Secret) -> bool {
        let old = self.held.load();
        if old.as_deref() == Some(&fresh) {
            return false;
        }
        self.held.store(Some(fresh.into()));
        if old.is_some() {
            self.rotations.send_modify(|n| *n += 1);
        }
        true
    }
}

async fn read(path: &Path) -> Result<Secret, Failure> {
    let wrong = |reason: String| Failure::Token {
        path: path.to_owned(),
        reason,
    };
    let bytes = read_small_aside(path).await.map_err(|e| wrong(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("must hold one token and nothing else".to_owned()));
    }
    Ok(Secret(token.to_owned()))
}
