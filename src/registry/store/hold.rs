//! A key that exists as long as this process lives: kept alive by a task of its own, with further keys that end with
//! it, and writes that succeed only while it is ours.
//!
//! Never takes a store that does not answer for the end of a hold: whether it is lost is for the store to say.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::backend::Backend;
use super::change::{Change, Lease};
use super::entry::{If, Revision};
use super::error::StoreError;
use crate::clock;

/// Whether a hold is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is.
    Yes,
    /// It could not be renewed for its whole time: somebody else may have it. It is ours again if the store says so.
    Overdue,
    /// It is not, and will never be again.
    Lost,
}

/// A held key. Dropped, it ends by its time; [`Hold::release`] ends it at once.
#[derive(Debug)]
pub struct Hold {
    store: Backend,
    lease: Arc<Lease>,
    held: watch::Receiver<Held>,
    keeper: AbortOnDropHandle<()>,
}

impl Hold {
    /// `since`: no later than it was granted.
    pub(super) fn keep(store: Backend, lease: Lease, since: Instant) -> Self {
        let (state, held) = watch::channel(Held::Yes);
        let lease = Arc::new(lease);
        let task = tokio::spawn(keep(store.clone(), lease.clone(), state, since));
        Self {
            store,
            lease,
            held,
            keeper: AbortOnDropHandle::new(task),
        }
    }

    /// What is held.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.lease.key
    }

    /// Without a sign of life it ends after this.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.lease.ttl
    }

    /// The fencing token: no later hold of this key has the same.
    #[must_use]
    pub fn token(&self) -> Revision {
        Revision(self.lease.created)
    }

    /// Whether it is ours now, as far as is known here.
    #[must_use]
    pub fn held(&self) -> Held {
        *self.held.borrow()
    }

    /// The same, to be waited for.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Held> {
        self.held.clone()
    }

    /// Until it is lost for good. May be dropped while it waits.
    pub async fn lost(&mut self) {
        // An error means that its task is gone, and so is whoever renews it.
        let _ = self.held.wait_for(|held| *held == Held::Lost).await;
    }

    /// Writes a key that ends with the hold; also one that is there already. One of another hold is not for it: Consul
    /// refuses that, in etcd the last one has it.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] when the hold is lost; any other.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<Revision, StoreError> {
        self.change(key, Some(value), If::Always, true).await
    }

    /// Deletes such a key.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] when the hold is lost; any other.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.fenced_delete(key, If::Always).await
    }

    /// Writes a key that stays, only while this is held.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] when the hold is lost, [`StoreError::Changed`] when the key is not what it must be;
    /// any other.
    pub async fn fenced_put(&self, key: &str, value: &[u8], when: If) -> Result<Revision, StoreError> {
        self.change(key, Some(value), when, false).await
    }

    /// Deletes a key, only while this is held.
    ///
    /// # Errors
    /// As [`Hold::fenced_put`].
    pub async fn fenced_delete(&self, key: &str, when: If) -> Result<(), StoreError> {
        self.change(key, None, when, false).await.map(drop)
    }

    /// Ends it, and with it its keys. It is of no use afterwards.
    ///
    /// # Errors
    /// When that is not certain; it ends by its time then.
    pub async fn release(&self) -> Result<(), StoreError> {
        self.keeper.abort();
        self.store.release(&self.lease).await
    }

    async fn change(
        &self,
        key: &str,
        value: Option<&[u8]>,
        when: If,
        under: bool,
    ) -> Result<Revision, StoreError> {
        let change = Change {
            key,
            value,
            when,
            fence: Some(&self.lease),
            under,
        };
        self.store.change(change).await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.store.abandon(&self.lease);
    }
}

/// Renews it until it is lost.
async fn keep(store: Backend, lease: Arc<Lease>, state: watch::Sender<Held>, mut since: Instant) {
    let mut pause = lease.ttl / 3;
    let mut failed = false;
    loop {
        sleep(jittered(pause)).await;
        let began = clock::now();
        let overdue = since + lease.ttl;
        // A try that hangs must not hide that the time is over.
        let deadline = if overdue > began {
            overdue
        } else {
            began + lease.ttl
        };
        match timeout_at(deadline, store.renew(&lease)).await {
            Ok(Ok(true)) => {
                since = began;
                pause = lease.ttl / 3;
                failed = false;
                set(&state, &lease, Held::Yes);
            }
            Ok(Ok(false)) => {
                set(&state, &lease, Held::Lost);
                return;
            }
            Ok(Err(_)) | Err(_) => {
                // Soon at first: it may be a moment only. Then ever longer, as all that cannot reach the store.
                let first = (lease.ttl / 20).min(Duration::from_secs(1));
                pause = if failed {
                    (pause * 2).min(lease.ttl / 3)
                } else {
                    first
                };
                failed = true;
                if clock::now() >= overdue {
                    set(&state, &lease, Held::Overdue);
                }
            }
        }
    }
}

fn set(state: &watch::Sender<Held>, lease: &Lease, held: Held) {
    let changed = state.send_if_modified(|now| std::mem::replace(now, held) != held);
    if changed {
        tracing::info!(key = &*lease.key, ?held, "a hold on shared state");
    }
}

/// Two thirds of it to all of it: bridges that start together must not ask together forever.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let share = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    pause / 3 * 2 + pause / 3 * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_are_never_longer() {
        let whole = Duration::from_secs(3);
        let all: Vec<_> = (0..200).map(|_| jittered(whole)).collect();
        assert!(all.iter().all(|pause| *pause >= whole / 3 * 2 && *pause <= whole));
        assert!(all.iter().any(|pause| *pause != all[0]));
    }
}
