//! That this bridge runs: a key under a hold, written again when the hold is lost. The first real write, too: it shows
//! whether we may.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::document::{self, Replica};
use super::handle::{State, StateError};
use super::path::Path;
use crate::clock;
use crate::registry::store::{Held, Pauses, StoreError};

/// How long others wait for one that does not answer any more.
const TTL: Duration = Duration::from_secs(15);
/// Between two tries without the right.
const DENIED: Duration = Duration::from_secs(30);

/// Ends our presence now.
pub(super) async fn leave(state: &State) {
    if let Some(hold) = state.0.present.swap(None) {
        // If that fails it ends by its time.
        let _ = hold.release().await;
    }
}

/// Without end.
pub(super) async fn keep(state: &State) {
    let replica = Replica {
        started: clock::unix_millis(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
    };
    let (key, text) = (
        Path::Replica(state.replica().clone()).to_string(),
        document::text(&replica),
    );
    let mut pauses = Pauses::new();
    loop {
        let taken = match state.store().await {
            Ok(store) => store
                .hold(&key, text.as_bytes(), TTL)
                .await
                .map_err(StateError::from),
            Err(error) => Err(error),
        };
        match taken {
            Ok(hold) => {
                pauses.reset();
                missing(state, None);
                let mut changes = hold.changes();
                let hold = Arc::new(hold);
                state.0.present.store(Some(hold.clone()));
                // An error means that nobody renews it any more.
                let _ = changes.wait_for(|held| *held == Held::Lost).await;
                state.0.present.store(None);
                // Where only the key was deleted, other keys would stay with what is left of it.
                let _ = hold.release().await;
            }
            Err(StateError::Store(StoreError::Denied { reason, grant })) => {
                missing(state, Some((&reason, grant)));
                sleep(DENIED).await;
            }
            // The keys are followed by another task, which says what is wrong.
            Err(error) => {
                tracing::debug!(%error, "our presence is not shared yet");
                sleep(pauses.next_pause()).await;
            }
        }
    }
}

/// Says so once.
fn missing(state: &State, denied: Option<(&str, String)>) {
    let grant = denied.as_ref().map(|(_, grant)| grant.clone());
    if state.snapshot().missing == grant {
        return;
    }
    match denied {
        Some((reason, grant)) => tracing::warn!(
            grant,
            "shared state cannot be written, so drains and rollouts cannot begin here: {reason}"
        ),
        None => tracing::info!("shared state can be written now"),
    }
    state.change(|snapshot| snapshot.missing = grant);
}

/// The machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
