//! The state of the peering whose services are read, looked at once in a while: Consul serves on what it has
//! of a peer that is away, and without a word. Never decides what is gone.

use super::link::Link;

/// Looks for ever; ends at once where no peer is read.
pub(super) async fn keep(link: &Link) {
    let Some(name) = link.client.scope().peer.as_deref() else {
        return;
    };
    loop {
        link.circuit.live().await;
        // What is wrong with the agent is the circuit's matter.
        if let Ok(peering) = link.peering(name).await {
            let note = peering
                .problem(name)
                .map(|problem| format!("{problem}; what is known of it stays"));
            link.peering_note.send_if_modified(|known| {
                let changed = *known != note;
                *known = note;
                changed
            });
        }
        tokio::time::sleep(link.timing.peering).await;
    }
}
