//! The state of the peering whose services are read, checked periodically: Consul goes on serving what it has of a
//! peer that is away, and does not say so. Never decides what is gone.

use super::Trust;

/// Checks forever; returns at once where no peer is read.
pub(crate) async fn run(trust: &Trust) {
    let Some(name) = trust.capacity.client().scope().peer.as_deref() else {
        return;
    };
    loop {
        trust.circuit.live().await;
        // An agent in trouble is the circuit's concern.
        if let Ok(peering) = trust.capacity.peering(name).await {
            let note = peering
                .problem(name)
                .map(|problem| format!("{problem}; what is known of it stays"));
            trust.peering_note.send_if_modified(|known| {
                let changed = *known != note;
                *known = note;
                changed
            });
        }
        tokio::time::sleep(trust.timing.peering).await;
    }
}
