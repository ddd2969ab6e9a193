//! From what the hub, the clients and the other bridges say to the facts that a decision is made of. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::Versioned;
use crate::loads::Sums;
use crate::rollout::{Clients, Facts, Instances, Run};
use crate::state::Documents;
use crate::state::counted::Service;

/// What this bridge counts of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Here {
    /// Its own run.
    pub(super) run: Run,
    /// Who reports here, and when the youngest report came.
    pub(super) clients: Clients,
    /// Another one with each report, and with nothing else: see [`stamp`].
    pub(super) stamp: u64,
}

/// When something of another bridge was new here last: clocks of machines differ.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<(Arc<str>, Arc<str>), (u64, u64)>);

impl Arrivals {
    /// When the last new report of a bridge about a service came to be known here.
    fn at(&mut self, replica: &Arc<str>, service: &Arc<str>, stamp: u64, now: u64) -> Option<u64> {
        if stamp == 0 {
            return None;
        }
        let known = self
            .0
            .entry((replica.clone(), service.clone()))
            .or_insert((stamp, now));
        if known.0 != stamp {
            *known = (stamp, now);
        }
        Some(known.1)
    }

    /// Forgets bridges that are gone.
    pub(super) fn retain(&mut self, documents: &Documents) {
        self.0
            .retain(|(replica, _), _| documents.counts.contains_key(replica));
    }
}

/// Of this bridge and all others: what each has counted, and who reports.
pub(super) fn counted(
    service: &Arc<str>,
    here: (&Arc<str>, &Here),
    documents: &Documents,
    arrivals: &mut Arrivals,
    now: u64,
) -> (BTreeMap<Arc<str>, Run>, Clients) {
    let (replica, here) = here;
    let mut clients = here.clients.clone();
    let mut runs = BTreeMap::new();
    if here.run.since > 0 {
        runs.insert(run_name(replica, here.run.since), here.run.clone());
    }
    for (other, parts) in documents.counts.iter().filter(|(other, _)| *other != replica) {
        let found = parts.values().find_map(|part| part.services.get(service));
        let Some(found) = found else { continue };
        let at = arrivals.at(other, service, found.at, now);
        clients.last_report = clients.last_report.max(at);
        clients.reporting = clients.reporting.saturating_add(found.reporting);
        clients.silent = clients.silent.saturating_add(found.silent);
        runs.insert(run_name(other, found.since), run(found));
    }
    (runs, clients)
}

/// With another start it is another run.
pub(super) fn run_name(replica: &str, since: u64) -> Arc<str> {
    format!("{replica}/{since}").into()
}

fn run(found: &Service) -> Run {
    let counts = found.versions.iter().flat_map(|(version, strata)| {
        let one = |(stratum, count): (&_, &_)| ((version.clone(), *stratum), *count);
        strata.iter().map(one)
    });
    Run {
        since: found.since,
        counts: counts.collect(),
    }
}

/// As it is shared with other bridges.
pub(super) fn shared(here: &Here) -> Service {
    let mut versions: BTreeMap<Arc<str>, BTreeMap<_, _>> = BTreeMap::new();
    for ((version, stratum), count) in &here.run.counts {
        versions
            .entry(version.clone())
            .or_default()
            .insert(*stratum, *count);
    }
    Service {
        since: here.run.since,
        at: here.stamp,
        reporting: here.clients.reporting,
        silent: here.clients.silent,
        versions,
    }
}

