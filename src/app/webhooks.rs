//! Between rollouts and webhooks: what this bridge decides is handed on with the report of that moment, and when it becomes
//! the leader the ends of rollouts that the one before may have written and not sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::intake::Loads;
use crate::metrics::{Metrics, Sent};
use crate::pilot::{Desk, Sight};
use crate::rollout::Event;
use crate::webhook::{Hooks, Notice, ended};

/// How often it is looked for the lead.
const LOOK: Duration = Duration::from_secs(5);

/// Ends that are older than this were sent, or nobody wants them any more.
const RECENT: Duration = Duration::from_secs(300);

/// What is handed on from.
pub(super) struct Source {
    pub(super) desk: Desk,
    pub(super) loads: Arc<Loads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) hooks: Hooks,
}

impl Source {
    /// Until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut notices = self.desk.notices();
        let mut look = tokio::time::interval(LOOK);
        let mut led = false;
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = notices.recv() => received,
                _ = look.tick() => {
                    let leads = self.desk.leads();
                    if leads && !led {
                        self.catch_up();
                    }
                    led = leads;
                    continue;
                }
            };
            match received {
                Ok(notice) => {
                    let seen = self.desk.one(&notice.service);
                    self.send(&notice.service, &notice.event, seen.as_ref());
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(
                        missed,
                        "webhooks: too much happened at once, and some of it is not sent"
                    );
                    (0..missed).for_each(|_| self.metrics.webhook(Sent::Lost));
                }
                Err(RecvError::Closed) => {
                    stop.cancelled().await;
                    return;
                }
            }
        }
    }

    fn catch_up(&self) {
        let since =
            clock::unix_millis().saturating_sub(u64::try_from(RECENT.as_millis()).unwrap_or(u64::MAX));
        for (service, seen) in self.desk.all() {
            if let Some(event) = ended(&seen.record, since) {
                self.send(&service, &event, Some(&seen));
            }
        }
    }

    fn send(&self, service: &Arc<str>, event: &Event, seen: Option<&Sight>) {
        let report = seen.and_then(|seen| seen.report(service, &self.loads));
        let lost = self.hooks.send(Notice::new(service, event, report.as_ref()));
        if lost > 0 {
            tracing::warn!(%service, lost, "webhooks: too many events wait, and one is not sent");
            (0..lost).for_each(|_| self.metrics.webhook(Sent::Lost));
        }
    }
}
