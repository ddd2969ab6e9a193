//! A document under our presence: it ends with this bridge, is written again after our presence was lost, and is deleted
//! when it is dropped. At most one write a second, the newest text wins.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::handle::State;
use crate::registry::store::{Revision, StoreError};

/// The time between two writes.
const PACE: Duration = Duration::from_secs(1);

/// Keeps it until it is dropped.
#[derive(Debug)]
pub(super) struct Kept(watch::Sender<Arc<str>>);

impl Kept {
    /// `written`: the text is there already, under the hold with this token.
    pub(super) fn new(state: State, key: String, text: &str, written: Option<Revision>) -> Self {
        let (sender, texts) = watch::channel(Arc::from(text));
        // It ends with the sender.
        tokio::spawn(keep(state, key, texts, written));
        Self(sender)
    }

    /// Another text.
    pub(super) fn set(&self, text: &str) {
        self.0.send_if_modified(|now| {
            let differs = **now != *text;
            if differs {
                *now = text.into();
            }
            differs
        });
    }
}

async fn keep(state: State, key: String, mut texts: watch::Receiver<Arc<str>>, written: Option<Revision>) {
    let mut written = written.map(|token| (token, texts.borrow_and_update().clone()));
    loop {
        let text = texts.borrow_and_update().clone();
        let hold = state.present();
        let next = hold.as_ref().map(|hold| (hold.token(), text));
        if let Some((hold, next)) = hold.zip(next).filter(|(_, next)| written.as_ref() != Some(next)) {
            match hold.put(&key, next.1.as_bytes()).await {
                Ok(_) => written = Some(next),
                // The hold is about to be found lost, or the registry is away, which others say.
                Err(error) => tracing::debug!(key, %error, "not shared yet"),
            }
            tokio::select! {
                () = sleep(PACE) => continue,
                () = closed(texts.clone()) => break,
            }
        }
        tokio::select! {
            changed = texts.changed() => if changed.is_err() { break },
            // Our presence may be another one.
            () = sleep(PACE) => {}
        }
    }
    if let Some(hold) = state.present() {
        match hold.delete(&key).await {
            Ok(()) | Err(StoreError::NotHeld { .. }) => {}
            Err(error) => tracing::debug!(key, %error, "it ends with our presence"),
        }
    }
}

/// Until nobody keeps it any more.
async fn closed(mut texts: watch::Receiver<Arc<str>>) {
    while texts.changed().await.is_ok() {}
}
