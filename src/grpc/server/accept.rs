//! Takes connections in: a bounded number, TLS first where it is on, each with a deadline
//! for its first words. Who is silent makes room for who comes next, and nobody waits for one client.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::budget::Budget;
use super::connection::{Caller, Connection, Io};
use super::handshake::shake;
use super::identity;
use super::tls::Tls;
use crate::floods::{Floods, Kind};
use crate::metrics::{Limit, Metrics};
use crate::places::{Place, Places, Safe};

/// TLS connections without a stream at once: each is a signature for us, and may be a client that never answers.
const HANDSHAKES: usize = 512;

/// How long a newcomer is safe from the next one when all places are taken.
const SAFE: Safe = Safe {
    silent: Duration::from_millis(100),
    speaking: Duration::from_secs(2),
};

/// A connection whose place was taken away is closed by then.
const CLOSED: Duration = Duration::from_secs(1);

/// A pause after an accept that failed.
const AFTER_ERROR: Duration = Duration::from_millis(250);

const FULL: Kind = Kind::new("xds.max_connections is reached");
const BUSY: Kind = Kind::new("all places for TLS handshakes are taken");
const UNACCEPTED: Kind = Kind::new("a connection cannot be accepted");

/// The task that takes connections in.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) floods: Arc<Floods>,
    pub(super) budget: Arc<Budget>,
    pub(super) max_connections: usize,
    pub(super) taken: mpsc::Sender<Result<Connection, Infallible>>,
}

impl Acceptor {
    /// Until `stop`, or nobody takes connections any more.
    pub(super) async fn run(self, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.max_connections));
        let most = if self.tls.is_some() {
            HANDSHAKES
        } else {
            usize::MAX
        };
        let newcomers = Places::new(most, SAFE);
        let mut handshakes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = handshakes.join_next() => {
                    if let Err(error) = done {
                        tracing::error!(task = "handshake", %error, "ended badly");
                    }
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error, &self.floods).await;
                    continue;
                }
            };
            let entered = async {
                let permit = self.permit(&room, &newcomers, address).await?;
                Some((permit, self.place(&newcomers, address).await))
            };
            let entered = tokio::select! {
                () = stop.cancelled() => break,
                entered = entered => entered,
            };
            let Some((permit, place)) = entered else {
                continue; // there is no room
            };
            // Small responses must not wait for the ACK of the last one; a socket that
            // refuses this is on its way out and says so soon.
            let _ = stream.set_nodelay(true);
            let (taken, metrics, floods) = (self.taken.clone(), self.metrics.clone(), self.floods.clone());
            let Some(tls) = &self.tls else {
                let caller = Caller::new(address, Vec::new(), place, &self.budget);
                let connection = Connection::new(Io::Plain(stream), caller, permit, metrics, floods);
                if taken.send(Ok(connection)).await.is_err() {
                    break;
                }
                continue;
            };
            let (config, budget) = (tls.current(), self.budget.clone());
            handshakes.spawn(async move {
                let shaken = shake(config, stream, address, &place, (&metrics, &floods)).await;
                let Some(stream) = shaken else { return };
                let certificates = stream.get_ref().1.peer_certificates();
                let leaf = certificates.and_then(<[_]>::first);
                let sans = leaf.map(identity::sans).unwrap_or_default();
                let caller = Caller::new(address, sans, place, &budget);
                let connection = Connection::new(Io::Tls(Box::new(stream)), caller, permit, metrics, floods);
                // Nobody takes it: we are stopping.
                let _ = taken.send(Ok(connection)).await;
            });
        }
        handshakes.shutdown().await;
    }

    /// The right to be one of `max_connections`: where there is none left, that of a connection without a
    /// stream. `None`: each has one.
    async fn permit(
        &self,
        room: &Arc<Semaphore>,
        newcomers: &Places,
        address: SocketAddr,
    ) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = room.clone().try_acquire_owned() {
            return Some(permit);
        }
        self.metrics.reached(Limit::Connections);
        let evicted = newcomers.evict();
        if self.floods.has_line(FULL, Some(address.ip())) {
            let max = self.max_connections;
            if evicted {
                tracing::warn!(%address, max, "xds.max_connections is reached: a silent connection makes room");
            } else {
                tracing::warn!(%address, max, "xds.max_connections is reached: closed at once");
            }
        }
        if !evicted {
            return None;
        }
        let freed = tokio::time::timeout(CLOSED, room.clone().acquire_owned()).await;
        freed.ok()?.ok()
    }

    async fn place(&self, newcomers: &Arc<Places>, address: SocketAddr) -> Place {
        let (place, free) = newcomers.enter(address.ip()).await;
        if !free {
            self.metrics.reached(Limit::Handshakes);
            if self.floods.has_line(BUSY, Some(address.ip())) {
                tracing::warn!(
                    %address,
                    max = HANDSHAKES,
                    "all places for TLS handshakes are taken: the longest silent one makes room"
                );
            }
        }
        place
    }
}

/// Without free descriptors each accept fails at once, and the loop would take a whole core.
async fn pause(error: &io::Error, floods: &Floods) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // The peer has gone before it was accepted: no reason to let the next one wait.
    let of_one_peer = matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    );
    if !of_one_peer {
        if floods.has_line(UNACCEPTED, None) {
            tracing::warn!(%error, "a connection cannot be accepted");
        }
        tokio::time::sleep(AFTER_ERROR).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failing_accepts_are_paced() {
        let began = crate::clock::now();
        pause(&io::ErrorKind::ConnectionReset.into(), &Floods::default()).await;
        assert_eq!(crate::clock::now(), began);
        pause(&io::Error::other("no descriptors"), &Floods::default()).await;
        assert_eq!(crate::clock::now().duration_since(began), AFTER_ERROR);
    }
}
