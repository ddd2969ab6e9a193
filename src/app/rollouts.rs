//! Between rollouts and the discovery port: clients are admitted once the hub knows how services share their requests.

use std::sync::Arc;

use tokio::sync::watch;

use crate::hub::Versions;

/// Until that is so. Where no service is rolled out nothing is waited for. `known`: the hub has it, or nobody can say it.
pub(super) async fn known(versions: &watch::Receiver<Arc<Versions>>, mut known: watch::Receiver<bool>) {
    if !versions.borrow().services.values().any(|service| service.auto) {
        return;
    }
    let _ = known.wait_for(|known| *known).await;
}