/// Of the youngest report, by when it came. Only a new one changes it: the time of day that is computed of it differs by a
/// millisecond from one look to the next. 0 is none.
pub(super) fn stamp(last: Duration) -> u64 {
    let millis = u64::try_from(last.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_add(1)
}

/// Who reports to this bridge. `ago`: how long ago the youngest report came, milliseconds.
pub(super) fn clients(sums: &Sums, ago: Option<u64>, interval: u64, now: u64) -> Clients {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Clients {
        reporting: number(sums.reporting),
        silent: number(sums.clients.saturating_sub(sums.reporting)),
        last_report: ago.map(|ago| now.saturating_sub(ago)),
        interval,
    }
}

/// The versions, each with when it was seen here first.
pub(super) fn versions(
    versioned: &Versioned,
    first_seen: &mut BTreeMap<Arc<str>, u64>,
    now: u64,
) -> BTreeMap<Arc<str>, Instances> {
    first_seen.retain(|version, _| versioned.versions.contains_key(version));
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let one = |(name, version): (&Arc<str>, &crate::hub::Version)| {
        let first = *first_seen.entry(name.clone()).or_insert(now);
        let instances = Instances {
            healthy: version.healthy,
            total: version.total,
            first_seen: first,
            data: version.data.map(number),
            reads: version.reads.map(|(from, to)| number(from)..=number(to)),
            share: version.share,
        };
        (name.clone(), instances)
    };
    versioned.versions.iter().map(one).collect()
}

/// The same facts at another time, without what is only counted: a decision upon an order leaves that to the leader.
pub(super) fn uncounted(facts: &Facts, now: u64) -> Facts {
    Facts {
        now,
        runs: BTreeMap::new(),
        ..facts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::{Entries, Entry};
    use crate::rollout::{Count, Stratum};
    use crate::state::counted::Counted;
    use crate::state::document;

    fn here(since: u64, ok: u64, last: Option<u64>) -> Here {
        let count = Count {
            ok,
            ..Count::default()
        };
        Here {
            run: Run {
                since,
                counts: [(("2".into(), Stratum::Envoy), count)].into(),
            },
            clients: Clients {
                reporting: 1,
                last_report: last,
                interval: 1_000,
                ..Clients::default()
            },
            stamp: last.unwrap_or(0),
        }
    }

    /// What others share, as it is read here.
    fn documents(all: &[(&str, &Here)]) -> Documents {
        let entries = all.iter().map(|(replica, here)| {
            let counted = Counted {
                services: [("orders".into(), shared(here))].into(),
            };
            let key = format!("counts/{replica}/0");
            (
                Arc::from(key.as_str()),
                Entry::of(&key, document::text(&counted).as_bytes(), 1),
            )
        });
        Documents::read(&entries.collect::<Entries>())
    }

    #[test]
    fn each_bridge_counts_once_and_reports_are_as_old_as_they_are_known_here() {
        let (orders, me): (Arc<str>, Arc<str>) = ("orders".into(), "me".into());
        let (mine, theirs) = (here(5, 10, Some(99_000)), here(7, 20, Some(1)));
        let mut arrivals = Arrivals::default();
        // What this bridge has shared itself is not added once more.
        let seen = documents(&[("me", &mine), ("other", &theirs)]);
        let (runs, clients) = counted(&orders, (&me, &mine), &seen, &mut arrivals, 100_000);
        let names: Vec<&str> = runs.keys().map(|name| &**name).collect();
        assert_eq!(names, ["me/5", "other/7"]);
        assert_eq!(runs["other/7"], theirs.run);
        assert_eq!((clients.reporting, clients.interval), (2, 1_000));
        // Its clock is far behind.
        assert_eq!(clients.last_report, Some(100_000));
        let (_, clients) = counted(&orders, (&me, &mine), &seen, &mut arrivals, 105_000);
        assert_eq!(clients.last_report, Some(100_000), "nothing new since then");
        // The same report, at another time of its day.
        let mut again = theirs.clone();
        again.clients.last_report = Some(3);
        let same = documents(&[("me", &mine), ("other", &again)]);
        let (_, clients) = counted(&orders, (&me, &mine), &same, &mut arrivals, 106_000);
        assert_eq!(clients.last_report, Some(100_000), "it is no new one");
        let later = documents(&[("other", &here(7, 21, Some(2)))]);
        let (_, clients) = counted(&orders, (&me, &mine), &later, &mut arrivals, 107_000);
        assert_eq!(clients.last_report, Some(107_000));
        arrivals.retain(&Documents::default());
        assert!(arrivals.0.is_empty());
        // One that counts nothing has no run, and says nothing of reports.
        let none = Here::default();
        let (runs, clients) = counted(&orders, (&me, &none), &Documents::default(), &mut arrivals, 1);
        assert_eq!((runs.len(), clients.last_report), (0, None));
    }
}
