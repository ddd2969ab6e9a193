//! Many services behind a handful of real servers: enough entries for a registry to be slow
//! with, and each of them answers requests.

use std::net::SocketAddr;

use super::client::Call;
use super::servers::Server;

/// The servers behind all services. They stay up.
const SERVERS: usize = 4;

/// Instances of each service.
pub(crate) const INSTANCES: usize = 2;

/// The services `s0`, `s1`, …, each with two instances on two of the servers.
pub(crate) struct Crowd {
    servers: Vec<Server>,
    services: usize,
}

/// One instance of one service, as a registry is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `s7`
    pub(crate) service: String,
    /// `s7-1`
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
}

impl Crowd {
    /// Starts the servers of so many services.
    pub(crate) async fn start(services: usize) -> Self {
        let mut servers = Vec::new();
        for n in 0..SERVERS {
            servers.push(Server::http(&format!("server-{n}")).await);
        }
        Self { servers, services }
    }

    /// All instances of all services.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let all = (0..self.services).flat_map(|s| (0..INSTANCES).map(move |i| (s, i)));
        all.map(|(service, instance)| self.entry(&format!("s{service}"), service, instance))
            .collect()
    }

    /// One more of each service.
    pub(crate) fn further_entries(&self) -> Vec<Entry> {
        let all = 0..self.services;
        all.map(|service| self.entry(&format!("s{service}"), service, INSTANCES))
            .collect()
    }

    /// An instance of a service, whatever its name, on one of the servers.
    pub(crate) fn entry(&self, service: &str, number: usize, instance: usize) -> Entry {
        Entry {
            service: service.to_owned(),
            id: format!("{service}-{instance}"),
            address: self.servers[(number + instance) % SERVERS].address,
        }
    }

    /// One request to each service.
    pub(crate) fn calls(&self) -> Vec<Call> {
        (0..self.services).map(|n| Call::http(&format!("s{n}"))).collect()
    }

    /// How many instances all services have together.
    pub(crate) const fn instances(&self) -> usize {
        self.services * INSTANCES
    }
}
