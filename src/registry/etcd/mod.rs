//! A thin typed client for etcd v3: one range of keys listed and watched, single keys written, leases; over one member.
//!
//! Never retries, never sleeps, and never balances over members (a balanced channel keeps dead members in
//! rotation): which member is used is the caller's choice. Imports `pem` only, of ours.

mod access;
mod error;
mod head;
mod kv;
mod members;
mod pages;
mod watch;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_client::Client;
use tokio::time::timeout;

pub use access::{Access, Login, Tls};
pub use error::{Error, Side};
pub use head::{Compared, Head};
pub use kv::{Event, Kv, MAX_VALUE};
pub use members::{Member, Members, Unreachable};
pub use pages::Pages;
pub use watch::{Message, Watch};
pub use write::{Lease, When, Write, Written};

use crate::registry::budget::Budget;

/// TCP and TLS to one member.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request. A frozen member would otherwise hold a call without end.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2 pings. etcd cuts a connection that pings more often than each 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest part of a watch that is decoded, bytes: etcd sends fragments of about its limit of a request, which
/// may be raised to ten times its 1.5 MiB and more. tonic's 4 MiB break long catch-ups.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's id; another one is another cluster.
    pub cluster_id: u64,
    /// The Raft term.
    pub raft_term: u64,
    /// The Raft index of the member; `None`: it was not asked, or does not say.
    pub raft_index: Option<u64>,
}

impl Origin {
    /// Whether this may be the same history as `earlier`, only later. Terms and indexes never fall within
    /// one history; those of a restored backup start again, though its revisions may have passed ours already.
    #[must_use]
    pub fn continues(self, earlier: Self) -> bool {
        let indexes = self.raft_index.zip(earlier.raft_index);
        self.raft_term >= earlier.raft_term && indexes.is_none_or(|(now, then)| now >= then)
    }
}

/// A connection to one member, shared by its clones.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    /// Whether the peer is known to answer no progress requests.
    mute: Arc<AtomicBool>,
    /// What answers may hold.
    budget: Budget,
}

impl Connection {
    /// Connects to an endpoint (`http://host:port`, `https://host:port`). Without a user this is lazy: the
    /// first call finds out whether anybody is there.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Pem`] for ours; [`Error::Login`] when the password is wrong; else what the member answered.
    pub async fn open(endpoint: &str, access: &Access) -> Result<Self, Error> {
        let options = access.options(endpoint).await?;
        let connect = |options| async {
            let connecting = timeout(CALL_TIMEOUT, Client::connect([endpoint], Some(options)));
            connecting.await.map_err(|_| Error::Silent)
        };
        if let Some(login) = &access.login {
            let with_user = options.clone().with_user(&login.user, login.password().await?);
            match connect(with_user).await? {
                // A cluster whose authentication is still off, or off for a while.
                Err(etcd_client::Error::GRpcStatus(status))
                    if status.message().contains("authentication is not enabled") => {}
                connected => return connected.map(Self::of).map_err(Error::from),
            }
        }
        Ok(Self::of(connect(options).await??))
    }

    fn of(client: Client) -> Self {
        Self {
            client,
            mute: Arc::default(),
            budget: Budget::default(),
        }
    }

    /// What answers hold counts here.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// The largest message that is decoded.
    fn longest(&self) -> usize {
        self.budget.part().min(MAX_MESSAGE)
    }

    /// Whether this peer is known to answer no progress requests, as `etcd grpc-proxy`, which logs an error for
    /// each one instead.
    #[must_use]
    pub fn is_mute(&self) -> bool {
        self.mute.load(Ordering::Relaxed)
    }

    /// Remembers that, or the contrary, for all clones; whether it is news.
    pub fn set_mute(&self, mute: bool) -> bool {
        self.mute.swap(mute, Ordering::Relaxed) != mute
    }

    /// Lists all keys that begin with `prefix`, page by page. Reads the first page.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn list(&self, prefix: &str) -> Result<Pages, Error> {
        let client = self.client.kv_client();
        let end = prefix_end(prefix.as_bytes());
        Pages::open(client, prefix_start(prefix), end, &self.budget, self.longest()).await
    }

    /// Watches all keys that begin with `prefix`, from the revision `from` on (inclusive).
    ///
    /// # Errors
    /// [`Error::Rewound`] when the member's history ends before `from - 1` (a restored backup);
    /// else what the member answered. [`Error::Compacted`] comes with the first [`Watch::next`].
    pub async fn watch(&self, prefix: &str, from: i64) -> Result<Watch, Error> {
        let client = self
            .client
            .watch_client()
            .max_decoding_message_size(self.longest());
        let end = prefix_end(prefix.as_bytes());
        let mut watch = timeout(
            CALL_TIMEOUT,
            Watch::open(client, prefix, end, from, self.longest()),
        )
        .await
        .map_err(|_| Error::Silent)??;
        if watch.origin.cluster_id == 0 {
            // `etcd grpc-proxy` confirms a watch itself when another client watches the same range already.
            // Its header names no cluster and no term, and repeats our revision, whatever the store's is.
            let head = timeout(CALL_TIMEOUT, self.head(prefix));
            let head = head.await.map_err(|_| Error::Silent)??;
            let known = from.saturating_sub(1);
            if head.revision < known {
                return Err(Error::Rewound { known });
            }
            watch.origin = head.origin;
        }
        watch.origin.raft_index = self.raft_index().await?;
        Ok(watch)
    }

    /// How long the member's Raft log is (`etcdserverpb.Maintenance/Status`); `None`: we may not know, or the
    /// member cannot say.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn raft_index(&self) -> Result<Option<u64>, Error> {
        let mut client = self.client.maintenance_client();
        let status = timeout(CALL_TIMEOUT, client.status())
            .await
            .map_err(|_| Error::Silent)?;
        match status {
            Ok(status) => Ok(Some(status.raft_index())),
            Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::Unimplemented => {
                Ok(None)
            }
            Err(error) => match Error::from(error) {
                Error::Denied { .. } => Ok(None),
                error => Err(error),
            },
        }
    }
}

/// The least key that begins with `prefix`. No key is empty, and etcd refuses to look for one.
const fn prefix_start(prefix: &str) -> &[u8] {
    if prefix.is_empty() {
        &[0]
    } else {
        prefix.as_bytes()
    }
}

/// The first key after all that begin with `prefix` (etcd's `clientv3.GetPrefixRangeEnd`);
/// `\0` stands for the end of all keys.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_excludes_its_neighbours() {
        assert_eq!(prefix_end(b"/services/"), b"/services0");
        assert_eq!(prefix_end(&[b'a', 0xff]), b"b");
        assert_eq!(prefix_end(&[0xff]), [0]);
        assert_eq!(prefix_end(b""), [0]);
    }

    #[test]
    fn another_history_is_recognized_by_its_term_or_its_index() {
        let origin = |raft_term, raft_index| Origin {
            cluster_id: 1,
            raft_term,
            raft_index,
        };
        let earlier = origin(2, Some(100));
        assert!(origin(2, Some(100)).continues(earlier));
        assert!(origin(3, Some(101)).continues(earlier));
        assert!(origin(2, None).continues(earlier), "it does not say");
        assert!(origin(2, Some(7)).continues(origin(2, None)), "it did not say");
        assert!(!origin(1, Some(101)).continues(earlier));
        assert!(!origin(2, Some(99)).continues(earlier));
    }
}
