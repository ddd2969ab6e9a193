//! How the requests that a service claims are shared out among its versions, and where those go that a route wants for
//! one version alone. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::Claimed;
use super::versions::Split;
use crate::model::Issue;

/// `routed`: of routes that name a version, by that. Where it is not there its requests have no other place: they may be
/// meant for nobody else.
pub(super) fn share_out(
    claimed: &mut Claimed,
    split: Option<&Arc<Split>>,
    routed: &BTreeMap<Arc<str>, Arc<Split>>,
) {
    for claim in &mut claimed.claims {
        let Some(version) = &claim.version else {
            claim.split = split.cloned();
            continue;
        };
        claim.split = routed.get(version).cloned();
        if claim.split.is_some() {
            continue;
        }
        let reason = format!(
            "route: {} on host `{}` is for the version `{version}`, which has no instance, or gets no requests by its \
             rollout: it is answered with 503",
            claim.matcher.describe(),
            claim.host
        );
        claimed.issues.push(Issue::warning(&*claim.cluster, reason));
        claim.action = claim.action.answered(503, String::new());
    }
}
