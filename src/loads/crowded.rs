//! Who takes too much of the table: one client that names more than all others must not leave these without a place.
//! Pure.

use std::time::Duration;

use roaring::RoaringBitmap;

use super::ends::Ends;
use super::table::{ClientId, Table};

/// Room is made once in this time at most, since all that is known has to be looked at.
const PAUSE: Duration = Duration::from_secs(10);

/// Who has less than this is left alone.
const LITTLE: u64 = 1_000;

impl Table {
    /// A report finds no room for all that it names: sums that no client names any more are forgotten, and then the
    /// client that names far more than the others is left out, until the next sweep.
    pub(super) fn make_room(&mut self, now: Duration) {
        if now < self.relieved + PAUSE && self.relieved > Duration::ZERO {
            return;
        }
        self.relieved = now;
        if let Some(id) = self.greediest()
            && let Some(mut client) = self.clients.remove(&id)
        {
            self.drop_rows(&mut client, |_| false);
            self.list(&mut client, RoaringBitmap::new());
            client.order = Vec::new();
            client.sequence = Vec::new();
            client.is_cut = true;
            client.left_out = true;
            self.clients.insert(id, client);
        }
        let mut named = RoaringBitmap::new();
        for client in self.clients.values() {
            named.extend(client.rows.keys());
        }
        self.ends.retain(|id, _| named.contains(id));
        self.forget_names();
    }

    /// The client that names more than half of everything, or more than twice the average.
    fn greediest(&self) -> Option<ClientId> {
        let weights = || {
            self.clients
                .iter()
                .map(|(id, client)| (client.rows.len() as u64 + client.listed.len(), *id))
        };
        let (weight, id) = weights().max()?;
        let all: u64 = weights().map(|(weight, _)| weight).sum();
        let clients = self.clients.len() as u64;
        let is_greedy = weight > all / 2 || weight > 2 * all / clients;
        (clients > 1 && weight >= LITTLE && is_greedy).then_some(id)
    }

    /// Forgets the names that nothing has any more.
    pub(super) fn forget_names(&mut self) {
        let mut used = used_by(&self.ends);
        for client in self.clients.values() {
            used |= &client.listed;
        }
        self.names.retain(&used);
        self.drops.retain(|cluster, _| used.contains(*cluster));
    }
}

fn used_by(ends: &Ends) -> RoaringBitmap {
    let mut used = RoaringBitmap::new();
    for (_, end) in ends.iter() {
        used.insert(end.key.cluster);
        used.insert(end.key.place);
        let metrics = end.tallies.iter().flat_map(|(_, tally)| &tally.metrics);
        used.extend(metrics.map(|metric| metric.name));
    }
    used
}
