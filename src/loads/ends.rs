//! What requests go to: an endpoint of a cluster in a locality, or the locality where a client names no endpoints. Each
//! once for all clients, with the sums of what they report. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use super::names::NameId;
use super::report::{Counts, Metric};
use super::who::Kind;

/// An end by its number.
pub(super) type EndId = u32;

/// Numbers that are given here one after the other need no hash that withstands an attacker.
pub(super) type ById = BuildHasherDefault<IdHasher>;

/// For one `u32`.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, id: u32) {
        // The table takes its place from the low bits, and a mark from the high ones.
        self.0 = (self.0 ^ u64::from(id))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(32);
    }
}

/// Named metrics that are kept of one end.
const METRICS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) cluster: NameId,
    /// Region, zone and sub-zone.
    pub(super) place: NameId,
    pub(super) priority: u32,
    /// `None`: of the locality, without an endpoint.
    pub(super) address: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) key: Key,
    /// When a report named it last.
    pub(super) seen: Duration,
    /// By what the counts mean; most have one.
    pub(super) tallies: Vec<(Kind, Tally)>,
}

/// Sums since the end is known; they only grow, but for `open`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) metrics: Vec<Named>,
}

/// The sums of a named metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) name: NameId,
    pub(super) finished: u64,
    pub(super) sum: f64,
    /// The same, of each report from 0 to 1 a request: a large number never hides small ones.
    pub(super) part: f64,
}

/// All ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    by: HashMap<(NameId, Option<SocketAddr>), Vec<EndId>>,
    of: HashMap<NameId, Vec<EndId>, ById>,
    slots: Vec<Option<End>>,
    free: Vec<EndId>,
}

impl Ends {
    /// In each locality and priority.
    pub(super) fn find(&self, cluster: NameId, address: Option<SocketAddr>) -> &[EndId] {
        self.by.get(&(cluster, address)).map_or(&[], Vec::as_slice)
    }

    /// All clusters that have ends.
    pub(super) fn clusters(&self) -> impl Iterator<Item = NameId> {
        self.of.keys().copied()
    }

    /// All ends of a cluster.
    pub(super) fn of(&self, cluster: NameId) -> impl Iterator<Item = &End> {
        let ids = self.of.get(&cluster).into_iter().flatten();
        ids.filter_map(|id| self.get(*id))
    }

    /// The number of an end, which may be new, and most likely is `likely`; `None`: there is no room for it.
    pub(super) fn take(
        &mut self,
        key: Key,
        likely: Option<EndId>,
        most: usize,
        now: Duration,
    ) -> Option<EndId> {
        let as_likely = likely.and_then(|id| self.get_mut(id));
        if let Some(end) = as_likely.filter(|end| end.key == key) {
            end.seen = now;
            return likely;
        }
        let same = |id: &&EndId| self.get(**id).is_some_and(|end| end.key == key);
        if let Some(id) = self.find(key.cluster, key.address).iter().find(same).copied() {
            if let Some(end) = self.get_mut(id) {
                end.seen = now;
            }
            return Some(id);
        }
        if self.len() >= most {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                EndId::try_from(self.slots.len() - 1).ok()?
            }
        };
        self.slots[id as usize] = Some(End {
            key,
            seen: now,
            tallies: Vec::new(),
        });
        self.by.entry((key.cluster, key.address)).or_default().push(id);
        self.of.entry(key.cluster).or_default().push(id);
        Some(id)
    }

    /// Forgets those of which this is false.
    pub(super) fn retain(&mut self, keep: impl Fn(EndId, &End) -> bool) {
        for id in 0..self.slots.len() {
            let number = EndId::try_from(id).unwrap_or(EndId::MAX);
            let Some(end) = self.slots[id].take_if(|end| !keep(number, end)) else {
                continue;
            };
            self.free.push(number);
            let place = (end.key.cluster, end.key.address);
            if let Some(ids) = self.by.get_mut(&place) {
                ids.retain(|other| *other != number);
                if ids.is_empty() {
                    self.by.remove(&place);
                }
            }
            if let Some(ids) = self.of.get_mut(&end.key.cluster) {
                ids.retain(|other| *other != number);
                if ids.is_empty() {
                    self.of.remove(&end.key.cluster);
                }
            }
        }
    }

    pub(super) fn get(&self, id: EndId) -> Option<&End> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: EndId) -> Option<&mut End> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EndId, &End)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(id, end)| Some((id, end.as_ref()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl End {
    pub(super) fn tally(&mut self, kind: Kind) -> &mut Tally {
        let at = self.tallies.iter().position(|(other, _)| *other == kind);
        let at = at.unwrap_or_else(|| {
            self.tallies.push((kind, Tally::default()));
            self.tallies.len() - 1
        });
        &mut self.tallies[at].1
    }
}

impl Tally {
    /// A client has this number of requests in progress, where it had that one.
    pub(super) fn reopen(&mut self, before: u64, now: u64) {
        self.counts.open = self.counts.open.saturating_sub(before).saturating_add(now);
    }

    /// Adds what was counted since the last report, but for what is in progress.
    pub(super) fn add(&mut self, counts: Counts) {
        add(&mut self.counts, counts);
    }

    pub(super) fn add_metric(&mut self, name: NameId, metric: &Metric<'_>) {
        let has_room = self.metrics.len() < METRICS;
        match self.metrics.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                known.finished = known.finished.saturating_add(metric.finished);
                known.sum += metric.sum;
                known.part += part(metric);
            }
            None if has_room => self.metrics.push(Named {
                name,
                finished: metric.finished,
                sum: metric.sum,
                part: part(metric),
            }),
            None => {}
        }
    }
}

/// From 0 to 1 a request.
fn part(metric: &Metric<'_>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a report counts far fewer than 2^52")]
    let most = metric.finished as f64;
    metric.sum.clamp(0.0, most)
}

/// Adds all but what is in progress.
pub(super) fn add(sums: &mut Counts, counts: Counts) {
    sums.successes = sums.successes.saturating_add(counts.successes);
    sums.errors = sums.errors.saturating_add(counts.errors);
    sums.issued = sums.issued.saturating_add(counts.issued);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_figure_hides_no_bad_request() {
        let mut tally = Tally::default();
        let metric = |finished, sum| Metric {
            name: "bad",
            finished,
            sum,
        };
        for sum in [1e300, -1e300, f64::MAX] {
            tally.add_metric(1, &metric(2, sum));
        }
        tally.add_metric(1, &metric(10, 3.0));
        assert_eq!((tally.metrics[0].finished, tally.metrics[0].part), (16, 7.0));
    }
}
