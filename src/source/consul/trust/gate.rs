//! The one prober: after a start or any trouble it finds out, with backoff, whether the agent is to be trusted, and
//! only then closes the circuit. A new token is treated in the same way, since it may see less or more: everything is
//! confirmed with it.
//!
//! To pass takes: an agent that answers and knows our token; a catalog read by `?consistent` (a server that restarts
//! holds or refuses these while its catalog is incomplete) that holds Consul's own service; and the health of that
//! service, which takes `node:read`.

use futures::FutureExt as _;

use super::Trust;
use super::canary::{self, Doubt, NO_CANARY, hint};
use crate::registry::consul::{Mode, Query};
use crate::source::consul::decode::parse;

/// Tries the gate whenever the circuit is open. Never returns.
pub(crate) async fn run(trust: &Trust) {
    let timing = &trust.timing;
    let mut delays = timing.delays();
    let mut tries = timing.tries();
    let mut rotations = trust.capacity.client().rotations();
    loop {
        rotations.mark_unchanged();
        // Requests made before this pass are answered by it: one restore is noticed by many reads.
        let _ = trust.verify.notified().now_or_never();
        let pause = match pass(trust).await {
            Ok(multiplexed) => {
                tries = timing.tries();
                trust.begin_recovery().await;
                let epoch = trust.circuit.close(multiplexed);
                let calm = async {
                    tokio::time::sleep(timing.calm).await;
                    delays = timing.delays();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = trust.circuit.over(epoch) => {}
                    // Everything is to be confirmed again: a new epoch, and nothing is suspected meanwhile.
                    () = trust.verify.notified() => {}
                    Ok(()) = rotations.changed() => {}
                    () = calm => {}
                }
                // What breaks again and again is read as a whole each time.
                timing.next(&mut delays)
            }
            Err(reason) => {
                tracing::debug!(reason, "consul did not pass the gate");
                trust.circuit.refuse(reason);
                timing.next(&mut tries)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether the connection is shared by many requests; an error says what is wrong, for people.
async fn pass(trust: &Trust) -> Result<bool, String> {
    let token = trust.capacity.client().reload_token().await;
    let passed = examine(trust).await;
    match (passed, token) {
        // The previous token may be why.
        (Err(reason), Err(error)) if !reason.contains(&error.chain()) => {
            Err(format!("{reason}; {}", error.chain()))
        }
        (passed, _) => passed,
    }
}

async fn examine(trust: &Trust) -> Result<bool, String> {
    greet(trust).await?;
    let capacity = &trust.capacity;
    let answer = capacity
        .read(&Query::Services, Mode::Consistent)
        .await
        .map_err(|error| hint(&error))?;
    if answer.known_leader == Some(false) {
        return Err("consul knows no leader".to_owned());
    }
    let names = parse::services(&answer.body, &trust.selection).map_err(|e| e.to_string())?;
    if !names.canary && capacity.client().scope().holds_canary() {
        return Err(NO_CANARY.to_owned());
    }
    match canary::check(trust).await {
        Ok(()) => Ok(answer.multiplexed),
        Err(Doubt::Overloaded) => Err("consul has no room for our requests".to_owned()),
        Err(Doubt::RateLimited) => Err("consul limits requests per second".to_owned()),
        Err(Doubt::Suspect(reason)) => Err(reason),
    }
}

/// The cheapest question there is: does anybody answer, and is our token known?
async fn greet(trust: &Trust) -> Result<(), String> {
    let answer = trust.capacity.read(&Query::Services, Mode::Plain).await;
    match answer {
        Ok(_) => Ok(()),
        // What the names are, and whether they can be read, is judged by the consistent read.
        Err(error) if error.is_local() => Ok(()),
        Err(error) => Err(hint(&error)),
    }
}
