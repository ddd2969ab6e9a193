//! The errors of each version, over all of its endpoints. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::line::{ClusterErrors, Line};
use super::status::{Flags, Status};

/// Lines of the same kind are one, with the endpoint that has most of them; the most frequent first. `version_of`: the
/// version of who listens there. It decides before the name of the cluster: in the cluster of one version stand
/// instances of another, too, where its failed requests are tried again.
#[must_use]
pub fn by_version(
    clusters: &[ClusterErrors],
    version_of: impl Fn(SocketAddr) -> Option<Arc<str>>,
) -> Vec<(Arc<str>, Line)> {
    type Kind = (Arc<str>, Box<str>, Status, Flags);
    let mut kinds: BTreeMap<Kind, (Line, u64)> = BTreeMap::new();
    for cluster in clusters {
        for line in &cluster.lines {
            let version = line.upstream.and_then(&version_of);
            let version = version.unwrap_or_else(|| cluster.version().unwrap_or_default().into());
            let kind = (version, line.method.clone(), line.status, line.flags);
            match kinds.get_mut(&kind) {
                None => drop(kinds.insert(kind, (line.clone(), line.count))),
                Some((all, most)) => {
                    all.add(line);
                    if line.count > *most {
                        *most = line.count;
                        all.upstream = line.upstream;
                    }
                }
            }
        }
    }
    let mut lines: Vec<(Arc<str>, Line)> = kinds
        .into_iter()
        .map(|((version, ..), (line, _))| (version, line))
        .collect();
    lines.sort_by_key(|(_, line)| std::cmp::Reverse(line.count));
    lines
}

impl Line {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        if self.message.is_empty() {
            self.message.clone_from(&other.message);
        }
        for (all, more) in self.took.iter_mut().zip(other.took) {
            *all = all.saturating_add(more);
        }
    }
}
