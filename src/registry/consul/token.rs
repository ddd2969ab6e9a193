//! The ACL token: read from its file when first needed, and again after a refusal.
//! Never logged, never part of an error.

use std::path::{Path, PathBuf};

use arc_swap::ArcSwapOption;

use super::error::Failure;

/// A token that can be rotated under our feet.
#[derive(Debug)]
pub(super) struct Token {
    path: Option<PathBuf>,
    held: ArcSwapOption<Secret>,
}

/// Keeps the text out of `Debug`.
struct Secret(String);

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
        }
    }

    /// The token; `None` when none is configured.
    pub(super) async fn get(&self) -> Result<Option<String>, Failure> {
        if self.path.is_some() && self.held.load().is_none() {
            self.reload().await?;
        }
        Ok(self.held.load().as_deref().map(|secret| secret.0.clone()))
    }

    /// Reads the file again. True when it holds another token than before.
    pub(super) async fn reload(&self) -> Result<bool, Failure> {
        let Some(path) = &self.path else { return Ok(false) };
        let fresh = read(path).await.map_err(|reason| Failure::Token {
            path: path.clone(),
            reason,
        })?;
        let changed = self.held.load().as_deref().is_none_or(|old| old.0 != fresh);
        if changed {
            self.held.store(Some(Secret(fresh).into()));
        }
        Ok(changed)
    }
}

async fn read(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| e.to_string())?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must hold one token and nothing else".to_owned());
    }
    Ok(token.to_owned())
}
