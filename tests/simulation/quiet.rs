//! After quiet: everything is repaired, all faults are over, and hours go by. Then each client must hold what a first
//! reading of the registry gives: by a bridge that has no past, to clients of the same kind that have none either.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use xds_bridge::model::Drains;
use xds_bridge::xds::{Generation, Kind, Version};

use crate::client::Client;
use crate::declare::{instance_key, service};
use crate::etcd::Etcd;
use crate::history::{Declaration, Setup, is_grpc};
use crate::rules::{BOUNDED, Broken, CONVERGED, SAME, SILENT};
use crate::world::World;

/// Longer than anything of the past counts: routes of who left are kept for an hour.
const HOURS: Duration = Duration::from_secs(3 * 3_600);
/// Enough for a first reading.
const FIRST: Duration = Duration::from_secs(60);
/// More names than anybody uses here, of all that were ever used.
const NAMES: usize = 4_096;

impl World {
    pub(crate) async fn quiet(&mut self) -> Result<(), Broken> {
        self.heal();
        // What was muted or frozen comes to its end.
        self.until(self.now + Duration::from_secs(100)).await?;
        self.repair();
        self.until(self.now + HOURS).await?;
        let fresh = self.first_reading().await?;
        self.now += fresh.now; // the clock is one
        self.compare(&fresh)
    }

    fn heal(&mut self) {
        let now = self.now;
        for of in &mut self.bridges {
            of.away_until = now;
            of.mute_until = now;
            of.disk.full_until = now;
        }
        for client in (0_u8..).take(self.peers.len()) {
            let peer = self.peer(client);
            if peer.client.refuses_something() || peer.client.refuses_next {
                peer.client.take_all();
                self.cut(client, Duration::ZERO);
            }
        }
        self.drains = Drains::default();
        self.share_drains();
    }

    /// Each running server declares the least, and nothing else is registered.
    fn repair(&mut self) {
        let running: Vec<(u8, u8)> = self.servers.running.keys().copied().collect();
        let wanted: BTreeSet<String> = running
            .iter()
            .map(|(of, instance)| instance_key(*of, *instance))
            .collect();
        let others: Vec<String> = self
            .etcd
            .keys()
            .filter(|key| !wanted.contains(*key))
            .cloned()
            .collect();
        self.delete(&others);
        for (of, instance) in running {
            self.declare(of, instance, &Declaration::repaired(of, instance));
        }
    }

    /// A world of one bridge that has no past.
    async fn first_reading(&self) -> Result<Self, Broken> {
        let setup = Setup {
            bridges: 1,
            ..self.setup.clone()
        };
        let mut fresh = Self::new(&setup, self.trace, None);
        fresh.etcd = Etcd::new();
        for (key, value) in self.etcd.values() {
            fresh.etcd.put(key, value);
        }
        for (new, old) in fresh.peers.iter_mut().zip(&self.peers) {
            new.client.targets.clone_from(&old.client.targets);
        }
        fresh.until(FIRST).await?;
        Ok(fresh)
    }

    fn compare(&mut self, fresh: &Self) -> Result<(), Broken> {
        let wanted = fresh.bridge(0).fanout.current().unwrap_or_default();
        for bridge in self.all_bridges() {
            let of = self.bridge(bridge);
            for served in of.streams.values() {
                if served.outstanding() > 0 {
                    let text = format!("bridge {bridge} waits for an answer of client {}", served.client);
                    return Err(Broken::new(SILENT, text));
                }
            }
            let Some(generation) = of.fanout.current() else {
                return Err(Broken::new(SAME, format!("bridge {bridge} serves nothing")));
            };
            let names = of.fanout.names();
            if names > NAMES {
                return Err(Broken::new(
                    BOUNDED,
                    format!("bridge {bridge} knows {names} names"),
                ));
            }
            for kind in Kind::ALL {
                let (has, is) = (versions(&generation, kind), versions(&wanted, kind));
                if let Some(difference) = difference(&has, &is) {
                    let text = format!("bridge {bridge}, {}: {difference}", kind.short());
                    return Err(Broken::new(SAME, text));
                }
            }
        }
        for (at, (old, new)) in self.peers.iter().zip(&fresh.peers).enumerate() {
            if old.stream.is_none() {
                return Err(Broken::new(CONVERGED, format!("client {at} is not connected")));
            }
            for kind in Kind::ALL {
                let (has, is) = (self.held(&old.client, kind), self.held(&new.client, kind));
                if let Some(difference) = difference(&has, &is) {
                    let text = format!("client {at}, {}: {difference}", kind.short());
                    return Err(Broken::new(CONVERGED, text));
                }
            }
        }
        Ok(())
    }

    /// What a client holds. gRPC's own are sent something in place of what they held once, and nothing of what they
    /// never did: of services that are not there nothing is compared.
    fn held(&self, client: &Client, kind: Kind) -> BTreeMap<Arc<str>, Version> {
        let there = self.servers.running.keys().filter(|(of, _)| is_grpc(*of));
        let there: BTreeSet<&str> = there.map(|(of, _)| service(*of)).collect();
        let held = client.held.get(kind).iter();
        let held = held.filter(|(name, _)| client.is_envoy() || there.contains(&***name));
        held.map(|(name, held)| (name.clone(), held.version)).collect()
    }
}

fn versions(generation: &Generation, kind: Kind) -> BTreeMap<Arc<str>, Version> {
    generation
        .all(kind)
        .map(|(_, resource)| (resource.name.clone(), resource.version))
        .collect()
}

/// The first thing that differs from what is wanted, in words.
fn difference(has: &BTreeMap<Arc<str>, Version>, wanted: &BTreeMap<Arc<str>, Version>) -> Option<String> {
    for (name, version) in wanted {
        match has.get(name) {
            None => return Some(format!("{name} is missing")),
            Some(other) if other != version => return Some(format!("{name} is {other}, must be {version}")),
            Some(_) => {}
        }
    }
    let more = has.keys().find(|name| !wanted.contains_key(*name));
    more.map(|name| format!("{name} is there, and must not be"))
}
