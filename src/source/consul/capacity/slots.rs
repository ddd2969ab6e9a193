//! Which connections a watch uses. Over HTTP/1.1 each watch needs one of its own, and agents allow 200 of one client;
//! over HTTP/2 a connection carries 250 requests, and a client holds one connection. Something on the way may allow
//! fewer: that is learned from watches that could not be sent.

use crate::registry::consul::Client;

/// Watches on one HTTP/2 connection, at most.
const PER_CONNECTION: usize = 200;

/// The clients for blocking reads, and how many watches use each. Number 0 serves the reads that are always there, and
/// all watches over HTTP/1.1. None is the client of the other reads: watches would take its connections as well.
#[derive(Debug)]
pub(crate) struct Slots {
    clients: Vec<(Client, usize)>,
    /// Watches on one HTTP/2 connection.
    room: usize,
}

impl Slots {
    pub(crate) fn new(shared: &Client) -> Self {
        Self {
            clients: vec![(shared.apart(), 0)],
            room: PER_CONNECTION,
        }
    }

    /// The client of slot 0.
    pub(crate) fn fixed(&self) -> Client {
        self.clients[0].0.clone()
    }

    /// A client for one more watch, and its number.
    pub(crate) fn take(&mut self, multiplexed: bool) -> (usize, Client) {
        let mut free = 0;
        if multiplexed {
            free = (1..self.clients.len())
                .find(|n| self.clients[*n].1 < self.room)
                .unwrap_or_else(|| self.grow());
        }
        self.clients[free].1 += 1;
        (free, self.clients[free].0.clone())
    }

    pub(crate) fn give_back(&mut self, slot: usize) {
        if let Some((_, users)) = self.clients.get_mut(slot) {
            *users = users.saturating_sub(1);
        }
    }

    /// A watch that was given back found no room there, but others have. Those that find none come one after the
    /// other; what is left in the end is what there is room for.
    pub(crate) fn full(&mut self, slot: usize) {
        if let Some((_, users)) = self.clients.get(slot) {
            self.room = self.room.min(*users).max(1);
        }
    }

    fn grow(&mut self) -> usize {
        let shared = self.clients[0].0.shared();
        self.clients.push((shared, 0));
        self.clients.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::consul::{Scope, TlsFiles, Transport};
    use std::time::Duration;

    fn slots() -> Slots {
        let transport = Transport::new("http://127.0.0.1:1", TlsFiles::default()).unwrap();
        let client = Client::new(transport, Scope::default(), None, Duration::ZERO);
        Slots::new(&client)
    }

    #[test]
    fn a_connection_for_each_two_hundred() {
        let mut slots = slots();
        assert_eq!(slots.take(false).0, 0);
        let taken: Vec<usize> = (0..401).map(|_| slots.take(true).0).collect();
        assert_eq!((taken[0], taken[199], taken[200], taken[400]), (1, 1, 2, 3));
        slots.give_back(1);
        assert_eq!(slots.take(true).0, 1);
    }

    #[test]
    fn a_connection_that_is_full_with_fewer_is_learned_from() {
        let mut slots = slots();
        let all: Vec<usize> = (0..400).map(|_| slots.take(true).0).collect();
        // Of each 200, 120 found room.
        let stuck = |slot: usize| all.iter().filter(move |s| **s == slot).skip(120);
        let mut again = Vec::new();
        for slot in stuck(1).chain(stuck(2)) {
            slots.give_back(*slot);
            slots.full(*slot);
            again.push(slots.take(true).0);
        }
        assert_eq!(slots.room, 120);
        let users: Vec<usize> = slots.clients[1..].iter().map(|(_, users)| *users).collect();
        assert_eq!(users, [120, 120, 120, 40]);
    }
}
