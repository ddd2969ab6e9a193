//! The task that owns shared state: it follows the keys, and publishes what they say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::document::{Documents, Unreadable};
use super::handle::{Snapshot, State};
use super::presence;
use super::recall::Kept;
use crate::clock;
use crate::registry::store::{Pauses, Status, View, Watching};

/// From a change until it is saved, with those that follow.
const SAVING: Duration = Duration::from_secs(1);
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
        let mut memory = Memory::default();
        let work = async { tokio::join!(follow(&state, &mut memory), presence::keep(&state)) };
        stop.run_until_cancelled(Box::pin(work)).await;
        if memory.due.is_some() {
            memory.save(&state).await;
        }
        if tokio::time::timeout(FAREWELL, presence::leave(&state))
            .await
            .is_err()
        {
            tracing::debug!("our presence ends by its time");
        }
    }
}

/// What is on disk, and what is to be.
#[derive(Debug, Default)]
struct Memory {
    saved: Kept,
    wanted: Kept,
    /// When it is written.
    due: Option<Instant>,
}

impl Memory {
    fn note(&mut self, snapshot: &Snapshot) {
        self.wanted = Kept::of(&snapshot.entries, &snapshot.documents, &self.wanted);
        if self.wanted == self.saved {
            self.due = None;
        } else {
            self.due.get_or_insert_with(|| clock::now() + SAVING);
        }
    }

    async fn save(&mut self, state: &State) {
        if let Some(recall) = &state.0.recall {
            recall.save(self.wanted.clone()).await;
        }
        self.saved.clone_from(&self.wanted);
        self.due = None;
    }
}

/// Without end.
async fn follow(state: &State, memory: &mut Memory) {
    if let Some(recall) = &state.0.recall {
        let entries = recall.load().await;
        let documents = Documents::read(&entries);
        memory.saved = Kept::of(&entries, &Documents::default(), &Kept::default());
        memory.wanted = memory.saved.clone();
        state.change(|snapshot| {
            snapshot.entries = Arc::new(entries);
            snapshot.documents = documents;
        });
    }
    let mut watching = open(state).await;
    let mut reported = Vec::new();
    let mut seen = false;
    loop {
        let view = tokio::select! {
            view = watching.next() => view,
            () = clock::until(memory.due) => {
                memory.save(state).await;
                continue;
            }
        };
        let is_live = view.status == Status::Live;
        if is_live && state.snapshot().status != Status::Live {
            tracing::info!(
                place = state.place(),
                keys = view.entries.len(),
                "shared state is live"
            );
        }
        seen |= is_live;
        if !seen {
            // What is remembered stays until something is seen.
            state.change(|snapshot| snapshot.status = view.status);
            continue;
        }
        publish(state, view, &mut reported);
        if is_live && state.0.recall.is_some() {
            memory.note(&state.snapshot());
        }
    }
}

/// Tries forever: a certificate may not be there yet.
async fn open(state: &State) -> Watching {
    let mut pauses = Pauses::new();
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
        sleep(pauses.next_pause()).await;
    }
}

/// `reported`: what was logged already.
fn publish(state: &State, view: View, reported: &mut Vec<Unreadable>) {
    let documents = Documents::read_after(&view.entries, &state.snapshot().documents);
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
