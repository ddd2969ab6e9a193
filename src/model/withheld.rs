//! Instances that a source no longer lists and that are still served, because that is not believed yet. Pure.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::absent::absent;
use super::instance::Instance;
use super::service::ServiceRecord;

/// What is served while a loss is withheld: all that the source says now, and what it leaves out.
#[must_use]
pub fn kept(served: &ServiceRecord, now: Option<&ServiceRecord>) -> ServiceRecord {
    kept_where(served, now, |_| true)
}

/// The same, with those that are left out and stay.
pub(crate) fn kept_where(
    served: &ServiceRecord,
    now: Option<&ServiceRecord>,
    stays: impl Fn(&Instance) -> bool,
) -> ServiceRecord {
    let Some(now) = now else { return served.clone() };
    let mut record = now.clone();
    let left_out = left_out(&served.instances, &now.instances);
    record
        .instances
        .extend(left_out.into_iter().filter(|i| stays(i)).cloned());
    record.instances.sort_by(|a, b| a.id.cmp(&b.id));
    record
}

/// Those that are no longer listed. A server that is registered under another id now is listed: beside that, its earlier
/// entry would only be wrong (it drained before it left, say).
pub(crate) fn left_out<'a>(served: &'a [Instance], now: &[Instance]) -> Vec<&'a Instance> {
    let mut gone = absent(served, now);
    if !gone.is_empty() {
        let places: HashSet<SocketAddr> = now.iter().map(|i| i.address).collect();
        gone.retain(|i| !places.contains(&i.address));
    }
    gone
}
