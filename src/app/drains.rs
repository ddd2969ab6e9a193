//! Between shared state and the hub: what is drained reaches the hub, and drains that are over are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::hub::{Ended, Order};
use crate::model::Drains;
use crate::state::{Documents, State, Status, Target};

/// How long a drain is over before it is deleted, and the time between two tries.
const PAUSE: Duration = Duration::from_secs(10);

/// Works until `stop`. `applied` becomes true once the hub knows what is drained, or nobody can say it.
pub(super) async fn run(
    state: State,
    orders: mpsc::Sender<Order>,
    mut ended: watch::Receiver<Ended>,
    applied: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let work = async {
        state.settled().await;
        let mut snapshots = state.follow();
        let (mut known, mut over) = (Drains::default(), Over::default());
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let drains = drains(&snapshot.documents);
            if drains != known {
                known = drains.clone();
                if orders.send(Order::Drains { drains }).await.is_err() {
                    return;
                }
            }
            applied.send_replace(true);
            let is_over = ended.borrow_and_update().clone();
            let mut again = None;
            if snapshot.status == Status::Live {
                again = over.delete(&state, &is_over, clock::now()).await;
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = ended.changed() => if changed.is_err() { return },
                () = clock::until(again) => {}
            }
        }
    };
    stop.run_until_cancelled(Box::pin(work)).await;
}

/// As the model has it.
fn drains(documents: &Documents) -> Drains {
    let mut all = Drains::default();
    for (target, drain) in &documents.drains {
        match target {
            Target::Instance { service, id } => {
                let of_service = all.instances.entry(service.clone()).or_default();
                of_service.insert(id.clone(), drain.created);
            }
            Target::Node(node) => drop(all.nodes.insert(node.clone())),
            Target::Zone(zone) => drop(all.zones.insert(zone.clone())),
        }
    }
    all
}

/// Drains that are over, and since when.
#[derive(Debug, Default)]
struct Over(BTreeMap<(Arc<str>, Arc<str>, u64), Instant>);

impl Over {
    /// Deletes those that have been over for a while, unless they were written again: an instance that this bridge does
    /// not know yet may have been drained by way of another one. Returns when there is more to do.
    async fn delete(&mut self, state: &State, ended: &Ended, now: Instant) -> Option<Instant> {
        self.0.retain(|key, _| ended.contains(key));
        for key in ended {
            self.0.entry(key.clone()).or_insert(now);
        }
        let drains = state.drains();
        for ((service, id, created), _) in self.0.iter().filter(|(_, since)| **since + PAUSE <= now) {
            let target = Target::Instance {
                service: service.clone(),
                id: id.clone(),
            };
            let Some(drain) = drains.get(&target).filter(|drain| drain.created == *created) else {
                continue;
            };
            let ending = tokio::time::timeout(PAUSE, state.end_drain(&target, drain));
            match ending.await.unwrap_or(Ok(false)) {
                Ok(true) => tracing::info!(%service, %id, "its drain is over: it left, or registered again"),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%service, %id, %error, "a drain that is over cannot be deleted");
                }
            }
        }
        (!self.0.is_empty()).then(|| now + PAUSE)
    }
}

/// Until the hub serves what is drained as draining: streams are admitted after that.
pub(super) async fn served(orders: &mpsc::Sender<Order>, mut applied: watch::Receiver<bool>) {
    let _ = applied.wait_for(|applied| *applied).await;
    let (reply, answer) = oneshot::channel();
    let order = Order::Served {
        service: Arc::default(),
        address: ([0, 0, 0, 0], 0).into(),
        reply,
    };
    if orders.send(order).await.is_ok() {
        let _ = answer.await;
    }
}
