//! Services beyond the connections that an agent allows: read round after round, a few at a
//! time. A round that takes long makes the pause after it longer. The rules of belief are those of a watch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::circuit::Phase;
use super::follow::{Belief, Next, step};
use super::link::{ASIDES, Link};
use super::subject::HealthSubject;

/// The services that have no watch.
pub(super) type Swept = BTreeSet<Arc<str>>;

/// Sweeps for ever.
pub(super) async fn sweep(link: &Link, mut swept: watch::Receiver<Swept>) {
    let mut known: HashMap<Arc<str>, (HealthSubject, Belief)> = HashMap::new();
    let mut circuit = link.circuit.subscribe();
    loop {
        if swept.wait_for(|names| !names.is_empty()).await.is_err() {
            return; // the keeper is gone
        }
        let names = swept.borrow_and_update().clone();
        known.retain(|name, _| names.contains(name));
        for name in names {
            known
                .entry(name.clone())
                .or_insert_with(|| (HealthSubject::new(link, name), Belief::default()));
        }
        let epoch = link.circuit.live().await;
        #[expect(
            clippy::disallowed_methods,
            reason = "how long I/O took, in the shell: nothing pure sees it"
        )]
        let begun = Instant::now();
        futures::stream::iter(known.values_mut())
            .for_each_concurrent(ASIDES, |(subject, belief)| one(link, subject, belief))
            .await;
        #[expect(clippy::disallowed_methods, reason = "the other end of the same measurement")]
        let pause = link.timing.sweep.max(begun.elapsed() * 3);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A new epoch: all is to be confirmed now.
            _ = circuit.wait_for(|s| s.epoch != epoch && matches!(s.phase, Phase::Live { .. })) => {}
        }
    }
}

/// One read, and one more to confirm a loss; what the circuit interrupts is left to the next round.
async fn one(link: &Link, subject: &mut HealthSubject, belief: &mut Belief) {
    let _permit = link.asides.acquire().await;
    for _ in 0..2 {
        if step(link, &link.client, subject, belief, false).await != Next::Again {
            return;
        }
    }
}
