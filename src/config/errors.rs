//! `[errors]`: whether Envoys say which errors there are while a rollout is judged.

use std::sync::Arc;

use super::parse;
use super::reader::Section;
use crate::model::service::BRIDGE_CLUSTER;

/// The cluster by which Envoys reach the bridge; `None`: they are not to.
pub(super) fn read(mut s: Section<'_>) -> Option<Arc<str>> {
    let collect = s.get_or("collect", true, parse::switch);
    let cluster = s.get_or("cluster", BRIDGE_CLUSTER.to_owned(), parse::text);
    s.finish();
    collect.then(|| cluster.into())
}
