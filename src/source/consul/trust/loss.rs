//! Whether what is missing from an answer is gone. A right that the token lacks looks the same: 200, without the
//! entries; and so does a peering that no longer exists. Never treats anything as gone that may be hidden.

use std::collections::BTreeSet;

use super::Trust;
use super::canary::{self, Doubt, doubt};
use crate::registry::consul::{Grant, Right};

/// Entries of a service that are missing from an answer.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// The rights that the token needs to see them.
    pub(crate) rights: Vec<Right>,
    /// No entry is left.
    pub(crate) empty: bool,
    /// The answer says that the token hides something.
    pub(crate) filtered: bool,
    /// There were entries before.
    pub(crate) known: bool,
}

/// What became of the missing entries.
pub(crate) enum Fate {
    Gone,
    /// Hidden from our token; the rights that it lacks, empty where that cannot be found out.
    Hidden(BTreeSet<Right>),
    /// It cannot be known; why.
    Unclear(String),
}

/// Finds out what became of missing entries.
pub(crate) async fn judge(trust: &Trust, loss: &Loss) -> Result<Fate, Doubt> {
    // Also where the answer says itself that something is hidden: without any right to read nodes everything is.
    if loss.empty {
        canary::check(trust).await?;
    }
    let grant = match trust.capacity.grant(&loss.rights).await {
        Ok(grant) => grant,
        Err(error) => return Err(doubt(trust, &error).await),
    };
    match grant {
        Grant::Without(rights) => return Ok(Fate::Hidden(rights)),
        Grant::Unknown if loss.filtered => return Ok(Fate::Hidden(BTreeSet::new())),
        Grant::All if loss.filtered && !loss.known => return Ok(Fate::Hidden(BTreeSet::new())),
        Grant::All | Grant::Unknown => {}
    }
    let Some(peer) = trust.capacity.client().scope().peer.as_deref() else {
        return Ok(Fate::Gone);
    };
    // Read after the service was. A peering that has existed for a while is reported as deleted before its instances
    // go; from a new one they come, and may go, one after the other.
    match trust.capacity.peering(peer).await {
        Ok(peering) if !loss.empty && peering.is_unknown() => Ok(Fate::Gone),
        Ok(peering) => Ok(peering.problem(peer).map_or(Fate::Gone, Fate::Unclear)),
        Err(error) => Err(doubt(trust, &error).await),
    }
}
