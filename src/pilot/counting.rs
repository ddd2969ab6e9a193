//! What this bridge counts of services that are judged: from load reports, by version and kind of client, from zero on
//! when it begins to look. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::loads::{Counts, Kind, Sums};
use crate::rollout::{Count, Row, Stratum};

/// Endpoints and zones that are shown of one service.
const ROWS: usize = 200;
/// Of these zones, where clients name no endpoint that is there.
const ZONES: usize = 8;
/// Ends that are counted of one service.
const ENDS: usize = 20_000;
/// Those of them that came before anybody had registered there, or in places beyond [`PLACES`].
const UNKNOWN: usize = 2_000;
/// Localities of one endpoint of one cluster, or of those that name none; the endpoint has one, and clients may invent
/// others.
const PLACES: usize = 64;

/// Where requests of a service go, and whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Its clusters, each with its version, for clients that name no endpoints. The plain one has none.
    pub(super) clusters: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Versions by address. Who has left stays for as long as it is counted.
    pub(super) addresses: BTreeMap<SocketAddr, Arc<str>>,
}

/// One service.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting {
    /// When it began, Unix time in milliseconds.
    pub(super) since: u64,
    has_begun: bool,
    /// The figure that was read last.
    metric: Option<Arc<str>>,
    ends: HashMap<Key, End>,
    /// Ends that nobody had registered when they came, or that are in too many places.
    unknown: usize,
    /// In how many places an end is.
    places: HashMap<(Arc<str>, Option<SocketAddr>, Kind), usize>,
    added: BTreeMap<Whose, Added>,
}

/// One end of one kind of client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    cluster: Arc<str>,
    address: Option<SocketAddr>,
    locality: Arc<str>,
    kind: Kind,
}

/// As it was reported last.
#[derive(Clone, Debug, Default)]
struct End {
    /// `None`: nobody knows yet whose it is.
    version: Option<Arc<str>>,
    counts: Counts,
    figure: (u64, f64),
}

/// An end may go from one version to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Whose {
    version: Arc<str>,
    locality: Arc<str>,
    address: Option<SocketAddr>,
    stratum: Stratum,
}

/// Version, locality and endpoint.
type Spot<'a> = (&'a Arc<str>, &'a Arc<str>, Option<SocketAddr>);

/// Since the beginning.
#[derive(Clone, Debug, Default)]
struct Added {
    counts: Counts,
    figure: (u64, f64),
}

impl Places {
    /// The plain cluster of a service, and one for each version.
    pub(super) fn of(service: &Arc<str>, versions: impl Iterator<Item = Arc<str>>) -> Self {
        let split = versions.map(|version| (format!("{service}@{version}").into(), Some(version)));
        Self {
            clusters: std::iter::once((service.clone(), None)).chain(split).collect(),
            addresses: BTreeMap::new(),
        }
    }
}

impl Counting {
    pub(super) fn new(since: u64) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// Takes in what is known now: `sums` of the clusters of `places`, in their order. What was there at the first time
    /// counts for nothing, and nothing counts twice when a version is known only later. `metric`: which figure is judged;
    /// another one begins where it is.
    pub(super) fn note(&mut self, places: &Places, sums: &Sums, metric: Option<&str>) {
        let is_renamed = self.metric.as_deref() != metric;
        if is_renamed {
            self.metric = metric.map(Arc::from);
        }
        for sum in &sums.sums {
            let Some((cluster, version)) = places.clusters.get(sum.cluster) else {
                continue;
            };
            let at = || places.addresses.get(&sum.address?).cloned();
            // In the cluster of one version those of another may stand in. Requests to the plain cluster of clients that
            // name no endpoint are of nobody.
            let version = at().or_else(|| version.clone());
            let key = Key {
                cluster: cluster.clone(),
                address: sum.address,
                locality: sum.locality.clone(),
                kind: sum.kind,
            };
            if !self.ends.contains_key(&key) {
                // Who invents addresses must not take the room of those that are there.
                let end = (key.cluster.clone(), key.address, key.kind);
                let is_known = self.places.get(&end).is_none_or(|places| *places < PLACES)
                    && key
                        .address
                        .is_none_or(|address| places.addresses.contains_key(&address));
                if self.ends.len() >= ENDS || (!is_known && self.unknown >= UNKNOWN) {
                    continue;
                }
                self.unknown += usize::from(!is_known);
                if is_known {
                    *self.places.entry(end).or_default() += 1;
                }
            }
            let figure = sum.metrics.iter().find(|(name, ..)| Some(&**name) == metric);
            let figure = figure.map_or((0, 0.0), |(_, requests, sum)| (*requests, *sum));
            let now = End {
                version: version.clone(),
                counts: sum.counts,
                figure,
            };
            let mut before = match self.ends.insert(key, now.clone()) {
                Some(before) => before,
                None if self.has_begun => End::default(),
                None => now.clone(),
            };
            if is_renamed {
                before.figure = now.figure;
            }
            let Some(version) = version else { continue };
            // Nobody is shown addresses where nobody has registered.
            let whose = Whose {
                version,
                locality: sum.locality.clone(),
                address: sum
                    .address
                    .filter(|address| places.addresses.contains_key(address)),
                stratum: stratum(sum.kind),
            };
            self.added.entry(whose).or_default().take(&before, &now);
        }
        self.has_begun = true;
    }

