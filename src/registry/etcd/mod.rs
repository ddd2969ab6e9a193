//! A thin typed client for etcd v3: one range of keys listed and watched, over one member at a time.
//!
//! Never retries, never sleeps, and never balances over members (a balanced channel keeps dead members in
//! rotation): the caller moves on with [`Etcd::advance`]. Imports nothing of ours.

mod error;
mod kv;
mod pages;
mod watch;

use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use tokio::time::timeout;

pub use error::Error;
pub use kv::{Event, Kv, MAX_VALUE};
pub use pages::Pages;
pub use watch::{Message, Watch};

/// TCP and TLS to one member.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// One request. A frozen member would otherwise hold a call for ever.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2 pings. etcd cuts a connection that pings more often than each 5 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a ping may stay unanswered.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest part of a watch that is decoded, bytes. tonic's 4 MiB break long catch-ups.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;
/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's id; another one is another cluster.
    pub cluster_id: u64,
    /// The Raft term: never falls within one history, so a lower one tells of a restored backup.
    pub raft_term: u64,
}

/// The members of one cluster, of which one is in use.
pub struct Etcd {
    members: Vec<Member>,
    current: usize,
}

/// One member; connected when it is first used.
struct Member {
    endpoint: String,
    client: Option<Client>,
}

impl Etcd {
    /// A client for these endpoints (`http://host:port`), beginning with the first. Connects nothing yet.
    #[must_use]
    pub fn new(endpoints: &[String]) -> Self {
        let member = |endpoint: &String| Member {
            endpoint: endpoint.clone(),
            client: None,
        };
        Self {
            members: endpoints.iter().map(member).collect(),
            current: 0,
        }
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.members.len()
    }

    /// The endpoint in use.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.members.get(self.current).map_or("", |m| &m.endpoint)
    }

    /// Moves on to the next endpoint and forgets the connection to this one.
    pub fn advance(&mut self) {
        if let Some(member) = self.members.get_mut(self.current) {
            member.client = None;
            self.current = (self.current + 1) % self.members.len();
        }
    }

    /// Lists all keys that begin with `prefix`, page by page. Reads the first page.
    ///
    /// # Errors
    /// What the member answered.
    pub async fn list(&mut self, prefix: &str) -> Result<Pages, Error> {
        let client = self.client().await?.kv_client();
        Pages::open(client, prefix.as_bytes(), prefix_end(prefix.as_bytes())).await
    }

    /// Watches all keys that begin with `prefix`, from the revision `from` on (inclusive).
    ///
    /// # Errors
    /// [`Error::Rewound`] when the member's history ends before `from - 1` (a restored backup);
    /// else what the member answered. [`Error::Compacted`] comes with the first [`Watch::next`].
    pub async fn watch(&mut self, prefix: &str, from: i64) -> Result<Watch, Error> {
        let client = self
            .client()
            .await?
            .watch_client()
            .max_decoding_message_size(MAX_MESSAGE);
        let end = prefix_end(prefix.as_bytes());
        timeout(CALL_TIMEOUT, Watch::open(client, prefix, end, from))
            .await
            .map_err(|_| Error::Silent)?
    }

    async fn client(&mut self) -> Result<Client, Error> {
        let member = self
            .members
            .get_mut(self.current)
            .ok_or(Error::Protocol("no endpoint is given"))?;
        if let Some(client) = &member.client {
            return Ok(client.clone());
        }
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(CALL_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            // A member that lost its leader would go on to serve a silent watch.
            .with_require_leader(true);
        let client = Client::connect([&member.endpoint], Some(options)).await?;
        Ok(member.client.insert(client).clone())
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
    fn endpoints_are_taken_in_turn() {
        let mut etcd = Etcd::new(&["http://a".into(), "http://b".into()]);
        assert_eq!(etcd.endpoint(), "http://a");
        etcd.advance();
        assert_eq!(etcd.endpoint(), "http://b");
        etcd.advance();
        assert_eq!(etcd.endpoint(), "http://a");
        Etcd::new(&[]).advance();
    }
}
