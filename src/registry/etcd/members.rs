//! The members of one cluster: which one is in use, one connection to it, and whose cluster it is. Shared by all who talk
//! to that cluster for one purpose.
//!
//! Never retries and never sleeps: that is each user's own. A user that finds its member broken leaves it for all, unless
//! another one has left it already.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Connection;
use super::access::Access;
use super::error::Error;
use crate::registry::budget::{Budget, Known};

/// The way to one cluster.
pub struct Members {
    endpoints: Vec<Arc<str>>,
    access: Access,
    budget: Budget,
    choice: Mutex<Choice>,
}

/// A member, as it was given to a user.
#[derive(Clone)]
pub struct Member {
    /// As configured.
    pub endpoint: Arc<str>,
    /// To it.
    pub connection: Connection,
    /// Which choice it was.
    turn: u64,
}

/// Why there is no connection to an endpoint.
#[derive(Debug)]
pub struct Unreachable {
    /// As configured.
    pub endpoint: Arc<str>,
    /// Why.
    pub error: Error,
}

struct Choice {
    rotation: Rotation,
    connection: Option<Connection>,
    cluster: Cluster,
}

/// Endpoints in turn. Pure.
#[derive(Debug)]
struct Rotation {
    endpoints: usize,
    current: usize,
    /// Rises with each choice.
    turn: u64,
}

/// Whose cluster the endpoints belong to. Pure.
#[derive(Debug, Default)]
struct Cluster {
    known: Option<u64>,
    /// Endpoints that showed another cluster since ours was last seen.
    others: BTreeSet<usize>,
}

impl Members {
    /// Connects to nothing yet. `budget`: where answers count.
    #[must_use]
    pub fn new(endpoints: &[String], access: Access, budget: Budget) -> Self {
        // An endpoint written twice would never be all of them in `recognise`.
        let mut seen = BTreeSet::new();
        let endpoints: Vec<Arc<str>> = endpoints
            .iter()
            .filter(|endpoint| seen.insert(endpoint.as_str()))
            .map(|endpoint| endpoint.as_str().into())
            .collect();
        Self {
            choice: Mutex::new(Choice {
                rotation: Rotation::new(endpoints.len()),
                connection: None,
                cluster: Cluster::default(),
            }),
            endpoints,
            access,
            budget,
        }
    }

    /// Where what is known of this cluster counts.
    #[must_use]
    pub fn known(&self) -> Known {
        self.budget.known()
    }

    /// How many there are.
    #[must_use]
    pub fn endpoints(&self) -> usize {
        self.endpoints.len()
    }

    /// The user's name; `None`: nobody, or whom our certificate names.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.access.login.as_ref().map(|login| login.user.as_str())
    }

    /// The member in use; connected, and logged in, when it is asked for the first time.
    ///
    /// # Errors
    /// Why it is left for the next one.
    pub async fn member(&self) -> Result<Member, Unreachable> {
        let mut choice = self.choice.lock().await;
        let Rotation { current, turn, .. } = choice.rotation;
        let endpoint = self.endpoints.get(current).cloned().unwrap_or_default();
        if let Some(connection) = choice.connection.clone() {
            return Ok(Member {
                endpoint,
                connection,
                turn,
            });
        }
        // The others wait meanwhile: they would make the same connection.
        match Connection::open(&endpoint, &self.access).await {
            Ok(connection) => {
                let connection = connection.within(self.budget.clone());
                choice.connection = Some(connection.clone());
                Ok(Member {
                    endpoint,
                    connection,
                    turn,
                })
            }
            Err(error) => {
                choice.rotation.advance(turn);
                Err(Unreachable { endpoint, error })
            }
        }
    }

    /// On to the next endpoint, unless that was done already.
    pub async fn leave(&self, member: &Member) {
        let mut choice = self.choice.lock().await;
        if choice.rotation.advance(member.turn) {
            choice.connection = None;
        }
    }

    /// The same endpoint, over a new connection and login, unless that was done already.
    pub async fn renew(&self, member: &Member) {
        let mut choice = self.choice.lock().await;
        if choice.rotation.again(member.turn) {
            choice.connection = None;
        }
    }

    /// Refuses an endpoint of another cluster, until each endpoint shows one: then ours was rebuilt.
    ///
    /// # Errors
    /// The id of our cluster.
    pub async fn recognise(&self, member: &Member, seen: u64) -> Result<(), u64> {
        let at = self
            .endpoints
            .iter()
            .position(|e| *e == member.endpoint)
            .unwrap_or_default();
        let mut choice = self.choice.lock().await;
        choice.cluster.recognise(at, self.endpoints.len(), seen)
    }
}

impl Rotation {
    const fn new(endpoints: usize) -> Self {
        Self {
            endpoints,
            current: 0,
            turn: 0,
        }
    }

    /// False when this choice was left already.
    fn advance(&mut self, turn: u64) -> bool {
        let now = self.again(turn);
        if now {
            self.current = (self.current + 1) % self.endpoints.max(1);
        }
        now
    }

    /// False when this choice was left already.
    const fn again(&mut self, turn: u64) -> bool {
        let now = self.turn == turn;
        if now {
            self.turn += 1;
        }
        now
    }
}

impl Cluster {
    fn recognise(&mut self, at: usize, endpoints: usize, seen: u64) -> Result<(), u64> {
        if let Some(known) = self.known.filter(|known| *known != seen) {
            self.others.insert(at);
            if self.others.len() < endpoints {
                return Err(known);
            }
        }
        self.known = Some(seen);
        self.others.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_taken_in_turn_and_several_users_leave_one_once() {
        let mut rotation = Rotation::new(2);
        assert!(rotation.advance(0));
        assert!(!rotation.advance(0), "another user has left it already");
        assert_eq!((rotation.current, rotation.turn), (1, 1));
        assert!(rotation.again(1) && !rotation.again(1));
        assert_eq!(rotation.current, 1);
        assert!(rotation.advance(2));
        assert_eq!(rotation.current, 0);
        assert!(Rotation::new(0).advance(0));
    }

    #[test]
    fn another_cluster_is_believed_when_each_endpoint_shows_one() {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.recognise(0, 2, 7), Ok(()));
        assert_eq!(cluster.recognise(1, 2, 8), Err(7));
        assert_eq!(cluster.recognise(1, 2, 8), Err(7), "the same endpoint again");
        assert_eq!(cluster.recognise(0, 2, 7), Ok(()), "ours is there");
        assert_eq!(cluster.recognise(0, 2, 8), Err(7));
        assert_eq!(cluster.recognise(1, 2, 9), Ok(()), "rebuilt");
        assert_eq!(cluster.recognise(0, 2, 7), Err(9));
    }
}
