//! What goes to the hub: changes, the status of the source, and what the operator should know of one that works.

use super::Supervisor;
use crate::model::{Measured, Status};
use crate::source::HubGone;
use crate::source::consul::trust::circuit::Phase;

impl Supervisor {
    /// Delivers what has changed, then the status, then notes and measurements.
    pub(super) async fn deliver(&mut self) -> Result<(), HubGone> {
        let change = self.ledger.take();
        self.forget();
        self.weigh();
        if let Some(change) = change {
            for (name, record) in &change.services {
                tracing::debug!(service = %name, gone = record.is_none(), "changed");
            }
            self.sink.change(change).await?;
        }
        let state = self.context.trust.circuit.state();
        let confirmed = self.ledger.started() && self.ledger.current(state.epoch);
        let status = match state.phase {
            Phase::Suspect { reason } => Status::Away { reason },
            Phase::Live { .. } if confirmed => Status::Live,
            Phase::Starting | Phase::Live { .. } => return Ok(()),
        };
        if status != self.reported.status {
            match &status {
                Status::Away { reason } => {
                    tracing::warn!(reason, "consul is away or not trusted; serving last known state");
                }
                _ => tracing::info!(status = status.as_str(), "consul source"),
            }
            self.reported.status = status.clone();
            self.sink.status(status).await?;
        }
        // Only an epoch that began after the request answers it.
        let verified = self
            .verifying
            .take_if(|(_, epoch)| confirmed && state.epoch > *epoch);
        if let Some((request, _)) = verified {
            self.sink.verified(request).await?;
        }
        self.deliver_measurements().await?;
        self.deliver_note().await
    }

    async fn deliver_measurements(&mut self) -> Result<(), HubGone> {
        let missed = self.audits.take_missed();
        if missed > 0 {
            self.sink.measured(Measured::Missed(missed)).await?;
        }
        let cut = self.context.capacity.take_cuts();
        if cut > 0 {
            self.sink.measured(Measured::Cut(cut)).await?;
        }
        let swept = self.swept.borrow().len();
        if swept != self.reported.swept {
            self.reported.swept = swept;
            self.sink.measured(Measured::Swept(swept)).await?;
        }
        Ok(())
    }

    async fn deliver_note(&mut self) -> Result<(), HubGone> {
        let mut notes: Vec<String> = self.context.capacity.notes(self.reported.swept).collect();
        notes.extend(self.peering.borrow().clone());
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if note != self.reported.note {
            self.reported.note.clone_from(&note);
            self.sink.note(note).await?;
        }
        Ok(())
    }
}
