//! How rollouts are written: records with a compare, the number of a schema, and what this bridge counts under its
//! presence.

use std::sync::Arc;

use super::counted::{Counted, Data};
use super::document::{self, Documents};
use super::handle::{State, StateError};
use super::kept::Kept;
use super::parts::parts;
use super::path::Path;
use crate::registry::store::{Entries, If, Revision};
use crate::rollout::Record;

/// What this bridge counts is shared until this is dropped, or until this bridge is gone.
#[derive(Debug)]
pub struct Counting {
    state: State,
    parts: Vec<Kept>,
}

impl State {
    /// Writes a record, if it is still as it was at `when`.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn put_rollout(
        &self,
        service: &Arc<str>,
        record: &Record,
        when: If,
    ) -> Result<Revision, StateError> {
        let key = Path::Rollout(service.clone()).to_string();
        self.put(&key, &document::text(record), when).await
    }

    /// A record as it is in the store now, past what was seen of it. `None`: there is none.
    ///
    /// # Errors
    /// [`StateError`]; [`StateError::Unreadable`] when it is there and cannot be read.
    pub async fn fresh_rollout(
        &self,
        service: &Arc<str>,
    ) -> Result<Option<(Arc<Record>, Revision)>, StateError> {
        let key = Path::Rollout(service.clone()).to_string();
        let Some(entry) = self.store().await?.get(&key).await? else {
            return Ok(None);
        };
        let entries = Entries::from([(entry.key.clone(), entry)]);
        let mut read = Documents::read_after(&entries, &self.snapshot().documents);
        if let Some(unreadable) = read.unreadable.pop() {
            return Err(StateError::Unreadable(unreadable));
        }
        Ok(read.rollouts.remove(service))
    }

    /// Says which schema is stored.
    ///
    /// # Errors
    /// [`StateError`]
    pub async fn put_data(&self, name: &Arc<str>, data: &Data) -> Result<Revision, StateError> {
        let key = Path::Data(name.clone()).to_string();
        self.put(&key, &document::text(data), If::Always).await
    }

    /// Shares what this bridge counts, from the first [`Counting::set`] on.
    #[must_use]
    pub fn count(&self) -> Counting {
        Counting {
            state: self.clone(),
            parts: Vec::new(),
        }
    }
}

impl Counting {
    /// The counts of now: written at most once a second, the newest win. How many services find no room.
    pub fn set(&mut self, counted: &Counted) -> usize {
        let (texts, left) = parts(counted);
        // What is dropped is deleted.
        self.parts.truncate(texts.len());
        for (n, text) in texts.iter().enumerate() {
            if let Some(part) = self.parts.get(n) {
                part.set(text);
                continue;
            }
            let key = Path::Counts(self.state.replica().clone(), n.to_string().into());
            self.parts
                .push(Kept::new(self.state.clone(), key.to_string(), text, None));
        }
        left
    }
}
