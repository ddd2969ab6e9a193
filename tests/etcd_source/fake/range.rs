//! How the fake answers reads: listings, a single key, what was written since, and counts at an older revision.

use std::collections::BTreeSet;

use etcd_client::proto::{PbEvent, PbKeyValue, PbRangeResponse};

use super::wire::RangeRequest;
use super::{Ask, Data, text};

pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// What a read is for, as a script sees it.
pub(super) fn ask(request: &RangeRequest, token: String) -> Ask {
    let key = text(&request.key);
    if request.end.is_empty() {
        return Ask::Head { key };
    }
    if request.count_only || request.written_since > 0 {
        let since = request.revision.max(request.written_since - 1);
        return Ask::Compare { key, since };
    }
    Ask::Range {
        key,
        revision: request.revision,
        token,
    }
}

impl Data {
    /// `None`: that revision is compacted.
    pub(super) fn range(&self, request: &RangeRequest) -> Option<PbRangeResponse> {
        if request.count_only && request.revision < self.compacted {
            return None;
        }
        let inside = |key: &[u8]| match request.end.as_slice() {
            [] => key == request.key,
            end => key >= request.key.as_slice() && key < end,
        };
        let all: Vec<_> = self.keys.values().filter(|kv| inside(&kv.key)).collect();
        let count = if request.count_only {
            self.count_at(request.revision, inside)
        } else {
            all.len()
        };
        let written = |kv: &&&PbKeyValue| kv.mod_revision >= request.written_since;
        let limit = match usize::try_from(request.limit).unwrap() {
            _ if request.count_only => 0,
            0 => usize::MAX,
            limit => limit,
        };
        Some(PbRangeResponse {
            header: Some(self.header()),
            more: all.len() > limit,
            // As etcd does it: neither the limit nor a bound of revisions counts here.
            count: i64::try_from(count).unwrap(),
            kvs: all
                .iter()
                .filter(written)
                .take(limit)
                .map(|kv| (*kv).clone())
                .collect(),
        })
    }

    fn count_at(&self, revision: i64, inside: impl Fn(&[u8]) -> bool) -> usize {
        let kv = |event: &PbEvent| event.kv.clone().unwrap();
        let later: Vec<&PbEvent> = self
            .history
            .iter()
            .filter(|event| kv(event).mod_revision > revision)
            .collect();
        let deleted = later.iter().map(|event| kv(event).key);
        let names: BTreeSet<Vec<u8>> = self.keys.keys().cloned().chain(deleted).collect();
        let was_there = |key: &Vec<u8>| match later.iter().find(|event| kv(event).key == *key) {
            // It was created by this one, or was there before it.
            Some(first) => first.r#type == 1 || kv(first).create_revision <= revision,
            None => true,
        };
        names.iter().filter(|key| inside(key) && was_there(key)).count()
    }
}
