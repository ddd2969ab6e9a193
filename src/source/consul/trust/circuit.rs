//! One circuit per agent: while it is open, nothing that a watch reads is believed.
//!
//! Each time it closes a new *epoch* begins, and what was confirmed in an older one must be confirmed again: a server
//! that restarts answers 200 with a part of its catalog. Never decides by itself that the agent is well: only the gate
//! closes it.

use tokio::sync::watch;

/// The circuit's state and its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// How often the circuit was closed; 0 before the first time.
    pub(crate) epoch: u64,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The gate was not tried yet.
    Starting,
    /// Not trusted: the last known state is kept.
    Suspect { reason: String },
    /// The gate was passed.
    Live { multiplexed: bool },
}

#[derive(Debug)]
pub(crate) struct Circuit {
    state: watch::Sender<State>,
}

impl Circuit {
    pub(crate) fn new() -> Self {
        Self {
            state: watch::Sender::new(State {
                epoch: 0,
                phase: Phase::Starting,
            }),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Whether what was read in this epoch may be believed now.
    pub(crate) fn holds(&self, epoch: u64) -> bool {
        let state = self.state.borrow();
        state.epoch == epoch && matches!(state.phase, Phase::Live { .. })
    }

    /// Waits until the circuit is closed; the epoch.
    pub(crate) async fn live(&self) -> u64 {
        self.until(|state| matches!(state.phase, Phase::Live { .. }))
            .await
    }

    /// Waits until nothing of this epoch may be believed any more.
    pub(crate) async fn over(&self, epoch: u64) {
        self.until(|state| state.epoch != epoch || !matches!(state.phase, Phase::Live { .. }))
            .await;
    }

    async fn until(&self, wanted: impl FnMut(&State) -> bool) -> u64 {
        let mut receiver = self.state.subscribe();
        // The sender lives in `self`, so this cannot fail; an epoch that never holds is the safe answer.
        receiver.wait_for(wanted).await.map_or(0, |state| state.epoch)
    }

    /// Opens the circuit; a report from an older epoch says nothing about this one. True when it was closed.
    pub(crate) fn trip(&self, epoch: u64, reason: String) -> bool {
        self.state.send_if_modified(|state| {
            let live = state.epoch == epoch && matches!(state.phase, Phase::Live { .. });
            if live {
                state.phase = Phase::Suspect { reason };
            }
            live
        })
    }

    /// The gate was tried and not passed.
    pub(crate) fn refuse(&self, reason: String) {
        self.state.send_if_modified(|state| {
            let phase = Phase::Suspect { reason };
            let changed = state.phase != phase;
            state.phase = phase;
            changed
        });
    }

    /// The gate was passed: a new epoch, which is returned.
    pub(crate) fn close(&self, multiplexed: bool) -> u64 {
        self.state.send_modify(|state| {
            state.epoch += 1;
            state.phase = Phase::Live { multiplexed };
        });
        self.state.borrow().epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_closing_begins_an_epoch_and_old_reports_do_not_count() {
        let circuit = Circuit::new();
        assert!(!circuit.holds(0));
        circuit.close(false);
        assert_eq!(circuit.live().await, 1);
        assert!(circuit.holds(1));
        assert!(circuit.trip(1, "gone".into()));
        circuit.over(1).await;
        assert!(!circuit.holds(1) && !circuit.trip(1, "again".into()));
        circuit.close(false);
        assert!(!circuit.trip(1, "late".into()));
        assert!(circuit.holds(2) && !circuit.holds(1));
    }
}
