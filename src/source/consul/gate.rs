//! The one prober: after a start or any trouble it finds out, with backoff, whether the
//! agent is to be trusted, and only then closes the circuit. A new token is looked at in the same
//! way, since it may see less or more: everything is confirmed by it.
//!
//! Being let through takes: an agent that answers and knows our token; a catalog read by
//! `?consistent` (a server that restarts holds or refuses these while its catalog is a part)
//! that holds Consul's own service; and the health of that service, which takes `node:read`.
//! Missing rights are 200 with `{}` or `[]` in Consul, so only such canaries show them.

use std::collections::BTreeSet;

use futures::FutureExt as _;

use super::link::Link;
use super::parse::{self, CANARY};
use crate::registry::consul::{Error, Grant, Mode, Query, Right};

/// Tries the gate whenever the circuit is open. Never returns.
pub(super) async fn keep(link: &Link) {
    let mut delays = link.timing.delays();
    let mut tries = link.timing.tries();
    let mut rotations = link.client.rotations();
    loop {
        rotations.mark_unchanged();
        // Who asked before this pass is answered by it: one restore is noticed by many reads.
        let _ = link.verify.notified().now_or_never();
        let pause = match pass(link).await {
            Ok(multiplexed) => {
                tries = link.timing.tries();
                link.recovers().await;
                let epoch = link.circuit.close(multiplexed);
                let calm = async {
                    tokio::time::sleep(link.timing.calm).await;
                    delays = link.timing.delays();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = link.circuit.over(epoch) => {}
                    // All is to be confirmed anew: a new epoch, and nothing is suspected meanwhile.
                    () = link.verify.notified() => {}
                    Ok(()) = rotations.changed() => {}
                    () = calm => {}
                }
                // What breaks again and again is read as a whole each time.
                link.timing.next(&mut delays)
            }
            Err(reason) => {
                tracing::debug!(source = %link.source, reason, "consul did not pass the gate");
                link.circuit.refuse(reason);
                link.timing.next(&mut tries)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether the connection is shared by many requests; an error says what is wrong, for people.
async fn pass(link: &Link) -> Result<bool, String> {
    let token = link.client.reload_token().await;
    let passed = questions(link).await;
    match (passed, token) {
        // The token of before may be why.
        (Err(reason), Err(error)) if !reason.contains(&error.chain()) => {
            Err(format!("{reason}; {}", error.chain()))
        }
        (passed, _) => passed,
    }
}

async fn questions(link: &Link) -> Result<bool, String> {
    check(link).await?;
    let answer = link
        .read(&Query::Services, Mode::Consistent)
        .await
        .map_err(|error| hint(&error))?;
    if answer.known_leader == Some(false) {
        return Err("consul knows no leader".to_owned());
    }
    let names = parse::services(&answer.body, &link.selection).map_err(|e| e.to_string())?;
    if !names.canary && link.client.scope().holds_canary() {
        return Err(NO_CANARY.to_owned());
    }
    match canary(link).await {
        Ok(()) => Ok(answer.multiplexed),
        Err(Doubt::Crowded) => Err("consul has no room for our requests".to_owned()),
        Err(Doubt::Limited) => Err("consul limits requests per second".to_owned()),
        Err(Doubt::Suspect(reason)) => Err(reason),
    }
}

/// The cheapest question there is: does anybody answer, and is our token known?
async fn check(link: &Link) -> Result<(), String> {
    let answer = link.read(&Query::Services, Mode::Plain).await;
    match answer {
        Ok(_) => Ok(()),
        // What the names are, and whether they can be read, is judged by the consistent read.
        Err(error) if error.is_local() => Ok(()),
        Err(error) => Err(hint(&error)),
    }
}

/// Reads the health of Consul's own service: empty means that we may not read nodes, or that
/// the catalog is not whole. It is not in other namespaces and partitions: what is asked there has to do
/// without it, and with the answers' own word (`X-Consul-Results-Filtered-By-ACLs`).
pub(super) async fn canary(link: &Link) -> Result<(), Doubt> {
    if !link.client.scope().holds_canary() {
        return Ok(());
    }
    let answer = match link.read(&Query::Canary, Mode::Consistent).await {
        Ok(answer) => answer,
        Err(error) => return Err(doubt(link, &error).await),
    };
    let found =
        parse::health(CANARY, &answer.body, &link.selection).map_err(|e| Doubt::Suspect(e.to_string()))?;
    if found.ids.is_empty() {
        return Err(Doubt::Suspect(NO_NODES.to_owned()));
    }
    Ok(())
}

/// Something of a service is missing.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    /// What the token must give for it to be gone.
    pub(super) rights: Vec<Right>,
    /// Nothing is left.
    pub(super) empty: bool,
    /// The answer says that the token hides something.
    pub(super) filtered: bool,
    /// Something was known before.
    pub(super) known: bool,
}

/// What became of it.
pub(super) enum Fate {
    Gone,
    /// Hidden from our token; the rights that are lacking, none where nobody can tell which.
    Hidden(BTreeSet<Right>),
    /// It cannot be known; why.
    Unclear(String),
}

/// Whether what is missing is gone, and not only hidden from our token, which looks the same, or of a peering
/// that is no longer there.
pub(super) async fn fate(link: &Link, loss: &Loss) -> Result<Fate, Doubt> {
    // Also where the answer says itself that something is hidden: without any right to read nodes all is.
    if loss.empty {
        canary(link).await?;
    }
    let grant = match link.grant(&loss.rights).await {
        Ok(grant) => grant,
        Err(error) => return Err(doubt(link, &error).await),
    };
    match grant {
        Grant::Without(rights) => return Ok(Fate::Hidden(rights)),
        Grant::Unknown if loss.filtered => return Ok(Fate::Hidden(BTreeSet::new())),
        Grant::All if loss.filtered && !loss.known => return Ok(Fate::Hidden(BTreeSet::new())),
        Grant::All | Grant::Unknown => {}
    }
    let Some(peer) = link.client.scope().peer.as_deref() else {
        return Ok(Fate::Gone);
    };
    // Read after what was read of the service. A peering that has lived for a while is told to be deleted before its
    // instances go; from a new one they come, and may go, one after the other.
    match link.peering(peer).await {
        Ok(peering) if !loss.empty && peering.is_unknown() => Ok(Fate::Gone),
        Ok(peering) => Ok(peering.problem(peer).map_or(Fate::Gone, Fate::Unclear)),
        Err(error) => Err(doubt(link, &error).await),
    }
}

async fn doubt(link: &Link, error: &Error) -> Doubt {
    let epoch = link.circuit.state().epoch;
    if link.is_limited(error) || link.is_passed_by(epoch, error).await {
        Doubt::Limited
    } else if link.is_crowded(error).await {
        Doubt::Crowded
    } else {
        Doubt::Suspect(hint(error))
    }
}

/// Why something could not be made sure of.
pub(super) enum Doubt {
    /// The agent has no room now.
    Crowded,
    /// Requests are limited by the second, or a gateway did not pass this one on.
    Limited,
    /// Not to be trusted.
    Suspect(String),
}

const NO_NODES: &str = "the health of the service `consul` is empty: the token needs node:read, or the catalog \
                        is not whole";
pub(super) const NO_CANARY: &str = "the catalog does not hold the service `consul`: the token needs service:read \
                                    (also of `consul`), or the catalog is not whole";

fn hint(error: &Error) -> String {
    let more = if error.is_refused() {
        "; the token is not known or lacks rights (token_file)"
    } else {
        ""
    };
    format!("{}{more}", error.chain())
}
