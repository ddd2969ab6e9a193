//! Blocking reads: how long one may last, and what their ends say of the way to the agent.

use std::time::Duration;

use tokio::time::Instant;

use super::in_flight::Flight;
use super::{Capacity, Rank, Retries};
use crate::registry::consul::{Error, Query};

impl Capacity {
    /// How long a blocking read that begins now may block.
    pub(crate) fn wait(&self) -> Duration {
        self.lengths.wait()
    }

    /// The attempts of one blocking read.
    pub(crate) fn blocking_retries(&self) -> Retries {
        Retries::blocking(&self.timing)
    }

    /// A blocking read is under way until this is dropped. Not for a read that is not polled: its end would not be noticed.
    pub(crate) fn begin_blocking(&self) -> Flight {
        self.in_flight.begin()
    }

    /// Whether other blocking reads that are under way now survive for a moment. When an agent dies all of them end
    /// with it; when it only has no room for one more, they go on.
    pub(crate) async fn others_survive(&self) -> bool {
        let mark = self.in_flight.now();
        tokio::time::sleep(self.timing.settle).await;
        self.in_flight.alive_since(mark)
    }

    /// A blocking read met the limit per second: waits until it may be sent again. Agents do not count streamed reads.
    pub(crate) async fn turn_after_limit(&self) {
        self.pace.limited();
        self.pace.turn(Rank::Change).await;
        self.pace.sent();
    }

    /// A blocking read that was to last `wait` was answered after `lasted`.
    pub(crate) fn answered(&self, wait: Duration, lasted: Duration) {
        if self.lengths.answered(wait, lasted) {
            tracing::info!(
                ?lasted,
                wait = ?self.timing.wait,
                "blocking reads are no longer cut off on the way to consul; waiting as long as configured again"
            );
        }
    }

    /// A blocking read ended without a change. True: before its wait was over, and not as others did.
    pub(crate) fn ended_early(&self, wait: Duration, lasted: Duration) -> bool {
        self.lengths.ended(wait, lasted)
    }

    /// Something on the way ended a blocking read that was to last `wait`; the agent is well.
    pub(crate) fn cut_off(
        &self,
        what: &Query,
        wait: Duration,
        (begun, lasted): (Instant, Duration),
        error: &Error,
    ) {
        let learned = self.lengths.cut(wait, begun, lasted);
        self.cut_off.notify_one();
        let Some(wait) = learned else { return };
        tracing::info!(
            what = what.subject(),
            ?lasted,
            ?wait,
            reason = error.chain(),
            "blocking reads are cut off on the way to consul; waiting no longer than this from now on \
             (sources.NAME.wait)"
        );
    }

    /// Resolves when a blocking read was cut off since the last time.
    pub(crate) async fn was_cut_off(&self) {
        self.cut_off.notified().await;
    }

    /// How many blocking reads were cut off since this was called last.
    pub(crate) fn take_cuts(&self) -> u64 {
        self.lengths.take_cuts()
    }
}
