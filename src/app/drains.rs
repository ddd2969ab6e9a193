//! Between shared state and the hub: what is drained reaches the hub, and drains that are over are deleted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::hub::{Ended, Order};
use crate::model::Drains;
use crate::state::{Documents, State, Status, Target};

/// Between two tries to delete what is over.
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
        let mut known = Drains::default();
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
            let over = ended.borrow_and_update().clone();
            let mut left = false;
            if snapshot.status == Status::Live {
                left = delete(&state, &over).await;
            }
            let again = left.then(|| clock::now() + PAUSE);
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

/// Deletes drains that are over, unless they were written again. Returns whether some are left.
async fn delete(state: &State, over: &Ended) -> bool {
    let mut left = false;
    for (service, id) in over {
        let target = Target::Instance {
            service: service.clone(),
            id: id.clone(),
        };
        let Some(revision) = state.revision_of(&target) else {
            continue;
        };
        match state.delete_drain_at(&target, revision).await {
            Ok(()) => tracing::info!(%service, %id, "its drain is over: it left, or registered again"),
            Err(error) => {
                tracing::debug!(%service, %id, %error, "a drain that is over cannot be deleted");
                left = true;
            }
        }
    }
    left
}

/// Until the hub serves what is drained as draining: streams are admitted after that.
pub(super) async fn served(orders: &mpsc::Sender<Order>, mut applied: watch::Receiver<bool>) {
    let _ = applied.wait_for(|applied| *applied).await;
    let (reply, answer) = oneshot::channel();
    let (service, id): (Arc<str>, Arc<str>) = (Arc::default(), Arc::default());
    if orders.send(Order::Served { service, id, reply }).await.is_ok() {
        let _ = answer.await;
    }
}
