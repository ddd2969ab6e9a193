//! Requests that do not block: each waits for its turn, and is sent again where that may help. The one retry loop.

use futures::future::BoxFuture;

use super::{Capacity, Cause, Rank, Retries};
use crate::registry::consul::{Answer, Error, Grant, Mode, Peering, Query, Right};

impl Capacity {
    /// One read that others wait for.
    pub(crate) async fn read(&self, query: &Query, mode: Mode) -> Result<Answer, Error> {
        self.read_as(Rank::Change, query, mode).await
    }

    /// One read of this rank.
    pub(crate) async fn read_as(&self, rank: Rank, query: &Query, mode: Mode) -> Result<Answer, Error> {
        let retries = Retries::read(&self.timing);
        self.request(Some(rank), retries, |again| {
            // After a failure it may be another agent: `?consistent` is right for any.
            let mode = if again { Mode::Consistent } else { mode };
            Box::pin(self.client.read(query, mode))
        })
        .await
    }

    /// Which of these rights the token gives.
    pub(crate) async fn grant(&self, rights: &[Right]) -> Result<Grant, Error> {
        let retries = Retries::question(&self.timing);
        self.request(Some(Rank::Change), retries, |_| {
            Box::pin(self.client.grant(rights))
        })
        .await
    }

    /// The state of the peering of this name.
    pub(crate) async fn peering(&self, name: &str) -> Result<Peering, Error> {
        let retries = Retries::question(&self.timing);
        self.request(Some(Rank::Change), retries, |_| {
            Box::pin(self.client.peering(name))
        })
        .await
    }

    /// The cheapest read there is, at once, to see whether the agent answers at all.
    pub(crate) async fn probe(&self) -> Result<Answer, Error> {
        let retries = Retries::probe(&self.timing);
        self.request(None, retries, |_| {
            Box::pin(self.client.read(&Query::Nodes, Mode::Plain))
        })
        .await
    }

    /// `rank`: whose turn it waits for; `None`: it does not wait, and does not count among the reads at once.
    /// `send` is given whether the request has failed before, other than by a rate limit.
    async fn request<'a, T>(
        &self,
        rank: Option<Rank>,
        mut retries: Retries,
        send: impl Fn(bool) -> BoxFuture<'a, Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let mut again = false;
        loop {
            let mut permit = None;
            if let Some(rank) = rank {
                self.pace.turn(rank).await;
                permit = self.concurrency.acquire().await;
            }
            let result = send(again).await;
            let Err(error) = &result else {
                if rank.is_some() {
                    self.concurrency.answered();
                    self.pace.answered();
                }
                return result;
            };
            let Some(cause) = Cause::of(error) else {
                return result;
            };
            match cause {
                Cause::Overload if rank.is_some() => self.concurrency.turned_away(permit),
                _ => drop(permit),
            }
            let Some(pause) = (match cause {
                Cause::RateLimit => {
                    self.pace.limited();
                    retries.next(cause).filter(|_| !self.pace.starved())
                }
                _ => retries.next(cause),
            }) else {
                return result;
            };
            if cause != Cause::RateLimit {
                tokio::time::sleep(pause).await;
                again = true;
            }
        }
    }
}
