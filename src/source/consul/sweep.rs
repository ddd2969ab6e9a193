//! Services beyond the connections that an agent allows: read in turns, a few at a time. What cannot
//! change without the index of the names, of the checks or of the nodes moving is not read until one of
//! these moves; then a probe of each service tells by its index whether to read it. A sweep that takes
//! long makes the pause after it longer. The rules of belief are those of a watch.
//!
//! Never sweeps because time passes: what a detector misses is the audit's to find.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::circuit::Phase;
use super::follow::{Belief, Next, follow, step};
use super::link::{ASIDES, Link};
use super::subject::{Detector, HealthSubject};
use crate::registry::consul::Client;

/// The services that have no watch.
pub(super) type Swept = BTreeSet<Arc<str>>;

/// Sweeps for ever.
pub(super) async fn sweep(link: &Link, client: &Client, swept: watch::Receiver<Swept>) {
    tokio::join!(
        rounds(link, swept.clone()),
        detect(link, client, swept.clone(), Detector::checks),
        detect(link, client, swept, Detector::nodes),
    );
}

/// Follows while there is anything to sweep. The names are followed anyway.
async fn detect(link: &Link, client: &Client, mut swept: watch::Receiver<Swept>, detector: fn() -> Detector) {
    while swept.wait_for(|names| !names.is_empty()).await.is_ok() {
        let names = swept.clone();
        follow(link, client, detector(), || !names.borrow().is_empty()).await;
    }
}

async fn rounds(link: &Link, mut swept: watch::Receiver<Swept>) {
    let mut known: HashMap<Arc<str>, (HealthSubject, Belief)> = HashMap::new();
    let mut circuit = link.circuit.subscribe();
    let mut moves = link.moves.subscribe();
    let mut pause = link.timing.sweep;
    let mut due = now() + pause;
    // Nothing of ours moves with what is in another cluster.
    let blind = link.client.scope().peer.is_some();
    let mut all = false;
    loop {
        if swept.wait_for(|names| !names.is_empty()).await.is_err() {
            return; // the keeper is gone
        }
        let names = swept.borrow_and_update().clone();
        known.retain(|name, _| names.contains(name));
        for name in names {
            known
                .entry(name.clone())
                .or_insert_with(|| (HealthSubject::new(link, name), Belief::swept()));
        }
        let epoch = link.circuit.live().await;
        let begun = now();
        let wanted = known
            .values_mut()
            .filter(|(_, belief)| all || !belief.holds(epoch));
        futures::stream::iter(wanted)
            .for_each_concurrent(ASIDES, |(subject, belief)| one(link, subject, belief))
            .await;
        if all {
            let ended = now();
            pause = link.timing.sweep.max((ended - begun) * 3);
            due = ended + pause;
        }
        let lacking = known.values().any(|(_, belief)| !belief.holds(epoch));
        all = tokio::select! {
            whole = moved(&mut moves, due, blind) => whole,
            _ = swept.changed() => false,
            // A new epoch: all is to be confirmed now.
            _ = circuit.wait_for(|s| s.epoch != epoch && matches!(s.phase, Phase::Live { .. })) => false,
            () = tokio::time::sleep(pause), if lacking => false,
        };
    }
}

/// Waits until something moved since the last sweep began, and until it is time for the next.
async fn moved(moves: &mut watch::Receiver<u64>, due: Instant, blind: bool) -> bool {
    if !blind && moves.changed().await.is_err() {
        return false;
    }
    moves.mark_changed(); // until the sweep that follows from it begins
    tokio::time::sleep_until(due).await;
    moves.mark_unchanged();
    true
}

/// One read, and one more to confirm a loss; what the circuit interrupts is left to the next round.
async fn one(link: &Link, subject: &mut HealthSubject, belief: &mut Belief) {
    let _permit = link.asides.acquire().await;
    for _ in 0..2 {
        if step(link, None, subject, belief).await != Next::Again {
            return;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long I/O took, in the shell: nothing pure sees it"
)]
fn now() -> Instant {
    Instant::now()
}
