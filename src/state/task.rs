//! The task that owns shared state: it follows the keys, and publishes what they say.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::document::{Documents, Unreadable};
use super::handle::State;
use super::presence;
use crate::registry::store::{Status, View, Watching};

/// Between two tries to open the way to it, such as for a certificate that is not there yet.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the end of our presence may take at the end of the program; it ends by its time otherwise.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs until it is stopped.
#[derive(Debug)]
pub struct Task(State);

impl Task {
    /// Of this handle, and its clones.
    #[must_use]
    pub const fn new(state: State) -> Self {
        Self(state)
    }

    /// Follows what is shared, and says that we are there, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let state = self.0;
        if state.off().is_some() {
            stop.cancelled().await;
            return;
        }
        let work = async { tokio::join!(follow(&state), presence::keep(&state)) };
        stop.run_until_cancelled(Box::pin(work)).await;
        if tokio::time::timeout(FAREWELL, presence::leave(&state))
            .await
            .is_err()
        {
            tracing::debug!("our presence ends by its time");
        }
    }
}

/// Without end.
async fn follow(state: &State) {
    let mut watching = open(state).await;
    let mut reported = Vec::new();
    loop {
        let view = watching.next().await;
        if view.status == Status::Live && state.snapshot().status != Status::Live {
            tracing::info!(
                place = state.place(),
                keys = view.entries.len(),
                "shared state is live"
            );
        }
        publish(state, view, &mut reported);
    }
}

/// Tries forever.
async fn open(state: &State) -> Watching {
    loop {
        let reason = match state.store().await {
            Ok(store) => return store.watch(),
            Err(error) => error.to_string(),
        };
        let away = Status::Away { reason };
        if state.snapshot().status != away {
            tracing::warn!("shared state is away: {away}");
            state.change(|snapshot| snapshot.status = away);
        }
        sleep(PAUSE).await;
    }
}

/// `reported`: what was logged already.
fn publish(state: &State, view: View, reported: &mut Vec<Unreadable>) {
    let documents = Documents::read(&view.entries);
    if documents.unreadable != *reported {
        for new in documents.unreadable.iter().filter(|new| !reported.contains(new)) {
            tracing::warn!(key = &*new.key, "a shared document is left alone: {}", new.why);
        }
        reported.clone_from(&documents.unreadable);
    }
    state.change(|snapshot| {
        snapshot.status = view.status;
        snapshot.entries = view.entries;
        snapshot.documents = documents;
    });
}
