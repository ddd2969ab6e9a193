//! What gRPC's own clients get: a listener for each service that they may dial, and what differs for them
//! from what Envoy gets. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::build::Network;
use crate::model::{Issue, Service};
use crate::translate::dialled::{dialled, is_dialled};
use crate::translate::grpc::{too_large, undialled, variants};
use crate::xds::{Client, Draft, Kind, Update};

/// Which services gRPC clients may dial, and of which they get something else than Envoy.
#[derive(Debug)]
pub(super) struct GrpcClients {
    dialled: BTreeSet<Arc<str>>,
    varied: BTreeSet<Arc<str>>,
    /// Services that could be dialled, and are there but not for gRPC clients now.
    stopped: BTreeSet<Arc<str>>,
}

impl GrpcClients {
    pub(super) const fn new() -> Self {
        Self {
            dialled: BTreeSet::new(),
            varied: BTreeSet::new(),
            stopped: BTreeSet::new(),
        }
    }

    /// A service as it is now. Returns what its owner should know.
    pub(super) fn follow(
        &mut self,
        service: &Service,
        endpoints: &Draft,
        network: &Network,
        updates: &mut Vec<Update>,
    ) -> Vec<Issue> {
        let name = &service.name;
        if !is_dialled(service) {
            self.stop(name, updates);
            return Vec::new();
        }
        if network.listeners.contains_key(name) {
            self.stop(name, updates);
            let reason = format!(
                "gRPC clients cannot dial `xds:///{name}`: [listeners.{name}] has that name, and keeps it"
            );
            return vec![Issue::warning(&**name, reason)];
        }
        self.stopped.remove(name);
        let was_varied = self.varied.remove(name);
        for (client, kind, own) in variants(service, &network.clusters) {
            if let Some(own) = own {
                self.varied.insert(name.clone());
                updates.push(Update::PutFor(client, own));
            } else if was_varied {
                updates.push(Update::RemoveFor(client, kind, name.clone()));
            }
        }
        if self.dialled.insert(name.clone()) {
            updates.push(Update::Put(dialled(name)));
        }
        let issue = |reason| Issue::warning(&**name, reason);
        too_large(endpoints).map(issue).into_iter().collect()
    }

    /// The service is there, and gRPC clients may dial it no longer.
    fn stop(&mut self, name: &Arc<str>, updates: &mut Vec<Update>) {
        if self.stopped.contains(name) || !self.dialled.contains(name) {
            return;
        }
        self.forget(name, updates);
        updates.push(Update::PutFor(Client::GrpcDrops, undialled(name)));
        self.varied.insert(name.clone());
        self.stopped.insert(name.clone());
    }

    /// gRPC clients may dial this name no longer.
    pub(super) fn forget(&mut self, name: &Arc<str>, updates: &mut Vec<Update>) {
        self.stopped.remove(name);
        if self.varied.remove(name) {
            for client in Client::GRPC {
                for kind in [Kind::Endpoints, Kind::Listener] {
                    updates.push(Update::RemoveFor(client, kind, name.clone()));
                }
            }
        }
        if self.dialled.remove(name) {
            updates.push(Update::Remove(Kind::Listener, name.clone()));
        }
    }
}
