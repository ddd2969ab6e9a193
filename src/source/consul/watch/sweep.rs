//! Services beyond the connections that an agent allows: swept, a few at a time. A sweep starts only after the index of
//! the names, the checks or the nodes has moved, since any change moves one of them. Each service is then probed by its
//! own index. After a sweep that takes long, the pause is longer. The rules of belief are those of a watch.
//!
//! Never sweeps because time passes: what a detector misses is found by the audit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::belief::Belief;
use super::detector::Detector;
use super::follow::follow;
use super::health::HealthSubject;
use super::next::Next;
use super::step::step;
use crate::clock::now;
use crate::registry::consul::Client;
use crate::source::consul::capacity::SIDE_READS;
use crate::source::consul::context::Context;
use crate::source::consul::trust::circuit::Phase;

/// The services that have no watch.
pub(crate) type Swept = BTreeSet<Arc<str>>;

/// Sweeps forever.
pub(crate) async fn sweep(context: &Arc<Context>, client: &Client, swept: watch::Receiver<Swept>) {
    tokio::join!(
        rounds(context, swept.clone()),
        detect(context, client, swept.clone(), Detector::checks),
        detect(context, client, swept, Detector::nodes),
    );
}

/// Follows while there is anything to sweep. The names are always followed.
async fn detect(
    context: &Context,
    client: &Client,
    mut swept: watch::Receiver<Swept>,
    detector: fn() -> Detector,
) {
    while swept.wait_for(|names| !names.is_empty()).await.is_ok() {
        let names = swept.clone();
        follow(context, client, detector(), || !names.borrow().is_empty()).await;
    }
}

async fn rounds(context: &Arc<Context>, mut swept: watch::Receiver<Swept>) {
    let mut known: HashMap<Arc<str>, (HealthSubject, Belief)> = HashMap::new();
    let mut circuit = context.trust.circuit.subscribe();
    let mut movements = context.movements();
    let mut pause = context.timing.sweep;
    let mut due = now() + pause;
    // No index of this cluster moves with a change in another one.
    let blind = context.capacity.client().scope().peer.is_some();
    let mut all = false;
    loop {
        if swept.wait_for(|names| !names.is_empty()).await.is_err() {
            return; // the supervisor is gone
        }
        let names = swept.borrow_and_update().clone();
        known.retain(|name, _| names.contains(name));
        for name in names {
            known
                .entry(name.clone())
                .or_insert_with(|| (HealthSubject::new(context, name), Belief::swept()));
        }
        let epoch = context.trust.circuit.live().await;
        let begun = now();
        let wanted = known
            .values_mut()
            .filter(|(_, belief)| all || !belief.holds(epoch));
        futures::stream::iter(wanted)
            .for_each_concurrent(SIDE_READS, |(subject, belief)| one(context, subject, belief))
            .await;
        if all {
            let ended = now();
            pause = context.timing.sweep.max((ended - begun) * 3);
            due = ended + pause;
        }
        let lacking = known.values().any(|(_, belief)| !belief.holds(epoch));
        all = tokio::select! {
            whole = moved(&mut movements, due, blind) => whole,
            _ = swept.changed() => false,
            // A new epoch: everything is to be confirmed now.
            _ = circuit.wait_for(|s| s.epoch != epoch && matches!(s.phase, Phase::Live { .. })) => false,
            () = tokio::time::sleep(pause), if lacking => false,
        };
    }
}

/// Waits until something has moved since the last sweep began, and until the next one is due.
async fn moved(movements: &mut watch::Receiver<u64>, due: Instant, blind: bool) -> bool {
    if !blind && movements.changed().await.is_err() {
        return false;
    }
    movements.mark_changed(); // until the sweep that follows from it begins
    tokio::time::sleep_until(due).await;
    movements.mark_unchanged();
    true
}

/// One read, and one more to confirm a loss; a read that the circuit interrupts is left to the next round.
async fn one(context: &Context, subject: &mut HealthSubject, belief: &mut Belief) {
    let _permit = context.capacity.side_read().await;
    for _ in 0..2 {
        if step(context, None, subject, belief).await != Next::Again {
            return;
        }
    }
}
