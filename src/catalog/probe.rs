//! Whether instances that a registry no longer lists still run. Each address is probed with a TCP connection:
//! refused twice in a row, it is gone; accepted, it is alive; silent, its state is unknown.
//!
//! Pure: decides which addresses to probe next and what an answer means. The time is passed in, and the
//! connections are made elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Standing;
use crate::model::instance::Instance;

/// A connection that takes longer is silent.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// Connections of one source that are attempted at once, at most.
pub const AT_ONCE: usize = 128;

/// Probes of one source that start together, at most, and the pause before the next ones: 1,600 a second.
const TOGETHER: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);

/// Between two probes of an address that has just been withheld. A server often stops some seconds after it
/// has deregistered, so they are frequent then and become rarer with the time that it has been withheld.
const SOON: Duration = Duration::from_millis(150);
const ALIVE: Duration = Duration::from_secs(2);
const SILENT: Duration = Duration::from_secs(5);
const SLOWER: u32 = 32;

/// A server often stops right after it has deregistered: for this time it stands behind those that stayed
/// registered, though it accepts connections.
const RECENT: Duration = Duration::from_secs(2);

/// Before a refusal is believed: an address refuses while its server restarts in place.
const CERTAIN: Duration = Duration::from_millis(300);

/// An overloaded server may miss one connection: an instance that was alive is unknown after this number.
const MISSES: u32 = 2;

/// Refusals in a row by which an address is gone.
const REFUSALS: u32 = 2;

/// Instances whose state is unknown stand behind the others only while those are at least one in this number of
/// the service: the first one that registers again after a wipe must not receive all requests.
const FEWEST: usize = 5;

/// What became of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Somebody listens there.
    Accepted,
    /// The host is there and nobody listens.
    Refused,
    /// Neither: timed out, unreachable, filtered.
    Silent,
}

/// An address to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The source that withholds instances there.
    pub source: Arc<str>,
    /// Where to connect.
    pub address: SocketAddr,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// What was asked.
    pub question: Question,
    /// What came of it.
    pub answer: Answer,
}

/// What an answer means for the instances at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Stands(Standing),
    Gone,
}

/// One address with withheld instances.
#[derive(Debug)]
struct Probe {
    services: BTreeSet<Arc<str>>,
    standing: Standing,
    refusals: u32,
    misses: u32,
    /// Since when it is withheld.
    since: Duration,
    /// Until when it may be about to stop.
    recent: Duration,
    /// `None`: the answer is awaited.
    due: Option<Duration>,
}

/// All that one source withholds.
#[derive(Debug, Default)]
pub(super) struct Probing {
    enabled: bool,
    probes: BTreeMap<SocketAddr, Probe>,
    /// The addresses of each service.
    of: BTreeMap<Arc<str>, BTreeSet<SocketAddr>>,
    queue: BTreeSet<(Duration, SocketAddr)>,
    /// Addresses whose answers are awaited, also those that are no longer withheld.
    awaited: BTreeSet<SocketAddr>,
    /// No probe starts before this.
    rest: Duration,
    alive: usize,
}

