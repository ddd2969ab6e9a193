//! What a client checks of what it is sent: the form of a response, that each cluster comes before what needs it and goes
//! after it, and which endpoints it has no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xds_bridge::xds::{Kind, Response};

use crate::client::{Client, Held};
use crate::contents::Content;
use crate::rules::{Broken, CLUSTER_FIRST, CLUSTER_LAST, RESPONSE};

type Name = Arc<str>;

/// A change of endpoints that a response brought.
pub(crate) struct Drop {
    pub(crate) cluster: Name,
    pub(crate) address: std::net::SocketAddr,
}

impl Client {
    /// Rules of the protocol that are about one response.
    pub(crate) fn check(&mut self, response: &Response) -> Result<(), Broken> {
        let kind = response.kind;
        let short = kind.short();
        let of = self.types.get(kind);
        let broken = |text: String| Err(Broken::new(RESPONSE, format!("{}: {short}: {text}", self.node)));
        if !of.asked {
            return broken("nobody asked for it".to_owned());
        }
        if response.nonce.is_empty() || !self.nonces.get_mut(kind).insert(response.nonce.clone()) {
            return broken(format!(
                "the nonce `{}` is none, or was there before",
                response.nonce
            ));
        }
        let mut names = BTreeSet::new();
        let all = response.resources.iter().map(|resource| &resource.name);
        for name in all.chain(&response.removed) {
            if !names.insert(name.clone()) {
                return broken(format!("{name} is there twice"));
            }
        }
        let mixed = !response.removed.is_empty() && !response.resources.is_empty();
        if mixed && matches!(kind, Kind::Cluster | Kind::Listener) {
            return broken("removals and additions in one".to_owned());
        }
        if !self.is_delta() && !response.removed.is_empty() {
            return broken("removals in state of the world".to_owned());
        }
        Ok(())
    }

    /// Each cluster that this needs was sent.
    pub(crate) fn has_clusters(&self, kind: Kind, name: &str, content: &Content) -> Result<(), Broken> {
        if !matches!(kind, Kind::Listener | Kind::Route) {
            return Ok(());
        }
        let (held, refused) = (self.held.get(Kind::Cluster), self.refused.get(Kind::Cluster));
        let unknown = |cluster: &&String| {
            !held.contains_key(cluster.as_str()) && !refused.contains_key(cluster.as_str())
        };
        match content.clusters.iter().find(unknown) {
            None => Ok(()),
            Some(cluster) => Err(Broken::new(
                CLUSTER_FIRST,
                format!("{}: {} {name} needs {cluster}", self.node, kind.short()),
            )),
        }
    }

    /// A cluster went: nothing that is held may send requests there.
    pub(crate) fn is_not_needed(&self, cluster: &str) -> Result<(), Broken> {
        // Of a refused set of clusters in state of the world some are left out (docs/xds-rules.md, known limits).
        let is_searched = !self.is_delta() && !self.refused.get(Kind::Cluster).is_empty();
        if !self.is_envoy() || is_searched {
            return Ok(());
        }
        for kind in [Kind::Listener, Kind::Route] {
            for (name, held) in self.held.get(kind) {
                // In state of the world a new stream begins without any word of what the client holds.
                if !self.is_delta() && !held.fresh {
                    continue;
                }
                // What it refuses a newer content of is its own affair.
                if held.content.clusters.contains(cluster) && !self.refused.get(kind).contains_key(name) {
                    let text = format!("{}: {cluster} went, {} {name} needs it", self.node, kind.short());
                    return Err(Broken::new(CLUSTER_LAST, text));
                }
            }
        }
        Ok(())
    }

    /// Endpoints that got requests before and do not any more. To a cluster that no route names there are none: it is about
    /// to go.
    pub(crate) fn drops(&self, before: &BTreeMap<Name, Held>) -> Vec<Drop> {
        let mut drops = Vec::new();
        let leads = |cluster: &Name| {
            let mut from = [Kind::Listener, Kind::Route].into_iter();
            from.any(|kind| {
                let held = self.held.get(kind).values();
                held.into_iter()
                    .any(|held| held.content.clusters.contains(&**cluster))
            })
        };
        for (cluster, held) in before.iter().filter(|(cluster, _)| leads(cluster)) {
            let now = self.held.get(Kind::Endpoints).get(cluster);
            for (address, _) in held.content.endpoints.iter().filter(|(_, gets)| **gets) {
                let still = now.is_some_and(|now| now.content.endpoints.get(address) == Some(&true));
                if !still && now.is_some() {
                    drops.push(Drop {
                        cluster: cluster.clone(),
                        address: *address,
                    });
                }
            }
        }
        drops
    }
}
