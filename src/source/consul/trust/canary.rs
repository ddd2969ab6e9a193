//! The canary: Consul's own service. Missing rights are 200 with `{}` or `[]` in Consul, so only something that must
//! be there tells an empty catalog from one that cannot be read.

use super::Trust;
use crate::registry::consul::{Error, Mode, Query};
use crate::source::consul::decode::parse::{self, CANARY};

const NO_NODES: &str = "the health of the service `consul` is empty: the token needs node:read, or the catalog \
                        is not whole";
pub(crate) const NO_CANARY: &str = "the catalog does not hold the service `consul`: the token needs service:read \
                                    (also of `consul`), or the catalog is not whole";

/// Why something could not be confirmed.
pub(crate) enum Doubt {
    /// The agent has no room now.
    Overloaded,
    /// Requests are limited per second, or a gateway did not pass this one on.
    RateLimited,
    /// The agent is not to be trusted.
    Suspect(String),
}

/// Reads the health of Consul's own service: empty means that we may not read nodes, or that the catalog is not whole.
/// It is not in other namespaces and partitions: reads there rely on what the answers say themselves
/// (`X-Consul-Results-Filtered-By-ACLs`).
pub(crate) async fn check(trust: &Trust) -> Result<(), Doubt> {
    let capacity = &trust.capacity;
    if !capacity.client().scope().holds_canary() {
        return Ok(());
    }
    let answer = match capacity.read(&Query::Canary, Mode::Consistent).await {
        Ok(answer) => answer,
        Err(error) => return Err(doubt(trust, &error).await),
    };
    let found =
        parse::health(CANARY, &answer.body, &trust.selection).map_err(|e| Doubt::Suspect(e.to_string()))?;
    if found.ids.is_empty() {
        return Err(Doubt::Suspect(NO_NODES.to_owned()));
    }
    Ok(())
}

/// What a failed confirmation means.
pub(super) async fn doubt(trust: &Trust, error: &Error) -> Doubt {
    let epoch = trust.circuit.state().epoch;
    if trust.capacity.is_rate_limited(error) || trust.is_blocked_by_gateway(epoch, error).await {
        Doubt::RateLimited
    } else if trust.capacity.is_overloaded(error).await {
        Doubt::Overloaded
    } else {
        Doubt::Suspect(hint(error))
    }
}

/// The error, and what would be right.
pub(super) fn hint(error: &Error) -> String {
    let more = if error.is_refused() {
        "; the token is not known or lacks rights (token_file)"
    } else {
        ""
    };
    format!("{}{more}", error.chain())
}