    /// By version and kind of client.
    pub(super) fn counts(&self) -> BTreeMap<(Arc<str>, Stratum), Count> {
        let mut all: BTreeMap<(Arc<str>, Stratum), (Count, f64)> = BTreeMap::new();
        for (whose, added) in &self.added {
            let (count, bad) = all.entry((whose.version.clone(), whose.stratum)).or_default();
            count.ok = count.ok.saturating_add(added.counts.successes);
            count.errors = count.errors.saturating_add(added.counts.errors);
            count.issued = count.issued.saturating_add(added.counts.issued);
            count.measured = count.measured.saturating_add(added.figure.0);
            *bad += added.figure.1;
        }
        for (key, end) in &self.ends {
            let Some(version) = &end.version else { continue };
            let (count, _) = all.entry((version.clone(), stratum(key.kind))).or_default();
            count.open = count.open.saturating_add(end.counts.open);
        }
        let whole = |(key, (count, bad)): (_, (Count, f64))| {
            let bad = rounded(bad).min(count.measured);
            (key, Count { bad, ..count })
        };
        all.into_iter().map(whole).collect()
    }

    /// By version, zone and endpoint; the zone as a whole where clients name no endpoints. Those with most errors first.
    pub(super) fn rows(&self) -> Vec<Row> {
        let shown: BTreeSet<SocketAddr> = self.added.keys().filter_map(|whose| whose.address).collect();
        let mut open: HashMap<Spot<'_>, u64> = HashMap::new();
        for (key, end) in &self.ends {
            let Some(version) = &end.version else { continue };
            let at = |address: &Option<SocketAddr>| -> Spot<'_> { (version, &key.locality, *address) };
            // As it is added up.
            let shown = key.address.filter(|address| shown.contains(address));
            let open = open.entry(at(&shown)).or_default();
            *open = open.saturating_add(end.counts.open);
        }
        let mut all: BTreeMap<Spot<'_>, Row> = BTreeMap::new();
        for (whose, added) in &self.added {
            let place = (&whose.version, &whose.locality, whose.address);
            let row = all.entry(place).or_insert_with(|| Row {
                version: whose.version.clone(),
                zone: whose.locality.clone(),
                endpoint: whose
                    .address
                    .map_or_else(Arc::default, |at| at.to_string().into()),
                ..Row::default()
            });
            let ended = added.counts.successes.saturating_add(added.counts.errors);
            row.errors.n = row.errors.n.saturating_add(ended);
            row.errors.k = row.errors.k.saturating_add(added.counts.errors);
            let left = added.counts.issued.saturating_sub(ended);
            row.abandoned = row.abandoned.saturating_add(left);
        }
        for (place, row) in &mut all {
            row.abandoned = row
                .abandoned
                .saturating_sub(open.get(place).copied().unwrap_or(0));
        }
        let mut rows: Vec<Row> = all.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.errors.k, row.errors.n)));
        // Zones can be invented as well: endpoints that are there are shown before most of them.
        let mut zones = 0;
        let (mut first, mut rest): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| {
            zones += usize::from(row.endpoint.is_empty());
            !row.endpoint.is_empty() || zones <= ZONES
        });
        first.append(&mut rest);
        first.truncate(ROWS);
        first
    }
}

impl Added {
    fn take(&mut self, before: &End, now: &End) {
        // What has fallen was forgotten, and began at zero again.
        let add = |sum: &mut u64, before: u64, now: u64| {
            *sum = sum.saturating_add(now.checked_sub(before).unwrap_or(now));
        };
        let (sum, old, new) = (&mut self.counts, &before.counts, &now.counts);
        add(&mut sum.successes, old.successes, new.successes);
        add(&mut sum.errors, old.errors, new.errors);
        add(&mut sum.issued, old.issued, new.issued);
        let fell = now.figure.0 < before.figure.0;
        let from = if fell { (0, 0.0) } else { before.figure };
        self.figure.0 = self.figure.0.saturating_add(now.figure.0.saturating_sub(from.0));
        self.figure.1 += (now.figure.1 - from.1).max(0.0);
    }
}

