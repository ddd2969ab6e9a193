//! Bounded places for connections that have yet to show what they want. When all are taken, a newcomer gets
//! the place of the one that has been silent the longest, first of the address that holds the most: a client that
//! connects and sends nothing keeps no other one out. Knows no sockets; a place that is taken away cancels a token.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Addresses that are looked at, those with the most places first, before the oldest of all is taken.
const LOOKED_AT: usize = 64;

/// How long a place is safe.
#[derive(Clone, Copy, Debug)]
pub struct Safe {
    /// While nothing has come: what was just accepted may have its first bytes on the way.
    pub silent: Duration,
    /// Since something has come.
    pub speaking: Duration,
}

/// All places of one kind.
#[derive(Debug)]
pub struct Places {
    most: usize,
    safe: Safe,
    table: Mutex<Table>,
    freed: Notify,
}

/// Those that are taken, in the order in which they may be taken away.
#[derive(Debug, Default)]
struct Table {
    held: HashMap<u64, Held>,
    by_address: HashMap<IpAddr, Ages>,
    by_count: BTreeSet<(usize, IpAddr)>,
    all: Ages,
    next: u64,
}

#[derive(Debug)]
struct Held {
    address: IpAddr,
    since: Instant,
    speaking: bool,
    out: CancellationToken,
}

/// Since when each is silent, or speaking.
#[derive(Debug, Default)]
struct Ages {
    silent: BTreeSet<(Instant, u64)>,
    speaking: BTreeSet<(Instant, u64)>,
}

/// One place, freed when dropped.
#[derive(Debug)]
pub struct Place {
    id: u64,
    out: CancellationToken,
    places: Arc<Places>,
}

impl Places {
    /// At most this many.
    #[must_use]
    pub fn new(most: usize, safe: Safe) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            safe,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes a place, and another's if there is no free one; waits while all are safe. Says whether it was a free one.
    pub async fn enter(self: &Arc<Self>, address: IpAddr) -> (Place, bool) {
        let mut free = true;
        loop {
            let now = clock::now();
            let until = {
                let mut table = self.lock();
                let room = if table.held.len() < self.most {
                    Ok(())
                } else {
                    free = false;
                    table.evict(self.safe, now)
                };
                match room {
                    Ok(()) => {
                        let (id, out) = table.add(subnet(address), now);
                        let places = self.clone();
                        return (Place { id, out, places }, free);
                    }
                    Err(until) => until,
                }
            };
            // A place that is freed after the look above leaves a permit: this returns at once.
            let _ =
                tokio::time::timeout_at(until.unwrap_or(now + self.safe.silent), self.freed.notified()).await;
        }
    }