impl Probing {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            ..Self::default()
        }
    }

    /// From now on exactly these addresses of a service are withheld; `others`: it has instances that are still
    /// registered. Returns what is known about each.
    pub(super) fn follow(
        &mut self,
        service: &Arc<str>,
        addresses: impl IntoIterator<Item = SocketAddr>,
        others: bool,
        now: Duration,
    ) -> BTreeMap<SocketAddr, Standing> {
        let wanted: BTreeSet<SocketAddr> = addresses.into_iter().collect();
        if !self.enabled {
            return wanted.into_iter().map(|a| (a, Standing::Unknown)).collect();
        }
        let old = self.of.remove(service).unwrap_or_default();
        for address in old.difference(&wanted) {
            self.leave(service, *address);
        }
        for address in wanted.difference(&old) {
            let due = Some(now).filter(|_| !self.awaited.contains(address));
            let new = || Probe {
                services: BTreeSet::new(),
                standing: Standing::Pending,
                refusals: 0,
                misses: 0,
                since: now,
                recent: if others { now + RECENT } else { now },
                due,
            };
            let queued = self.probes.contains_key(address);
            let probe = self.probes.entry(*address).or_insert_with(new);
            probe.services.insert(service.clone());
            if !queued && due.is_some() {
                self.queue.insert((now, *address));
            }
        }
        let known = |a: &SocketAddr| (*a, self.probes.get(a).map_or(Standing::Pending, |p| p.standing));
        let standings = wanted.iter().map(known).collect();
        if !wanted.is_empty() {
            self.of.insert(service.clone(), wanted);
        }
        standings
    }

    /// An address of a service is no longer withheld.
    fn leave(&mut self, service: &Arc<str>, address: SocketAddr) {
        let Some(probe) = self.probes.get_mut(&address) else {
            return;
        };
        probe.services.remove(service);
        if probe.services.is_empty() {
            self.alive -= usize::from(probe.standing.accepts());
            if let Some(due) = probe.due {
                self.queue.remove(&(due, address));
            }
            self.probes.remove(&address);
        }
    }

    /// Addresses that accept connections.
    pub(super) const fn alive(&self) -> usize {
        self.alive
    }

    /// When [`Self::questions`] has something to ask; `None`: only after an answer, or never.
    pub(super) fn due(&self) -> Option<Duration> {
        let (due, _) = self.queue.first().filter(|_| self.awaited.len() < AT_ONCE)?;
        Some((*due).max(self.rest))
    }

    /// The addresses to be probed now; each gets its answer by [`Self::answered`].
    pub(super) fn questions(&mut self, now: Duration) -> Vec<SocketAddr> {
        let mut asked = Vec::new();
        if self.rest > now {
            return asked;
        }
        while asked.len() < TOGETHER && self.awaited.len() < AT_ONCE {
            let Some((due, address)) = self.queue.first().copied().filter(|(due, _)| *due <= now) else {
                break;
            };
            self.queue.remove(&(due, address));
            self.awaited.insert(address);
            if let Some(probe) = self.probes.get_mut(&address) {
                probe.due = None;
            }
            asked.push(address);
        }
        if !asked.is_empty() {
            self.rest = now + PAUSE;
        }
        asked
    }

    /// An answer, and for which services it means what; `None`: nothing new.
    pub(super) fn answered(
        &mut self,
        address: SocketAddr,
        answer: Answer,
        now: Duration,
    ) -> Option<(Meaning, BTreeSet<Arc<str>>)> {
        self.awaited.remove(&address);
        let probe = self.probes.get_mut(&address)?;
        let was = probe.standing;
        let meaning = probe.take(answer, now);
        if meaning == Meaning::Gone {
            let services = probe.services.clone();
            for service in &services {
                self.leave(service, address);
                if let Some(addresses) = self.of.get_mut(service) {
                    addresses.remove(&address);
                }
            }
            return Some((meaning, services));
        }
        let due = now + probe.pause(address, now);
        if let Some(old) = probe.due.replace(due) {
            self.queue.remove(&(old, address));
        }
        self.queue.insert((due, address));
        self.alive += usize::from(probe.standing.accepts());
        self.alive -= usize::from(was.accepts());
        let news = (probe.standing != was).then(|| (meaning, probe.services.clone()))?;
        if was.accepts() && probe.standing == Standing::Doubtful {
            self.hurry(&news.1, now);
        }
        Some(news)
    }

    /// One of a service's servers has stopped: others often stop together with it, and are probed now.
    fn hurry(&mut self, services: &BTreeSet<Arc<str>>, now: Duration) {
        for address in services
            .iter()
            .filter_map(|service| self.of.get(service))
            .flatten()
        {
            let probe = self.probes.get_mut(address);
            let Some(probe) = probe.filter(|probe| probe.standing.accepts()) else {
                continue;
            };
            if let Some(due) = probe.due.filter(|due| *due > now) {
                probe.due = Some(now);
                self.queue.remove(&(due, *address));
                self.queue.insert((now, *address));
            }
        }
    }
}

impl Probe {
    fn take(&mut self, answer: Answer, now: Duration) -> Meaning {
        match answer {
            Answer::Accepted => {
                (self.refusals, self.misses) = (0, 0);
                self.standing = if now < self.recent {
                    Standing::Recent
                } else {
                    Standing::Alive
                };
            }
            Answer::Refused => {
                self.refusals += 1;
                if self.refusals >= REFUSALS {
                    return Meaning::Gone;
                }
                self.standing = Standing::Doubtful;
            }
            Answer::Silent => {
                self.refusals = 0;
                self.misses = self.misses.saturating_add(1);
                if !self.standing.accepts() || self.misses >= MISSES {
                    self.standing = Standing::Unknown;
                }
            }
        }
        Meaning::Stands(self.standing)
    }

    /// Until the next probe, spread by a quarter so that those of one moment do not stay together.
    fn pause(&self, address: SocketAddr, now: Duration) -> Duration {
        let slower = now.saturating_sub(self.since) / SLOWER;
        let pause = match self.standing {
            Standing::Recent | Standing::Alive if self.misses == 0 => slower.clamp(SOON, ALIVE),
            Standing::Unknown => (slower * 2).clamp(2 * SOON, SILENT),
            Standing::Doubtful => CERTAIN,
            Standing::Recent | Standing::Alive | Standing::Pending => SOON,
        };
        let mut hasher = DefaultHasher::new(); // the same in each run
        (address, now).hash(&mut hasher);
        pause * 3 / 4 + pause / 100 * u32::try_from(hasher.finish() % 50).unwrap_or(0)
    }
}

/// Which instances of a service stand behind its others. `withheld`: those that their source no longer lists.
///
/// What may be dead must not receive requests while somebody else can answer them: right after a loss only
/// those that are still registered receive them, a moment later also those that are alive.
pub(super) fn behind(
    instances: &[Instance],
    withheld: &BTreeMap<SocketAddr, Standing>,
) -> BTreeSet<SocketAddr> {
    if withheld.is_empty() {
        return BTreeSet::new();
    }
    let (mut all, mut registered, mut alive) = (0, 0, 0);
    for instance in instances.iter().filter(|i| i.health.serves()) {
        all += 1;
        match withheld.get(&instance.address) {
            None => registered += 1,
            Some(Standing::Recent | Standing::Alive) => alive += 1,
            Some(Standing::Pending | Standing::Doubtful | Standing::Unknown) => {}
        }
    }
    let sure = registered + alive;
    let stands_behind = |standing: Standing| match standing {
        Standing::Alive => false,
        Standing::Pending | Standing::Recent => registered > 0,
        Standing::Doubtful => sure > 0,
        Standing::Unknown => sure > 0 && sure * FEWEST >= all,
    };
    withheld
        .iter()
        .filter(|(_, standing)| stands_behind(**standing))
        .map(|(address, _)| *address)
        .collect()
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
