//! What the lines of a history do.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bridge::Bridge;
use crate::declare::{address, instance_key, policy_key, service};
use crate::history::{Action, Declaration};
use crate::reader::SILENCE;
use crate::rules::Broken;
use crate::world::{Happens, World};

/// `max_removal_hold`
const HOLD: Duration = Duration::from_secs(60);
/// What an operator says is served everywhere after this time.
const DRAINED: Duration = Duration::from_secs(2);

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

impl World {
    /// Does what a line says; whoever is not there does nothing.
    pub(crate) async fn act(&mut self, what: &Action) -> Result<(), Broken> {
        if !self.concerns(what) {
            return Ok(());
        }
        let now = self.now;
        match what {
            Action::Declare {
                service,
                instance,
                how,
            } => self.declare(*service, *instance, how),
            Action::Leave { service, instance } => {
                self.servers.running.remove(&(*service, *instance));
                self.delete(&[instance_key(*service, *instance)]);
            }
            Action::LeaveAll { service } => {
                self.servers.running.retain(|(of, _), _| of != service);
                let keys: Vec<String> = (0..4).map(|instance| instance_key(*service, instance)).collect();
                self.delete(&keys);
            }
            Action::Expire { service, instance } => self.delete(&[instance_key(*service, *instance)]),
            Action::Policy { service, how } => {
                self.note_claims(*service, how);
                self.etcd.put(&policy_key(*service), &how.policy());
                self.changed();
            }
            Action::PolicyEnds { service } => self.delete(&[policy_key(*service)]),
            Action::Wipe => self.wipe(),
            Action::Refill => {
                for ((service, instance), how) in self.servers.running.clone() {
                    if !self.etcd.has(&instance_key(service, instance)) {
                        self.declare(service, instance, &how);
                    }
                }
            }
            Action::Restore { back } => {
                if self.etcd.restore(usize::from(*back)) {
                    self.restored();
                }
            }
            Action::Compact => self.etcd.compact(),
            Action::Away { bridge, ms } => {
                self.bridge_mut(*bridge).away_until = now + millis(*ms);
                self.lose(*bridge);
            }
            Action::Mute { bridge, ms } => {
                self.bridge_mut(*bridge).mute_until = now + millis(*ms);
                self.silence(*bridge, SILENCE.max(millis(*ms)));
            }
            Action::SetBack { bridge, events } => self.set_back(*bridge, usize::from(*events)),
            Action::FullDisk { bridge, ms } => self.bridge_mut(*bridge).disk.full_until = now + millis(*ms),
            Action::Restart { bridge, cache } => self.restart(*bridge, *cache),
            Action::Cut {
                client,
                noticed_after,
            } => self.cut(*client, millis(*noticed_after)),
            Action::Freeze { client, ms } => {
                let peer = self.peer(*client);
                // What it is yet to read waits until then: a longer time would let later responses overtake it.
                if now >= peer.frozen_until {
                    peer.frozen_until = now + millis(*ms);
                    peer.calm_since = peer.calm_since.max(peer.frozen_until + DRAINED);
                }
            }
            Action::Slow { client, ms } => {
                let peer = self.peer(*client);
                peer.slow_until = now + millis(*ms);
                peer.calm_since = peer.calm_since.max(peer.slow_until + DRAINED);
            }
            Action::Move { client, bridge } => {
                self.cut(*client, Duration::ZERO);
                self.peer(*client).bridge = *bridge;
            }
            Action::Refuse { client } => self.peer(*client).client.refuses_next = true,
            Action::Dial { client, service } => self.dial(*client, *service, true),
            Action::HangUp { client, service } => self.dial(*client, *service, false),
            Action::Drain {
                service: of,
                instance,
            } => {
                let name = service(*of);
                let drained = self.drains.instances.entry(name.into()).or_default();
                drained.insert(format!("{name}-{instance}").into(), 0);
                self.share_drains();
            }
            Action::Undrain => {
                self.drains = xds_bridge::model::Drains::default();
                self.share_drains();
            }
            Action::Accept { bridge } => {
                let of = self.bridge_mut(*bridge);
                of.guarded.clear();
                of.accept();
                self.pump(*bridge)?;
            }
            Action::Jump { seconds } => {
                self.until(now + Duration::from_secs(u64::from(*seconds))).await?;
            }
            Action::Quiet => self.quiet().await?,
        }
        Ok(())
    }

