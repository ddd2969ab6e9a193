//! What the server promises a client of the model, checked at each response and at the end.

#![allow(unreachable_pub, reason = "compiled into each test on its own")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise ends the history"
)]

use std::collections::BTreeSet;

use xds_bridge::xds::{Client as Program, Kind, Resource, Response, Viewer};

use super::client::Client;
use super::model::{View, content, needs};

impl Client {
    pub fn receive(&mut self, response: Response, view: &View) {
        let kind = response.kind;
        let want = self.want.get(kind).clone();
        assert!(
            *self.asked.get(kind),
            "rule 6: {} was not asked for",
            kind.short()
        );
        assert!(!response.nonce.is_empty(), "rule 9");
        for kind in Kind::ALL {
            assert!(!self.nonces.get(kind).contains(&response.nonce), "rule 9");
        }
        self.nonces.get_mut(kind).push(response.nonce.clone());
        let full = !self.delta() && kind.full_state();
        let mut names: Vec<&str> = response.resources.iter().map(|r| &*r.name).collect();
        names.extend(response.removed.iter().map(|n| &**n));
        for name in &names {
            assert!(
                want.wildcard || want.names.contains(*name),
                "{name} of {} was not asked for",
                kind.short()
            );
        }
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(distinct.len(), names.len(), "rule 37: a name twice");
        assert!(
            response.resources.is_empty() || response.removed.is_empty(),
            "rule 42: mixed"
        );
        assert!(self.delta() || response.removed.is_empty());
        let bytes: usize = response.frames().map(|f| f.len()).sum();
        let limit = view.limits.response_bytes;
        let last = response.resources.last().map_or(0, |r| r.len());
        assert!(full || bytes <= limit + last, "rule 49: {bytes} bytes");
        assert!(
            !full || self.refused_set.get(kind).as_ref() != Some(&response.version),
            "rule 12: the refused set again"
        );
        if full {
            *self.refused_set.get_mut(kind) = None;
            *self.kept.get_mut(kind) = false;
        }
        for resource in &response.resources {
            self.offered(kind, resource, response.resources.len(), full, view);
        }
        let mut gone: Vec<String> = response.removed.iter().map(ToString::to_string).collect();
        if full {
            let there = |name: &String| response.resources.iter().any(|r| *r.name == **name);
            gone = self
                .sent
                .get(kind)
                .keys()
                .filter(|n| !there(n))
                .cloned()
                .collect();
        }
        gone.extend(response.missing.iter().map(ToString::to_string));
        for name in gone {
            if kind == Kind::Cluster && self.sent.get(kind).contains_key(&name) {
                self.parted(&name, view);
            }
            self.sent.get_mut(kind).remove(&name);
            if !full || self.server_has(kind, &name, view).is_none() {
                self.refused.get_mut(kind).remove(&name); // gone and come again is a new content
            }
            self.suspect.get_mut(kind).remove(&name);
        }
        self.inbox.push_back(response);
    }

    fn offered(&mut self, kind: Kind, resource: &Resource, of: usize, full: bool, view: &View) {
        let (name, version) = (resource.name.to_string(), resource.version.to_string());
        self.deleted.get_mut(kind).remove(&name);
        let new = self.sent.get(kind).get(&name).map(|(v, _)| v) != Some(&version);
        if !full {
            let refused = self.refused.get_mut(kind);
            assert_ne!(
                refused.remove(&name).as_ref(),
                Some(&version),
                "rule 12: {name} again"
            );
            let suspect = self.suspect.get_mut(kind).remove(&name);
            assert!(
                of == 1 || suspect.as_ref() != Some(&version),
                "{name} again in a batch"
            );
        }
        if full {
            let refused = self.refused.get(kind).get(&name);
            let moved = self.moved.get(kind).contains(&name);
            assert!(moved || refused != Some(&version), "rule 12: {name} again");
        }
        let what = content(resource);
        let accepted = self.good.get(kind).get(&name) == Some(&version); // before what it refused since
        if matches!(kind, Kind::Listener | Kind::Route) && self.has_all_clusters() && new && !accepted {
            for need in what.map(needs).unwrap_or_default() {
                self.there(need, view, &name);
            }
        }
        if kind == Kind::Cluster && new && *self.asked.get(Kind::Endpoints) {
            let want = self.want.get(Kind::Endpoints);
            if want.wildcard || want.names.contains(&name) {
                self.follow.insert(name.clone());
            }
        }
        if kind == Kind::Endpoints {
            self.follow.remove(&name);
        }
        self.sent.get_mut(kind).insert(name, (version, what));
    }

