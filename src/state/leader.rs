//! The one bridge that decides, by a hold that ends when it does; and what it writes, which succeeds only while it has it.

use std::time::Duration;

use tokio::sync::watch;

use super::counted::Leader;
use super::document;
use super::handle::{State, StateError};
use super::path::Path;
use super::presence::host;
use crate::clock;
use crate::registry::store::{Held, Hold, If, Revision, StoreError};

/// How long after the end of one leader another one may come, without an orderly end.
const TTL: Duration = Duration::from_secs(6);

/// Held by one bridge at a time. Dropped, it ends by its time.
#[derive(Debug)]
pub struct Lead(Hold);

impl State {
    /// Tries to become the one that decides. `None`: another one is, or somebody has to be waited for.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn lead(&self) -> Result<Option<Lead>, StateError> {
        let leader = Leader {
            replica: self.replica().clone(),
            host: host(),
            since: clock::unix_millis(),
        };
        let (key, text) = (Path::Leader.to_string(), document::text(&leader));
        match self.store().await?.hold(&key, text.as_bytes(), TTL).await {
            Ok(hold) => Ok(Some(Lead(hold))),
            Err(StoreError::Changed { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Lead {
    /// Whether it still decides, as far as is known here. Where that is open it must not.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.held() == Held::Yes
    }

    /// The same, to be waited for.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Held> {
        self.0.changes()
    }

    /// Writes a document, if it is still as it was at `when`, and this bridge still leads.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when somebody else wrote it, [`StoreError::NotHeld`] when somebody else may lead; any other.
    pub async fn put(&self, path: &Path, text: &str, when: If) -> Result<Revision, StoreError> {
        self.0.fenced_put(&path.to_string(), text.as_bytes(), when).await
    }

    /// Lets another one lead now.
    pub async fn end(self) {
        // If that fails it ends by its time.
        let _ = self.0.release().await;
    }
}