    /// Whether whom it is about is there.
    fn concerns(&self, what: &Action) -> bool {
        let bridge = match what {
            Action::Away { bridge, .. }
            | Action::Mute { bridge, .. }
            | Action::SetBack { bridge, .. }
            | Action::FullDisk { bridge, .. }
            | Action::Restart { bridge, .. }
            | Action::Accept { bridge }
            | Action::Move { bridge, .. } => Some(*bridge),
            _ => None,
        };
        bridge.is_none_or(|bridge| usize::from(bridge) < self.bridges.len())
            && what
                .client()
                .is_none_or(|client| usize::from(client) < self.peers.len())
    }

    fn note_claims(&mut self, number: u8, how: &Declaration) {
        for claim in how.claims() {
            self.routes.claims(service(number), claim);
        }
    }

    pub(crate) fn declare(&mut self, number: u8, instance: u8, how: &Declaration) {
        self.note_claims(number, how);
        self.servers.running.insert((number, instance), how.clone());
        self.etcd.put(&instance_key(number, instance), &how.value());
        self.changed();
    }

    pub(crate) fn delete(&mut self, keys: &[String]) {
        self.etcd.delete(keys);
        self.changed();
    }

    /// The registry loses everything at once; its servers still run.
    fn wipe(&mut self) {
        let now = self.now;
        let registered: BTreeSet<(String, std::net::SocketAddr)> = self
            .servers
            .running
            .iter()
            .filter(|((of, instance), _)| self.etcd.has(&instance_key(*of, *instance)))
            .map(|((of, _), how)| (service(*of).to_owned(), address(how.place)))
            .collect();
        let calm = self.drains.is_empty() && now > self.drained_until;
        for of in &mut self.bridges {
            let since = |place: &&crate::shadow::Place| of.reader.shadow.up_since(&place.0, place.1);
            let known = of.reader.shadow.up().filter(|place| registered.contains(*place));
            let known = known.filter(|place| since(place).is_some_and(|since| since + DRAINED <= now));
            let known: Vec<_> = known.cloned().collect();
            let all = of.reader.shadow.instances();
            if calm && known.len() > 3 && known.len() * 100 > all * 60 && !of.was_withheld(now) {
                for place in known {
                    let id = of.reader.shadow.id_at(&place);
                    of.guarded.insert(place, (now + HOLD, id));
                }
            }
        }
        let keys: Vec<String> = self.etcd.keys().cloned().collect();
        self.delete(&keys);
    }

    /// A bridge dies with all that it has in memory, and begins again.
    fn restart(&mut self, bridge: u8, cache: bool) {
        let (now, network, fault) = (self.now, self.network.clone(), self.fault);
        let of = self.bridge_mut(bridge);
        let life = of.life + 1;
        let (away, mute) = (of.away_until, of.mute_until);
        let mut disk = std::mem::take(&mut of.disk);
        if !cache {
            disk.clear();
        }
        let mut fresh = Bridge::start(&network, disk, fault, (life, now));
        (fresh.away_until, fresh.mute_until) = (away, mute);
        let drains = self.drains.clone();
        fresh.drain(drains);
        *self.bridge_mut(bridge) = fresh;
        let clients: Vec<u8> = (0_u8..)
            .zip(&self.peers)
            .filter(|(_, p)| p.bridge == bridge)
            .map(|(at, _)| at)
            .collect();
        for client in clients {
            let peer = self.peer(client);
            if peer.stream.take().is_some() {
                self.after(millis(500), Happens::Connect { client });
            }
        }
        self.after(Duration::ZERO, Happens::Begin { bridge, life });
        // Its hub has times of its own from the start.
        self.bridge_mut(bridge).armed = Some(now);
        self.after(Duration::ZERO, Happens::Hub { bridge, life });
    }

    /// The operator's word goes to all bridges.
    pub(crate) fn share_drains(&mut self) {
        self.drained_until = self.now + DRAINED;
        for bridge in self.all_bridges() {
            let hop = self.hop();
            self.after(hop, Happens::Drains { bridge });
        }
    }
}
