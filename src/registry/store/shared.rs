//! [`Store`]: the keys below one root, for whoever reads and writes them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::backend::Backend;
use super::change::{Change, check_key, check_value};
use super::consul::InConsul;
use super::entry::{Entry, If, Revision};
use super::error::StoreError;
use super::etcd::InEtcd;
use super::file::InFile;
use super::hold::Hold;
use super::watch::Watching;
use crate::clock;
use crate::registry::consul::Client;
use crate::registry::etcd::Members;

/// The keys below one root. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store(Backend);

impl Store {
    /// Below `root` in etcd. Connects when it is used.
    #[must_use]
    pub fn in_etcd(members: Members, root: &str) -> Self {
        Self(Backend::Etcd(Arc::new(InEtcd::new(members, root))))
    }

    /// Below `root` in Consul's KV store. Connects when it is used.
    #[must_use]
    pub fn in_consul(client: Client, root: &str) -> Self {
        Self(Backend::Consul(Arc::new(InConsul::new(client, root))))
    }

    /// In a file, which one process has at a time. Opened when it is used.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Self {
        Self(Backend::File(Arc::new(InFile::new(path))))
    }

    /// One key as it is now.
    ///
    /// # Errors
    /// [`StoreError::Key`], [`StoreError::Denied`], [`StoreError::Away`]
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        check_key(key)?;
        self.0.get(key).await
    }

    /// All keys as they are now, in their order.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::Away`]
    pub async fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(self.0.list().await?.into_values().collect())
    }

    /// Writes a key.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it is not what it must be; any other.
    pub async fn put(&self, key: &str, value: &[u8], when: If) -> Result<Revision, StoreError> {
        let change = Change {
            key,
            value: Some(value),
            when,
            fence: None,
            under: false,
        };
        self.0.change(change).await
    }

    /// Deletes a key. A key that is not there is deleted already, whatever revision was meant.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when it is not what it must be; any other.
    pub async fn delete(&self, key: &str, when: If) -> Result<(), StoreError> {
        let change = Change {
            key,
            value: None,
            when,
            fence: None,
            under: false,
        };
        self.0.change(change).await.map(drop)
    }

    /// Follows all keys, for as long as it lives: through restarts, another leader, compaction, a restored backup.
    #[must_use]
    pub fn watch(&self) -> Watching {
        self.0.watch()
    }

    /// Writes a key that is not there, and that exists for as long as this process lives and reaches the store. Without
    /// a sign of life it ends after `ttl` (by Consul: after 10 s at least, and up to twice the time).
    ///
    /// # Errors
    /// [`StoreError::Changed`] when the key is there already; any other.
    pub async fn hold(&self, key: &str, value: &[u8], ttl: Duration) -> Result<Hold, StoreError> {
        check_key(key)?;
        check_value(key, value)?;
        let began = clock::now();
        let lease = self.0.take(key, value, ttl).await?;
        Ok(Hold::keep(self.0.clone(), lease, began))
    }
}
