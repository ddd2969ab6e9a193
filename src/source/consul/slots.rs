//! Which connections a watch uses. Over HTTP/1.1 each watch needs one of its own, and agents
//! allow 200 of one client; over HTTP/2 a connection carries 250 requests, and a client holds one.

use crate::registry::consul::Client;

/// Watches on one HTTP/2 connection.
const PER_CONNECTION: usize = 200;

/// The clients for reads that block, and how many watches use each. 0 is that of the reads which are
/// always there, and of all watches over HTTP/1.1. None is the client of the other reads: with theirs,
/// their connections would be taken as well.
#[derive(Debug)]
pub(super) struct Slots {
    clients: Vec<(Client, usize)>,
}

impl Slots {
    pub(super) fn new(shared: &Client) -> Self {
        Self {
            clients: vec![(shared.apart(), 0)],
        }
    }

    /// The client of slot 0.
    pub(super) fn fixed(&self) -> Client {
        self.clients[0].0.clone()
    }

    /// A client for one more watch, and its number.
    pub(super) fn take(&mut self, multiplexed: bool) -> (usize, Client) {
        let mut free = 0;
        if multiplexed {
            free = (1..self.clients.len())
                .find(|n| self.clients[*n].1 < PER_CONNECTION)
                .unwrap_or_else(|| self.grow());
        }
        self.clients[free].1 += 1;
        (free, self.clients[free].0.clone())
    }

    pub(super) fn give_back(&mut self, slot: usize) {
        if let Some((_, users)) = self.clients.get_mut(slot) {
            *users = users.saturating_sub(1);
        }
    }

    fn grow(&mut self) -> usize {
        let apart = self.clients[0].0.apart();
        self.clients.push((apart, 0));
        self.clients.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::{Scope, TlsFiles, Transport};
    use std::time::Duration;

    #[test]
    fn a_connection_for_each_two_hundred() {
        let transport = Transport::new("http://127.0.0.1:1", TlsFiles::default()).unwrap();
        let client = Client::new(transport, Scope::default(), None, Duration::ZERO);
        let mut slots = Slots::new(&client);
        assert_eq!(slots.take(false).0, 0);
        let taken: Vec<usize> = (0..401).map(|_| slots.take(true).0).collect();
        assert_eq!((taken[0], taken[199], taken[200], taken[400]), (1, 1, 2, 3));
        slots.give_back(1);
        assert_eq!(slots.take(true).0, 1);
    }
}