    fn has_all_clusters(&self) -> bool {
        *self.asked.get(Kind::Cluster) && self.want.get(Kind::Cluster).wildcard
    }

    /// Rule 47: what a route names was sent before it.
    fn there(&self, cluster: &str, view: &View, by: &str) {
        let Some(version) = self.server_has(Kind::Cluster, cluster, view) else {
            return; // the publication itself points nowhere, or this client may not see it
        };
        let refused = self.refused.get(Kind::Cluster).get(cluster) == Some(&version)
            || self.refused_set.get(Kind::Cluster).is_some();
        assert!(
            self.hurried || refused || self.sent.get(Kind::Cluster).contains_key(cluster),
            "rule 47: {by} names {cluster}, which was not sent"
        );
    }

    /// Rule 44: a cluster goes when no route that was sent names it any more, unless that is the newest one.
    fn parted(&self, cluster: &str, view: &View) {
        // Left out because of a refusal, and never accepted: no content of it is known to be good.
        let left_out = !self.delta()
            && (*self.doubting.get(Kind::Cluster) || self.server_has(Kind::Cluster, cluster, view).is_some())
            && !self.good.get(Kind::Cluster).contains_key(cluster);
        if self.hurried || left_out || !self.has_all_clusters() {
            return;
        }
        for kind in [Kind::Listener, Kind::Route] {
            for (name, (version, what)) in self.sent.get(kind) {
                let names_it = what.map(needs).unwrap_or_default().contains(&cluster);
                let newest = self.server_has(kind, name, view);
                let refused = newest.is_some() && newest.as_ref() == self.refused.get(kind).get(name)
                    || self.refused_set.get(kind).is_some();
                assert!(
                    !names_it || refused || newest.as_ref() == Some(version),
                    "rule 44: {cluster} went while {} {name} names it",
                    kind.short()
                );
            }
        }
    }

    /// The version of this name that this client should have.
    fn server_has(&self, kind: Kind, name: &str, view: &View) -> Option<String> {
        let id = view.names.find(name)?;
        let resource = view.generation.get(kind, id)?;
        let want = self.want.get(kind);
        let wanted = want.names.contains(name) || (want.wildcard && resource.reach.in_wildcard());
        (wanted && resource.reach.admits(&Viewer::of(Program::Envoy, &"edge".into())))
            .then(|| resource.version.to_string())
    }

    /// In the end it has what the server has, but for what it refused.
    pub fn converged(&self, view: &View) {
        assert!(self.inbox.is_empty());
        for kind in Kind::ALL {
            if !self.want.get(kind).requested {
                continue;
            }
            let held = self.held.get(kind);
            for name in ["a", "b", "c", "d", "z", "ghost"] {
                let refused = self.refused.get(kind).get(name);
                let server = self.server_has(kind, name, view);
                let excused = self.excused.get(kind).get(name);
                if server.is_some() && (server.as_ref() == refused || server.as_ref() == excused) {
                    continue;
                }
                // It refused all that there was, one by one: what it holds from an earlier stream it may keep.
                if server.is_none() && *self.doubting.get(kind) && self.good.get(kind).is_empty() {
                    continue;
                }
                if server.is_none() && *self.kept.get(kind) {
                    continue;
                }
                assert_eq!(
                    held.get(name),
                    server.as_ref(),
                    "{} {name} of {:?}",
                    kind.short(),
                    self.habit
                );
                if kind == Kind::Endpoints && server.is_some() {
                    assert!(!self.follow.contains(name), "rule 45: {name}");
                }
            }
        }
    }
}
