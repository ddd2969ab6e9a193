//! When a listener that no Envoy is for is reported: a while after Envoys of other fleets have connected, so
//! that those that are on their way are not missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock;
use crate::fanout::Unused;
use crate::model::Network;

/// The Envoys of one start come within this.
const ARRIVAL: Duration = Duration::from_secs(10);

/// Listeners that are for certain fleets, with these.
pub(super) fn expected(network: &Network) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
    let narrow = network.listeners.iter().filter(|(_, l)| !l.fleets.is_empty());
    narrow.map(|(name, l)| (name.clone(), l.fleets.clone())).collect()
}

#[derive(Debug)]
pub(super) struct FleetWatch {
    changes: watch::Receiver<Unused>,
    now: Unused,
    /// When it is reported.
    due: Option<Instant>,
    reported: bool,
}

impl FleetWatch {
    pub(super) fn new(changes: watch::Receiver<Unused>) -> Self {
        let now = changes.borrow().clone();
        Self {
            changes,
            now,
            due: None,
            reported: false,
        }
    }

    /// What is to be reported now.
    pub(super) fn unused(&self) -> Option<Unused> {
        let any = self.reported && !self.now.listeners.is_empty();
        any.then(|| self.now.clone())
    }

    /// Until that has changed. May be dropped and called again at each time.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::select! {
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    self.now = self.changes.borrow_and_update().clone();
                    if self.reported {
                        return;
                    }
                    if !self.now.seen.is_empty() && self.due.is_none() {
                        self.due = Some(clock::now() + ARRIVAL);
                    }
                }
                () = clock::until(self.due) => {
                    (self.due, self.reported) = (None, true);
                    for (listener, fleets) in &self.now.listeners {
                        tracing::warn!(
                            %listener,
                            fleets = fleets.join(", "),
                            connected = self.now.seen.join(", "),
                            "no connected Envoy is of the fleets of this listener (fleets in bridge.toml, \
                             node.cluster in Envoy's bootstrap)"
                        );
                    }
                    return;
                }
            }
        }
    }
}
