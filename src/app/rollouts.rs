//! Between rollouts and the discovery port: clients are admitted once the hub knows how services share their requests.

use tokio::sync::watch;

/// Until that is so, for some seconds at most. `known`: the hub has it, or nobody can say it. A service whose policy wants no
/// rollouts may have one that somebody began: so this does not depend on policies.
pub(super) async fn known(mut known: watch::Receiver<bool>) {
    let _ = known.wait_for(|known| *known).await;
}