    /// Takes a place away from whoever may lose it now.
    #[must_use]
    pub fn evict(&self) -> bool {
        self.lock().evict(self.safe, clock::now()).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Each section leaves the data whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Cancelled when the place is taken away.
    #[must_use]
    pub const fn out(&self) -> &CancellationToken {
        &self.out
    }

    /// Something has come, or (`false`) nothing more is under way.
    pub fn speaks(&self, speaking: bool) {
        let mut table = self.places.lock();
        if let Some(mut held) = table.remove(self.id)
            && !self.out.is_cancelled()
        {
            if held.speaking != speaking {
                (held.speaking, held.since) = (speaking, clock::now());
            }
            table.insert(self.id, held);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = self.places.lock().remove(self.id);
        if held.is_some() {
            self.places.freed.notify_one();
        }
    }
}

impl Ages {
    fn of(&self, speaking: bool) -> &BTreeSet<(Instant, u64)> {
        if speaking { &self.speaking } else { &self.silent }
    }

    fn of_mut(&mut self, speaking: bool) -> &mut BTreeSet<(Instant, u64)> {
        if speaking {
            &mut self.speaking
        } else {
            &mut self.silent
        }
    }

    fn len(&self) -> usize {
        self.silent.len() + self.speaking.len()
    }
}

impl Table {
    fn add(&mut self, address: IpAddr, now: Instant) -> (u64, CancellationToken) {
        let (id, out) = (self.next, CancellationToken::new());
        self.next += 1;
        let held = Held {
            address,
            since: now,
            speaking: false,
            out: out.clone(),
        };
        self.insert(id, held);
        (id, out)
    }

    fn insert(&mut self, id: u64, held: Held) {
        let ages = self.by_address.entry(held.address).or_default();
        let before = ages.len();
        ages.of_mut(held.speaking).insert((held.since, id));
        self.by_count.remove(&(before, held.address));
        self.by_count.insert((before + 1, held.address));
        self.all.of_mut(held.speaking).insert((held.since, id));
        self.held.insert(id, held);
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.all.of_mut(held.speaking).remove(&(held.since, id));
        if let Some(ages) = self.by_address.get_mut(&held.address) {
            let before = ages.len();
            ages.of_mut(held.speaking).remove(&(held.since, id));
            self.by_count.remove(&(before, held.address));
            if before > 1 {
                self.by_count.insert((before - 1, held.address));
            } else {
                self.by_address.remove(&held.address);
            }
        }
        Some(held)
    }

    /// Takes one place away; or when the next one may be.
    fn evict(&mut self, safe: Safe, now: Instant) -> Result<(), Option<Instant>> {
        for (speaking, safe) in [(false, safe.silent), (true, safe.speaking)] {
            let ripe = |ages: &Ages| {
                let oldest = ages.of(speaking).first();
                oldest
                    .filter(|(since, _)| *since + safe <= now)
                    .map(|(_, id)| *id)
            };
            let crowds = self.by_count.iter().rev().take_while(|(count, _)| *count > 1);
            let of_crowd = crowds
                .take(LOOKED_AT)
                .find_map(|(_, address)| self.by_address.get(address).and_then(ripe));
            if let Some(id) = of_crowd.or_else(|| ripe(&self.all)) {
                if let Some(held) = self.remove(id) {
                    held.out.cancel();
                }
                return Ok(());
            }
        }
        let ripens = |speaking, safe| self.all.of(speaking).first().map(|(since, _)| *since + safe);
        Err([ripens(false, safe.silent), ripens(true, safe.speaking)]
            .into_iter()
            .flatten()
            .min())
    }
}

/// Who is counted as one: an IPv6 host has a whole /64 to itself.
fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Safe = Safe {
        silent: Duration::from_millis(100),
        speaking: Duration::from_secs(2),
    };

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_of_the_largest_crowd_goes_first() {
        let places = Places::new(4, SAFE);
        let (lone, free) = places.enter(ip(1)).await;
        assert!(free);
        pass(Duration::from_millis(1)).await;
        let first = places.enter(ip(2)).await.0;
        pass(Duration::from_millis(1)).await;
        let second = places.enter(ip(2)).await.0;
        let third = places.enter(ip(2)).await.0;
        pass(SAFE.silent).await;
        first.speaks(true);
        let (newcomer, free) = places.enter(ip(3)).await;
        assert!(
            !free && second.out().is_cancelled(),
            "it was the oldest that is silent"
        );
        assert!(
            [&lone, &first, &third, &newcomer]
                .iter()
                .all(|p| !p.out().is_cancelled())
        );
        assert!(
            places.evict() && third.out().is_cancelled(),
            "the crowd's before the lone one"
        );
        assert!(places.evict() && lone.out().is_cancelled());
        assert!(!places.evict(), "the others are safe yet");
        pass(SAFE.speaking).await;
        assert!(
            places.evict() && newcomer.out().is_cancelled(),
            "silent before speaking"
        );
        assert!(places.evict() && first.out().is_cancelled());
        assert!(!places.evict(), "none is left");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_all_are_safe_waits_for_the_first_that_is_not() {
        let places = Places::new(2, SAFE);
        let held = [places.enter(ip(1)).await.0, places.enter(ip(1)).await.0];
        let began = clock::now();
        let late = places.enter(ip(2)).await.0;
        assert_eq!(clock::now() - began, SAFE.silent);
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.enter(ip(3)).await }
        });
        late.speaks(true);
        drop(held);
        let (_place, _) = waiting.await.unwrap();
        assert!(!late.out().is_cancelled(), "a place was free");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_place_is_forgotten() {
        let places = Places::new(1, SAFE);
        for n in 0..100 {
            let (place, free) = places.enter(ip(n)).await;
            assert!(free);
            place.speaks(true);
            place.speaks(false);
        }
        let table = places.lock();
        let all = (
            table.held.len(),
            table.by_address.len(),
            table.by_count.len(),
            table.all.len(),
        );
        assert_eq!(all, (0, 0, 0, 0));
    }

    #[test]
    fn a_host_is_one_address() {
        let v6 = |text: &str| subnet(text.parse().unwrap());
        assert_eq!(v6("2001:db8:1:2:3::4"), v6("2001:db8:1:2::9"));
        assert_ne!(v6("2001:db8:1:2::4"), v6("2001:db8:1:3::4"));
        assert_eq!(v6("::ffff:10.0.0.1"), ip(1));
    }
}
