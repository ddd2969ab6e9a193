//! Where a store is, and whether anything below a prefix has changed: questions beside a watch, which a peer
//! answers that answers no progress requests. Never reads a value.

use etcd_client::{GetOptions, GetResponse};

use super::error::Error;
use super::{Connection, Origin, prefix_end, prefix_start};

/// Where a store is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the last write, anywhere in the store.
    pub revision: i64,
    /// Who says so; without its Raft index.
    pub origin: Origin,
}

/// A prefix now against what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// No key was written or deleted up to this revision.
    Unchanged {
        /// The revision of the store.
        at: i64,
    },
    /// Some were.
    Changed,
}

impl Connection {
    /// Where the store is. One key is read, linearizably: a member without a quorum cannot answer, and
    /// `etcd grpc-proxy` answers a serializable read from its own cache, whatever became of the members.
    /// The key is the prefix itself, which any user may read who may read the prefix.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn head(&self, prefix: &str) -> Result<Head, Error> {
        let options = GetOptions::new().with_keys_only();
        let mut client = self.client.kv_client();
        head(&client.get(prefix_start(prefix), Some(options)).await?)
    }

    /// Whether a key that begins with `prefix` was written or deleted after the revision `since`. A key that is
    /// still there shows by its revision; one that is gone by the count. etcd walks through the whole prefix for
    /// this, and sends none of it.
    ///
    /// # Errors
    /// [`Error::Compacted`] when `since` is not kept any more; else what the member answered.
    pub async fn compare(&self, prefix: &str, since: i64) -> Result<Compared, Error> {
        let range = || GetOptions::new().with_range(prefix_end(prefix.as_bytes()));
        let written = range()
            .with_min_mod_revision(since.saturating_add(1))
            .with_keys_only()
            .with_limit(1);
        let counted = range().with_revision(since).with_count_only();
        let mut client = self.client.kv_client();
        let now = client.get(prefix_start(prefix), Some(written)).await?;
        let then = client.get(prefix_start(prefix), Some(counted)).await?;
        // The limit and the bound are for the keys that are sent, not for those that are counted.
        if now.kvs().is_empty() && now.count() == then.count() {
            let at = head(&now)?.revision;
            return Ok(Compared::Unchanged { at });
        }
        Ok(Compared::Changed)
    }
}

fn head(response: &GetResponse) -> Result<Head, Error> {
    let header = response
        .header()
        .ok_or(Error::Protocol("a range without a header"))?;
    Ok(Head {
        revision: header.revision(),
        origin: Origin {
            cluster_id: header.cluster_id(),
            raft_term: header.raft_term(),
            raft_index: None,
        },
    })
}