const fn stratum(kind: Kind) -> Stratum {
    match kind {
        Kind::Envoy => Stratum::Envoy,
        Kind::OldEnvoy => Stratum::OldEnvoy,
        Kind::Grpc => Stratum::Grpc,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is negative, no number or too large ends at a bound"
)]
fn rounded(sum: f64) -> u64 {
    sum.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loads;

    const OLD: &str = "10.0.0.1:80";
    const NEW: &str = "10.0.0.2:80";

    /// Clusters: `orders`, `orders@1`, `orders@2`.
    fn places() -> Places {
        let mut places = Places::of(&"orders".into(), ["1", "2"].map(Arc::from).into_iter());
        for (address, version) in [(OLD, "1"), (NEW, "2")] {
            places.addresses.insert(address.parse().unwrap(), version.into());
        }
        places
    }

    /// Succeeded, failed, in progress.
    fn sum(
        cluster: usize,
        address: Option<&str>,
        kind: Kind,
        (ok, errors, open): (u64, u64, u64),
    ) -> loads::Sum {
        loads::Sum {
            cluster,
            address: address.map(|address| address.parse().unwrap()),
            locality: "/a/".into(),
            kind,
            counts: Counts {
                open,
                successes: ok,
                errors,
                issued: ok + errors + open,
            },
            metrics: vec![(
                "bad".into(),
                ok + errors,
                f64::from(u32::try_from(errors).unwrap()),
            )],
        }
    }

    fn seen(all: Vec<loads::Sum>) -> Sums {
        Sums {
            sums: all,
            ..Sums::default()
        }
    }

    fn count(counting: &Counting, version: &str, stratum: Stratum) -> (u64, u64, u64, u64) {
        let count = counting
            .counts()
            .get(&(version.into(), stratum))
            .copied()
            .unwrap_or_default();
        (count.ok, count.errors, count.issued, count.open)
    }

    #[test]
    fn invented_addresses_do_not_take_the_room_of_known_ones() {
        let places = places();
        let mut counting = Counting::new(7);
        counting.note(&places, &seen(Vec::new()), None);
        let invented = (1..=u16::MAX).map(|port| format!("10.9.9.9:{port}"));
        let invented: Vec<String> = invented.take(ENDS + 1).collect();
        let flood = invented.iter().map(|at| sum(0, Some(at), Kind::Envoy, (1, 1, 1)));
        counting.note(&places, &seen(flood.collect()), None);
        assert_eq!(counting.ends.len(), UNKNOWN);
        let zones = (0..ENDS).map(|n| {
            let address = [None, Some(NEW)][n % 2];
            loads::Sum {
                locality: format!("/{n}/").into(),
                ..sum(2, address, Kind::Envoy, (0, 9, 0))
            }
        });
        counting.note(&places, &seen(zones.collect()), None);
        assert_eq!(counting.ends.len(), UNKNOWN + 2 * PLACES);
        let before = count(&counting, "2", Stratum::Envoy);
        counting.note(
            &places,
            &seen(vec![sum(0, Some(NEW), Kind::Envoy, (5, 2, 0))]),
            None,
        );
        let now = count(&counting, "2", Stratum::Envoy);
        assert_eq!((now.0 - before.0, now.1 - before.1), (5, 2));
    }

    #[test]
    fn rows_show_who_is_there_before_what_may_be_invented() {
        let (places, mut counting) = (places(), Counting::new(7));
        counting.note(&places, &Sums::default(), None);
        let mut all: Vec<loads::Sum> = (0..300)
            .map(|n| loads::Sum {
                locality: format!("/{n}/").into(),
                ..sum(2, None, Kind::Envoy, (0, 90, 1))
            })
            .collect();
        all.extend((1..300).map(|port| sum(2, Some(&format!("10.9.9.9:{port}")), Kind::Envoy, (0, 80, 2))));
        all.push(sum(2, Some(NEW), Kind::Envoy, (5, 2, 3)));
        counting.note(&places, &seen(all), None);
        let rows = counting.rows();
        assert!(
            rows.iter().all(|row| matches!(&*row.endpoint, "" | NEW)),
            "{rows:?}"
        );
        let at = rows.iter().position(|row| *row.endpoint == *NEW).unwrap();
        assert!(at <= ZONES && rows.len() <= ROWS, "{at}");
        assert_eq!(rows[at].abandoned, 0);
        let invented = rows
            .iter()
            .find(|row| &*row.zone == "/a/" && row.endpoint.is_empty());
        assert_eq!(
            invented.map(|row| (row.errors.k, row.abandoned)),
            Some((299 * 80, 0))
        );
    }

    #[test]
    fn what_was_before_counts_for_nothing_and_each_has_its_version_and_kind() {
        let places = places();
        let mut counting = Counting::new(7);
        let before = vec![
            sum(0, Some(OLD), Kind::Envoy, (100, 3, 1)),
            sum(1, None, Kind::Grpc, (50, 0, 0)),
        ];
        counting.note(&places, &seen(before.clone()), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy), (0, 0, 0, 1));
        counting.note(&places, &seen(before), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy), (0, 0, 0, 1), "nothing new");
        let later = vec![
            sum(0, Some(OLD), Kind::Envoy, (110, 5, 0)),
            // By its own cluster, from an Envoy before 1.39, and where it stands in for another version.
            sum(2, Some(NEW), Kind::OldEnvoy, (7, 1, 0)),
            sum(2, Some(OLD), Kind::Envoy, (2, 0, 0)),
            sum(1, None, Kind::Grpc, (53, 1, 0)),
            // Nobody knows whose these are.
            sum(0, None, Kind::Grpc, (9, 9, 9)),
            sum(0, Some("10.0.0.9:80"), Kind::Envoy, (9, 9, 9)),
        ];
        counting.note(&places, &seen(later), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy), (12, 2, 13, 0));
        assert_eq!(count(&counting, "2", Stratum::OldEnvoy), (7, 1, 8, 0));
        assert_eq!(count(&counting, "1", Stratum::Grpc), (3, 1, 4, 0));
        assert_eq!(counting.counts().len(), 3);
        let rows = counting.rows();
        assert_eq!(
            (&*rows[0].version, &*rows[0].endpoint, rows[0].errors.k),
            ("1", OLD, 2)
        );
        assert!(
            rows.iter()
                .any(|row| row.endpoint.is_empty() && *row.version == *"1")
        );
    }

    #[test]
    fn what_was_there_before_its_version_was_known_counts_for_nothing() {
        let (known, mut counting) = (places(), Counting::new(7));
        let at = |ok, errors| {
            seen(vec![
                sum(0, Some(OLD), Kind::Envoy, (ok, errors, 1)),
                sum(0, Some(NEW), Kind::Envoy, (ok, errors, 1)),
            ])
        };
        let unknown = Places::of(&"orders".into(), ["1", "2"].map(Arc::from).into_iter());
        counting.note(&unknown, &at(9_000, 700), None);
        assert!(counting.counts().is_empty() && counting.rows().is_empty());
        counting.note(&known, &at(9_000, 700), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy), (0, 0, 0, 1));
        counting.note(&known, &at(9_004, 701), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy), (4, 1, 5, 1));
        assert_eq!(count(&counting, "2", Stratum::Envoy), (4, 1, 5, 1));
    }

    #[test]
    fn a_figure_that_is_named_later_begins_where_it_is() {
        let (places, mut counting) = (places(), Counting::new(7));
        let at = |ok, errors| seen(vec![sum(2, Some(NEW), Kind::Envoy, (ok, errors, 0))]);
        let measured = |counting: &Counting| {
            let count = counting.counts()[&("2".into(), Stratum::Envoy)];
            (count.measured, count.bad)
        };
        counting.note(&places, &at(900, 90), None);
        counting.note(&places, &at(910, 91), Some("bad"));
        assert_eq!(measured(&counting), (0, 0));
        counting.note(&places, &at(914, 93), Some("bad"));
        assert_eq!(measured(&counting), (6, 2));
        counting.note(&places, &at(920, 93), Some("other"));
        counting.note(&places, &at(930, 95), Some("bad"));
        assert_eq!(measured(&counting), (6, 2), "it only grows");
    }

    #[test]
    fn sums_that_were_forgotten_begin_again_and_nothing_is_counted_twice() {
        let (places, mut counting) = (places(), Counting::new(7));
        let at = |ok, errors| seen(vec![sum(2, Some(NEW), Kind::Envoy, (ok, errors, 0))]);
        counting.note(&places, &Sums::default(), Some("bad"));
        counting.note(&places, &at(10, 2), Some("bad"));
        counting.note(&places, &at(1, 1), Some("bad"));
        counting.note(&places, &at(4, 1), Some("bad"));
        assert_eq!(count(&counting, "2", Stratum::Envoy), (14, 3, 17, 0));
        let counts = counting.counts();
        let count = counts[&("2".into(), Stratum::Envoy)];
        assert_eq!((count.measured, count.bad), (17, 3));
    }

    #[test]
    fn an_address_that_a_newer_version_takes_counts_for_it_from_then_on() {
        let (mut places, mut counting) = (places(), Counting::new(7));
        let at = |ok| seen(vec![sum(0, Some(OLD), Kind::Envoy, (ok, 0, 0))]);
        counting.note(&places, &at(0), None);
        counting.note(&places, &at(10), None);
        places.addresses.insert(OLD.parse().unwrap(), "2".into());
        counting.note(&places, &at(15), None);
        assert_eq!(count(&counting, "1", Stratum::Envoy).0, 10);
        assert_eq!(count(&counting, "2", Stratum::Envoy).0, 5);
    }
}
